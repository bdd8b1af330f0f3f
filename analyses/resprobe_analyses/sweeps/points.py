"""The points of a sweep: one run each, with a readable name and a resolved recipe."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from resprobe.errors import InputError, ResprobeError
from resprobe_analyses.sweeps.commands import call
from resprobe_analyses.sweeps.specification import Arm, Sweep

# Letters that every file system takes; others are replaced, and a digest tells such names apart.
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")
_LONGEST_VALUE = 40
# The bits depend on it, so it is fixed unless the sweep says otherwise.
THREADS = "train.threads"


@dataclass(frozen=True)
class Point:
    """One run of a sweep.

    Attributes:
        name: of its directory.
        arm: name of its arm.
        settings: its keys of the grid and of the arm, by dotted key.
        seed: of its training.
        recipe: every table of its resolved recipe.
    """

    name: str
    arm: str
    settings: Mapping[str, Any]
    seed: int
    recipe: Mapping[str, Mapping[str, Any]]

    @property
    def threads(self) -> int:
        """How many threads it is trained on."""
        return int(self.recipe["train"]["threads"])

    @property
    def device(self) -> str:
        """The device that its recipe names."""
        return str(self.recipe["train"]["device"])


def points_of(sweep: Sweep, data_dir: Path | None = None) -> tuple[Point, ...]:
    """Give all points of a sweep, each with its recipe resolved and checked.

    A recipe that leaves `train.threads` open gets one thread: what a run gives must not depend on
    where it is run.

    Args:
        sweep: arms × grid × seeds.
        data_dir: folder of the data sets' files, put into every recipe.

    Raises:
        InputError: a recipe is unknown, a key or a value is not one that its recipe takes, or two
            points are equal.
    """
    points = tuple(_points(sweep, data_dir))
    _refuse_equal(points)
    return points


def _points(sweep: Sweep, data_dir: Path | None) -> Iterator[Point]:
    for arm in sweep.arms:
        for values in itertools.product(*sweep.grid.values()):
            chosen = dict(zip(sweep.grid, values, strict=True))
            tables = _resolved(sweep, arm, chosen, data_dir)
            for seed in sweep.seeds:
                recipe = {**tables, "train": {**tables["train"], "seed": seed}}
                name = _name(arm.name, chosen, seed)
                yield Point(name, arm.name, {**arm.settings, **chosen}, seed, recipe)


def _resolved(
    sweep: Sweep, arm: Arm, chosen: Mapping[str, Any], data_dir: Path | None
) -> dict[str, dict[str, Any]]:
    """Resolve the recipe of one arm and grid point with the sweep's first seed."""
    settings = {THREADS: 1, **sweep.settings, **arm.settings, **chosen}
    words = [arm.recipe, "--output", ".", "--seed", str(sweep.seeds[0]), "--dry-run", "--json"]
    if data_dir is not None:
        words += ["--data-dir", str(data_dir)]
    for key, value in settings.items():
        words += ["--set", f"{key}={_literal(key, value)}"]
    try:
        tables: dict[str, dict[str, Any]] = json.loads(call("train", words))
    except ResprobeError as error:
        where = ", ".join(filter(None, (arm.name and f"arm {arm.name}", _told(chosen))))
        raise InputError(f"{where}: {error}" if where else str(error)) from error
    if tables["train"]["threads"] == 0:
        tables["train"]["threads"] = 1
    return tables


def _told(chosen: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {value!r}" for key, value in chosen.items())


def _literal(key: str, value: Any) -> str:
    """Give a value in TOML's syntax, on one line."""
    try:
        return tomli_w.dumps({"value": value}).partition("=")[2].strip()
    except TypeError as error:
        raise InputError(f"{key} = {value!r} is no value of TOML ({error}).") from error


def _name(arm: str, chosen: Mapping[str, Any], seed: int) -> str:
    """Name a point after its arm, the keys that vary and its seed.

    A name never depends on the other points: more values or seeds leave it as it is.
    """
    lasts = [key.rpartition(".")[2] for key in chosen]
    parts = [safe(arm)] if arm else []
    for (key, value), last in zip(chosen.items(), lasts, strict=True):
        label = last if lasts.count(last) == 1 else key.replace(".", "-")
        parts.append(f"{safe(label)}{_shown(value)}")
    return "-".join([*parts, f"seed{seed}"])


def _shown(value: Any) -> str:
    if isinstance(value, str):
        text = f"-{value}"
    elif isinstance(value, bool | int | float):
        text = str(value).lower()
    else:
        text = "-" + json.dumps(value, separators=("_", "_"), default=str).strip("[]")
    return safe(text)


def safe(text: str) -> str:
    """Give a text as part of a file's name; one that had to be changed gets a digest of its own."""
    changed = _UNSAFE.sub("_", text)[:_LONGEST_VALUE].rstrip(".")
    if changed == text:
        return text
    return f"{changed}~{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def _refuse_equal(points: Sequence[Point]) -> None:
    by_recipe: dict[str, Point] = {}
    by_name: dict[str, Point] = {}
    for point in points:
        other = by_recipe.setdefault(json.dumps(point.recipe, sort_keys=True), point)
        if other is not point:
            raise InputError(
                f"two points of the sweep, {other.name} and {point.name}, have one resolved "
                "recipe: they would be one run counted twice; take one of them out."
            )
        other = by_name.setdefault(point.name.casefold(), point)
        if other is not point:
            raise InputError(
                f"two points of the sweep would have one directory, {point.name}; write their "
                "values otherwise, or make them arms with names of their own."
            )
