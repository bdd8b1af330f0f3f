"""Checking one value of a recipe against what its key expects."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal, Union, get_args, get_origin

from resprobe.errors import InputError, UnknownNameError, shown

_KINDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a text",
}


# TOML promises whole numbers of 64 bits, and so do the libraries that take them.
_BEYOND = 2**63


def key(default: Any, meaning: str, **limits: float) -> Any:
    """Declare one key of a recipe table.

    Args:
        default: the value where the recipe does not name the key.
        meaning: one sentence.
        **limits: `minimum` (that or more), `above` (more than that), `maximum` (that or less),
            `below` (less than that).
    """
    return field(default=default, metadata={"meaning": meaning, "limits": limits})


def checked(name: str, value: Any, hint: Any, limits: Mapping[str, float] | None = None) -> Any:
    """Give `value` in the type of `hint`; whole numbers pass for numbers.

    Args:
        name: the dotted key, for messages.
        value: what the recipe holds.
        hint: a type: bool, int, float, str, a `Literal` of texts, a tuple or union of these, or
            anything else, which accepts every value.
        limits: as given to `key`.

    Raises:
        InputError: the value has another type, is not finite, or lies outside its limits.
        UnknownNameError: a text is none of those of the `Literal`.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _checked_union(name, value, arguments, limits)
    if origin is Literal:
        if value not in arguments:
            raise UnknownNameError(name, str(value), map(str, arguments))
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise InputError(_wrong(name, value, "a list"))
        return tuple(checked(name, item, arguments[0], limits) for item in value)
    if hint not in _KINDS:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError as error:
            raise InputError(_wrong(name, value, _KINDS[hint])) from error
    if type(value) is not hint or (hint is float and not math.isfinite(value)):
        raise InputError(_wrong(name, value, _KINDS[hint]))
    if hint is int and abs(value) >= _BEYOND:
        raise InputError(_wrong(name, value, "a whole number of less than 2^63"))
    _check_limits(name, value, limits or {})
    return value


def _checked_union(
    name: str, value: Any, members: tuple[Any, ...], limits: Mapping[str, float] | None
) -> Any:
    if value is None and type(None) in members:
        return None
    members = tuple(member for member in members if member is not type(None))
    if len(members) == 1:
        return checked(name, value, members[0], limits)
    for member in members:
        # A value is judged by the member of its own kind, so that the message is about that one.
        if isinstance(value, str) == (member is str):
            return checked(name, value, member, limits)
    raise InputError(_wrong(name, value, " or ".join(_KINDS.get(m, str(m)) for m in members)))


def _check_limits(name: str, value: Any, limits: Mapping[str, float]) -> None:
    if isinstance(value, str):
        return
    for limit, bound in limits.items():
        holds, words = {
            "minimum": (value >= bound, f"{bound} or more"),
            "above": (value > bound, f"more than {bound}"),
            "maximum": (value <= bound, f"{bound} or less"),
            "below": (value < bound, f"less than {bound}"),
        }[limit]
        if not holds:
            raise InputError(_wrong(name, value, words))


def _wrong(name: str, value: Any, expected: str) -> str:
    given = str(value).lower() if isinstance(value, bool) else shown(value)
    return f"{name} = {given}: expected {expected}."
