"""One arm is claimed to vary less over seeds than another: the ratio of standard deviations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from resprobe_analyses.statistics import (
    MINIMUM_SEEDS,
    log_spread_ratio,
    log_spread_ratio_p,
    log_spread_ratio_power,
    seeds_needed,
)
from resprobe_analyses.studies.criteria.judgement import (
    CONTRADICTED,
    DECIDING_POWER,
    LEVEL,
    REPRODUCED,
    UNDECIDED,
    Judgement,
    no_spread,
    too_few,
)
from resprobe_analyses.studies.criteria.means import Words
from resprobe_analyses.studies.evidence import Sample

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ThinnerBand:
    """The claim is that `values` vary less over seeds than `baseline`.

    A sample of this rule holds one arm in `values` and the other in `baseline`. The reference is
    a ratio of standard deviations, and power needs no spread from a pilot.
    """

    @property
    def rule(self) -> str:
        """The rule in words."""
        return (
            f"ratio of the standard deviations over seeds with the 95 % F interval: {REPRODUCED} "
            f"if it lies below 1, {CONTRADICTED} if it lies above 1, else {UNDECIDED}; at least "
            f"{MINIMUM_SEEDS} seeds an arm"
        )

    def judge(self, sample: Sample, reference: float) -> Judgement:
        """Judge a sample with both arms; `reference` sizes `needed`.

        Raises:
            ValueError: a sample without `baseline`, or a ratio that is not positive.
        """
        if sample.baseline is None:
            raise ValueError("a claim on the spread of two arms needs a sample with a baseline")
        first, second = sample.present, sample.baseline[np.isfinite(sample.baseline)]
        seeds = min(first.size, second.size)
        found, p_value = log_spread_ratio(first, second, LEVEL), log_spread_ratio_p(first, second)
        if found is None or p_value is None:
            return too_few(seeds, len(sample.seeds))
        value, low, high = (float(np.exp(number)) for number in found)
        if np.isnan(value):
            return no_spread(value, seeds)
        outcome = str(self.decide(first, second))
        needed = None
        if outcome == UNDECIDED:
            enough = seeds_needed(partial(self.power, reference, float("nan")), DECIDING_POWER)
            needed = enough, enough
        reason = self._reason(outcome, low, high)
        return Judgement(outcome, value, low, high, float(p_value), seeds, needed, reason)

    def power(self, reference: float, spread: float, seeds: int) -> float:
        """Give the probability of a decision if the true ratio is `reference`.

        Args:
            reference: a ratio of standard deviations; its direction does not matter.
            spread: not used: a ratio of spreads does not depend on either.
            seeds: of each arm.

        Returns:
            The probability that the interval leaves out 1.

        Raises:
            ValueError: a ratio that is not positive.
        """
        if not reference > 0:
            raise ValueError(f"a ratio of standard deviations is positive, got {reference}")
        return log_spread_ratio_power(float(np.log(reference)), seeds, LEVEL)

    def spread(self, sample: Sample) -> float:
        """Give NaN: `power` needs no spread."""
        return float("nan")

    def decide(self, first: Floats, second: Floats) -> Words:
        """Give the outcome for two arms, each of shape (seed,) or (seed, draw)."""
        found = log_spread_ratio(first, second, LEVEL)
        _, low, high = (np.full(first.shape[1:], np.nan),) * 3 if found is None else found
        return np.select([high < 0, low > 0], [REPRODUCED, CONTRADICTED], UNDECIDED)

    def _reason(self, outcome: str, low: float, high: float) -> str:
        start = f"the interval of the ratio from {low:.3g} to {high:.3g}"
        if outcome == UNDECIDED:
            return f"{start} holds 1, equal spreads"
        return (
            f"{start} lies {'below 1, as' if outcome == REPRODUCED else 'above 1, not as'} claimed"
        )
