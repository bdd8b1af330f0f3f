"""Runs are claimed to fail, or to train, more often than a stated rate: k of n runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from resprobe_analyses.statistics import (
    MINIMUM_SEEDS,
    MOST_SEEDS,
    rate_interval,
    rate_p,
    rate_power,
)
from resprobe_analyses.studies.criteria.judgement import (
    CONTRADICTED,
    DECIDING_POWER,
    LEVEL,
    REPRODUCED,
    UNDECIDED,
    Judgement,
    too_few,
)
from resprobe_analyses.studies.criteria.means import Words
from resprobe_analyses.studies.evidence import Sample

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FailureRate:
    """The claim is that runs fail more often (sign +1) or less often (-1) than a stated rate.

    Values are 1 for a run that failed and 0 for one that trained. Failures are what is counted
    here, so a sample of this rule marks no run as diverged: none may be left out. The reference
    is a rate, and power needs no spread from a pilot.

    Attributes:
        sign: +1 if they are claimed to fail more often than `rate`, -1 if less often.
        rate: in (0, 1).
    """

    sign: Literal[1, -1]
    rate: float

    def __post_init__(self) -> None:
        if self.sign not in (1, -1) or not 0 < self.rate < 1:
            raise ValueError("a failure rate takes a sign of 1 or -1 and a rate between 0 and 1")

    @property
    def rule(self) -> str:
        """The rule in words."""
        more, less = ("above", "below") if self.sign > 0 else ("below", "above")
        return (
            f"share of failed runs with the 95 % Clopper-Pearson interval: {REPRODUCED} if it "
            f"lies {more} {self.rate:g}, {CONTRADICTED} if it lies {less} {self.rate:g}, else "
            f"{UNDECIDED}; at least {MINIMUM_SEEDS} seeds"
        )

    def judge(self, sample: Sample, reference: float) -> Judgement:
        """Judge a sample of failures; `reference` sizes `needed`.

        Raises:
            ValueError: a run marked as diverged, or a value other than 0 and 1.
        """
        failed = sample.present
        if sample.diverged.any() or not np.isin(failed, (0, 1)).all():
            raise ValueError("failures are 1 and 0, and none of them is marked as diverged")
        if failed.size < MINIMUM_SEEDS:
            return too_few(failed.size, len(sample.seeds))
        count = float(failed.sum())
        low, high = (float(bound) for bound in rate_interval(count, failed.size, LEVEL))
        outcome = str(self.decide(failed))
        return Judgement(
            outcome=outcome,
            value=count / failed.size,
            low=low,
            high=high,
            p_value=float(rate_p(count, failed.size, self.rate)),
            seeds=failed.size,
            needed=self._needed(reference) if outcome == UNDECIDED else None,
            reason=self._reason(outcome, int(count), failed.size, (low, high)),
        )

    def power(self, reference: float, spread: float, seeds: int) -> float:
        """Give the probability of a decision if the true rate is `reference`.

        Args:
            reference: a rate.
            spread: not used: that of a count follows from the rate.
            seeds: how many runs.

        Returns:
            The probability that the interval leaves out the stated rate; 0 below five seeds.

        Raises:
            ValueError: a rate outside [0, 1].
        """
        return float(rate_power(reference, self.rate, seeds)) if seeds >= MINIMUM_SEEDS else 0.0

    def spread(self, sample: Sample) -> float:
        """Give NaN: `power` needs no spread."""
        return float("nan")

    def decide(self, failed: Floats) -> Words:
        """Give the outcome for failures, shape (seed,) or (seed, draw)."""
        low, high = rate_interval(failed.sum(axis=0), failed.shape[0], LEVEL)
        more, less = low > self.rate, high < self.rate
        ahead, behind = (more, less) if self.sign > 0 else (less, more)
        return np.select([ahead, behind], [REPRODUCED, CONTRADICTED], UNDECIDED)

    def _needed(self, reference: float) -> tuple[int, int]:
        # power goes up and down with the number of runs, so the first that reaches it is looked up
        seeds = np.arange(MINIMUM_SEEDS, MOST_SEEDS + 1)
        reached = seeds[rate_power(reference, self.rate, seeds) >= DECIDING_POWER]
        enough = int(reached[0]) if reached.size else MOST_SEEDS
        return enough, enough

    def _reason(self, outcome: str, count: int, runs: int, bounds: tuple[float, float]) -> str:
        start = f"{count} of {runs} runs failed, a rate between {bounds[0]:.3g} and {bounds[1]:.3g}"
        if outcome == UNDECIDED:
            return f"{start}, which holds {self.rate:g}"
        side = "above" if bounds[0] > self.rate else "below"
        return f"{start}, {side} {self.rate:g}"
