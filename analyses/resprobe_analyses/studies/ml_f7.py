"""ML-F7: networks of n, 2n and 4n blocks with h, h/2 and h/4 have the same ‖F‖ over time."""

from __future__ import annotations

import itertools
from collections.abc import Collection as Several
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe_analyses.studies.by_seed import endings, sample_of
from resprobe_analyses.studies.criteria import Directional
from resprobe_analyses.studies.evidence import Evidence
from resprobe_analyses.studies.images import (
    CIFAR,
    CIFAR_16,
    CIFAR_SUBSET,
    DIGITS,
    MORE_SEEDS,
    PAPER_TRAINING,
    SEEDS,
    SMOKE,
    SMOKE_SEEDS,
    Images,
    cosine,
)
from resprobe_analyses.studies.study import Contrast, Pilot, Setting, Study
from resprobe_analyses.sweeps.specification import Arm, Collection, Sweep

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

    from resprobe.result import Result
    from resprobe_analyses.sweeps.outcomes import PointOutcome

    Floats = npt.NDArray[np.float64]

TREND, ALL = "trend", "trend-of-all-blocks"
STEP_SIZES = (1.0, 0.5, 0.25)
TIMES = 21  # common to n = 2, 4 and 8 blocks a stage: 0, 1/4, … 5
DRAWS = 9_999


@dataclass(frozen=True)
class Curve:
    """‖F‖ of one network over time.

    Attributes:
        h: its step size.
        seed: of its training.
        time: t = j·h at the input of block j, shape (block,).
        force: ‖F‖ = ‖G‖/h, the mean over images, shape (block,).
    """

    h: float
    seed: int
    time: Floats
    force: Floats


def measure(result: Result, points: Sequence[PointOutcome]) -> Evidence:
    """Correlate over time the curves of different numbers of blocks, seed by seed.

    Args:
        result: of the analysis `norm-vs-depth`.
        points: of the sweep.
    """
    samples, notes = {}, []
    sizes = {float(point.settings["model.h"]) for point in points}
    for name, later, words in (
        (TREND, True, "the blocks that do not begin a stage"),
        (ALL, False, "all blocks"),
    ):
        curves = curves_of(result.dataset, later=later)
        samples[name] = sample_of(points, trends(curves, sizes))
        notes.append(_distances(curves, words))
    return Evidence(samples=samples, notes=(*notes, *endings(points)))


def curves_of(data: xr.Dataset, *, later: bool) -> tuple[Curve, ...]:
    """Read the curves of all trained networks from the analysis `norm-vs-depth`.

    Args:
        data: of the analysis.
        later: whether the blocks that begin a stage are left out, whose jumps alone make curves
            alike.
    """
    norms = data["trained_branch_norm"].transpose("network", "position").values
    inside = data["curve_index_in_stage"].transpose("curve", "position").values
    by_blocks = {int(np.isfinite(row).sum()): row for row in inside}
    found = []
    for place, (h, seed) in enumerate(
        zip(data["h"].values, data["network_seed"].values, strict=True)
    ):
        blocks = int(data["blocks"].values[place])
        kept = by_blocks[blocks][:blocks] > 0 if later else np.ones(blocks, dtype=np.bool_)
        force = norms[place, :blocks][kept] / h
        if kept.any() and np.isfinite(force).all():
            found.append(Curve(float(h), int(seed), h * np.flatnonzero(kept), force))
    return tuple(found)


def on_common_times(curves: Sequence[Curve]) -> Floats:
    """Interpolate curves linearly at the times of the finest within the span of all.

    Returns:
        Shape (curve, time).
    """
    finest = max(curves, key=lambda curve: curve.time.size).time
    start, end = max(c.time[0] for c in curves), min(c.time[-1] for c in curves)
    times = finest[(finest >= start - 1e-9) & (finest <= end + 1e-9)]
    return np.stack([np.interp(times, curve.time, curve.force) for curve in curves])


def trends(curves: Sequence[Curve], sizes: Several[float]) -> dict[int, float]:
    """Give the mean correlation over time of the curves of a seed, averaged on Fisher's z.

    Args:
        curves: at most one for each seed and step size.
        sizes: the step sizes that a seed must have to count.
    """
    from resprobe_analyses.statistics.ranks import fisher_mean

    found = {}
    for seed in sorted({curve.seed for curve in curves}):
        own = [curve for curve in curves if curve.seed == seed]
        if {curve.h for curve in own} != set(sizes):
            continue
        values = on_common_times(own)
        if values.shape[1] < 3 or not (np.ptp(values, axis=1) > 0).all():
            continue
        pairs = [np.corrcoef(a, b)[0, 1] for a, b in itertools.combinations(values, 2)]
        found[seed] = float(fisher_mean(pairs, values.shape[1]))
    return found


