"""The directory of a sweep: new, or of the same sweep, which may have grown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resprobe.errors import InputError
from resprobe.store.lock import LOCK
from resprobe_analyses.sweeps import state
from resprobe_analyses.sweeps.commands import call
from resprobe_analyses.sweeps.file import as_read, check_sweep, read_sweep, to_toml
from resprobe_analyses.sweeps.points import Point
from resprobe_analyses.sweeps.specification import Sweep

SWEEP = "sweep.toml"


def refuse_another(sweep: Sweep, folder: Path) -> None:
    """Check that a directory is new or of an earlier form of the sweep.

    A sweep may grow: have more seeds, values, arms and collections. What is there already must
    stay, or the directory would hold runs that its sweep does not name.

    Raises:
        InputError: the sweep is none (see `check_sweep`), the directory is a file or holds
            something else, or the sweep in it differs: the key is named.
    """
    check_sweep(sweep)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: expected a directory for the sweep.")
    if not (folder / SWEEP).exists():
        there = folder.iterdir() if folder.is_dir() else ()
        # What there is if a kill came before the sweep was written.
        begun = {state.RUNS, state.POINTS, state.unborn(folder / SWEEP).name}
        content = sorted({path.name for path in there if not path.name.startswith(LOCK)} - begun)
        if content:
            raise InputError(
                f"{folder} holds {', '.join(content[:3])} but no {SWEEP}: it is no sweep; give "
                "another -o."
            )
        return
    path = folder / SWEEP
    difference = _difference(read_sweep(path), as_read(sweep, path))
    if difference:
        raise InputError(
            f"{folder} holds another sweep: {difference}. A sweep may get more seeds, values, arms "
            "and collections; for anything else give another -o."
        )


def make(folder: Path) -> None:
    """Make the directory of a sweep, with those of its runs and of what is known of its points.

    Raises:
        InputError: it can't be made.
    """
    try:
        for name in (state.RUNS, state.POINTS):
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} can't be made ({error.strerror}): give another -o.") from error


def prepare(sweep: Sweep, points: Sequence[Point], folder: Path) -> None:
    """Write the sweep and the recipe of every point into the directory.

    Raises:
        InputError: a point's recipe is not what it was: the key is named; or the directory can't
            be written.
    """
    for point in points:
        _refuse_changed(point, folder)
    try:
        for point in points:
            state.write_recipe(folder, point)
        state.write_whole(folder / SWEEP, to_toml(sweep))
    except OSError as error:
        raise InputError(
            f"{folder} can't be written ({error.strerror}): make room or give another -o."
        ) from error


def _difference(before: Sweep, now: Sweep) -> str:
    """Say what of a sweep is gone or changed, or nothing."""
    checks = (_settings_difference, _grid_difference, _arm_difference, _rest_difference)
    return next(filter(None, (check(before, now) for check in checks)), "")


def _settings_difference(before: Sweep, now: Sweep) -> str:
    return _first_changed(before.settings, now.settings)


def _grid_difference(before: Sweep, now: Sweep) -> str:
    if list(before.grid) != list(now.grid):
        words = [", ".join(sweep.grid) or "nothing" for sweep in (before, now)]
        return f"[grid] names {words[0]}, now {words[1]}"
    for key, values in before.grid.items():
        for value in values:
            if value not in now.grid[key]:
                return f"[grid] {key} has the value {value!r}, which is gone"
    return ""


def _arm_difference(before: Sweep, now: Sweep) -> str:
    arms = {arm.name: arm for arm in now.arms}
    for arm in before.arms:
        if arm.name not in arms:
            return f"it has the arm {arm.name!r}, which is gone" if arm.name else "it has no arms"
        changed = _first_changed(arm.settings, arms[arm.name].settings)
        if changed:
            return f"arm {arm.name!r}: {changed}"
    return ""


def _rest_difference(before: Sweep, now: Sweep) -> str:
    for seed in before.seeds:
        if seed not in now.seeds:
            return f"seeds has {seed}, which is gone"
    if any(item not in now.collections for item in before.collections):
        return "one of its [[collect]] is gone or changed"
    return ""


def _first_changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    for key in {**before, **now}:
        if before.get(key) != now.get(key):
            return _changed(key, before, now)
    return ""


def _changed(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    words = [repr(table[key]) if key in table else "absent" for table in (before, now)]
    return f"{key} was {words[0]}, now {words[1]}"


def _refuse_changed(point: Point, folder: Path) -> None:
    """Refuse a point whose recipe is another one than it was when the sweep began."""
    path = state.recipe_of(folder, point.name)
    if not path.exists():
        return
    # Resolved again: a key that came with a later version has its default.
    before = json.loads(call("train", [str(path), "--output", ".", "--dry-run", "--json"]))
    changed = _first_changed(_keys(before), _keys(point.recipe))
    if changed:
        same = "the same --data-dir, or " if changed.startswith("data.dir ") else ""
        raise InputError(
            f"{folder} holds another sweep: of {point.name}, {changed}; give {same}another -o."
        )


def _keys(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        f"{table}.{key}": value for table, keys in tables.items() for key, value in keys.items()
    }
