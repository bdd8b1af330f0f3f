"""How a quantity of a block's Jacobian lies over images: median and the middle of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resprobe_analyses.stability.records import Network
from resprobe_analyses.stability.training import median, quantile

Floats = npt.NDArray[np.float64]

SPREAD = 0.9
SPREAD_TEXT = "90 %"


@dataclass(frozen=True)
class Spread:
    """Median and bounds of the middle 90 % of values; a spread, no interval of the median.

    Attributes:
        middle: shape (item, …); NaN where there is no value.
        low: same shape.
        high: same shape.
    """

    middle: Floats
    low: Floats
    high: Floats


def spread_of(values: Sequence[Floats]) -> Spread:
    """Give the spread over the images of all networks taken together.

    Args:
        values: of each network, shape (image, item, …); what is not finite is left out.
    """
    pooled = np.concatenate(list(values))
    tail = (1 - SPREAD) / 2
    return Spread(median(pooled, 0), quantile(pooled, tail, 0), quantile(pooled, 1 - tail, 0))


def cells(net: Network, name: str) -> Floats | None:
    """Give a quantity of all Jacobians, shape (image, block, part); None if not collected."""
    if name in ("spectral_abscissa", "spectral_radius"):
        return None if net.spectrum is None else np.asarray(getattr(net.spectrum, name))
    return np.asarray(getattr(net.norms, name))