def excess_distance(
    values: Floats, sizes: npt.NDArray[np.float64], generator: np.random.Generator
) -> tuple[float, float, float]:
    """Compare distances between curves of different step size with those of equal step size.

    The distance of two curves is the L2 norm of their difference by the root mean square of their
    own norms.

    Args:
        values: shape (curve, time).
        sizes: step size of each curve, shape (curve,).
        generator: draws the permutations of the step sizes over the curves.

    Returns:
        Mean distance at different and at equal step size, and the share of permutations, the
        observed one counted in, whose difference of the two is at least as large.
    """
    squares = (values**2).sum(axis=1)
    between = np.linalg.norm(values[:, None] - values[None], axis=2)
    distance = between / np.sqrt((squares[:, None] + squares[None]) / 2)
    first, second = np.triu_indices(len(values), 1)
    pairs = distance[first, second]

    def means(labels: npt.NDArray[np.float64]) -> tuple[Floats, Floats]:
        equal = labels[..., first] == labels[..., second]
        return (~equal @ pairs) / (~equal).sum(axis=-1), (equal @ pairs) / equal.sum(axis=-1)

    different, equal = means(sizes)
    drawn = means(generator.permuted(np.broadcast_to(sizes, (DRAWS, sizes.size)), axis=1))
    # sums of the same distances in another order differ by rounding
    extreme = int(np.sum(drawn[0] - drawn[1] >= different - equal - 1e-12))
    return float(different), float(equal), (extreme + 1) / (DRAWS + 1)


def _distances(curves: Sequence[Curve], words: str) -> str:
    sizes = np.array([curve.h for curve in curves])
    counts = np.unique(sizes, return_counts=True)[1]
    if counts.size < 2 or counts.max() < 2:
        return f"Of {words} there are too few curves to compare their distances."
    different, equal, p = excess_distance(on_common_times(curves), sizes, np.random.default_rng(0))
    return (
        f"Of {words} the curves of different step sizes are {different:.3g} of their norm apart "
        f"in the mean, those of equal step size and different seeds {equal:.3g}; permuting the "
        f"step sizes over the {len(curves)} runs gives such an excess with p = {p:.2g}."
    )


def _scales() -> dict[str, tuple[Setting, ...]]:
    smoke = _sweep("smoke", SMOKE, SMOKE_SEEDS, (8, 14, 26), {"train.epochs": 1})
    digits = _sweep("small", DIGITS, SEEDS, (14, 26, 50), cosine(15, 0.05))
    cifar = _sweep("small", CIFAR_16, SEEDS, (14, 26, 50), cosine(20, 0.05))
    medium = _sweep("medium", CIFAR_SUBSET, MORE_SEEDS, (20, 38, 74), cosine(40, 0.05))
    paper = _sweep(
        "paper",
        CIFAR,
        SEEDS,
        (32, 62, 122),
        PAPER_TRAINING,
    )
    return {
        "smoke": (_setting(SMOKE, smoke, 0.5),),
        "small": (
            _setting(DIGITS, digits, 4.5, PILOTS[DIGITS.label]),
            _setting(CIFAR_16, cifar, 8.5, PILOTS[CIFAR_16.label]),
        ),
        "medium": (_setting(CIFAR_SUBSET, medium, 1000.0),),
        "paper": (_setting(CIFAR, paper, 53000.0),),
    }


def _sweep(
    scale: str,
    images: Images,
    seeds: tuple[int, ...],
    depths: tuple[int, ...],
    training: Mapping[str, Any],
) -> Sweep:
    return Sweep(
        name=f"step-size-{images.label}-{scale}",
        arms=tuple(
            Arm(f"depth-{depth}", images.recipe, {"model.depth": depth, "model.h": h})
            for depth, h in zip(depths, STEP_SIZES, strict=True)
        ),
        seeds=seeds,
        settings={**images.settings, **training},
        collections=(Collection(("branch_norm",), images.samples),),
    )


PILOTS: Mapping[str, Mapping[str, Pilot]] = {
    "digits": {TREND: Pilot(0.141, 3), ALL: Pilot(0.0722, 3)},
    "cifar10-16": {TREND: Pilot(0.243, 3), ALL: Pilot(0.0669, 3)},
}


def _setting(
    images: Images, sweep: Sweep, minutes: float, pilots: Mapping[str, Pilot] | None = None
) -> Setting:
    nets = ", ".join(
        f"{arm.settings['model.depth']} with h = {arm.settings['model.h']:g}" for arm in sweep.arms
    )
    return Setting(
        data=images.label,
        meaning=f"{images.meaning}; depths {nets}; {len(sweep.seeds)} seeds",
        sweep=sweep,
        pilots=pilots or {},
        core_minutes=minutes,
    )


STUDY = Study(
    id="ML-F7",
    version=1,
    claim="Networks of n, 2n and 4n blocks with step sizes h, h/2 and h/4 have the same trend of "
    "‖F‖ over time: they are discretisations of one differential equation.",
    source="Chang et al. (2018), Multi-level residual networks from dynamical systems view, "
    "App. C and Fig. 7",
    printed={"in words": "the three curves follow the same trend"},
    contradicted_by="Curves of ‖F‖ over time that rise in the networks of one step size where they "
    "fall in those of another: a mean correlation below 0.",
    measure=measure,
    analysis="norm-vs-depth",
    primary=Contrast(
        TREND,
        "correlation over time of ‖F‖ between the networks of two step sizes and one seed, over "
        "the blocks that do not begin a stage (whose jumps alone make curves alike), at the times "
        "of the finest, the mean over the three pairs on Fisher's z",
        "1",
        Directional(+1, "correlation", items=TIMES),
        0.5,
        "the paper prints no number and no margin; below 0.5 one curve tells less than a quarter "
        "of the other's variance, which nobody would call the same trend",
    ),
    secondary=(
        Contrast(
            ALL,
            "the same over all blocks",
            "1",
            Directional(+1, "correlation", items=TIMES),
            0.5,
            "as for the primary contrast",
        ),
    ),
    scales=_scales(),
)
