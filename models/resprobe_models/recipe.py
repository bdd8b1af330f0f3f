"""Recipes: everything that decides the outcome of a training run, as typed tables.

A recipe is written in TOML, checked once when it is read, and stored resolved (every key with its
value) as `recipe.toml` of the run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, get_type_hints

from resprobe import registry
from resprobe.errors import InputError, UnknownNameError, shown
from resprobe.files import read_text
from resprobe_models import optimizers
from resprobe_models.model_arguments import argument_hints, checked_arguments
from resprobe_models.schedule import epochs_of
from resprobe_models.values import checked, key


class _Table:
    """A table of a recipe; its values are checked whenever one is made."""

    NAME: ClassVar[str]

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            name, limits = f"{self.NAME}.{item.name}", item.metadata["limits"]
            value = checked(name, getattr(self, item.name), _hints(type(self))[item.name], limits)
            object.__setattr__(self, item.name, value)


def _hints(table: type) -> dict[str, Any]:
    return get_type_hints(table)


@dataclass(frozen=True)
class DataTable(_Table):
    """`[data]`: which images, and what is done to them."""

    NAME: ClassVar[str] = "data"
    name: str = key("digits", "a registered data set")
    dir: str = key("", "folder of the data set's files; empty: they come along or are downloaded")
    subset: int = key(0, "train on that many images, classes in proportion; 0: all", minimum=0)
    test_subset: int = key(
        0,
        "evaluate on that many test images while training, drawn likewise; 0: all, from which "
        "collect draws its samples in either case",
        minimum=0,
    )
    subset_seed: int = key(0, "of the draws of both subsets", minimum=0)
    resolution: int = key(
        0,
        "side in pixels to which square images are reduced by averaging whole squares, before "
        "anything else is done to them; 0: as stored",
        minimum=0,
    )
    augment: Literal["none", "crop", "crop-flip"] = key("none", "random crops, mirror images")
    pad: int = key(4, "pixels of zeros around a standardised image before a crop", minimum=0)
    label_noise: float = key(
        0.0, "fraction of the training labels replaced by another class", minimum=0, maximum=1
    )
    input_noise: float = key(
        0.0,
        "on the training images: standard deviation, standardised (gaussian), or side of the "
        "squares in pixels (mosaic); 0: none",
        minimum=0,
    )
    input_noise_kind: Literal["gaussian", "mosaic"] = key("gaussian", "form of input_noise")
    noise_seed: int | None = key(
        None, "of both noises, drawn once for the whole run; left out: train.seed", minimum=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        whole = self.input_noise.is_integer() and self.input_noise != 1
        if self.input_noise_kind == "mosaic" and not whole:
            raise InputError(
                f"data.input_noise = {self.input_noise}: a mosaic has squares of whole pixels; "
                "expected 2, 3, … or 0 for none."
            )


@dataclass(frozen=True)
class TrainTable(_Table):
    """`[train]`: how long, by which rule, in which arithmetic, where."""

    NAME: ClassVar[str] = "train"
    epochs: int = key(10, "passes over the training images; 0: keep the untrained net", minimum=0)
    batch_size: int = key(128, "images a step; the last step of an epoch takes the rest", minimum=1)
    seed: int = key(0, "of weights, order and augmentation", minimum=0, maximum=2**32 - 1)
    optimizer: Literal["sgd", "adam", "adamw", "nadam", "radam", "adamax", "adagrad", "rmsprop"] = (
        key("sgd", "the update rule, one of torch's")
    )
    momentum: float | None = key(None, "of sgd (0.9) and rmsprop (0)", minimum=0, below=1)
    nesterov: bool | None = key(None, "Nesterov's form of the momentum of sgd")
    betas: tuple[float, ...] | None = key(
        None, "decay of the two moments of the adam family (0.9, 0.999)", minimum=0, below=1
    )
    alpha: float | None = key(None, "decay of the squares of rmsprop (0.99)", minimum=0, below=1)
    eps: float | None = key(None, "beside the root of the squares (1e-8; adagrad 1e-10)", above=0)
    weight_decay: float = key(
        1e-4, "on every parameter; an L2 term of the gradient, of adamw decoupled", minimum=0
    )
    wd_scale: float = key(1.0, "multiplies weight_decay", minimum=0)
    decay_toward: Literal["zero", "identity"] = key(
        "zero",
        "where weight decay pulls the ID entries of a plain network, which it names in id_entries; "
        "identity: to 1, as it pulls those of the equal residual network to 0",
    )
    clip_norm: float | None = key(
        None, "scale the gradient of all parameters together down to that L2 norm", above=0
    )
    dtype: Literal["float32", "float64", "bfloat16"] = key(
        "float32", "of the arithmetic; bfloat16: autocast over float32 weights"
    )
    channels_last: bool = key(False, "memory format of weights and images")
    deterministic: bool = key(False, "refuse operations whose result varies between runs")
    device: str = key("auto", "auto (a GPU where there is one), cpu, cuda, cuda:1, …")
    threads: int = key(0, "of the CPU; 0: leave as it is", minimum=0, maximum=1024)
    stop_train_loss: float | None = key(
        None, "end after the epoch whose training loss is that or lower; epochs is then the cap"
    )
    stop_train_accuracy: float | None = key(
        None,
        "end after the epoch whose training accuracy (a fraction) is that or higher",
        above=0,
        maximum=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        given = {name: getattr(self, name) for name in optimizers.KEYS}
        for name, value in optimizers.resolved(self.optimizer, given).items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class ScheduleTable(_Table):
    """`[schedule]`: the learning rate by step; see `resprobe_models.schedule`."""

    NAME: ClassVar[str] = "schedule"
    name: Literal["constant", "step", "cosine"] = key("constant", "its form")
    learning_rate: float = key(0.1, "at the start", above=0)
    milestones: tuple[float | str, ...] = key(
        (),
        'where step lowers the rate and cosine restarts: fractions of the run or "80 epochs"',
        above=0,
        below=1,
    )
    factor: float = key(0.1, "of step, at each milestone", above=0)
    minimum: float = key(0.0, "of cosine, at the end of a cycle", minimum=0)
    warmup: float | str = key(
        0.0,
        'the rate rises linearly over that fraction of the run, or "5 epochs"',
        minimum=0,
        below=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        times = [("warmup", self.warmup), *(("milestones", item) for item in self.milestones)]
        for name, time in times:
            if isinstance(time, str) and epochs_of(time) is None:
                raise InputError(
                    f"schedule.{name}: {shown(time)} is neither a fraction of the run (0.5) nor a "
                    'number of epochs ("80 epochs").'
                )
        if self.name == "constant" and self.milestones:
            raise InputError(
                "schedule.milestones: a constant schedule has none; leave them out, or set "
                "schedule.name to step or cosine."
            )
        if self.minimum > self.learning_rate:
            raise InputError(
                f"schedule.minimum = {self.minimum}: expected schedule.learning_rate "
                f"({self.learning_rate}) or less."
            )


@dataclass(frozen=True)
class RecordTable(_Table):
    """`[record]`: what is measured while training."""

    NAME: ClassVar[str] = "record"
    every: int = key(1, "record every that many steps; 0: record nothing", minimum=0)
    jacobian_every: int = key(
        0,
        "measure the Jacobians of every block on four test images every that many steps; 0: never",
        minimum=0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.jacobian_every and not self.every:
            raise InputError(
                f"record.jacobian_every = {self.jacobian_every} with record.every = 0, which "
                "records nothing; give record.every = 1 or more."
            )


@dataclass(frozen=True)
class CheckpointTable(_Table):
    """`[checkpoint]`: which states are kept."""

    NAME: ClassVar[str] = "checkpoint"
    every_epochs: int = key(0, "keep one every that many epochs; 0: only the last", minimum=0)
    initial: bool = key(False, "keep the untrained net too, as the checkpoint of step 0")


@dataclass(frozen=True)
class PairTable(_Table):
    """`[pair]`: a second network that is trained in lockstep; see `resprobe_models.pair`."""

    NAME: ClassVar[str] = "pair"
    network: Literal["none", "equivalent"] = key(
        "none",
        "equivalent: the plain network that equals this residual one, or the other way round, on "
        "the same mini-batches",
    )
    changes: tuple[str, ...] = key(
        (), 'what that network is trained by otherwise, such as "train.decay_toward=zero"'
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.changes and self.network == "none":
            raise InputError(
                "pair.changes without a pair: give pair.network = equivalent, or leave them out."
            )


@dataclass(frozen=True)
class ModelTable:
    """`[model]`: a registered architecture and the arguments of its factory.

    Attributes:
        name: of the architecture.
        arguments: every argument of the factory by name, checked against its signature; those
            that follow from the data (`in_channels`, `classes`) may be absent until it is known.
    """

    NAME: ClassVar[str] = "model"
    name: str
    arguments: Mapping[str, Any]

    def __post_init__(self) -> None:
        checked("model.name", self.name, str)
        arguments = checked_arguments(self.name, self.arguments)
        object.__setattr__(self, "arguments", arguments)


@dataclass(frozen=True)
class Recipe:
    """A checked recipe, one attribute a table."""

    model: ModelTable
    data: DataTable = dataclasses.field(default_factory=DataTable)
    train: TrainTable = dataclasses.field(default_factory=TrainTable)
    schedule: ScheduleTable = dataclasses.field(default_factory=ScheduleTable)
    record: RecordTable = dataclasses.field(default_factory=RecordTable)
    checkpoint: CheckpointTable = dataclasses.field(default_factory=CheckpointTable)
    pair: PairTable = dataclasses.field(default_factory=PairTable)

    def __post_init__(self) -> None:
        if self.train.decay_toward == "identity" and self.model.arguments.get("residual") is True:
            raise InputError(
                "train.decay_toward = identity: the ID entries of a residual network lie in its "
                "skips, and weight decay does not reach them; give zero, or model.residual = false."
            )

    def tables(self) -> dict[str, dict[str, Any]]:
        """Give the recipe as plain dictionaries, ready for TOML; keys that are None are absent."""
        plain: dict[str, dict[str, Any]] = {
            "model": {"name": self.model.name, **self.model.arguments}
        }
        for name in _TABLES:
            values = dataclasses.asdict(getattr(self, name))
            plain[name] = {
                item: list(value) if isinstance(value, tuple) else value
                for item, value in values.items()
                if value is not None
            }
        return plain

    def keys(self) -> dict[str, Any]:
        """Give every value by its dotted key."""
        return {
            f"{table}.{name}": value
            for table, values in self.tables().items()
            for name, value in values.items()
        }

    def fingerprint(self) -> str:
        """Give the SHA-256 of the recipe as TOML."""
        return hashlib.sha256(to_toml(self).encode()).hexdigest()


_TABLES: dict[str, type[_Table]] = {
    table.NAME: table
    for table in (DataTable, TrainTable, ScheduleTable, RecordTable, CheckpointTable, PairTable)
}


def from_tables(tables: Mapping[str, Any]) -> Recipe:
    """Check plain dictionaries, as TOML gives them, and make a recipe of them.

    Raises:
        InputError: a table or key is unknown, or a value is not what its key expects.
    """
    for name, values in tables.items():
        if name not in ("model", *_TABLES):
            raise UnknownNameError("recipe table", name, ("model", *_TABLES))
        if not isinstance(values, Mapping):
            raise InputError(f"{name} = {shown(values)}: expected a table, written [{name}].")
    model = dict(tables.get("model", {}))
    if "name" not in model:
        raise InputError(
            "the recipe lacks model.name: expected one of "
            f"{', '.join(registry.entries('models'))} in a table [model]."
        )
    made = {}
    for name, table in _TABLES.items():
        values = tables.get(name, {})
        known = [item.name for item in fields(table)]  # type: ignore[arg-type]  # a dataclass
        for item in values:
            if item not in known:
                raise UnknownNameError(f"key of [{name}]", item, known)
        made[name] = table(**values)
    return Recipe(ModelTable(model.pop("name"), model), **made)  # type: ignore[arg-type]  # by name


def from_toml(text: str, source: str = "the recipe") -> Recipe:
    """Read a recipe from TOML text.

    Args:
        text: the recipe.
        source: what to call it in messages.

    Raises:
        InputError: it is not TOML, or not a recipe.
    """
    try:
        tables = tomllib.loads(text)
    except RecursionError as error:
        raise InputError(f"{source} is not TOML: its values are nested too deeply.") from error
    except ValueError as error:  # also a number of more digits than Python reads
        raise InputError(f"{source} is not TOML: {error}.") from error
    try:
        return from_tables(tables)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def to_toml(recipe: Recipe) -> str:
    """Write a recipe as TOML; `from_toml` gives an equal one back."""
    import tomli_w

    return tomli_w.dumps(recipe.tables())


def apply_overrides(recipe: Recipe, overrides: Iterable[str]) -> Recipe:
    """Give the recipe with single keys replaced.

    Args:
        recipe: stays as it is.
        overrides: `"table.key=value"`, the value in TOML's syntax; a text may be bare.

    Raises:
        InputError: an override has another form, an unknown key, or a value its key refuses.
    """
    tables = recipe.tables()
    # What has arguments of its own comes first: those of another one mean nothing to it.
    for override in sorted(overrides, key=lambda text: _name_of(text) not in _OWN_KEYS):
        name, separator, text = _name_of(override), *override.partition("=")[1:]
        table, dot, item = name.partition(".")
        if not (separator and dot and table and item):
            raise InputError(
                f"{shown(override)} is not an override: expected table.key=value, such as "
                "train.epochs=5."
            )
        if table not in tables:
            raise UnknownNameError("recipe table", table, tables)
        value = _override_value(recipe.model.name, table, item, text.strip())
        if name in _OWN_KEYS and value != tables[table][item]:
            for own in _OWN_KEYS[name] or tuple(tables[table]):
                tables[table].pop(own, None)
        tables[table][item] = value
    return from_tables(tables)


# What has keys of its own, and which they are; all of the table where none are listed.
_OWN_KEYS: dict[str, tuple[str, ...]] = {"model.name": (), "train.optimizer": optimizers.KEYS}


def _name_of(override: str) -> str:
    return override.partition("=")[0].strip()


def _override_value(model: str, table: str, item: str, text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    if set(parsed) != {"value"}:
        return text
    hints = argument_hints(model) if table == "model" else _hints(_TABLES[table])
    hint = hints.get(item)
    is_text = hint is str or getattr(hint, "__origin__", None) is Literal
    # A folder called 2024 or a reading called true is text, not what TOML makes of it.
    return text if is_text and not isinstance(parsed["value"], str) else parsed["value"]


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Read a bundled or registered recipe by name, or any by the path of its `.toml` file.

    Raises:
        UnknownNameError: nothing of that name is registered, and it is no path.
        InputError: the file is not there or not a recipe.
    """
    given = str(name_or_path)
    if isinstance(name_or_path, Path) or given.endswith(".toml") or "/" in given:
        path = Path(given)
        try:
            return from_toml(read_text(path), str(path))
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise InputError(
                f"the recipe {path} cannot be read ({reason}): give the path of a .toml file, or "
                f"one of {', '.join(registry.entries('recipes'))}."
            ) from error
    from importlib import resources

    module, filename = registry.target("recipes", given)
    return from_toml(
        resources.files(module).joinpath(filename).read_text(encoding="utf-8"),
        f"the recipe {given}",
    )
