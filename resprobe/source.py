"""What is measured: a network with weights, and the test images it is measured on."""

from __future__ import annotations

import hashlib
import inspect
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from resprobe import checkpoints, registry
from resprobe.errors import InputError, UnknownNameError
from resprobe.store.reader import is_run

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from resprobe.data import Images

_KINDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
}


@dataclass
class Source:
    """A network ready to be measured.

    Attributes:
        model: in evaluation mode on `device`.
        images: the test split.
        mean: of each channel, on the scale 0 to 1; inputs are standardised by it.
        std: likewise.
        device: where it is measured.
        dtype: of the inputs and weights.
        weights: SHA-256 of the file the weights came from.
        attributes: provenance to store.
        model_spec: name and arguments of the model as JSON: weights alone don't decide what a
            network computes.
    """

    model: nn.Module
    images: Images
    mean: list[float]
    std: list[float]
    device: torch.device
    dtype: torch.dtype
    weights: str
    attributes: dict[str, str | int | float] = field(default_factory=dict)
    model_spec: str = ""

    def inputs(self, start: int, stop: int, indices: Any) -> tuple[Tensor, Tensor]:
        """Give one batch of standardised images and labels on the device.

        Args:
            start: first place in `indices`.
            stop: place after the last.
            indices: of the samples that are measured, `(sample,)` int64.

        Returns:
            `(sample, channel, height, width)` of `dtype`, and `(sample,)` int64.
        """
        import torch

        part = self.images.take(indices[start:stop])
        pixels = torch.from_numpy(part.images).to(self.device)
        scale = 255.0 if pixels.dtype == torch.uint8 else 1.0
        mean, std = (
            torch.tensor(values, dtype=self.dtype, device=self.device)[:, None, None]
            for values in (self.mean, self.std)
        )
        batch = (pixels.to(self.dtype) / scale - mean) / std
        return batch, torch.from_numpy(part.labels).to(self.device)


def choose_device(name: str) -> torch.device:
    """Give the device of a name; `auto` is a GPU where there is one.

    Raises:
        InputError: there is no such device here.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"device {name!r} cannot be used here ({reason}): take auto or cpu."
        ) from error
    return device


def from_run(
    run: Path,
    which: Literal["last", "best"] | int,
    *,
    data_dir: Path | None = None,
    device: str = "auto",
) -> tuple[Source, int]:
    """Make ready a checkpoint of a run that `train` wrote.

    Args:
        run: the run directory.
        which: "last", "best" (lowest recorded test error) or a step.
        data_dir: of the data set's files, where they are no longer where they were.
        device: "auto", "cpu", "cuda", …

    Returns:
        The source and the checkpoint's step.

    Raises:
        InputError: it is no run, or recipe, checkpoint or data are missing or damaged.
    """
    import torch

    recipe = read_recipe(run)
    step = checkpoints.resolve(run, which)
    info = checkpoints.read_info(run, step)
    try:
        model_table, data_table = dict(recipe["model"]), dict(recipe["data"])
        mean, std = list(info["mean"]), list(info["std"])
        fingerprint = str(info["data_fingerprint"])
        trained = recipe.get("train", {})  # a foreign model's run has none
        dtype = torch.float64 if trained.get("dtype") == "float64" else torch.float32
        model_name, data_name = model_table.pop("name"), data_table["name"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{run}: recipe.toml or the checkpoint's .json lacks {error}; take them from a copy of "
            "the run."
        ) from error
    folder = data_dir or (Path(data_table["dir"]) if data_table.get("dir") else None)
    images = load_images(data_name, "test", folder)
    if images.fingerprint() != fingerprint.rsplit(" ", maxsplit=1)[-1]:
        raise InputError(
            f"the test images of {data_name} are not those of the training run {run} (their "
            "fingerprints differ); give the same files with --data-dir."
        )
    path = run / checkpoints.FOLDER / f"{checkpoints.stem(step)}.safetensors"
    model = build(model_name, model_table)
    checkpoints.load_weights(path, model)
    source = _source(
        model,
        images,
        standardisation=(mean, std),
        device=choose_device(device),
        dtype=dtype,
        weights=path,
        spec=_model_spec(model_name, model_table),
    )
    source.attributes["recipe"] = _recipe_path(run).read_text(encoding="utf-8")
    source.attributes["checkpoint_step"] = step
    if "seed" in trained:
        source.attributes["seed"] = int(trained["seed"])
    return source, step


def from_parts(
    model_name: str,
    model_arguments: Mapping[str, Any],
    weights: Path,
    data_name: str,
    *,
    data_dir: Path | None = None,
    device: str = "auto",
) -> Source:
    """Make ready a registered model with weights from a file.

    Inputs are standardised by the data set's own training images.

    Raises:
        UnknownNameError: the model or data set is not registered.
        InputError: weights or data are missing, damaged or do not fit.
    """
    import torch

    train = load_images(data_name, "train", data_dir)
    images = load_images(data_name, "test", data_dir)
    arguments = dict(model_arguments)
    if not weights.exists():
        raise InputError(f"{weights} does not exist; give the file of the model's weights.")
    model = build(model_name, arguments)
    checkpoints.load_weights(weights, model)
    source = _source(
        model,
        images,
        standardisation=train.standardisation(),
        device=choose_device(device),
        dtype=torch.float32,
        weights=weights,
        spec=_model_spec(model_name, arguments),
    )
    arguments_text = ", ".join(f"{name} = {value}" for name, value in arguments.items())
    source.attributes["source"] = (
        f"model {model_name} ({arguments_text}), weights {weights}, data {data_name}"
    )
    return source


def read_recipe(run: Path) -> dict[str, Any]:
    """Read the resolved recipe of a run, or the source of a foreign model's.

    Raises:
        InputError: it is no run directory, or the recipe is damaged.
    """
    if not run.is_dir() or not is_run(run):
        raise InputError(
            f"{run} is no run directory (it holds no recipe.toml); give the directory that "
            "`resprobe train -o` wrote."
        )
    path = _recipe_path(run)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read ({error}); take it from a copy.") from error


def _recipe_path(run: Path) -> Path:
    recipe = run / "recipe.toml"
    return recipe if recipe.exists() else run / "source.toml"


def build(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Make a registered model without touching torch's global random state.

    Raises:
        UnknownNameError: nobody offers it.
        InputError: it refuses an argument.
    """
    import torch

    factory = registry.load("models", name)
    known = inspect.signature(factory).parameters
    if not any(item.kind is item.VAR_KEYWORD for item in known.values()):
        for argument in arguments:
            if argument not in known:
                raise UnknownNameError(f"argument of the model {name}", argument, known)
    checked = _checked(name, factory, arguments)
    with torch.random.fork_rng(devices=[]):
        try:
            model: nn.Module = factory(**checked)
        except (TypeError, ValueError) as error:
            given = ", ".join(f"{key} = {value!r}" for key, value in arguments.items())
            raise InputError(
                f"model {name} can't be made with {given or 'no arguments'} ({error}); its "
                f"arguments are {', '.join(known)}: try them with `resprobe inspect {name}`."
            ) from error
    return model


