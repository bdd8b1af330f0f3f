"""How predictors stand beside each other: what is said of one network and of a group alike."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from resprobe_analyses import statistics
from resprobe_analyses.estimates import LEVEL

Floats = npt.NDArray[np.float64]

ALPHA = 1 - LEVEL
ERROR, LOSS = "error", "loss"
EFFECTS = (ERROR, LOSS)
STAGE, KIND = "stage", "stage and kind"


@dataclass(frozen=True)
class Standing:
    """Predictors against one effect of the lesion.

    Attributes:
        names: of the predictors.
        value: rank correlation with the effect, shape (predictor,); NaN where nothing is ranked.
        low: lower bound, over images or seeds, shape (predictor,); NaN without an interval.
        high: upper bound, shape (predictor,).
        over: "images" (this network) or "seeds".
        networks: how many are behind it.
        random_p: that a random ranking does as well, two-sided, shape (predictor,): by permutation
            of the blocks of one network, by Student's t over seeds.
        difference: correlation of the row's predictor minus that of the column's, shape
            (predictor, predictor); over several networks that of Fisher's z.
        difference_low: lower bound, paired over the same images or seeds.
        difference_high: upper bound.
        difference_p: that they are equal.
        reliability: of the ranking by the lesion, between measurements on as many images each.
        predictor_reliability: of the ranking by each predictor likewise, shape (predictor,).
        blocks: that are ranked.
        strata: that they lie in.
        random: range of 95 % of random rankings of one network.
        smallest_p: that any ranking of these blocks can have; NaN for a group.
        by_blocks: the correlations of one network with their intervals over blocks.
    """

    names: tuple[str, ...]
    value: Floats
    low: Floats
    high: Floats
    over: str
    networks: int
    random_p: Floats
    difference: Floats
    difference_low: Floats
    difference_high: Floats
    difference_p: Floats
    reliability: float
    predictor_reliability: Floats
    blocks: int
    strata: int
    random: tuple[float, float]
    smallest_p: float
    by_blocks: tuple[statistics.RankCorrelation, ...] = field(default=(), repr=False)

    @property
    def ceiling(self) -> float:
        """What a predictor without any noise could reach: the root of the reliability."""
        return float(np.sqrt(self.reliability)) if self.reliability > 0 else float("nan")

    @property
    def random_p_holm(self) -> Floats:
        """`random_p` adjusted over the predictors, shape (predictor,)."""
        return statistics.holm(self.random_p)

    @property
    def difference_p_holm(self) -> Floats:
        """`difference_p` adjusted over all pairs, shape (predictor, predictor)."""
        found = np.full(self.difference_p.shape, np.nan)
        rows, columns = np.triu_indices(len(self.names), 1)
        found[rows, columns] = statistics.holm(self.difference_p[rows, columns])
        found[columns, rows] = found[rows, columns]
        return found

    @property
    def ordered(self) -> list[int]:
        """Predictors that rank something, the highest correlation first."""
        known = np.flatnonzero(np.isfinite(self.value))
        return [int(one) for one in known[np.argsort(-self.value[known], kind="stable")]]

    @property
    def decidable(self) -> bool:
        """Whether any ranking could be told from a random one after Holm."""
        return bool(
            not np.isfinite(self.smallest_p)
            or self.smallest_p * np.isfinite(self.random_p).sum() < ALPHA
        )

    @property
    def better_than_random(self) -> list[int]:
        """Predictors that rank better than at random, the best first."""
        adjusted = self.random_p_holm
        return [one for one in self.ordered if adjusted[one] < ALPHA and self.value[one] > 0]

    @property
    def against(self) -> list[int]:
        """Predictors that rank the wrong way round, and not at random."""
        adjusted = self.random_p_holm
        return [one for one in self.ordered if adjusted[one] < ALPHA and self.value[one] < 0]

    @property
    def not_told_apart(self) -> list[int]:
        """Predictors that are not told apart from the best one, without it.

        Where no ranking could be told from a random one, neither can two: these are all others.
        """
        if not self.decidable:
            return self.ordered[1:]
        adjusted = self.difference_p_holm
        return [one for one in self.ordered[1:] if not adjusted[self.ordered[0], one] < ALPHA]

    @property
    def worse(self) -> list[int]:
        """Predictors that rank worse than the best one, where any could be told from chance."""
        if not self.decidable:
            return []
        adjusted = self.difference_p_holm
        return [one for one in self.ordered[1:] if adjusted[self.ordered[0], one] < ALPHA]
