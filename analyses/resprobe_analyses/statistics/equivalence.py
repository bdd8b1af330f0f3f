"""Whether a mean over seeds lies between two bounds or beyond them: one-sided t tests."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

from resprobe_analyses.statistics.seeds import MINIMUM_SEEDS, mean_and_error

Floats = npt.NDArray[np.float64]


def equivalence_p(values: npt.ArrayLike, low: float, high: float) -> Floats | None:
    """Give the p-value of two one-sided tests, or None for fewer than five seeds.

    What is tested is that the mean lies below `low` or above `high`; p is the larger of the two
    one-sided ones. It is below α exactly where Student's interval of level 1 - 2α lies between
    the bounds.

    Args:
        values: shape (seed,) or (seed, item), such as paired differences.
        low: the lower bound.
        high: the upper bound, above it.

    Returns:
        p-values of shape () or (item,), or None; 1 where all seeds agree exactly, since there is
        then no spread to judge by.

    Raises:
        ValueError: bounds that are not in order.

    Source:
        Schuirmann (1987), Journal of Pharmacokinetics and Biopharmaceutics 15, 657-680.
    """
    _check_order(low, high)
    return _one_sided(values, low, high, np.maximum, 1)


def beyond_p(values: npt.ArrayLike, low: float, high: float) -> Floats | None:
    """Give the two-sided p-value of a mean between two bounds, or None for fewer than five seeds.

    It is below α exactly where Student's interval of level 1 - α lies wholly beyond one of the
    bounds.

    Args:
        values: shape (seed,) or (seed, item).
        low: the lower bound.
        high: the upper bound, above it.

    Returns:
        p-values of shape () or (item,), or None; 1 where all seeds agree exactly.

    Raises:
        ValueError: bounds that are not in order.
    """
    _check_order(low, high)
    # with the bounds exchanged: above the upper or below the lower one
    return _one_sided(values, high, low, np.minimum, 2)


def _one_sided(
    values: npt.ArrayLike, above: float, below: float, combine: np.ufunc, factor: int
) -> Floats | None:
    """Combine the one-sided p-values of a mean that is above one bound and below another."""
    array = np.asarray(values, dtype=np.float64)
    seeds = array.shape[0] if array.ndim else 0
    if seeds < MINIMUM_SEEDS:
        return None
    mean, error = mean_and_error(array)
    safe = np.where(error > 0, error, 1.0)
    tails = (stats.t.sf(gap / safe, seeds - 1) for gap in (mean - above, below - mean))
    p_value = np.minimum(factor * combine(*tails), 1.0)
    return np.asarray(np.where(error > 0, p_value, 1.0), dtype=np.float64)


def _check_order(low: float, high: float) -> None:
    if not low < high:
        raise ValueError(f"the lower bound {low} must lie below the upper bound {high}")
