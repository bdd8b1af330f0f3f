"""Two arms are claimed to be on par: two one-sided tests against a margin named beforehand."""

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

ALPHA = 0.05  # of each one-sided test


@dataclass(frozen=True)
class Equivalence:
    """The claim is that the mean difference is smaller than a margin, either way.

    The margin is the largest shortfall that the paper itself still calls on par. A difference
    beyond it contradicts on either side: "on par" is said of both arms, and who is clearly ahead
    is not on par either. The reason names the side.

    Attributes:
        margin: positive, in the unit of the values.
        margin_source: where it is from.
    """

    margin: float
    margin_source: str

    def __post_init__(self) -> None:
        if not (self.margin > 0 and np.isfinite(self.margin)):
            raise ValueError(f"a margin is positive, got {self.margin}")

    @property
    def rule(self) -> str:
        """The rule in words."""
        return (
            f"95 % Student t interval of the mean difference over seeds, and two one-sided t "
            f"tests at 5 % against a margin of {self.margin:g} ({self.margin_source}): "
            f"{REPRODUCED} if both reject; {CONTRADICTED} if the 95 % interval lies wholly "
            f"beyond the margin on either side; else {UNDECIDED}; at least {MINIMUM_SEEDS} seeds"
        )

    def judge(self, sample: Sample, reference: float) -> Judgement:
        """Judge a sample; `reference` sizes `needed`, most often 0: no difference at all."""
        return judge_mean(self, sample, reference)

    def power(self, reference: float, spread: float, seeds: int) -> float:
        """Give the probability of a decision if the true difference is `reference`.

        Args:
            reference: a difference, 0 for none.
            spread: standard deviation of the differences over seeds.
            seeds: how many.

        Returns:
            The probability of either verdict.

        Raises:
            ValueError: a spread that is not positive.
        """
        bounds = (-self.margin, self.margin)
        inside = inside_probability(bounds, reference, spread, seeds, 1 - 2 * ALPHA)
        above = above_probability(self.margin, reference, spread, seeds)
        below = below_probability(-self.margin, reference, spread, seeds)
        return inside + above + below

    def spread(self, sample: Sample) -> float:
        """Give the standard deviation of the differences over seeds."""
        return spread_of(self, sample)

    def scaled(self, values: Floats) -> Floats:
        """Differences are averaged as they are."""
        return values

    def reported(self, number: float) -> float:
        """Differences are reported as they are."""
        return number

    def decide(self, values: Floats) -> Words:
        """Give the outcome for values of shape (seed,) or (seed, draw)."""
        _, low, high = interval(values)
        _, inner_low, inner_high = interval(values, 1 - 2 * ALPHA)
        inside = (inner_low > -self.margin) & (inner_high < self.margin)
        outside = (low > self.margin) | (high < -self.margin)
        return np.select([inside, outside], [REPRODUCED, CONTRADICTED], UNDECIDED)

    def p_value(self, values: Floats) -> float:
        """Give the p-value of the verdict that is nearer, shape of values (seed,).

        That of two one-sided tests for `reproduced`; for `contradicted` the two-sided one of a
        difference within the margin.
        """
        inside = equivalence_p(values, -self.margin, self.margin)
        outside = beyond_p(values, -self.margin, self.margin)
        if inside is None or outside is None:
            return float("nan")
        return min(float(inside), float(outside))

    def reason(self, outcome: str, low: float, high: float) -> str:
        """Say why, from the 95 % interval."""
        start = f"the difference, between {low:.3g} and {high:.3g},"
        if outcome == REPRODUCED:
            return f"{start} is smaller than the margin of {self.margin:g} by both one-sided tests"
        if outcome == CONTRADICTED:
            side = "above" if low > 0 else "below"
            return f"{start} lies wholly {side} the margin of {self.margin:g}"
        return f"{start} is neither inside the margin of {self.margin:g} nor wholly beyond it"
