"""The error against the number of blocks dropped, and against how far their order is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from resprobe_analyses import statistics
from resprobe_analyses.estimates import LEVEL, Estimate, estimate_change, estimate_fraction
from resprobe_analyses.lesion.effects import SEED, GroupEffect
from resprobe_analyses.lesion.sweeps import Sweep, read_multi, read_shuffle

if TYPE_CHECKING:
    from resprobe.result import Input

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

WITHIN, WITH_TRANSITION = "within stages", "with a transition"
ALL_STAGES = -1


@dataclass(frozen=True)
class Curve:
    """The error against the number of blocks dropped at once, for one group.

    Attributes:
        group: whose networks were measured.
        sweep: what was measured of them.
        kind: `WITHIN` for sets of within-stage blocks, `WITH_TRANSITION` for the others.
        test_error: of the networks without an intervention.
        trials: how many sets there are, shape (level,).
        increase: error increase, the mean over the sets, by level; NaN without sets.
        lowest, highest: of a single set (mean over networks), shape (level,).
        single_sum: sum of the single lesions' increases, mean over the sets, by level; None
            where they were not collected.
        excess: `increase` minus that sum.
    """

    group: GroupEffect
    sweep: Sweep
    kind: str
    test_error: Estimate
    trials: Integers
    increase: Estimate
    lowest: Floats
    highest: Floats
    single_sum: Estimate | None
    excess: Estimate | None


@dataclass(frozen=True)
class Shuffle:
    """The error against how far the order of the blocks is changed, for one group.

    Attributes:
        group: whose networks were measured.
        sweep: what was measured of them.
        test_error: of the networks with their own order.
        trials: how many orders there are, shape (level,).
        increase: error increase, the mean over the orders, by level; NaN without orders.
        lowest, highest: of a single order (mean over networks), shape (level,).
        by_order: error increase of each order (mean over networks), shape (level, trial).
        distance: rank correlation, over all different orders, of the increase with Kendall's tau
            distance.
        first_minus_last: error increase by one swap in the first stage that can be shuffled minus
            that in the last one; None where a single stage can.
    """

    group: GroupEffect
    sweep: Sweep
    test_error: Estimate
    trials: Integers
    increase: Estimate
    lowest: Floats
    highest: Floats
    by_order: Floats
    distance: statistics.RankCorrelation
    first_minus_last: Estimate | None

    @property
    def swaps(self) -> Integers:
        """Swaps of each level, shape (level,)."""
        return np.asarray(self.sweep.said["swaps"], dtype=np.int64)

    @property
    def stage(self) -> Integers:
        """Shuffled stage of each level, `ALL_STAGES` for all, shape (level,)."""
        return np.asarray(self.sweep.said["shuffled_stage"], dtype=np.int64)


@dataclass(frozen=True)
class Curves:
    """All curves, by group in order; as trained first."""

    multi: tuple[Curve, ...]
    shuffle: tuple[Shuffle, ...]


def curves(inputs: Mapping[str, Input], groups: Sequence[GroupEffect]) -> Curves:
    """Give the curves of every group that has interpretable networks and the families for them.

    Raises:
        InputError: see `sweeps.read_multi`.
    """
    multi: list[Curve] = []
    shuffle: list[Shuffle] = []
    for group in groups:
        for sweep in read_multi(inputs, group.interpretable_group):
            multi += _multi(group, sweep)
        shuffle += [_shuffle(group, one) for one in read_shuffle(inputs, group.interpretable_group)]
    return Curves(tuple(multi), tuple(shuffle))


def _multi(group: GroupEffect, sweep: Sweep) -> list[Curve]:
    dropped = np.asarray(sweep.said["multi_lesion_dropped"]) == 1
    transition = (dropped & group.layout.transition).any(axis=2)
    kinds = {WITHIN: sweep.exists & ~transition, WITH_TRANSITION: sweep.exists & transition}
    return [
        _curve(group, sweep, kind, chosen, dropped)
        for kind, chosen in kinds.items()
        if chosen.any()
    ]


def _curve(group: GroupEffect, sweep: Sweep, kind: str, chosen: Flags, dropped: Flags) -> Curve:
    changes = sweep.changes()
    increase = _by_level(changes, chosen)
    single_sum = excess = None
    if sweep.single is not None:
        single = sweep.single - sweep.whole[:, :, None]
        sums = np.einsum("nib,ltb->nilt", single, dropped.astype(np.float64))
        single_sum, excess = _by_level(sums, chosen), _by_level(changes - sums, chosen)
    lowest, highest = _range(changes, chosen)
    return Curve(
        group=group,
        sweep=sweep,
        kind=kind,
        test_error=estimate_fraction(sweep.whole),
        trials=chosen.sum(axis=1).astype(np.int64),
        increase=increase,
        lowest=lowest,
        highest=highest,
        single_sum=single_sum,
        excess=excess,
    )


def _shuffle(group: GroupEffect, sweep: Sweep) -> Shuffle:
    changes = sweep.changes()
    by_order = np.where(sweep.exists, changes.mean(axis=(0, 1)), np.nan)
    lowest, highest = _range(changes, sweep.exists)
    return Shuffle(
        group=group,
        sweep=sweep,
        test_error=estimate_fraction(sweep.whole),
        trials=sweep.exists.sum(axis=1).astype(np.int64),
        increase=_by_level(changes, sweep.exists),
        lowest=lowest,
        highest=highest,
        by_order=by_order,
        distance=_correlation(sweep, by_order),
        first_minus_last=_first_minus_last(sweep, changes),
    )


def _correlation(sweep: Sweep, by_order: Floats) -> statistics.RankCorrelation:
    distance = np.asarray(sweep.said["kendall_tau_distance"], dtype=np.float64)
    orders = np.asarray(sweep.said["shuffle_order"])[sweep.exists]
    _, first = np.unique(orders, axis=0, return_index=True)  # an order may be in several levels
    return statistics.rank_correlation(
        distance[sweep.exists][first],
        by_order[sweep.exists][first],
        np.zeros(first.size, dtype=np.int64),
        generator=np.random.default_rng(SEED),
        level=LEVEL,
    )


def _first_minus_last(sweep: Sweep, changes: Floats) -> Estimate | None:
    swaps, stage = np.asarray(sweep.said["swaps"]), np.asarray(sweep.said["shuffled_stage"])
    one_swap = np.flatnonzero((swaps == 1) & (stage != ALL_STAGES) & sweep.exists.any(axis=1))
    if one_swap.size < 2:
        return None
    first, last = one_swap[np.argmin(stage[one_swap])], one_swap[np.argmax(stage[one_swap])]
    sides = [changes[:, :, level, sweep.exists[level]] for level in (first, last)]
    parts = min(side.shape[2] for side in sides)
    return estimate_change(sides[0].mean(axis=2) - sides[1].mean(axis=2), parts)


def _by_level(changes: Floats, chosen: Flags) -> Estimate:
    """Average over the chosen trials of each level, with an interval over images or seeds."""
    missing = Estimate(*(np.asarray(np.nan),) * 3, over="images", networks=changes.shape[0])
    found = []
    for level, trials in enumerate(chosen):
        count = int(trials.sum())
        mean = changes[:, :, level, trials].mean(axis=2) if count else None
        found.append(missing if mean is None else estimate_change(mean, count))
    known = next((one for one in found if one is not missing), missing)
    return Estimate(
        np.stack([one.value for one in found]),
        np.stack([one.low for one in found]),
        np.stack([one.high for one in found]),
        over=known.over,
        networks=known.networks,
    )


def _range(changes: Floats, chosen: Flags) -> tuple[Floats, Floats]:
    by_trial = changes.mean(axis=(0, 1))
    lowest = np.where(chosen, by_trial, np.inf).min(axis=1)
    highest = np.where(chosen, by_trial, -np.inf).max(axis=1)
    none = ~chosen.any(axis=1)
    return np.where(none, np.nan, lowest), np.where(none, np.nan, highest)


def at(estimate: Estimate, place: int) -> Estimate:
    """Give one entry of an estimate as a scalar one."""
    value, low, high = (
        np.asarray(bound[place]) for bound in (estimate.value, estimate.low, estimate.high)
    )
    return Estimate(value, low, high, over=estimate.over, networks=estimate.networks)
