"""The free arguments of `[model]`, checked against the signature of the architecture's factory."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, get_type_hints

from resprobe import registry
from resprobe.errors import InputError, UnknownNameError
from resprobe_models.values import checked

if TYPE_CHECKING:
    from torch import nn

FROM_DATA = ("in_channels", "in_features", "classes")


def checked_arguments(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check the arguments of an architecture and fill in the defaults.

    `in_channels`, `in_features` and `classes` follow from the data set: where they are not given
    they stay absent, and `with_data_arguments` adds them.

    Raises:
        UnknownNameError: the architecture, or an argument, is not known.
        InputError: an argument has the wrong type or is missing.
    """
    parameters = _parameters(name)
    hints = argument_hints(name)
    open_ended = any(item.kind is item.VAR_KEYWORD for item in parameters.values())
    named = [item.name for item in parameters.values() if item.kind is not item.VAR_KEYWORD]
    for argument in given:
        if argument not in named and not open_ended:
            raise UnknownNameError(f"key of [model] for {name}", argument, ["name", *named])
    arguments = {}
    for argument in named:
        if argument in given:
            hint = hints.get(argument, Any)
            arguments[argument] = checked(f"model.{argument}", given[argument], hint)
        elif argument not in FROM_DATA:
            default = parameters[argument].default
            if default is inspect.Parameter.empty:
                raise InputError(f"the recipe lacks model.{argument}, which {name} needs.")
            if default is not None:  # TOML has no word for None; the factory knows its default
                arguments[argument] = default
    return {**arguments, **{item: given[item] for item in given if item not in named}}


def with_data_arguments(
    name: str, arguments: Mapping[str, Any], *, shape: tuple[int, ...], classes: int
) -> dict[str, Any]:
    """Add what follows from the data set, where the factory takes it and the recipe is silent.

    `in_channels` are those of an image, `in_features` the numbers of a sample of any shape.

    Args:
        name: of the architecture.
        arguments: of its factory, checked.
        shape: of one sample.
        classes: of the data set.

    Raises:
        InputError: the recipe names another number than the data have, or the architecture takes
            images and the samples are none.
    """
    known, filled = _parameters(name), dict(arguments)
    if "in_channels" in known and len(shape) != 3:
        raise InputError(
            f"{name} takes images, but the samples of the data set have the shape {shape}: take an "
            "architecture of features, such as fc-resnet, or other data."
        )
    from_data = {"in_channels": shape[0], "in_features": math.prod(shape), "classes": classes}
    for argument, value in from_data.items():
        if argument in known and filled.setdefault(argument, value) != value:
            raise InputError(
                f"model.{argument} = {filled[argument]}: the data set has {value}; leave the key "
                "out to follow the data."
            )
    return filled


def build_model(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Call the factory; weights come from torch's global generator, on the CPU in float32.

    Raises:
        InputError: the factory refuses an argument.
    """
    try:
        model: nn.Module = registry.load("models", name)(**arguments)
    except InputError as error:
        raise InputError(f"[model] {name}: {error}") from error
    return model


@cache
def _parameters(name: str) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(registry.load("models", name)).parameters)


@cache
def argument_hints(name: str) -> dict[str, Any]:
    """Give the annotated type of each argument of an architecture's factory."""
    return get_type_hints(registry.load("models", name))
