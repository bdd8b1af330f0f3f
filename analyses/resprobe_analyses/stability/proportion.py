"""Exact intervals of shares of few images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]


def exact_interval(
    least: npt.ArrayLike, most: npt.ArrayLike, total: npt.ArrayLike, level: float = 0.95
) -> tuple[Floats, Floats]:
    """Give Clopper and Pearson's interval of a proportion whose count is known within bounds.

    With `least` = `most` it is theirs, which covers at least at the level for any number of
    trials. Where some trials are undecided, the lower bound counts them as failures and the upper
    one as successes.

    Args:
        least: successes that are certain, any shape, between 0 and `most`.
        most: successes if every undecided trial is one, same shape, at most `total`.
        total: trials, same shape; 0 gives NaN.
        level: coverage aimed at.

    Returns:
        Lower and upper bounds, shaped like the counts.

    Raises:
        ValueError: counts out of order, or a level outside (0, 1).

    Source:
        Clopper & Pearson (1934), Biometrika 26, 404-413.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    few, many, trials = (np.asarray(count, dtype=np.int64) for count in (least, most, total))
    if np.any(few < 0) or np.any(few > many) or np.any(many > trials):
        raise ValueError("counts must satisfy 0 <= least <= most <= total")
    tail = (1 - level) / 2
    # the beta distribution has no parameter 0: those bounds are 0 and 1
    low = stats.beta.ppf(tail, np.maximum(few, 1), trials - few + 1)
    high = stats.beta.ppf(1 - tail, many + 1, np.maximum(trials - many, 1))
    low = np.where(few == 0, 0.0, low)
    high = np.where(many == trials, 1.0, high)
    return np.where(trials == 0, np.nan, low), np.where(trials == 0, np.nan, high)
