"""What the recipes of two trainings share, and in what they differ."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr

Recipe = Mapping[str, Any]

# What changes no arithmetic, or is the difference between the networks of a pair itself.
_FREE_TABLES = ("record", "checkpoint", "pair")
_FREE_KEYS = (
    "model.residual",
    "model.initialisation",
    "model.fan",
    "train.decay_toward",
    "train.device",
    "train.threads",
    "data.dir",
)
PENALTY = "train.decay_toward"
PENALTIES = {PENALTY, "train.weight_decay", "train.wd_scale"}


def recipe_in(tree: xr.DataTree) -> Recipe:
    """Give the resolved recipe that a run, or its partner, carries; empty where it carries none."""
    text = tree.attrs.get("recipe")
    return tomllib.loads(text) if isinstance(text, str) else {}


def value_in(recipe: Recipe, key: str, default: Any = None) -> Any:
    """Give the value of a dotted key."""
    table, _, name = key.partition(".")
    values = recipe.get(table)
    return values.get(name, default) if isinstance(values, Mapping) else default


def decay_of(recipe: Recipe) -> float:
    """Give the factor λ' of the penalty λ'/2·‖w‖²: weight decay times its scale."""
    return float(value_in(recipe, "train.weight_decay", 0.0)) * float(
        value_in(recipe, "train.wd_scale", 1.0)
    )


def toward_identity(recipe: Recipe) -> bool:
    """Tell whether the penalty is ‖T⁻¹(p)‖², which pulls ID entries to 1."""
    return bool(value_in(recipe, PENALTY, "zero") == "identity")


def differences(own: Recipe, partner: Recipe, *, residual: bool) -> tuple[str, ...]:
    """Name in what the training of a partner differs from that of its run, sorted.

    Whether one is residual and how it starts is no difference, nor where ID entries are pulled, as
    long as both have one penalty: ‖r‖² of the residual network and ‖T⁻¹(p)‖² of the plain one.

    Args:
        own: recipe of the run.
        partner: recipe of its partner.
        residual: whether the run is the residual one of the two.
    """
    found = [*different_keys(own, partner)]
    plain, other = (partner, own) if residual else (own, partner)
    if not one_penalty(other, plain):
        found.append(PENALTY)
    return tuple(sorted(found))


def different_keys(own: Recipe, other: Recipe) -> tuple[str, ...]:
    """Name the keys in which two recipes differ, sorted; not those of residual and plain itself."""
    return tuple(sorted(_different(own, other, _FREE_KEYS)))


def one_penalty(residual: Recipe, plain: Recipe) -> bool:
    """Tell whether weight decay pulls equivalent weights alike: ‖r‖² and ‖T⁻¹(p)‖², or not at all.

    Args:
        residual: recipe of the residual network.
        plain: recipe of the plain one.
    """
    if decay_of(residual) == decay_of(plain) == 0:
        return True
    return toward_identity(plain) and not toward_identity(residual)


def changed(recipe: Recipe) -> tuple[str, ...]:
    """Name the keys that `pair.changes` of a run sets in its partner's recipe, sorted."""
    return tuple(
        sorted(str(one).partition("=")[0].strip() for one in value_in(recipe, "pair.changes", ()))
    )


def shared_key(recipe: Recipe, without: Iterable[str]) -> str:
    """Give a text that is equal for recipes that differ in the seed and in some keys only.

    Args:
        recipe: resolved.
        without: dotted keys, or names of whole tables.
    """
    return json.dumps(_shared(recipe, without), sort_keys=True, default=str)


def keys_apart(one: Recipe, other: Recipe, without: Iterable[str]) -> tuple[str, ...]:
    """Name the keys for which `shared_key` of two recipes differs, sorted."""
    first, second = _shared(one, without), _shared(other, without)
    keys = first.keys() | second.keys()
    return tuple(sorted(key for key in keys if first.get(key) != second.get(key)))


def _shared(recipe: Recipe, without: Iterable[str]) -> dict[str, Any]:
    leave = {"train.seed", "record", "checkpoint", "train.device", "train.threads", "data.dir"}
    leave |= set(without)
    return {
        key: value
        for key, value in _flat(recipe).items()
        if key not in leave and key.partition(".")[0] not in leave
    }


def _different(own: Recipe, partner: Recipe, free: Iterable[str]) -> list[str]:
    first, second = _flat(own), _flat(partner)
    return [
        key
        for key in first.keys() | second.keys()
        if key not in free
        and key.partition(".")[0] not in _FREE_TABLES
        and first.get(key) != second.get(key)
    ]


def _flat(recipe: Recipe) -> dict[str, Any]:
    return {
        f"{table}.{name}": value
        for table, values in recipe.items()
        if isinstance(values, Mapping)
        for name, value in values.items()
    }
