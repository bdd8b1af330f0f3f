"""An effect is claimed in one direction: the interval over seeds leaves out no effect or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from resprobe_analyses.statistics import (
    MINIMUM_SEEDS,
    above_probability,
    below_probability,
    fisher_z,
    student_p,
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

_SCALES = {
    "identity": "95 % Student t interval of the mean over seeds",
    "log": "95 % Student t interval of the mean log ratio over seeds, given as a ratio",
    "correlation": "95 % Student t interval of the mean correlation over seeds on Fisher's z",
}


@dataclass(frozen=True)
class Directional:
    """The claim is a direction; the size that a paper prints is no part of the rule.

    Attributes:
        sign: +1 or -1, the claimed direction.
        scale: `identity`; `log` where values are logarithms of ratios, reported as ratios, and
            the reference is a ratio; `correlation` where they are correlations, averaged on
            Fisher's z.
        items: of `correlation`: how many items each correlation is over, at least 4.
    """

    sign: Literal[1, -1]
    scale: Literal["identity", "log", "correlation"] = "identity"
    items: int = 0

    def __post_init__(self) -> None:
        if self.sign not in (1, -1):
            raise ValueError(f"the sign of a claim is 1 or -1, got {self.sign}")
        if self.scale not in _SCALES:
            raise ValueError(f"a scale is one of {', '.join(_SCALES)}, got {self.scale}")
        if (self.scale == "correlation") != (self.items > 3):
            raise ValueError("correlations, and only they, take the number of items, at least 4")

    @property
    def rule(self) -> str:
        """The rule in words."""
        return (
            f"{_SCALES[self.scale]}: {REPRODUCED} if it lies {self._side(self.sign)}, "
            f"{CONTRADICTED} if it lies {self._side(-self.sign)}, else {UNDECIDED}; at least "
            f"{MINIMUM_SEEDS} seeds"
        )

    def judge(self, sample: Sample, reference: float) -> Judgement:
        """Judge a sample; `reference` sizes `needed`."""
        return judge_mean(self, sample, reference)

    def power(self, reference: float, spread: float, seeds: int) -> float:
        """Give the probability of a decision if the true effect is `reference`.

        Args:
            reference: an effect, a ratio or a correlation; its direction does not matter.
            spread: standard deviation over seeds, of logarithms or Fisher's z where these are
                averaged.
            seeds: how many.

        Returns:
            The probability that the interval leaves out no effect.

        Raises:
            ValueError: a spread that is not positive, or a ratio that is not.
        """
        effect = self._effect(reference)
        above = above_probability(0.0, effect, spread, seeds)
        return above + below_probability(0.0, effect, spread, seeds)

    def spread(self, sample: Sample) -> float:
        """Give the standard deviation over seeds, of logarithms or z where these are averaged."""
        return spread_of(self, sample)

    def scaled(self, values: Floats) -> Floats:
        """Bring correlations to Fisher's z; other values are on their scale."""
        return fisher_z(values, self.items) if self.scale == "correlation" else values

    def reported(self, number: float) -> float:
        """Turn a mean logarithm into a ratio and a mean z into a correlation."""
        if self.scale == "log":
            return float(np.exp(number))
        return float(np.tanh(number)) if self.scale == "correlation" else number

    def decide(self, values: Floats) -> Words:
        """Give the outcome for values of shape (seed,) or (seed, draw)."""
        _, low, high = interval(self.scaled(values))
        ahead, behind = (low > 0, high < 0) if self.sign > 0 else (high < 0, low > 0)
        return np.select([ahead, behind], [REPRODUCED, CONTRADICTED], UNDECIDED)

    def p_value(self, values: Floats) -> float:
        """Give the two-sided p-value of no effect for scaled values, shape (seed,)."""
        found = student_p(values)
        return float("nan") if found is None else float(found)

    def reason(self, outcome: str, low: float, high: float) -> str:
        """Say why, from the reported interval."""
        start = f"the interval from {low:.3g} to {high:.3g}"
        if outcome == UNDECIDED:
            return f"{start} holds {self._nothing}, no effect"
        side = self.sign if outcome == REPRODUCED else -self.sign
        claim = "as claimed" if outcome == REPRODUCED else "against the claim"
        return f"{start} lies {self._side(side)}, {claim}"

    @property
    def _nothing(self) -> int:
        return 1 if self.scale == "log" else 0

    def _side(self, sign: int) -> str:
        return f"{'above' if sign > 0 else 'below'} {self._nothing}"

    def _effect(self, reference: float) -> float:
        if self.scale == "log":
            if not reference > 0:
                raise ValueError(f"the reference of log ratios is a positive ratio: {reference}")
            return float(np.log(reference))
        return float(self.scaled(np.asarray(reference, dtype=np.float64)))
