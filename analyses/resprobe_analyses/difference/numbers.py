"""How a difference of any size is written with its interval."""

from __future__ import annotations

import numpy as np

from resprobe_analyses import wording
from resprobe_analyses.difference.compared import Difference
from resprobe_analyses.estimates import Estimate

MOST_DECIMALS = 5


def interval_at(one: Difference, item: int) -> str:
    """Write the difference of one item with its interval."""
    value, low, high = (
        np.asarray(bound[item]) for bound in (one.change.value, one.change.low, one.change.high)
    )
    return interval(one, Estimate(value, low, high, one.change.over, one.change.networks))


def interval(one: Difference, estimate: Estimate) -> str:
    """Write a scalar with its interval, as "+0.034 [+0.020, +0.058]" or "1.31 [1.28, 1.34]".

    Args:
        one: what was compared; a ratio is written without a sign.
        estimate: scalar.

    Returns:
        The text with units, if any. The width of the interval sets the decimals; of numbers too
        small for five decimals three digits are written, of ratios five decimals.
    """
    if one.quantity.binary:
        return wording.interval(estimate, one.images, signed=True)
    numbers = [float(bound) for bound in (estimate.value, estimate.low, estimate.high)]
    known = [number for number in numbers if np.isfinite(number)]
    decimals = _decimals(known)
    if one.quantity.ratio and decimals is None and 1e-2 < max(known, default=0.0) < 1e5:
        decimals = MOST_DECIMALS  # three digits of 1.00002 would say that nothing changed
    told = [_written(number, decimals, signed=not one.quantity.ratio) for number in known]
    units = "" if one.quantity.ratio or one.quantity.units == "1" else f" {one.quantity.units}"
    if len(told) < 3:
        return f"{told[0] if told else 'no number'}{units}"
    return f"{told[0]} [{told[1]}, {told[2]}]{units}"


def _decimals(numbers: list[float]) -> int | None:
    """Give as many decimals as show two digits of the width; None for three digits of each."""
    size = max(map(abs, numbers), default=0.0)
    width = (max(numbers) - min(numbers)) / 2 if len(numbers) > 1 else size / 10
    if width <= 0 or size >= 1e5:
        return 3 if 1e-2 < size < 1e5 else None
    decimals = max(0, int(np.ceil(-np.log10(width))) + 1)
    return decimals if decimals <= MOST_DECIMALS else None


def _written(number: float, decimals: int | None, *, signed: bool) -> str:
    if decimals is not None:
        return wording.signed_number(number, decimals) if signed else f"{number:.{decimals}f}"
    return f"{number:{'+' if signed and number else ''}.3g}".replace("-", "−")
