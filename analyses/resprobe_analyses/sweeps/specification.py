"""What a sweep trains and collects: arms × grid × seeds, read from a TOML file or declared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Arm:
    """One recipe with keys of its own: what a sweep compares.

    Attributes:
        name: short, part of the names of its runs; may be empty where there is a single arm.
        recipe: a registered recipe or the path of a .toml file.
        settings: dotted keys of the recipe to values, such as `{"model.h": 0.5}`.
    """

    name: str
    recipe: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Collection:
    """What is measured of every finished run, as by `resprobe collect`.

    Attributes:
        quantities: names as after `--quantity`.
        samples: test images; None for the default of their cost class.
        checkpoint: `last`, `best`, `all` or a step.
        options: further options of `collect` by their long name without dashes, such as
            `{"trials": 20}`.
    """

    quantities: tuple[str, ...]
    samples: int | None = None
    checkpoint: str = "last"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sweep:
    """A grid over keys of recipes and over seeds.

    Attributes:
        name: of the sweep; the stem of its file.
        arms: at least one.
        seeds: of the training (`train.seed`); every arm and grid point is run with each, so that
            arms are paired by seed.
        settings: dotted keys that hold for all runs.
        grid: dotted keys to the values they take; all combinations are run.
        collections: what is measured of every finished run.
    """

    name: str
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    grid: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    collections: tuple[Collection, ...] = ()
