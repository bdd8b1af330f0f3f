"""The network that `--model` names: registered, of a library, or of a user's own code."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from resprobe import registry
from resprobe.errors import InputError, UnknownNameError, shown
from resprobe.libraries import (
    given,
    library_of,
    make,
    make_transformers,
    transformers_config,
)
from resprobe.measurable import refuse_unmeasurable, unwrapped
from resprobe.reference import (
    Reference,
    find,
    is_reference,
    quoted,
    refuse_borrowed,
    running,
)

if TYPE_CHECKING:
    from torch import nn

_KINDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
}
# Defaults of arguments that read the same in every process.
_PLAIN = (bool, int, float, str)


@dataclass(frozen=True)
class Network:
    """A network as its factory made it.

    Attributes:
        model: eager, whole and on one device.
        spec: JSON that says which network this is, weights aside.
        table: what makes it again, for the `[model]` of source.toml.
        notes: what a person should know of it.
    """

    model: nn.Module
    spec: str
    table: Mapping[str, Any]
    notes: tuple[str, ...] = field(default=())


def is_registered(name: str) -> bool:
    """Whether a model's name is one of the registry, whose weights are never its own."""
    return name in registry.entries("models")


def is_model(name: str) -> bool:
    """Whether a text names a network: registered, of a library, or of code."""
    return is_registered(name) or bool(library_of(name)) or is_code(name)


def is_code(name: str) -> bool:
    """Whether a network is made by the code that its name points at."""
    return is_reference(name) and not is_registered(name) and not library_of(name)


def network(
    name: str, arguments: Mapping[str, Any], weights: Path | None = None, *, sha256: str = ""
) -> Network:
    """Make the network that a user names, without touching torch's global random state.

    Random weights are drawn with seed 0, so a network that brings none is the same every time.

    Args:
        name: a registered name, `timm:NAME`, `torchvision:NAME`, `transformers:CLASS`,
            `package.module:factory` or `file.py:factory`.
        arguments: of its factory; for transformers, of its configuration.
        weights: the file or folder that will be loaded; a transformers folder also says the
            configuration.
        sha256: what the file of a factory must still have; "" takes it as it is.

    Raises:
        UnknownNameError: nothing has that name, or takes such an argument.
        InputError: it can't be made, or not be measured.
    """
    if is_registered(name):
        model, spec = build(name, arguments), model_spec(name, arguments)
        return Network(model, spec, {"name": name, **arguments})
    if library_of(name):
        made = _of_library(name, arguments, weights)
    else:
        made = _of_code(name, arguments, sha256)
    inner, note = unwrapped(made.model)
    refuse_unmeasurable(inner)
    return Network(inner, made.spec, made.table, (note,) if note else ())


def network_again(table: Mapping[str, Any]) -> Network:
    """Make a network again from the `[model]` of a run's recipe or source; it may run its code.

    Raises:
        InputError: see `network`; or the file of its factory has changed since.
        KeyError: the table has no name.
    """
    own = dict(table)
    name = own.pop("name")
    if is_registered(name) or not is_model(name):
        return network(name, own)
    arguments = dict(own.get("arguments", {}))
    if "config" in own:
        arguments = {"config": json.loads(own["config"])}
    return network(name, arguments, sha256=str(own.get("sha256", "")))


