"""The order in which a tree shows its groups and attributes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from resprobe.errors import InputError
from resprobe.quantities.quantity import COSTS, all_quantities

T = TypeVar("T")

# What a reader wants to know first; a display in text shows no more than these and the last.
_FIRST = ("title", "source", "seed", "checkpoint_step", "created", "device", "dtype", "command")
_OF_TRAINING = ("step", "epoch", "jacobian", "pair")


def arranged(groups: Mapping[str, T]) -> dict[str, T]:
    """Give the groups of a tree in the order of the data flow.

    Training comes first, then the checkpoints by step with their families in the order in which
    `collect` measures them, then another network's.
    """
    return {path: groups[path] for path in sorted(groups, key=_place)}


def arranged_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Give the attributes of a root: what is asked first, the others, and long texts last."""
    long = sorted(
        (name for name, value in attributes.items() if name not in _FIRST and _length(value) > 100),
        key=lambda name: _length(attributes[name]),
    )
    first = [name for name in _FIRST if name in attributes]
    others = [name for name in attributes if name not in (*first, *long)]
    return {name: attributes[name] for name in (*first, *others, *long)}


def _length(value: object) -> int:
    return len(str(value))


def _place(path: str) -> tuple[Any, ...]:
    """Give a group's place; groups of another network begin with that network's name."""
    parts = path.strip("/").split("/")
    name = parts[-1]
    if parts[-2:-1] == ["training"]:
        known = _OF_TRAINING.index(name) if name in _OF_TRAINING else len(_OF_TRAINING)
        return (len(parts) > 2, 0, "", known, name)
    step = parts[-2] if len(parts) > 1 else ""
    return (len(parts) > 2, 1, step, _families().get(name, len(_families())), name)


@cache
def _families() -> dict[str, int]:
    """Give the place of each family: by the class of its cost, then by name."""
    try:
        known = {(COSTS.index(q.cost), q.family) for q in all_quantities().values() if q.cost}
    except InputError:  # of another package's entries, which no reader of a file depends on
        return {}
    ordered = sorted(known)
    return {family: place for place, (_, family) in reversed(list(enumerate(ordered)))}
