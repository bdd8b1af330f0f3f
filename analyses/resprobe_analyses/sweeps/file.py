"""Sweeps as TOML files: read with every key checked, and written."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from resprobe.errors import InputError, UnknownNameError, shown
from resprobe.files import read_text, real_path
from resprobe_analyses.sweeps.specification import Arm, Collection, Sweep

_KEYS = ("name", "recipe", "seeds", "set", "grid", "arm", "collect")
_ARM_KEYS = ("name", "recipe", "set")
_COLLECT_KEYS = ("quantities", "samples", "checkpoint")
_SEED = "train.seed"


def read_sweep(path: Path) -> Sweep:
    """Read a sweep from its file.

    Args:
        path: of a .toml file; paths of recipes in it are relative to it.

    Raises:
        UnknownNameError: of a key; near names are listed.
        InputError: it can't be read, is not TOML, or its values are not what a sweep is made of.
    """
    try:
        tables = tomllib.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"the sweep {path} can't be read ({reason}): give the path of a .toml file."
        ) from error
    try:
        sweep = _sweep(tables, path)
        check_sweep(sweep)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return sweep


def to_toml(sweep: Sweep) -> str:
    """Write a sweep as TOML; `read_sweep` gives an equal one back."""
    tables: dict[str, Any] = {"name": sweep.name, "seeds": list(sweep.seeds)}
    if sweep.settings:
        tables["set"] = dict(sweep.settings)
    if sweep.grid:
        tables["grid"] = {key: list(values) for key, values in sweep.grid.items()}
    tables["arm"] = [
        {"name": arm.name, "recipe": arm.recipe, "set": dict(arm.settings)} for arm in sweep.arms
    ]
    if sweep.collections:
        tables["collect"] = [_collect_table(item) for item in sweep.collections]
    return tomli_w.dumps(tables)


def as_read(sweep: Sweep, path: Path) -> Sweep:
    """Give a declared sweep as `read_sweep` would from its file: with lists where it has tuples."""
    return _sweep(tomllib.loads(to_toml(sweep)), path)


def check_sweep(sweep: Sweep) -> None:
    """Check what can be checked without a recipe.

    Raises:
        InputError: it has no arm, no seed or an empty list of values; an arm, a seed or a key is
            there twice; or `train.seed` is set.
    """
    if not sweep.arms:
        raise InputError('the sweep has no recipe; give recipe = "NAME", or arms with one each.')
    if not sweep.seeds:
        raise InputError("seeds is empty; give at least one, such as seeds = [0, 1, 2].")
    names = [arm.name for arm in sweep.arms]
    if len(names) > 1 and "" in names:
        raise InputError("an arm has no name; several arms are told apart by theirs.")
    twice = [*_twice("arm", names), *_twice("seed", sweep.seeds)]
    if twice:
        raise InputError(f"{twice[0]} is there twice; take one of them out.")
    _check_grid(sweep)
    _refuse_seed(sweep)


def _twice(what: str, values: Sequence[Any]) -> list[str]:
    return [f"the {what} {value!r}" for value in values if values.count(value) > 1]


def _check_grid(sweep: Sweep) -> None:
    for key, values in sweep.grid.items():
        if not values:
            raise InputError(
                f"[grid] {key} is empty, so there is nothing to run; give its values, or leave it "
                "out."
            )
        places = {"[set]": sweep.settings, **{f"arm {a.name!r}": a.settings for a in sweep.arms}}
        for place, settings in places.items():
            if key in settings:
                raise InputError(f"{key} is in [grid] and in {place}; leave it in one of them.")


def _refuse_seed(sweep: Sweep) -> None:
    everything = [sweep.settings, sweep.grid, *(arm.settings for arm in sweep.arms)]
    if any(_SEED in table for table in everything):
        raise InputError(f"{_SEED} is set; give the seeds of a sweep as seeds = [0, 1, 2].")


def _sweep(tables: Mapping[str, Any], path: Path) -> Sweep:
    _refuse_unknown(tables, _KEYS, "key of a sweep")
    recipe = _text(tables, "recipe", "")
    listed = _tables(tables, "arm") if "arm" in tables else [{"name": ""}]
    arms = tuple(_arm(item, recipe, path) for item in listed)
    seeds = tables.get("seeds", [])
    if not isinstance(seeds, list) or any(type(seed) is not int for seed in seeds):
        raise InputError(f"seeds = {shown(seeds)}: expected a list of whole numbers.")
    grid = _flat(_table(tables, "grid"), "[grid]")
    if "grid" in tables and not grid:
        raise InputError("[grid] is empty; give keys with lists of values, or leave it out.")
    for key, values in grid.items():
        if not isinstance(values, list):
            raise InputError(
                f"[grid] {key} = {shown(values)}: expected a list of values; what holds for all "
                "runs belongs into [set]."
            )
    return Sweep(
        name=_text(tables, "name", path.stem),
        arms=arms,
        seeds=tuple(seeds),
        settings=_flat(_table(tables, "set"), "[set]"),
        grid={key: tuple(values) for key, values in grid.items()},
        collections=tuple(_collection(item) for item in _tables(tables, "collect")),
    )


def _arm(table: Mapping[str, Any], default: str, path: Path) -> Arm:
    _refuse_unknown(table, _ARM_KEYS, "key of [[arm]]")
    recipe = _text(table, "recipe", default)
    name = _text(table, "name", "")
    if not recipe:
        raise InputError(
            f'no recipe{f" for arm {name!r}" if name else ""}; give recipe = "NAME" or the path of '
            "a .toml file."
        )
    if recipe.endswith(".toml") or "/" in recipe:
        recipe = str(real_path(path.parent / recipe))
    return Arm(name, recipe, _flat(_table(table, "set"), f"set of arm {name!r}"))


def _collection(table: Mapping[str, Any]) -> Collection:
    quantities = table.get("quantities", [])
    if not isinstance(quantities, list) or not all(isinstance(item, str) for item in quantities):
        raise InputError(f"quantities = {shown(quantities)} of [[collect]]: expected names.")
    samples = table.get("samples")
    if samples is not None and type(samples) is not int:
        raise InputError(f"samples = {shown(samples)} of [[collect]]: expected a whole number.")
    checkpoint = table.get("checkpoint", "last")
    options = {key: value for key, value in table.items() if key not in _COLLECT_KEYS}
    return Collection(tuple(quantities), samples, str(checkpoint), options)


def _collect_table(item: Collection) -> dict[str, Any]:
    samples = {} if item.samples is None else {"samples": item.samples}
    quantities = list(item.quantities)
    return {"quantities": quantities, **samples, "checkpoint": item.checkpoint, **item.options}


def _flat(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Give dotted keys, whether they were written with quotes or without."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        inner = (
            {f"{key}.{name}": item for name, item in value.items()}
            if isinstance(value, Mapping)
            else {key: value}
        )
        for name, item in inner.items():
            if name in found:
                raise InputError(f"{where} names {name} twice; leave it there once.")
            if name.count(".") != 1:
                raise InputError(
                    f"{where} {name}: expected table.key of a recipe, such as train.epochs."
                )
            found[name] = item
    return found


def _refuse_unknown(table: Mapping[str, Any], known: Sequence[str], kind: str) -> None:
    for key in table:
        if key not in known:
            raise UnknownNameError(kind, key, known)


def _text(table: Mapping[str, Any], key: str, default: str) -> str:
    value = table.get(key, default)
    if not isinstance(value, str):
        raise InputError(f"{key} = {shown(value)}: expected a text.")
    return value


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, Mapping):
        raise InputError(f"{key} = {shown(value)}: expected a table, such as [{key}].")
    return value


def _tables(table: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise InputError(f"{key} = {shown(value)}: expected tables, each written [[{key}]].")
    return value