def build(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Make a registered model without touching torch's global random state.

    Raises:
        UnknownNameError: nobody offers it, or it has no such argument.
        InputError: it refuses an argument.
    """
    factory = registry.load("models", name)
    made: nn.Module = _called(name, factory, arguments)
    return made


def model_spec(name: str, arguments: Mapping[str, Any]) -> str:
    """Say which network a registered model is, whether its defaults are written out or not."""
    factory = registry.load("models", name)
    whole = {**_defaults(factory), **_checked(name, factory, arguments)}
    return _spec(name, arguments=whole)


def _defaults(factory: Callable[..., Any]) -> dict[str, Any]:
    empty = inspect.Parameter.empty
    try:
        known = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return {}  # none is declared
    return {key: item.default for key, item in known.items() if item.default is not empty}


def _of_library(name: str, arguments: Mapping[str, Any], weights: Path | None) -> Network:
    if library_of(name) == "transformers":
        config = transformers_config(name, arguments, weights)
        model = _unseen(lambda: make_transformers(name, config))
        text = json.dumps(config, sort_keys=True)  # TOML has no null
        return Network(model, _spec(name, config=config), {"name": name, "config": text})
    model = _unseen(lambda: make(name, arguments))
    table = {"name": name, "arguments": dict(arguments)}
    return Network(model, _spec(name, arguments=dict(arguments)), table)


def _of_code(name: str, arguments: Mapping[str, Any], sha256: str) -> Network:
    from torch import nn

    if not is_reference(name):
        if name.endswith(".py") and Path(name).is_file():
            raise InputError(f"{name}: say what makes the network, as {name}:FACTORY.")
        kind = "model (or timm:NAME, torchvision:NAME, transformers:CLASS, FILE.py:FACTORY)"
        raise UnknownNameError(kind, name, registry.entries("models"))
    found = _unseen(lambda: find(name, sha256))
    if isinstance(found.target, nn.Module):
        if arguments:
            raise InputError(
                f"{name} is a network already and takes no --model-arg; give a factory or a class."
            )
        model, whole = found.target, {}
    else:
        model = _from_factory(name, found, arguments)
        # Other defaults, such as classes, are said by the file itself.
        plain = {k: v for k, v in _defaults(found.target).items() if isinstance(v, _PLAIN)}
        whole = {**plain, **_checked(name, found.target, arguments)}
    spec = _spec(found.title, arguments=whole, sha256=found.sha256)
    table = {"name": found.name, "arguments": dict(arguments), "sha256": found.sha256}
    return Network(model, spec, table)


def _from_factory(name: str, found: Reference, arguments: Mapping[str, Any]) -> nn.Module:
    from torch import nn

    target = found.target
    is_class = inspect.isclass(target)
    is_network = is_class and issubclass(target, nn.Module)
    if not callable(target) or (is_class and not is_network):
        what = f"the class {target.__name__}" if is_class else type(target).__name__
        raise InputError(f"{name} is {what}, expected a factory, a class or a network of torch.nn.")
    if not is_network:
        refuse_borrowed(found)
    with running(name, found.folder):
        model = _called(name, target, arguments)
    if not isinstance(model, nn.Module):
        raise InputError(
            f"{name} gave {type(model).__name__}, expected a torch.nn.Module; give a factory that "
            "returns the network."
        )
    return model


def _called(name: str, factory: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a factory with arguments that fit its signature."""
    known: Mapping[str, inspect.Parameter] = {}
    try:
        known = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        pass  # nothing that could be checked is declared
    else:
        _refuse_unknown_arguments(name, known, arguments)
    checked = _checked(name, factory, arguments)
    try:
        return _unseen(lambda: factory(**checked))
    except InputError:
        raise
    except Exception as error:  # whatever it raises is about these arguments
        raise InputError(
            f"model {name} can't be made with {given(arguments)} ({quoted(error)}); its arguments "
            f"are {', '.join(known) or 'none'}: try them with `resprobe inspect {name}`."
        ) from error


def _refuse_unknown_arguments(
    name: str, known: Mapping[str, inspect.Parameter], arguments: Mapping[str, Any]
) -> None:
    if any(item.kind is item.VAR_KEYWORD for item in known.values()):
        return
    for argument in arguments:
        if argument not in known:
            raise UnknownNameError(f"argument of the model {name}", argument, known)


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
                f"model {name}: {argument} = {shown(value)}, expected {_KINDS[hint]}; try the "
                f"arguments with `resprobe inspect {name}`."
            )
    return checked


def _unseen(action: Callable[[], Any]) -> Any:
    """Do something that draws random numbers: seed 0 inside, torch's own state outside."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return action()


def _spec(name: str, **what: Any) -> str:
    return json.dumps({"name": name, **what}, sort_keys=True, default=str)
