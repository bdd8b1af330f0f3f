"""Means of paired differences with their intervals and tests, by item and over items."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

from resprobe_analyses import statistics
from resprobe_analyses.estimates import LEVEL, Estimate, estimate_change, over_seeds
from resprobe_analyses.statistics.seeds import mean_and_error

Floats = npt.NDArray[np.float64]


def means_of(paired: Floats, parts: int, binary: bool) -> Estimate:
    """Give the mean difference by item.

    Args:
        paired: shape (pair, image, item); NaN where there is none. A single image stands for what
            no image is behind.
        parts: how many differences of networks each entry is the mean of.
        binary: whether each of these is one of right and wrong.

    Returns:
        Over seeds from five pairs on, else over images, else without an interval; shape (item,).
    """
    found = [_mean(_known(paired[:, :, item]), parts, binary) for item in range(paired.shape[2])]
    value, low, high = (
        np.array([getattr(one, bound) for one in found]) for bound in ("value", "low", "high")
    )
    return Estimate(value, low, high, over=_over(paired), networks=paired.shape[0])


def mean_of(paired: Floats, parts: int, binary: bool) -> Estimate:
    """Give the mean difference over items, of the images that have a number in all of them.

    Images that lack an item are left out: their means would be over other items.

    Args:
        paired: shape (pair, image, item), NaN where there is none.
        parts: as of `means_of`.
        binary: as of `means_of`.

    Returns:
        A scalar.
    """
    return _mean(_known(paired.mean(axis=2)), parts * paired.shape[2], binary)


def p_values_of(paired: Floats, parts: int, binary: bool) -> Floats:
    """Give the two-sided p-values that belong to `means_of`, shape (item,).

    NaN where there is no interval, and so no test.
    """
    return np.array(
        [_p_value(_known(paired[:, :, item]), parts, binary) for item in range(paired.shape[2])]
    )


def _known(paired: Floats) -> Floats:
    """Leave out the images that a pair has no number of, (pair, image)."""
    return paired[:, np.isfinite(paired).all(axis=0)]


def _over(paired: Floats) -> str:
    by_seed = paired.shape[0] >= statistics.MINIMUM_SEEDS
    return "seeds" if by_seed or paired.shape[1] == 1 else "images"


def _mean(paired: Floats, parts: int, binary: bool) -> Estimate:
    pairs, images = paired.shape
    if not images:
        nothing = np.asarray(np.nan)
        return Estimate(nothing, nothing, nothing, "images", pairs)
    if pairs >= statistics.MINIMUM_SEEDS or images == 1:
        return over_seeds(paired.mean(axis=1))
    if binary:
        return estimate_change(paired, parts)
    by_image = statistics.mean_interval(paired.mean(axis=0), LEVEL)
    return Estimate(*by_image, over="images", networks=pairs)


def _p_value(paired: Floats, parts: int, binary: bool) -> float:
    pairs, images = paired.shape
    if not images:
        return float("nan")
    by_seed = statistics.student_p(paired.mean(axis=1))
    if by_seed is not None:
        return float(by_seed)
    if images == 1:
        return float("nan")
    by_image = paired.mean(axis=0)
    if binary:
        return float(statistics.mean_change_p(by_image, parts * pairs))
    mean, error = mean_and_error(by_image)
    if error == 0:  # equal on every image, as of one network with itself
        return float(mean == 0)
    return float(2 * stats.t.sf(np.abs(mean) / error, images - 1))
