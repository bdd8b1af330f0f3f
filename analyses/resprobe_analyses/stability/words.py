"""How numbers, blocks and networks are written in the sentences of the analysis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from resprobe_analyses import wording
from resprobe_analyses.estimates import Estimate
from resprobe_analyses.reading import Flags
from resprobe_analyses.stability.records import Group, Network
from resprobe_analyses.stage_names import first_to_last, stage_name

MOST_NETWORKS = 3  # of a group that are told one by one
MOST_BLOCKS = 12  # that are told one by one


def unit(group: Group, count: int) -> str:
    """Give "block" or "units" as a network without skips calls them."""
    word = "unit" if group.first.plain else "block"
    return word if count == 1 else f"{word}s"


def unit_of(groups: Sequence[Group]) -> str:
    """Give what one block of any of several groups is called: "block", "unit" or either."""
    return _either("block", groups)


def several(unit: str) -> str:
    """Give the plural of `unit_of`, as "blocks or units"."""
    return f"{unit.replace(' or ', 's or ')}s"


def branch_of(groups: Sequence[Group]) -> str:
    """Give what the branch is called, which of a network without skips is the unit."""
    return _either("branch", groups)


def _either(word: str, groups: Sequence[Group]) -> str:
    plain = {group.first.plain for group in groups}
    return " or ".join([word] * (False in plain) + ["unit"] * (True in plain))


def stage(net: Network, number: int, chosen: Flags | None = None) -> str:
    """Name a stage by its blocks, all of them or those of `chosen`, shape (block,)."""
    inside = net.layout.stage == number
    places = np.flatnonzero(inside if chosen is None else inside & chosen)
    return stage_name(number, [first_to_last([net.names[place] for place in places])])


def value(number: float, *, signed: bool = True) -> str:
    """Write a number with three decimals, or in powers of ten where these would hide it."""
    if not np.isfinite(number):
        return "not known"
    if number and (abs(number) < 5e-4 or abs(number) >= 1e4):
        text = f"{number:{'+' if signed else ''}.1e}"
        mantissa, power = text.split("e")
        return f"{mantissa}e{int(power)}".replace("-", "−")
    return wording.signed_number(number, 3) if signed else f"{number:.3f}".replace("-", "−")


def small(number: float) -> str:
    """Write an error, as "4.1e−7"."""
    return value(number, signed=False) if number >= 5e-4 or not number else _power(number)


def _power(number: float) -> str:
    mantissa, power = f"{number:.1e}".split("e")
    return f"{mantissa}e{int(power)}".replace("-", "−")


def estimate(one: Estimate, *, signed: bool = True) -> str:
    """Write a number with its interval where it has one."""
    middle = value(float(one.value), signed=signed)
    if not np.isfinite(one.low):
        return middle
    low, high = (value(float(bound), signed=signed) for bound in (one.low, one.high))
    return f"{middle} [{low}, {high}]"


def over(one: Estimate, images: int) -> str:
    """Say what a mean is over, and whether it has an interval."""
    if one.over == "images":
        no = "" if np.isfinite(one.low) else ", no interval"
        return f"mean over {wording.counted_images(images)}, {wording.these(one.networks)}{no}"
    if np.isfinite(one.low):
        return f"mean over {one.networks} seeds"
    return f"mean of {one.networks} networks, no interval below five seeds"


def span(values: Sequence[float] | np.ndarray, *, signed: bool = True) -> str:
    """Write a range, as "+0.012 to +0.310", or one number where all agree as written."""
    ends = dict.fromkeys(
        value(float(bound), signed=signed) for bound in (np.min(values), np.max(values))
    )
    return " to ".join(ends)


def listed(names: Sequence[str], most: int = MOST_BLOCKS) -> str:
    """Write names, the first few where there are many."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
