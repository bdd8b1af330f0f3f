"""How levels, ratios and what an interval is over are written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from resprobe_analyses import wording
from resprobe_analyses.cushions.sentences import size
from resprobe_analyses.estimates import Estimate


def percent(level: float, digits: int = 3) -> str:
    """Write a relative norm, as "5 %"."""
    return f"{100 * level:.{digits}g} %"


def counted(count: int, what: str) -> str:
    """Write how many, as "1 layer" or "2 layers"."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def change(logarithm: Estimate) -> str:
    """Write the exponential of a scalar with its interval, as "1.1 [1, 1.3] %"."""
    value, low, high = (
        f"{100 * float(np.exp(one)):.2g}"
        for one in (logarithm.value, logarithm.low, logarithm.high)
    )
    return f"{value} [{low}, {high}] %" if np.isfinite(logarithm.low) else f"{value} %"


def ratio(logarithm: Estimate) -> str:
    """Write the exponential of a scalar with its interval, as "0.72 [0.65, 0.80]"."""
    value, low, high = (
        number(float(np.exp(one))) for one in (logarithm.value, logarithm.low, logarithm.high)
    )
    return f"{value} [{low}, {high}]" if np.isfinite(logarithm.low) else value


def number(value: float) -> str:
    """Write a positive number with two or three digits, as "0.72", "2.4e9" or "infinite"."""
    if np.isinf(value):
        return "infinite"
    if 0.0995 <= value < 9.95:
        return f"{value:.2f}"
    return size(value).replace("e+0", "e").replace("e+", "e")


def signed(estimate: Estimate, decimals: int = 2) -> str:
    """Write a scalar with its sign and its interval where it has one."""
    value = float(estimate.value)
    if not np.isfinite(value):
        return "no number"
    text = wording.signed_number(value, decimals)
    if not np.isfinite(estimate.low):
        return text
    return f"{text} {wording.span(float(estimate.low), float(estimate.high), decimals)}"


def unsigned(estimate: Estimate) -> str:
    """Write a scalar with its interval where it has one, without plus signs."""
    return signed(estimate).replace("+", "")


def at(estimate: Estimate, *place: int) -> Estimate:
    """Give one number of an estimate."""
    return Estimate(
        np.asarray(estimate.value[place]),
        np.asarray(estimate.low[place]),
        np.asarray(estimate.high[place]),
        estimate.over,
        estimate.networks,
    )


def basis(estimate: Estimate, images: int, what: str = "network") -> str:
    """Say what an interval is over."""
    count = estimate.networks
    if estimate.over == "seeds":
        return f"over {count} seeds"
    these = f"this {what}" if count == 1 else f"these {count} {what}s"
    if what == "pair":
        these += " of networks"
    return f"over {wording.counted_images(images)}, {these} and these draws of noise"


def listed(parts: Sequence[str]) -> str:
    """Join words, as "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)
