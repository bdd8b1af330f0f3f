"""How numbers and their intervals are written in sentences."""

from __future__ import annotations

import numpy as np

from resprobe_analyses.estimates import Estimate
from resprobe_analyses.statistics import RankCorrelation


def counted_images(count: int) -> str:
    """Give "500 test images"."""
    return f"{count:,} test image{'s' if count != 1 else ''}"


def these(networks: int) -> str:
    """Give "this network" or "these 2 networks"."""
    return "this network" if networks == 1 else f"these {networks} networks"


def interval(
    estimate: Estimate, images: int, *, signed: bool = False, decimals: int | None = None
) -> str:
    """Write a scalar with its interval, as "0.034 [0.020, 0.058]".

    Args:
        estimate: scalar.
        images: how many are behind it; they set the decimals, 3 below 2,000 images and 4 above.
        signed: whether to write a plus.
        decimals: instead of those that the images give.

    Returns:
        The text. With a sign, more decimals are written where the interval leaves out 0 but a bound
        would be rounded to it, and where both bounds would be.
    """
    if decimals is None:
        decimals = 3 if images < 2000 else 4
    numbers = [float(number) for number in (estimate.value, estimate.low, estimate.high)]
    if not np.isfinite(numbers[1]):
        value = _number(numbers[0], decimals, signed)
        return f"{value} (no interval: the {estimate.networks} networks agree exactly)"
    sizes = [abs(bound) for bound in numbers[1:] if bound]
    telling = min(sizes, default=1.0) if estimate.direction else max(sizes, default=1.0)
    while signed and round(telling, decimals) == 0 and decimals < 6:
        decimals += 1
    value, low, high = (_number(number, decimals, signed) for number in numbers)
    return f"{value} [{low}, {high}]"


def span(low: float, high: float, decimals: int = 2) -> str:
    """Write a range of signed numbers, as "[−0.40, +0.40]"."""
    return f"[{signed_number(low, decimals)}, {signed_number(high, decimals)}]"


def signed_number(value: float, decimals: int = 2) -> str:
    """Write a number with its sign; 0 has none."""
    return _number(value, decimals, signed=True)


def _number(value: float, decimals: int, signed: bool) -> str:
    rounded = round(value, decimals)
    if rounded == 0:
        return f"{0:.{decimals}f}"
    return f"{rounded:{'+' if signed else ''}.{decimals}f}".replace("-", "−")


def p_value(value: float) -> str:
    """Write a p-value, as "p = 0.012" or "p < 0.001"."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def correlation(found: RankCorrelation) -> str:
    """Write a rank correlation with its interval, if it has one."""
    bounds = f" {span(found.low, found.high)}" if np.isfinite(found.low) else ""
    return f"{signed_number(found.value)}{bounds}"
