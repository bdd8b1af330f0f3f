"""Each stage in a few numbers, and the same stages of two groups beside each other."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from resprobe_analyses import statistics
from resprobe_analyses.estimates import LEVEL, Estimate
from resprobe_analyses.stability import words
from resprobe_analyses.stability.families import BLOCK, BRANCH
from resprobe_analyses.stability.records import Group, Network
from resprobe_analyses.stability.runs import Run, growth, growth_bounds, leading, run_of_stage
from resprobe_analyses.stage_names import first_to_last, stage_name

Floats = npt.NDArray[np.float64]

# As said of a network with skips; `meaning` says them of plain ones.
MEASURES = {
    "spectral_abscissa": "max Re λ of the branch",
    "log_norm": "log norm of the branch",
    "spectral_norm": "σ_max of the branch",
    "block_spectral_norm": "σ_max of the block",
    "lyapunov_exponent": "leading Lyapunov exponent per block",
    "perturbation_growth": "growth of a random perturbation per block",
    "growth_bound": "most growth of any perturbation per block",
}
COMPARED = ("spectral_abscissa", "log_norm", "block_spectral_norm", "lyapunov_exponent")
# The branch of a plain unit is all of it, so only whole blocks compare with residual ones.
COMPARED_WITH_PLAIN = ("block_spectral_norm", "lyapunov_exponent")


@dataclass(frozen=True)
class Contrast:
    """One stage of a group against the same stage of a group that was given later.

    Attributes:
        group: label of the first.
        base: label of the other.
        stage: of both.
        measure: a name of `MEASURES`.
        difference: group minus base.
        paired: "images" or "seeds" where the difference is taken within pairs, else "".
        name: of the stage, with its blocks that keep their shape, in both groups.
        unit: what its blocks are called: "block", "unit" or either.
    """

    group: str
    base: str
    stage: int
    measure: str
    difference: Estimate
    paired: str
    name: str
    unit: str


def stages_of(net: Network) -> tuple[int, ...]:
    """Give the stages with a block that keeps its shape, ascending."""
    return tuple(int(stage) for stage in np.unique(net.layout.stage[net.layout.within]))


def stage_value(net: Network, measure: str, stage: int) -> Floats:
    """Give a measure of a stage on each image, shape (image,); NaN where there is none.

    A norm is averaged over the stage's blocks that keep their shape; an exponent is that of the
    longest run at its last block, and so is the bound beside it.
    """
    if measure in _ALONG:
        run = run_of_stage(net, stage)
        return np.full(1, np.nan) if run is None else _ALONG[measure](net, run)
    cells = _CELLS[measure](net)
    if cells is None:
        return np.full(1, np.nan)
    chosen = cells[:, net.layout.within & (net.layout.stage == stage)]
    known = np.isfinite(chosen)
    mean = np.full(chosen.shape[0], np.nan)
    total = np.where(known, chosen, 0.0).sum(axis=1)
    np.divide(total, known.sum(axis=1), out=mean, where=known.any(axis=1))
    return mean


def stage_estimate(group: Group, measure: str, stage: int) -> Estimate:
    """Average a measure over images and networks, with an interval where there is one.

    Returns:
        Over images for one network, over seeds from five on; else without bounds.
    """
    rows = [stage_value(net, measure, stage) for net in group.networks]
    if len(rows) == 1:
        return Estimate(*statistics.mean_interval(rows[0], LEVEL), over="images", networks=1)
    return _over_seeds([_mean(row) for row in rows])


def compare(groups: Sequence[Group]) -> tuple[Contrast, ...]:
    """Compare every two groups, stage by stage.

    One network each are paired by image, seeds that both groups have by seed. With fewer than
    five pairs of seeds the difference has no interval.
    """
    found = []
    for group, base in itertools.combinations(groups, 2):
        alike = base.first.plain == group.first.plain
        for stage in stages_of(group.first):
            if stage not in stages_of(base.first):
                continue
            for measure in COMPARED if alike else COMPARED_WITH_PLAIN:
                one = _contrast(base, group, measure, stage)
                if np.isfinite(one.difference.value):
                    found.append(one)
    return tuple(found)


def meaning(measure: str, unit: str) -> str:
    """Say what a measure is of, with what a block is called; the branch of a unit is all of it."""
    told = MEASURES[measure].replace("block", unit)
    return told.replace("branch", "unit") if unit == "unit" else told


def within_stage(net: Network, stage: int) -> str:
    """Give the blocks of a stage that keep their shape, first to last."""
    places = np.flatnonzero(net.layout.within & (net.layout.stage == stage))
    return first_to_last([net.names[place] for place in places])


def _contrast(base: Group, group: Group, measure: str, stage: int) -> Contrast:
    pairs = _pairs(base, group)
    found = partial(
        Contrast,
        group.label,
        base.label,
        stage,
        measure,
        name=stage_name(stage, [within_stage(one.first, stage) for one in (group, base)]),
        unit=words.unit_of((base, group)),
    )
    if len(base.networks) == len(group.networks) == 1:
        change = stage_value(group.first, measure, stage) - stage_value(base.first, measure, stage)
        difference = Estimate(*statistics.mean_interval(change, LEVEL), over="images", networks=2)
        return found(difference, "images")
    if len(pairs) >= statistics.MINIMUM_SEEDS:
        changes = [
            _mean(stage_value(two, measure, stage)) - _mean(stage_value(one, measure, stage))
            for one, two in pairs
        ]
        return found(_over_seeds(changes), "seeds")
    means = [stage_estimate(one, measure, stage).value for one in (base, group)]
    nothing = np.asarray(np.nan)
    count = len(base.networks) + len(group.networks)
    difference = Estimate(np.asarray(means[1] - means[0]), nothing, nothing, "seeds", count)
    return found(difference, "")


def _pairs(base: Group, group: Group) -> list[tuple[Network, Network]]:
    by_seed = {net.seed: net for net in base.networks if net.seed is not None}
    return [(by_seed[net.seed], net) for net in group.networks if net.seed in by_seed]


def _over_seeds(values: Sequence[float]) -> Estimate:
    found = statistics.student_interval(values, LEVEL)
    if found is not None:
        return Estimate(*found, over="seeds", networks=len(values))
    nothing = np.asarray(np.nan)
    return Estimate(np.asarray(np.mean(values)), nothing, nothing, "seeds", len(values))


def _mean(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


_ALONG: dict[str, Callable[[Network, Run], Floats]] = {
    "lyapunov_exponent": leading,
    "perturbation_growth": growth,
    "growth_bound": lambda net, run: growth_bounds(net, run)[:, -1],
}
_CELLS: dict[str, Callable[[Network], Floats | None]] = {
    "spectral_abscissa": lambda net: (
        None if net.spectrum is None else net.spectrum.spectral_abscissa[..., BRANCH]
    ),
    "log_norm": lambda net: net.norms.log_norm[..., BRANCH],
    "spectral_norm": lambda net: net.norms.spectral_norm[..., BRANCH],
    "block_spectral_norm": lambda net: net.norms.spectral_norm[..., BLOCK],
}
