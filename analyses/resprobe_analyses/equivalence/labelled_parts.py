"""What the parts of the dataset share: estimates with intervals, series along one axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from resprobe_analyses.estimates import Estimate
from resprobe_analyses.labelling import INTERVAL, Variables, number

Floats = npt.NDArray[np.float64]


def estimated(
    dim: str, name: str, estimates: Sequence[Estimate | None], long_name: str
) -> Variables:
    """Give estimates along a dimension, and their intervals; NaN for those that do not exist."""
    nan = np.nan
    values = [nan if one is None else float(one.value) for one in estimates]
    bounds = [(nan, nan) if one is None else (one.low, one.high) for one in estimates]
    return {
        name: number((dim,), values, long_name),
        f"{name}_interval": number((dim, "bound"), bounds, f"{INTERVAL}{name}, over seeds"),
    }


def placed(
    places: npt.NDArray[Any], series: Sequence[tuple[npt.NDArray[Any], Floats] | None]
) -> Floats:
    """Put series at their places along one axis, NaN elsewhere, shape (series, place)."""
    found = np.full((len(series), places.size), np.nan)
    for row, one in zip(found, series, strict=True):
        if one is not None:
            row[np.searchsorted(places, one[0])] = one[1]
    return found
