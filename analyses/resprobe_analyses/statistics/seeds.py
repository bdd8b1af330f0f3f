"""From a few networks, trained with different seeds, to the training in general.

Below `MINIMUM_SEEDS` there is no interval: the networks at hand are reported as such. Bootstrap
intervals do not cover at 3 to 10 seeds; Student's t does.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]

MINIMUM_SEEDS = 5


def student_interval(
    values: npt.ArrayLike, level: float = 0.95
) -> tuple[Floats, Floats, Floats] | None:
    """Give the mean over seeds with Student's t interval, or None for fewer than five seeds.

    Args:
        values: shape (seed,) or (seed, item).
        level: coverage aimed at.

    Returns:
        Mean, lower and upper bound, each of shape () or (item,), or None. Bounds are NaN where
        all seeds agree exactly: a spread of 0 in five counts is no evidence of no spread.

    Raises:
        ValueError: a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    array = np.asarray(values, dtype=np.float64)
    seeds = array.shape[0] if array.ndim else 0
    if seeds < MINIMUM_SEEDS:
        return None
    mean, error = mean_and_error(array)
    half = stats.t.ppf(0.5 + level / 2, seeds - 1) * np.where(error > 0, error, np.nan)
    return mean, np.asarray(mean - half), np.asarray(mean + half)


def student_p(values: npt.ArrayLike) -> Floats | None:
    """Give the two-sided p-value of a mean of 0 over seeds, or None for fewer than five seeds.

    Args:
        values: shape (seed,) or (seed, item).

    Returns:
        p-values of shape () or (item,), or None; 1 where all seeds agree exactly, since there is
        then no spread to judge by.
    """
    array = np.asarray(values, dtype=np.float64)
    seeds = array.shape[0] if array.ndim else 0
    if seeds < MINIMUM_SEEDS:
        return None
    mean, error = mean_and_error(array)
    ratio = np.divide(np.abs(mean), error, out=np.zeros_like(mean), where=error > 0)
    return np.asarray(2 * stats.t.sf(ratio, seeds - 1), dtype=np.float64)


def mean_and_error(array: Floats) -> tuple[Floats, Floats]:
    """Give the mean over the first axis and its standard error, 0 where all values are equal."""
    mean = np.asarray(array.mean(axis=0))
    error = np.asarray(array.std(axis=0, ddof=1) / np.sqrt(array.shape[0]))
    # equal numbers may differ from their own mean by rounding
    return mean, np.where(np.ptp(array, axis=0) == 0, 0.0, error)
