"""What a rule says of a sample, in the words of the ledger, and what a rule is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from resprobe_analyses.statistics import MINIMUM_SEEDS
from resprobe_analyses.studies.evidence import Sample

REPRODUCED = "reproduced at small scale"
CONTRADICTED = "contradicted"
UNDECIDED = "undecided"
NOT_ATTEMPTED = "not attempted at this scale"
HOLDS, FAILS = "holds", "fails"

LEVEL = 0.95
DECIDING_POWER = 0.8  # what `needed` aims at
_NAN = float("nan")


@dataclass(frozen=True)
class Judgement:
    """What a rule says of a sample.

    Attributes:
        outcome: one of the words above.
        value: the estimate, in the unit of the contrast; NaN where there is none.
        low: lower bound of its 95 % interval; NaN where there is none.
        high: upper bound.
        p_value: below 0.05 exactly where the rule decides, either way, so that several can be
            adjusted for their number; NaN where there is none.
        seeds: how many values are behind it.
        needed: for `undecided`: the number of seeds that would decide it against the reference
            effect with a power of 80 %, as an interval from that of the spread; 10,000 stands
            for that many or more. None where there is none.
        reason: one sentence on why this outcome, without a full stop.
    """

    outcome: str
    value: float
    low: float
    high: float
    p_value: float
    seeds: int
    needed: tuple[int, int] | None
    reason: str


class Criterion(Protocol):
    """A rule.

    References are in the unit in which `value`, `low` and `high` are reported (so a ratio where
    the values are logarithms of ratios), spreads on the scale on which the rule averages, as
    `spread` gives them.
    """

    @property
    def rule(self) -> str:
        """The rule in words, as the ledger prints it."""

    def judge(self, sample: Sample, reference: float) -> Judgement:
        """Judge a sample; `reference` sizes `needed`."""

    def power(self, reference: float, spread: float, seeds: int) -> float:
        """Give the probability of a decision if the true effect is `reference`, in [0, 1]."""

    def spread(self, sample: Sample) -> float:
        """Give the standard deviation over seeds that `power` takes; NaN where it needs none."""


def not_attempted(reason: str, seeds: int = 0) -> Judgement:
    """Give the judgement where nothing was or could be judged.

    Args:
        reason: why, in one sentence.
        seeds: how many values there are.
    """
    return Judgement(NOT_ATTEMPTED, _NAN, _NAN, _NAN, _NAN, seeds, None, reason)


def too_few(seeds: int, planned: int) -> Judgement:
    """Give the judgement below five seeds."""
    known = f"{seeds} of {planned} seeds have" if seeds < planned else f"there are {planned} seeds,"
    tail = "a value" if seeds < planned else "too few"
    reason = f"{known} {tail}: an interval over seeds takes at least {MINIMUM_SEEDS}"
    return not_attempted(reason, seeds)


def no_spread(value: float, seeds: int) -> Judgement:
    """Give the judgement where all values are equal."""
    reason = f"all {seeds} values are equal, so there is no spread to make an interval of"
    return Judgement(UNDECIDED, value, _NAN, _NAN, _NAN, seeds, None, reason)
