"""YT-T1: plain networks lose more with depth than residual ones, at equal learning rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe_analyses.studies.arms import differences
from resprobe_analyses.studies.by_seed import endings, mean_in_words, sample_of
from resprobe_analyses.studies.criteria import Directional
from resprobe_analyses.studies.evidence import Evidence
from resprobe_analyses.studies.full_width import WHOLE
from resprobe_analyses.studies.images import (
    CIFAR_SUBSET,
    DIGITS,
    SEEDS,
    SMOKE,
    SMOKE_SEEDS,
    Images,
)
from resprobe_analyses.studies.residual_and_plain import PLAIN, RESIDUAL, Pilots
from resprobe_analyses.studies.simplified_networks import RATE, UNTRAINED, arms, paper_steps
from resprobe_analyses.studies.study import Contrast, Setting, Study
from resprobe_analyses.sweeps.specification import Collection, Sweep

if TYPE_CHECKING:
    from resprobe.result import Result
    from resprobe_analyses.sweeps.outcomes import PointOutcome

GROWTH, SHALLOW, DEEP = "growth-of-the-gap", "gap-at-the-least-depth", "gap-at-the-greatest-depth"
LOSS, BEST, PAPERS = "growth-of-the-loss", "growth-at-best-rates", "growth-as-in-the-paper"
_ARMS = (RESIDUAL, PLAIN)
DEPTH = "model.depth"
# of ten classes: what a diverged run counts with
CHANCE = {"test_error": 0.9, "train_error": 0.9, "train_loss": math.log(10)}

# Arm, depth, learning rate; arm and depth.
Cell = tuple[str, int, float]
Arms = tuple[str, int]


def measure(result: Result, points: Sequence[PointOutcome]) -> Evidence:
    """Compare how test error and training loss of plain and residual networks grow with depth.

    Both arms are trained at every rate of one grid. Diverged runs count at chance; those that
    learnt nothing are there by themselves.

    Args:
        result: of the analysis `equivalence`; not read: how the runs ended says all.
        points: of the sweep.
    """
    del result
    errors = _by_cell(points, "test_error")
    logs = {cell: _each(own, math.log) for cell, own in _by_cell(points, "train_loss").items()}
    depths = sorted({depth for _, depth, _ in errors})
    rates = sorted({rate for _, _, rate in errors})
    ends = depths[0], depths[-1]
    equal = [{(arm, depth): rate for arm in _ARMS for depth in ends} for rate in rates]
    best = {(arm, depth): _best(errors, arm, depth) for arm in _ARMS for depth in ends}
    unequal = {**equal[-1], (PLAIN, ends[1]): rates[0]}
    values = {
        GROWTH: _growth(errors, ends, equal),
        SHALLOW: _gap(errors, ends[0], equal),
        DEEP: _gap(errors, ends[1], equal),
        LOSS: _growth(logs, ends, equal),
        BEST: _growth(errors, ends, [best]),
        PAPERS: _growth(errors, ends, [unequal]),
    }
    samples = {name: sample_of(points, own) for name, own in values.items()}
    return Evidence(samples=samples, notes=(*_notes(points), *endings(points)))


def _by_cell(points: Sequence[PointOutcome], metric: str) -> dict[Cell, dict[int, float]]:
    """Give a metric of the last epoch by cell and seed; runs that failed or are missing have none.

    A diverged run has that of chance.
    """
    found: dict[Cell, dict[int, float]] = {}
    for point in points:
        own = found.setdefault(_cell(point), {})
        if point.trained:
            own[point.seed] = point.metrics[metric]
        elif point.status == "diverged":
            own[point.seed] = CHANCE[metric]
    return found


def _cell(point: PointOutcome) -> Cell:
    return point.arm, int(point.settings[DEPTH]), float(point.settings[RATE])


def _each(values: Mapping[int, float], of: Callable[[float], float]) -> dict[int, float]:
    return {seed: of(value) for seed, value in values.items()}


def _best(errors: Mapping[Cell, Mapping[int, float]], arm: str, depth: int) -> float:
    """Give the rate with the least mean error over seeds."""
    means = {
        rate: float(np.mean(list(own.values())))
        for (name, deep, rate), own in errors.items()
        if (name, deep) == (arm, depth) and own
    }
    return min(means, key=means.__getitem__) if means else math.nan


def _gap(
    cells: Mapping[Cell, Mapping[int, float]], depth: int, choices: Sequence[Mapping[Arms, float]]
) -> dict[int, float]:
    """Give plain minus residual at one depth by seed, the mean over choices of the rates.

    Args:
        cells: the numbers.
        depth: of the networks.
        choices: each a rate by arm and depth. A seed counts only if none of its runs is missing.
    """
    gaps = [
        differences(*(cells.get((arm, depth, rates[arm, depth]), {}) for arm in (PLAIN, RESIDUAL)))
        for rates in choices
    ]
    seeds = set.intersection(*(set(gap) for gap in gaps))
    return {seed: float(np.mean([gap[seed] for gap in gaps])) for seed in sorted(seeds)}


def _growth(
    cells: Mapping[Cell, Mapping[int, float]],
    ends: tuple[int, int],
    choices: Sequence[Mapping[Arms, float]],
) -> dict[int, float]:
    """Give the gap at the greatest depth minus that at the least one by seed; see `_gap`."""
    least, greatest = (_gap(cells, depth, choices) for depth in ends)
    return differences(greatest, least)


def _notes(points: Sequence[PointOutcome]) -> tuple[str, ...]:
    told = []
    for cell in dict.fromkeys(map(_cell, points)):
        own = [point for point in points if _cell(point) == cell]
        ended = [point for point in own if point.trained]
        stuck = [point for point in ended if point.metrics["train_error"] > UNTRAINED]
        lost = sum(point.status == "diverged" for point in own)
        errors, losses = (
            mean_in_words([point.metrics[name] for point in ended])
            for name in ("test_error", "train_loss")
        )
        arm, depth, rate = cell
        told.append(
            f"{arm} networks of depth {depth} at a rate of {rate:g}: test error {errors}, training "
            f"loss {losses}; {lost} of {len(own)} diverged, {len(stuck)} learnt nothing (training "
            f"error above {UNTRAINED:g})."
        )
    return tuple(told)


def _sweep(
    scale: str,
    images: Images,
    depths: tuple[int, ...],
    rates: tuple[float, ...],
    training: Mapping[str, Any],
) -> Sweep:
    return Sweep(
        name=f"simplified-rates-{images.label}-{scale}",
        arms=arms(images.recipe),
        seeds=SMOKE_SEEDS if scale == "smoke" else SEEDS,
        settings={**images.settings, **training},
        grid={DEPTH: depths, RATE: rates},
        collections=(Collection(("weight_mass",)),),
    )


PILOTS: Pilots = {}


def _setting(images: Images, sweep: Sweep, minutes: float) -> Setting:
    depths, rates = (" and ".join(f"{one:g}" for one in sweep.grid[key]) for key in (DEPTH, RATE))
    small = images is DIGITS
    return Setting(
        data=images.label,
        meaning=f"{images.meaning}; simplified networks of depths {depths}, residual and plain, "
        f"each at rates of {rates}, {sweep.settings['train.epochs']} epochs, "
        f"{len(sweep.seeds)} seeds",
        sweep=sweep,
        pilots=PILOTS.get(images.label, {}) if small else {},
        core_minutes=minutes,
    )


def _scales() -> dict[str, tuple[Setting, ...]]:
    # Seed 200, 20 epochs: at 0.01 the residual network of depth 20 came to 0.13 and the plain one
    # to 0.02, at 0.003 the residual one to 0.04; of depth 44 at 0.005 the residual one came to
    # 0.07, the plain one left the plateau in epoch 9 and fell back to chance. Rates of 0.02 and
    # more make losses jump at either depth. Depth 32 is left to the larger scales.
    few, ends, printed = (0.003, 0.01), (20, 44), (20, 32, 44)
    digits = _sweep("small", DIGITS, ends, few, paper_steps(20))
    smoke = _sweep("smoke", SMOKE, (8, 14), few, paper_steps(1))
    subset = _sweep("medium", CIFAR_SUBSET, printed, (0.001, *few), paper_steps(60))
    whole = _sweep("paper", WHOLE, printed, (0.001, *few), paper_steps(200, batch=128))
    return {
        "smoke": (_setting(SMOKE, smoke, 1.0),),
        "small": (_setting(DIGITS, digits, 16.0),),
        "medium": (_setting(CIFAR_SUBSET, subset, 2500.0),),
        "paper": (_setting(WHOLE, whole, 55000.0),),
    }


STUDY = Study(
    id="YT-T1",
    version=1,
    claim="The test error of simplified plain networks grows more with depth than that of residual "
    "ones, at equal learning rates.",
    source="Yu and Tomasi (2019), Identity connections in residual nets improve noise stability, "
    "appendix A and Table 1",
    printed={
        "test error, depths 20, 32, 44": "0.1263, 0.1349, 0.2213 (plain), 0.1131, 0.1143, 0.1182 "
        "(residual)",
        "training loss": "0.07227, 0.1225, 0.4950 (plain), 0.04287, 0.04847, 0.07397 (residual): "
        "6.85 and 1.73 times from depth 20 to 44",
        "learning rate": "0.01, of the plain network of depth 44 alone 0.001; one run each",
    },
    contradicted_by="A gap between plain and residual networks that narrows with depth, in the "
    "average over the learning rates of the grid.",
    measure=measure,
    analysis="equivalence",
    primary=Contrast(
        GROWTH,
        "test error of the plain minus the residual network of the same seed at the greatest "
        "depth, minus that at the least one, the mean over the rates of the grid",
        "1",
        Directional(+1),
        0.045,
        "half of the printed growth of the gap from depth 20 to 44, from 0.013 to 0.103",
    ),
    secondary=(
        Contrast(
            SHALLOW,
            "test error of the plain minus the residual network at the least depth, the mean over "
            "rates",
            "1",
            Directional(+1),
            0.0066,
            "half of the printed gap at depth 20",
        ),
        Contrast(
            DEEP,
            "the same at the greatest depth",
            "1",
            Directional(+1),
            0.052,
            "half of the printed gap at depth 44",
        ),
        Contrast(
            LOSS,
            "growth of the training loss from the least to the greatest depth, plain over residual "
            "network, the geometric mean over rates",
            "1",
            Directional(+1, "log"),
            2.0,
            "half of the printed 6.85 over 1.73 on the scale of logarithms",
        ),
        Contrast(
            BEST,
            "as the first, with the rate of the grid at which each arm errs least at each depth",
            "1",
            Directional(+1),
            0.045,
            "as of the first",
        ),
        Contrast(
            PAPERS,
            "as the first, with the least rate of the grid for the deepest plain networks and the "
            "greatest for all others (as in print)",
            "1",
            Directional(+1),
            0.045,
            "as of the first",
        ),
    ),
    scales=_scales(),
    errata=(
        "The plain network of depth 44 alone was trained with a tenth of the learning rate of all "
        "others, so that in the printed growth depth and rate can't be told apart.",
    ),
)
