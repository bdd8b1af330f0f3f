"""Pairs of each group, and how groups with other rounding or another penalty compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resprobe.errors import InputError
from resprobe_analyses.difference import Difference
from resprobe_analyses.equivalence import recipes
from resprobe_analyses.equivalence.differences import differences
from resprobe_analyses.equivalence.networks import Group, Network
from resprobe_analyses.equivalence.pairs import LOCKSTEP, Divergence, Pair, divergence
from resprobe_analyses.equivalence.sides import Side, sides_of
from resprobe_analyses.equivalence.weights import STATISTICS
from resprobe_analyses.estimates import Estimate, over_seeds, ratio_over_seeds

Floats = npt.NDArray[np.float64]

WHATS = ("output", "gradient", "weight")


@dataclass(frozen=True)
class PairEffect:
    """How far apart the two networks of one run came.

    Attributes:
        label: of the run.
        pair: what was recorded.
        multiples: "output", "gradient", "weight" to distance/(u·scale), shape (step,).
        place: of step 50, or of the last before it.
        divergence: of the losses.
    """

    label: str
    pair: Pair
    multiples: dict[str, Floats]
    place: int
    divergence: Divergence

    @property
    def lockstep(self) -> int:
        """The step at which weights are compared."""
        return int(self.pair.step[self.place])

    def after(self, what: str) -> float:
        """Give the multiple at that step."""
        return float(self.multiples[what][self.place])


@dataclass(frozen=True)
class Pairs:
    """The pairs of one group.

    Attributes:
        group: whose they are.
        members: one or more.
        slope: of log₁₀|ΔL| per step; None where no pair has one.
        start: of the lines at step 1, likewise.
        first: first log₁₀|ΔL|, likewise.
    """

    group: Group
    members: tuple[PairEffect, ...]
    slope: Estimate | None
    start: Estimate | None
    first: Estimate | None

    @property
    def dtype(self) -> str:
        """The arithmetic, one for all."""
        return self.members[0].pair.dtype

    def largest(self, what: str) -> float:
        """Give the largest multiple at the starting weights, NaN where none was recorded."""
        return _largest([member.pair.initial(what) for member in self.members])

    def largest_after(self, what: str) -> float:
        """Give the largest multiple after the steps in lockstep."""
        return _largest([member.after(what) for member in self.members])

    @property
    def farthest(self) -> float:
        """Largest distance of a point from the line of its seed, in powers of ten."""
        return _largest([member.divergence.farthest for member in self.members])

    @property
    def late(self) -> float:
        """Slope of the last quarter of the steps, mean over seeds; NaN without any."""
        late = [one.divergence.late for one in self.members if np.isfinite(one.divergence.late)]
        return float(np.mean(late)) if late else float("nan")

    @property
    def saturated(self) -> bool:
        """Whether the last quarter surely rises less than half as fast as the whole line."""
        errors = [one.divergence.late_error for one in self.members]
        errors = [error for error in errors if np.isfinite(error)]
        if self.slope is None or not errors or not float(self.slope.value) > 0:
            return False
        error = float(np.sqrt(np.square(errors).sum()) / len(errors))
        return self.late + 2 * error < float(self.slope.value) / 2


@dataclass(frozen=True)
class Contrast:
    """Two groups of pairs, seed by seed.

    Attributes:
        first, second: their labels.
        seeds: that both have, and whose ratio exists.
        ratio: of the first to the second: geometric mean over seeds, None without any.
        each: of each seed, shape (seed,).
        left_out: shared seeds that have no ratio, since a distance is 0 or not finite.
        step: at which separations are compared, -1 where the first |ΔL| are.
    """

    first: str
    second: str
    seeds: tuple[int, ...]
    ratio: Estimate | None
    each: Floats
    left_out: int
    step: int


@dataclass(frozen=True)
class Effect:
    """Everything that was found.

    Attributes:
        groups: of runs.
        pairs: groups with recorded pairs, in their order.
        separations: weight distance of negative controls beside that of equivalent pairs.
        roundings: first |ΔL| that is not 0, in float32 beside float64.
        sides: residual networks beside plain ones.
        differences: weights of groups of one architecture, layer by layer.
    """

    groups: tuple[Group, ...]
    pairs: tuple[Pairs, ...]
    separations: tuple[Contrast, ...]
    roundings: tuple[Contrast, ...]
    sides: tuple[Side, ...]
    differences: tuple[Difference, ...]

    @property
    def networks(self) -> list[Network]:
        """All runs, group by group."""
        return [net for group in self.groups for net in group.networks]

    def pair_of(self, label: str) -> PairEffect | None:
        """Give the pair of a run, None where none was recorded."""
        return next((m for one in self.pairs for m in one.members if m.label == label), None)


def effect(groups: tuple[Group, ...]) -> Effect:
    """Compute everything that the groups allow.

    Raises:
        InputError: neither a pair, nor weights, nor residual and plain networks of equal seeds.
    """
    pairs = tuple(own for group in groups if (own := _pairs(group)) is not None)
    found = Effect(
        groups=groups,
        pairs=pairs,
        separations=_separations(pairs),
        roundings=_roundings(pairs),
        sides=sides_of(groups),
        differences=differences(groups),
    )
    if not (pairs or found.sides or any(net.own.states for net in found.networks)):
        raise InputError(
            f"{', '.join(net.label for net in found.networks)}: there is no pair, no family "
            "'weights', and no residual run beside a plain one of the same seed; train with "
            "`resprobe train … --set pair.network=equivalent`, or `resprobe collect RUN "
            "--quantity weight_mass --checkpoint all`."
        )
    return found


def _pairs(group: Group) -> Pairs | None:
    members = tuple(
        PairEffect(
            label=net.label,
            pair=net.pair,
            multiples={what: net.pair.multiple(what) for what in WHATS},
            place=net.pair.lockstep(),
            divergence=divergence(net.pair.step, net.pair.loss_distance),
        )
        for net in group.networks
        if net.pair is not None
    )
    if not members:
        return None
    return Pairs(
        group=group,
        members=members,
        slope=_over([member.divergence.slope for member in members]),
        start=_over([member.divergence.start for member in members]),
        first=_over([member.divergence.first for member in members]),
    )


def group_table(group: Group, when: str, *, partner: bool = False) -> dict[str, Estimate]:
    """Average each of `STATISTICS` over the networks of a group; empty without weights.

    Args:
        group: of runs.
        when: "start" or "end".
        partner: whether of the partners of these runs.
    """
    tables = [state.table for state in group.states(when, partner=partner)]
    means = {name: _over([table[name] for table in tables]) for name in STATISTICS}
    return {name: one for name, one in means.items() if one is not None}


def _over(values: Sequence[float]) -> Estimate | None:
    numbers = np.asarray(values, np.float64)
    numbers = numbers[np.isfinite(numbers)]
    return over_seeds(numbers) if numbers.size else None


def _largest(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return max(known, default=float("nan"))


def _separations(pairs: Sequence[Pairs]) -> tuple[Contrast, ...]:
    """Compare every control with the equivalent pairs that it is to break."""
    found = []
    for control in (one for one in pairs if one.group.control):
        for other in (one for one in pairs if not one.group.control):
            if _key(control, "pair.changes") == _key(other, "pair.changes"):
                steps = _common_steps(control, other)
                if steps.size:
                    found.append(_contrast(control, other, _weights_at, int(steps[-1])))
    return tuple(one for one in found if one is not None)


def _roundings(pairs: Sequence[Pairs]) -> tuple[Contrast, ...]:
    found = [
        _contrast(coarse, fine, _first, -1)
        for coarse in pairs
        if coarse.dtype == "float32"
        for fine in pairs
        if fine.dtype == "float64" and _key(coarse, "train.dtype") == _key(fine, "train.dtype")
    ]
    return tuple(one for one in found if one is not None)


def _key(pairs: Pairs, but: str) -> str:
    return recipes.shared_key(pairs.group.networks[0].recipe, [but])


def _common_steps(first: Pairs, second: Pairs) -> npt.NDArray[np.int64]:
    steps = first.members[0].pair.step
    for member in (*first.members, *second.members):
        steps = np.intersect1d(steps, member.pair.step)
    return np.asarray(steps[steps <= LOCKSTEP])


def _contrast(
    first: Pairs, second: Pairs, measure: Callable[[PairEffect, int], float], step: int
) -> Contrast | None:
    """Compare two groups by the seeds they share; None where they share none."""
    others = _by_seed(second)
    both = {
        seed: (measure(member, step), measure(others[seed], step))
        for seed, member in _by_seed(first).items()
        if seed in others
    }
    if not both:
        return None
    ratios = {
        seed: above / below
        for seed, (above, below) in both.items()
        if np.isfinite([above, below]).all() and above > 0 and below > 0
    }
    each = np.array(list(ratios.values()))
    return Contrast(
        first=first.group.label,
        second=second.group.label,
        seeds=tuple(ratios),
        ratio=ratio_over_seeds(np.log(each)) if ratios else None,
        each=each,
        left_out=len(both) - len(ratios),
        step=step,
    )


def _by_seed(pairs: Pairs) -> dict[int, PairEffect]:
    seeds = {net.label: net.seed for net in pairs.group.networks}
    return {seed: member for member in pairs.members if (seed := seeds[member.label]) is not None}


def _weights_at(member: PairEffect, step: int) -> float:
    place = int(np.flatnonzero(member.pair.step == step)[0])
    return float(member.multiples["weight"][place])


def _first(member: PairEffect, step: int) -> float:
    """Give the first |ΔL| that is not 0; the fitted lines' starts depend on the growth as well."""
    return float(10.0**member.divergence.first)
