"""A number is claimed: the interval over seeds lies inside a band around it, or outside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resprobe_analyses.statistics import (
    MINIMUM_SEEDS,
    above_probability,
    below_probability,
    beyond_p,
    equivalence_p,
    inside_probability,
)
from resprobe_analyses.studies.criteria.judgement import (
    CONTRADICTED,
    REPRODUCED,
    UNDECIDED,
    Judgement,
)
from resprobe_analyses.studies.criteria.means import Words, interval, judge_mean, spread_of
from resprobe_analyses.studies.evidence import Sample

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Band:
    """The claim is a number, and a band around it says what still counts as that number.

    That the interval holds the number would not do: more noise would then help the claim.

    Attributes:
        low: lower edge of the band.
        high: upper edge.
        claimed: the number, between them.
    """

    low: float
    high: float
    claimed: float

    def __post_init__(self) -> None:
        if not self.low < self.claimed < self.high:
            raise ValueError(f"{self.claimed} must lie between {self.low} and {self.high}")

    @property
    def rule(self) -> str:
        """The rule in words."""
        band = f"[{self.low:g}, {self.high:g}]"
        return (
            f"95 % Student t interval over seeds: {REPRODUCED} if the interval lies inside "
            f"{band}; {CONTRADICTED} if it leaves out {self.claimed:g} and lies outside {band}; "
            f"else {UNDECIDED}; at least {MINIMUM_SEEDS} seeds"
        )

    def judge(self, sample: Sample, reference: float) -> Judgement:
        """Judge a sample; `reference` sizes `needed`."""
        return judge_mean(self, sample, reference)

    def power(self, reference: float, spread: float, seeds: int) -> float:
        """Give the probability of a decision if the true number is `reference`.

        Args:
            reference: a number, inside the band or outside.
            spread: standard deviation over seeds.
            seeds: how many.

        Returns:
            The probability of either verdict.

        Raises:
            ValueError: a spread that is not positive.
        """
        inside = inside_probability((self.low, self.high), reference, spread, seeds)
        above = above_probability(self.high, reference, spread, seeds)
        return inside + above + below_probability(self.low, reference, spread, seeds)

    def spread(self, sample: Sample) -> float:
        """Give the standard deviation over seeds."""
        return spread_of(self, sample)

    def scaled(self, values: Floats) -> Floats:
        """Numbers are averaged as they are."""
        return values

    def reported(self, number: float) -> float:
        """Numbers are reported as they are."""
        return number

    def outcome(self, low: npt.ArrayLike, high: npt.ArrayLike) -> Words:
        """Give the outcome for intervals, of any one shape; undecided where they are NaN."""
        lower, upper = np.asarray(low), np.asarray(high)
        inside = (lower >= self.low) & (upper <= self.high)
        outside = (upper < self.low) | (lower > self.high)  # it then leaves out `claimed` too
        return np.select([inside, outside], [REPRODUCED, CONTRADICTED], UNDECIDED)

    def decide(self, values: Floats) -> Words:
        """Give the outcome for values of shape (seed,) or (seed, draw)."""
        _, low, high = interval(values)
        return self.outcome(low, high)

    def p_value(self, values: Floats) -> float:
        """Give the p-value of the verdict that is nearer, shape of values (seed,).

        Two-sided for either: of a number outside the band for `reproduced` (twice that of two
        one-sided tests), of a number inside for `contradicted`.
        """
        inside = equivalence_p(values, self.low, self.high)
        outside = beyond_p(values, self.low, self.high)
        if inside is None or outside is None:
            return float("nan")
        return min(2 * float(inside), float(outside), 1.0)

    def reason(self, outcome: str, low: float, high: float) -> str:
        """Say why, from the interval."""
        start = f"the interval from {low:.3g} to {high:.3g}"
        band = f"[{self.low:g}, {self.high:g}]"
        if outcome == REPRODUCED:
            return f"{start} lies inside {band}"
        if outcome == CONTRADICTED:
            return f"{start} leaves out {self.claimed:g} and lies outside {band}"
        return f"{start} lies neither inside nor outside {band}"
