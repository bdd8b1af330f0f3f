"""Rank correlations within strata of many drawn values at once.

One row gives what `statistics.rank_correlation` gives; thousands of rows are needed for intervals.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]


def scores(values: Floats, strata: npt.NDArray[np.int64]) -> Floats:
    """Give centred midranks within strata, divided by the stratum's size + 1, row by row.

    Args:
        values: shape (draw, item), finite.
        strata: shape (item,).

    Returns:
        Shape (draw, item), as `statistics.within_strata_ranks` of each row.
    """
    found = np.zeros(values.shape)
    for one in np.unique(strata):
        inside = strata == one
        size = int(inside.sum())
        ranks = stats.rankdata(values[:, inside], axis=1)
        found[:, inside] = (ranks - (size + 1) / 2) / (size + 1)
    return found


def correlations(a: Floats, b: Floats, strata: npt.NDArray[np.int64]) -> Floats:
    """Correlate scores row by row.

    Args:
        a: scores, shape (draw, item).
        b: scores, likewise.
        strata: shape (item,).

    Returns:
        Shape (draw,), NaN where no stratum ranks both. A stratum in which either is constant is
        left out, as in `statistics.rank_correlation`.
    """
    sums = np.zeros((3, len(a)))
    for one in np.unique(strata):
        u, v = a[:, strata == one], b[:, strata == one]
        uu, vv = (u * u).sum(axis=1), (v * v).sum(axis=1)
        told = (uu > 0) & (vv > 0)
        sums += np.where(told, np.stack([(u * v).sum(axis=1), uu, vv]), 0.0)
    scale = np.sqrt(sums[1] * sums[2])
    found = np.full(sums.shape[1], np.nan)
    np.divide(sums[0], scale, out=found, where=scale > 0)
    return np.asarray(np.clip(found, -1.0, 1.0))
