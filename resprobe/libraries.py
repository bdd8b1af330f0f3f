"""Networks of timm, torchvision and transformers: made from local files alone, never downloaded."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from resprobe.errors import InputError, UnknownNameError, shown
from resprobe.files import read_text
from resprobe.reference import quoted

if TYPE_CHECKING:
    from torch import nn

LIBRARIES = ("timm", "torchvision", "transformers")
# Arguments by which the libraries would fetch weights by themselves.
_FETCHING = ("pretrained", "weights", "weights_backbone", "checkpoint_path", "pretrained_cfg")


def library_of(name: str) -> str:
    """Give the library that a model's name begins with, such as `timm:`; "" for none."""
    prefix, colon, _ = name.partition(":")
    return prefix if colon and prefix in LIBRARIES else ""


def make(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Make `timm:NAME` or `torchvision:NAME` with random weights.

    Raises:
        InputError: the library is not installed, has no such model, or refuses the arguments.
    """
    library, _, own = name.partition(":")
    for argument in _FETCHING:
        if argument in arguments:
            raise InputError(
                f"--model-arg {argument} is not passed on, because nothing is downloaded: save the "
                "weights to a file and give it with --weights."
            )
    module = imported(library if library == "timm" else "torchvision.models")
    known = module.list_models()
    # timm's names may end in the tag of published weights, as resnet50.a1_in1k.
    if own not in known and not (library == "timm" and own.partition(".")[0] in known):
        raise InputError(
            f"{library} has no model {own!r}{_near(own, known)}; see "
            f"{module.__name__}.list_models()."
        )
    try:
        made: nn.Module = (
            module.create_model(own, pretrained=False, **arguments)
            if library == "timm"
            else module.get_model(own, weights=None, **_bare(module, own), **arguments)
        )
    except Exception as error:  # whatever the library says is quoted
        raise InputError(
            f"{name} can't be made with {given(arguments)} ({quoted(error)}); try other arguments "
            f"with `resprobe inspect {name}`."
        ) from error
    return made


def transformers_config(
    name: str, arguments: Mapping[str, Any], folder: Path | None
) -> dict[str, Any]:
    """Give the whole configuration of `transformers:CLASS`.

    Args:
        name: of the model.
        arguments: `config` (a config.json, a folder that holds one, or the mapping itself) and
            keys of the configuration that replace its own.
        folder: of the weights, whose config.json is taken where `config` is not given.

    Raises:
        InputError: no configuration, one that can't be read or that the class refuses.
        UnknownNameError: the class or a key is unknown.
    """
    own = dict(arguments)
    given_config = own.pop("config", None)
    if given_config is None and folder is not None and (folder / "config.json").exists():
        given_config = str(folder)
    base = dict(given_config) if isinstance(given_config, Mapping) else _read_config(given_config)
    if given_config is None and not own:
        raise InputError(
            f"{name} needs a configuration: give --model-arg config=FOLDER (or its config.json), "
            "keys such as --model-arg hidden_size=64, or --weights FOLDER with a config.json."
        )
    kind = _config_class(name, {**base, **own})
    own.pop("model_type", None)
    _refuse_unknown_keys(name, kind, own)
    # A key may have a second name: hidden_size is GPT-2's n_embd, and must replace that.
    own = {kind.attribute_map.get(key, key): value for key, value in own.items()}
    if "num_labels" in own:
        base = {key: base[key] for key in base if key not in ("id2label", "label2id")}
    try:
        with _quiet():
            config = kind.from_dict({**base, **own})
    except Exception as error:  # the library checks its own keys; what it says is quoted
        raise InputError(
            f"{name} can't be configured with {given(arguments)} ({quoted(error)}); correct the "
            "configuration."
        ) from error
    if hasattr(config, "use_cache"):
        config.use_cache = False  # what it would keep for later tokens is no part of a measurement
    whole: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    # Of who wrote the file, not of the network; all is measured in float32 or float64.
    for key in ("transformers_version", "_name_or_path", "architectures", "dtype", "torch_dtype"):
        whole.pop(key, None)
    return whole


def make_transformers(name: str, config: Mapping[str, Any]) -> nn.Module:
    """Make `transformers:CLASS` of a whole configuration, with random weights.

    Raises:
        InputError: the class refuses the configuration.
    """
    kind = _model_class(name)
    try:
        with _quiet(), _offline():
            made = _config_class(name, config).from_dict(dict(config))
            model: nn.Module = (
                kind.from_config(made, trust_remote_code=False)
                if hasattr(kind, "from_config")
                else kind(made)
            )
    except Exception as error:  # whatever the library says is quoted
        raise InputError(
            f"{name} can't be made of this configuration ({quoted(error)}); correct it."
        ) from error
    return model


def is_transformers(model: nn.Module) -> bool:
    """Whether a network is one of transformers, whose weights may need its conversions."""
    return any(
        kind.__name__ == "PreTrainedModel" and kind.__module__.startswith("transformers")
        for kind in type(model).__mro__
    )


def converted(
    model: Any, stored: Mapping[str, Any]
) -> tuple[Mapping[str, Any], list[str], list[str], list[str]]:
    """Fit a state as transformers' own `from_pretrained` does: prefixes, older names, ties.

    Returns:
        The state of the model with `stored` in it, then the names that are missing, unexpected,
        and of another shape.
    """
    with _quiet(), _offline():
        loaded, report = type(model).from_pretrained(
            None,
            config=model.config,
            state_dict=dict(stored),
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are reported all the same
        )
    shapes = [
        f"{name} {tuple(have)} instead of {tuple(want)}"
        for name, have, want in sorted(report["mismatched_keys"])
    ]
    state: Mapping[str, Any] = loaded.state_dict()
    return state, sorted(report["missing_keys"]), sorted(report["unexpected_keys"]), shapes


def imported(module: str) -> ModuleType:
    """Import a module of a library that resprobe does not depend on.

    Raises:
        InputError: it is not installed, or broken.
    """
    library = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != library:
            raise InputError(
                f"{library} can't be imported ({error}); repair its installation."
            ) from error
        raise InputError(
            f"{library} is not installed here; get it with `pip install {library}`."
        ) from error
    except Exception as error:  # a library of another torch may raise anything
        raise InputError(
            f"{library} can't be imported ({quoted(error)}); repair its installation."
        ) from error


def given(arguments: Mapping[str, Any]) -> str:
    """Say the arguments as a person gave them."""
    told = ", ".join(f"{key} = {shown(value)}" for key, value in arguments.items())
    return told or "no arguments"


def _bare(models: ModuleType, name: str) -> dict[str, None]:
    """Give the argument that keeps a torchvision model with a backbone from fetching that."""
    names = inspect.signature(models.get_model_builder(name)).parameters
    return {"weights_backbone": None} if "weights_backbone" in names else {}


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f": did you mean {' or '.join(near)}?" if near else ""


def _model_class(name: str) -> Any:
    library = imported("transformers")
    own = name.partition(":")[2]
    kind = getattr(library, own, None)
    configured = hasattr(kind, "config_class") or hasattr(kind, "from_config")
    if not (configured and hasattr(kind, "from_pretrained")):
        models = [n for n in dir(library) if not n.endswith(("Config", "Tokenizer", "Processor"))]
        raise InputError(
            f"transformers has no model class {own!r}{_near(own, models)}; give one such as "
            "transformers:GPT2ForSequenceClassification."
        )
    return kind


def _config_class(name: str, keys: Mapping[str, Any]) -> Any:
    """Give the configuration class of a model class; an Auto class goes by `model_type`."""
    kind = _model_class(name)
    if getattr(kind, "config_class", None) is not None:
        return kind.config_class
    known = imported("transformers").CONFIG_MAPPING
    model_type = str(keys.get("model_type", ""))
    if model_type not in known:
        raise InputError(
            f"{name} goes by the model_type of the configuration, which is {model_type!r}"
            f"{_near(model_type, known.keys())}; give --model-arg model_type=gpt2 or another one, "
            "or a config.json that says it."
        )
    return known[model_type]


def _read_config(path: Any) -> dict[str, Any]:
    if path is None:
        return {}
    file = Path(str(path))
    file = file / "config.json" if file.is_dir() else file
    try:
        config = json.loads(read_text(file))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{file} can't be read as a configuration ({quoted(error)}); give a config.json or a "
            "folder that holds one."
        ) from error
    if not isinstance(config, dict):
        raise InputError(f"{file} holds no JSON object; give the config.json of a model.")
    return config


def _refuse_unknown_keys(name: str, kind: Any, keys: Mapping[str, Any]) -> None:
    """Refuse keys that the configuration would take and never use."""
    with _quiet():
        default = kind()
    known = {*default.to_dict(), *default.attribute_map, "num_labels"}
    for key in keys:
        if key not in known and not hasattr(default, key):
            raise UnknownNameError(f"configuration key of {name}", key, known)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from reporting what is reported here, and put its settings back."""
    logging = imported("transformers.utils.logging")
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Keep a configuration from fetching a pretrained part, such as a detector's backbone."""
    constants: Any = imported("huggingface_hub.constants")
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
