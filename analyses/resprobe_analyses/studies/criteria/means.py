"""What the rules on a mean over seeds share: their scales and how a judgement is put together."""

from __future__ import annotations

from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt

from resprobe_analyses.statistics import (
    MINIMUM_SEEDS,
    seeds_needed,
    spread_interval,
    student_interval,
)
from resprobe_analyses.studies.criteria.judgement import (
    DECIDING_POWER,
    LEVEL,
    UNDECIDED,
    Judgement,
    no_spread,
    too_few,
)
from resprobe_analyses.studies.evidence import Sample

Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.str_]


class MeanRule(Protocol):
    """A rule on the mean of values that are one for each seed."""

    def scaled(self, values: Floats) -> Floats:
        """Bring values onto the scale on which they are averaged."""

    def reported(self, number: float) -> float:
        """Bring a number on that scale into the unit of the contrast."""

    def decide(self, values: Floats) -> Words:
        """Give the outcome for values of shape (seed,) or (seed, draw), as those of a sample."""

    def p_value(self, values: Floats) -> float:
        """Give the p-value of a decision for scaled values, shape (seed,)."""

    def reason(self, outcome: str, low: float, high: float) -> str:
        """Say why, from the reported interval."""

    def power(self, reference: float, spread: float, seeds: int) -> float:
        """Give the probability of a decision."""


def interval(values: Floats, level: float = LEVEL) -> tuple[Floats, Floats, Floats]:
    """Give mean, lower and upper bound over the first axis; NaN where there is no interval."""
    found = student_interval(values, level)
    if found is None:
        nothing = np.full(values.shape[1:], np.nan)
        return nothing, nothing, nothing
    return found


def spread_of(rule: MeanRule, sample: Sample) -> float:
    """Give the standard deviation over seeds on the scale of a rule; NaN below two values."""
    values = rule.scaled(sample.present)
    return float(values.std(ddof=1)) if values.size > 1 else float("nan")


def judge_mean(rule: MeanRule, sample: Sample, reference: float) -> Judgement:
    """Judge a sample by a rule on its mean; see `Criterion.judge`."""
    values = rule.scaled(sample.present)
    seeds = values.size
    if seeds < MINIMUM_SEEDS:
        return too_few(seeds, len(sample.seeds))
    value, low, high = (rule.reported(float(number)) for number in interval(values))
    if np.isnan(low):
        return no_spread(value, seeds)
    outcome = str(rule.decide(sample.present))
    needed = _needed(rule, values, reference) if outcome == UNDECIDED else None
    reason = rule.reason(outcome, low, high)
    return Judgement(outcome, value, low, high, rule.p_value(values), seeds, needed, reason)


def _needed(rule: MeanRule, values: Floats, reference: float) -> tuple[int, int]:
    spreads = spread_interval(values.std(ddof=1), values.size, LEVEL)
    few, many = (
        seeds_needed(partial(rule.power, reference, float(bound)), DECIDING_POWER)
        for bound in spreads
    )
    return few, many