def _checked(
    name: str, factory: Callable[..., Any], arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Give the arguments in the types that the factory declares; whole numbers are numbers."""
    try:
        hints = get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
    except (TypeError, NameError, AttributeError):
        hints = {}  # nothing that could be checked is declared
    checked = dict(arguments)
    for argument, value in arguments.items():
        hint = hints.get(argument)
        if hint is float and type(value) is int:
            checked[argument] = float(value)
        elif get_origin(hint) is Literal and value not in get_args(hint):
            raise UnknownNameError(
                f"{argument} of the model {name}", str(value), map(str, get_args(hint))
            )
        elif hint in _KINDS and type(value) is not hint:
            raise InputError(
                f"model {name}: {argument} = {value!r}, expected {_KINDS[hint]}; try the arguments "
                f"with `resprobe inspect {name}`."
            )
    return checked


def _model_spec(name: str, arguments: Mapping[str, Any]) -> str:
    """Say which network a model is, whether its defaults are written out or not."""
    factory = registry.load("models", name)
    empty = inspect.Parameter.empty
    defaults = {
        key: item.default
        for key, item in inspect.signature(factory).parameters.items()
        if item.default is not empty
    }
    whole = {**defaults, **_checked(name, factory, arguments)}
    return json.dumps({"name": name, "arguments": whole}, sort_keys=True, default=str)


def load_images(name: str, split: str, data_dir: Path | None) -> Images:
    """Load one split of a registered data set.

    Raises:
        UnknownNameError: nobody offers it.
        InputError: its files are missing or damaged.
    """
    images: Images = registry.load("datasets", name)(split=split, data_dir=data_dir)
    return images


def _source(
    model: nn.Module,
    images: Images,
    *,
    standardisation: tuple[list[float], list[float]],
    device: torch.device,
    dtype: torch.dtype,
    weights: Path,
    spec: str,
) -> Source:
    with weights.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Source(
        model=model.to(device=device, dtype=dtype).eval(),
        images=images,
        mean=standardisation[0],
        std=standardisation[1],
        device=device,
        dtype=dtype,
        weights=digest,
        attributes={
            "model": spec,
            "weights_sha256": digest,
            "data_fingerprint": images.fingerprint(),
            "standardisation_mean": " ".join(map(repr, standardisation[0])),
            "standardisation_std": " ".join(map(repr, standardisation[1])),
        },
        model_spec=spec,
    )
