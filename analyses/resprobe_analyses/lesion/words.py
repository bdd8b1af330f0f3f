"""How numbers, their intervals and what the intervals are over are written in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from resprobe_analyses import wording
from resprobe_analyses.estimates import Estimate
from resprobe_analyses.lesion.effects import GroupEffect
from resprobe_analyses.wording import correlation, p_value, signed_number, span

__all__ = [
    "correlation",
    "image_count",
    "images",
    "interval",
    "largest_first",
    "named_blocks",
    "p_value",
    "scope",
    "signed_number",
    "span",
    "unit",
]

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
    return wording.counted_images(image_count(group))


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
    return f"over {images(group)}, {wording.these(estimate.networks)}"


def interval(
    group: GroupEffect, estimate: Estimate, *, signed: bool = False, decimals: int | None = None
) -> str:
    """Write a scalar with its interval, as "0.034 [0.020, 0.058]".

    Args:
        group: its number of images sets the decimals.
        estimate: scalar.
        signed: whether to write a plus.
        decimals: instead of those that the images give.

    Returns:
        The text, as `wording.interval` writes it.
    """
    return wording.interval(estimate, image_count(group), signed=signed, decimals=decimals)


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
