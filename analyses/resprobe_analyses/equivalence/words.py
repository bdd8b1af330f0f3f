"""How numbers, their intervals over seeds and their networks are written in sentences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from resprobe_analyses import wording
from resprobe_analyses.estimates import Estimate
from resprobe_analyses.statistics import MINIMUM_SEEDS

BY_ROUNDING = 1e-3  # of the largest number; a distance above it is told beside that number


def size(value: float) -> str:
    """Write a number with two digits, as "0.0042", "1,900" or "2.3e−06"."""
    if not np.isfinite(value):
        return "no number"
    if 100 <= abs(value) < 1e6:
        return f"{float(f'{value:.2g}'):,.0f}".replace("-", "−")
    return f"{value:.2g}".replace("-", "−")


def signed(value: float) -> str:
    """Write a number with two digits and its sign, as "+0.0042"."""
    return f"+{size(value)}" if value > 0 else size(value)


def apart(multiple: float, unit: float) -> str:
    """Write a distance in units of rounding, or beside the largest number where it is no rounding.

    Args:
        multiple: distance/(u·scale).
        unit: u, the unit roundoff.
    """
    if multiple * unit > BY_ROUNDING:
        return f"{percent(multiple * unit)} of the largest"
    return f"{size(multiple)} unit{'' if size(multiple) == '1' else 's'} of rounding"


def percent(value: float) -> str:
    """Write a fraction as "76 %"."""
    return f"{100 * value:.3g} %" if np.isfinite(value) else "no number"


def points(value: float) -> str:
    """Write a difference of fractions, as "+0.42"; the unit is for the sentence to say."""
    return wording.signed_number(100 * value)


def value_of(one: Estimate, write: Callable[[float], str] = signed) -> str:
    """Write a scalar, with its interval where there is one."""
    value = write(float(one.value))
    if not np.isfinite(one.low):
        return value
    return f"{value} [{write(float(one.low))}, {write(float(one.high))}]"


def basis(one: Estimate) -> str:
    """Say what an interval is over, or why there is none."""
    seeds = "one seed" if one.networks == 1 else f"{one.networks} seeds"
    if np.isfinite(one.low):
        return f"over {seeds}"
    if one.networks >= MINIMUM_SEEDS:
        return f"no interval: {seeds} agree exactly"
    return f"{seeds}, no interval"


def estimated(one: Estimate, write: Callable[[float], str] = signed) -> str:
    """Write a scalar with its interval over seeds, or say why there is none."""
    return f"{value_of(one, write)} ({basis(one)})"


def seeds(count: int) -> str:
    """Give "1 seed" or "5 seeds"."""
    return f"{count} seed{'' if count == 1 else 's'}"


def steps(count: int) -> str:
    """Give "1 step" or "50 steps"."""
    return f"{count:,} step{'' if count == 1 else 's'}"
