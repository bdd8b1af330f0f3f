"""How the numbers of an analysis get names, dimensions, units and meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from resprobe_analyses.estimates import LEVEL

Variables = dict[str, tuple[tuple[str, ...], npt.NDArray[Any], dict[str, Any]]]

INTERVAL = f"{LEVEL:.0%} interval of "


def number(
    dims: tuple[str, ...], values: Any, long_name: str
) -> tuple[tuple[str, ...], npt.NDArray[Any], dict[str, Any]]:
    """Give a dimensionless variable."""
    return dims, np.asarray(values), attributes(long_name)


def attributes(long_name: str) -> dict[str, Any]:
    """Give the attributes of a dimensionless variable."""
    return {"units": "1", "long_name": long_name}


def strings(values: Any) -> npt.NDArray[Any]:
    """Give texts as netCDF stores them; a numpy array of objects would be pickled."""
    return np.asarray(values, dtype=str)
