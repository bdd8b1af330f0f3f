"""How often one sample lies above another, whatever their scale."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def cliffs_delta(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Give P(a > b) - P(a < b) over all pairs of a in `first` and b in `second`.

    Args:
        first: shape (item,); values that are not finite are left out.
        second: likewise, of any length.

    Returns:
        1 where every a lies above every b, -1 where every one lies below, 0 where neither is seen
        more often; NaN where either has no finite value.

    Source:
        Cliff (1993), Psychological Bulletin 114, 494-509.
    """
    a, b = (np.asarray(values, dtype=np.float64).ravel() for values in (first, second))
    a, b = a[np.isfinite(a)], np.sort(b[np.isfinite(b)])
    if not a.size or not b.size:
        return float("nan")
    below = np.searchsorted(b, a, side="left").sum()
    above = (b.size - np.searchsorted(b, a, side="right")).sum()
    return float((int(below) - int(above)) / (a.size * b.size))
