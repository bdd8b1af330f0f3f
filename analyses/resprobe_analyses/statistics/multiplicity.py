"""Adjustment of p-values for the number of tests made."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def holm(p_values: npt.ArrayLike) -> Floats:
    """Adjust p-values so that rejecting below α keeps the family-wise error at α.

    The k-th smallest of m is multiplied by m − k + 1; a running maximum keeps the order, and the
    result is capped at 1. It holds under any dependence, which the lesions of one network on the
    same images certainly have; Hochberg's and Benjamini-Hochberg's do not in general.

    Args:
        p_values: shape (test,), in [0, 1]; NaN marks a test that was not made: it stays NaN and
            does not count.

    Returns:
        Adjusted p-values, shape (test,), float64.

    Raises:
        ValueError: a value outside [0, 1], or not one-dimensional.

    Source:
        Holm (1979), Scandinavian Journal of Statistics 6(2), 65-70.
    """
    values = np.asarray(p_values, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"p_values must have one dimension, got shape {values.shape}")
    made = ~np.isnan(values)
    tested = values[made]
    if tested.size and (tested.min() < 0 or tested.max() > 1):
        raise ValueError("p_values must lie between 0 and 1")
    order = np.argsort(tested, kind="stable")
    factors = np.arange(tested.size, 0, -1)
    stepped = np.minimum(np.maximum.accumulate(tested[order] * factors), 1.0)
    adjusted = np.full(values.shape, np.nan)
    adjusted[np.flatnonzero(made)[order]] = stepped
    return adjusted
