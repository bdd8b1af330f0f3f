"""How numbers, their intervals and what the intervals are over are written in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from resprobe_analyses.lesion.effects import Estimate, GroupEffect
from resprobe_analyses.statistics import RankCorrelation

MOST_NAMED = 3  # blocks named in one sentence


def unit(group: GroupEffect, count: int = 1) -> str:
    """Give "block", or "unit" for a plain network, in the plural unless there is one."""
    word = "unit" if group.group.plain else "block"
    return word if count == 1 else f"{word}s"


def image_count(group: GroupEffect) -> int:
    """Give the number of test images that all inputs share."""
    return int(group.group.networks[0].whole_wrong.size)


def images(group: GroupEffect) -> str:
    """Give "500 test images"."""
    count = image_count(group)
    return f"{count:,} test image{'s' if count != 1 else ''}"


def scope(group: GroupEffect, estimate: Estimate, *, paired: bool = False) -> str:
    """Say what an interval is over.

    Args:
        group: whose networks were measured.
        estimate: with the interval.
        paired: whether it compares two groups; the networks are then told by the caller.

    Returns:
        "over 500 test images, this network", "over 500 test images, these 2 networks", "over 5
        seeds", …
    """
    if estimate.over == "seeds":
        return f"over {estimate.networks} {'pairs of equal ' if paired else ''}seeds"
    if paired:
        return f"over {images(group)}"
    which = "this network" if estimate.networks == 1 else f"these {estimate.networks} networks"
    return f"over {images(group)}, {which}"


def interval(
    group: GroupEffect, estimate: Estimate, *, signed: bool = False, decimals: int | None = None
) -> str:
    """Write a scalar with its interval, as "0.034 [0.020, 0.058]".

    Args:
        group: its number of images sets the decimals, 3 below 2,000 images and 4 above.
        estimate: scalar.
        signed: whether to write a plus.
        decimals: instead of those that the images give.

    Returns:
        The text. With a sign, more decimals are written where the interval leaves out 0 but a bound
        would be rounded to it, and where both bounds would be.
    """
    if decimals is None:
        decimals = 3 if image_count(group) < 2000 else 4
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


def named_blocks(
    group: GroupEffect, increase: Estimate, names: Sequence[str], hits: Iterable[int]
) -> str:
    """Name blocks with their error increases.

    Args:
        group: whose layout tells transitions.
        increase: by block.
        names: of all blocks.
        hits: which blocks to name, in order.

    Returns:
        "stage2.0 (transition) by +0.120 [+0.090, +0.155], …" for the first three, then a count.
    """
    chosen = [int(hit) for hit in hits]
    told = []
    for hit in chosen[:MOST_NAMED]:
        mark = " (transition)" if group.layout.transition[hit] else ""
        told.append(f"{names[hit]}{mark} by {interval(group, _at(increase, hit), signed=True)}")
    more = len(chosen) - len(told)
    return ", ".join(told) + (f" and {more} more" if more > 0 else "")


def largest_first(values: npt.NDArray[np.float64], hits: npt.NDArray[np.intp]) -> list[int]:
    """Order blocks by the size of their change."""
    return [int(hit) for hit in hits[np.argsort(-np.abs(values[hits]), kind="stable")]]


def _at(estimate: Estimate, block: int) -> Estimate:
    value, low, high = (
        np.asarray(bound[block]) for bound in (estimate.value, estimate.low, estimate.high)
    )
    return Estimate(value, low, high, over=estimate.over, networks=estimate.networks)
