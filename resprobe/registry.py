"""Names to objects through entry points: the only way from one package to another.

Each entry-point group `resprobe.KIND` points at literal `ENTRIES` dictionaries that map a name to
`"module:object"`. Bundled and third-party packages use the same door.
"""

from __future__ import annotations

import importlib
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from resprobe.errors import InputError, UnknownNameError

KINDS = ("models", "datasets", "recipes", "quantities", "analyses", "studies", "commands")
SINGULAR = {
    "models": "model",
    "datasets": "data set",
    "recipes": "recipe",
    "quantities": "quantity",
    "analyses": "analysis",
    "studies": "study",
    "commands": "command",
}


@cache
def entries(kind: str) -> dict[str, str]:
    """Give every registered name of one kind with its `"module:object"`.

    Args:
        kind: one of `KINDS`.

    Raises:
        UnknownNameError: `kind` is not one of `KINDS`.
        InputError: a name is offered by two packages, or an entry point does not load.
    """
    if kind not in KINDS:
        raise UnknownNameError("kind", kind, KINDS)
    return merge(kind, entry_points(group=f"resprobe.{kind}"))


def merge(kind: str, points: Any) -> dict[str, str]:
    """Join the `ENTRIES` of several entry points, refusing a name that is offered twice."""
    found: dict[str, str] = {}
    owners: dict[str, str] = {}
    for point in points:
        owner = _owner(point)
        try:
            offered = point.load()
        except Exception as error:  # a broken third-party package must be named, not crash us
            raise InputError(
                f"the entry point {owner} of group resprobe.{kind} does not load ({error}); "
                "repair or uninstall that package."
            ) from error
        if not _is_entries(offered):
            raise InputError(
                f"the entry point {owner} of group resprobe.{kind} is no dictionary of names to "
                '"module:object"; repair or uninstall that package.'
            )
        for name, target in offered.items():
            if name in owners and owners[name] != owner:
                raise InputError(
                    f"the {SINGULAR[kind]} name {name!r} is offered twice, by {owners[name]} and "
                    f"by {owner}; uninstall one of them."
                )
            found[name], owners[name] = target, owner
    return dict(sorted(found.items()))


def target(kind: str, name: str) -> tuple[str, str]:
    """Give module and object name behind `name`, without importing it."""
    known = entries(kind)
    if name not in known:
        raise UnknownNameError(SINGULAR[kind], name, known)
    module, _, attribute = known[name].partition(":")
    return module, attribute


def load(kind: str, name: str) -> Any:
    """Import and give the object registered as `name`.

    Raises:
        UnknownNameError: nothing of this kind has that name; near names are listed.
        InputError: what is registered as `name` can't be imported.
    """
    module, attribute = target(kind, name)
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"the {SINGULAR[kind]} {name!r} is registered as {module}:{attribute}, which does not "
            f"load ({error}); repair or uninstall its package."
        ) from error


def _is_entries(offered: Any) -> bool:
    return isinstance(offered, dict) and all(
        isinstance(target, str) and all(target.partition(":")) for target in offered.values()
    )


def _owner(point: EntryPoint) -> str:
    package = point.dist.name if point.dist is not None else "an unknown package"
    return f"{package} ({point.value})"
