"""Nested arguments and results: tuples, lists, mappings and dataclasses with tensors inside."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

from torch import Tensor


class Ref(NamedTuple):
    """Stands in a recorded structure for the value with this number."""

    value: int


def leaves(structure: Any) -> Iterator[Any]:
    """Give everything inside a nested structure that is no container, in order.

    Containers are tuples, lists, mappings and instances of dataclasses.
    """
    if isinstance(structure, Ref):
        yield structure
    elif isinstance(structure, tuple | list):
        for item in structure:
            yield from leaves(item)
    elif isinstance(structure, Mapping):
        for item in structure.values():
            yield from leaves(item)
    elif _is_record(structure):
        for item in fields(structure):
            yield from leaves(getattr(structure, item.name))
    else:
        yield structure


def tensors_in(structure: Any) -> Iterator[Tensor]:
    """Give the tensors inside a nested structure, in order."""
    return (leaf for leaf in leaves(structure) if isinstance(leaf, Tensor))


def rebuild(structure: Any, change: Callable[[Any], Any]) -> Any:
    """Give a copy of a nested structure with `change` applied to each of its leaves.

    Containers keep their types. A mapping or dataclass of somebody's own is copied and its items
    are set, because its constructor may want more than its items.
    """
    if isinstance(structure, Ref):
        return change(structure)
    if isinstance(structure, tuple | list):
        return like(structure, [rebuild(item, change) for item in structure])
    if type(structure) is dict:
        return {key: rebuild(item, change) for key, item in structure.items()}
    if isinstance(structure, Mapping):
        copied = copy.copy(structure)
        for key, item in structure.items():
            copied[key] = rebuild(item, change)  # type: ignore[index]  # all we met are mutable
        return copied
    if _is_record(structure):
        copied = copy.copy(structure)
        for item in fields(structure):
            changed = rebuild(getattr(structure, item.name), change)
            object.__setattr__(copied, item.name, changed)  # also where it is frozen
        return copied
    return change(structure)


def like(structure: Any, items: list[Any]) -> Any:
    """Give the items as a list, tuple or named tuple, as `structure` is."""
    if isinstance(structure, list):
        return items
    return type(structure)(*items) if hasattr(structure, "_fields") else tuple(items)


def _is_record(structure: Any) -> bool:
    return is_dataclass(structure) and not isinstance(structure, type)
