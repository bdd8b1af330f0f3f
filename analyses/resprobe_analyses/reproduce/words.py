"""Numbers as the ledger writes them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

# Two letters: `h = 1` and `n` stay as they are.
_WORD = re.compile("[a-z][a-z]")
# The cap of the number of seeds that would decide a claim.
_MOST_SEEDS = 10_000


def number(value: float, decimals: int) -> str:
    """Write a number with a true minus sign; nothing is written as −0."""
    rounded = round(value, decimals)
    return f"{rounded if rounded else 0:.{max(decimals, 0)}f}".replace("-", "−")


def number_as_given(value: float) -> str:
    """Write a number that somebody chose, as −0.5."""
    return f"{value:g}".replace("-", "−")


def decimals_of(value: float, low: float | None, high: float | None) -> int:
    """Give the decimals that show two digits of an interval's half width, or three of a value."""
    size = abs(value) / 10
    if low is not None and high is not None and math.isfinite(high - low) and high > low:
        size = (high - low) / 2
    if not size or not math.isfinite(size):
        return 3
    return min(max(1 - math.floor(math.log10(size)), 0), 8)


def measured(value: float | None, low: float | None, high: float | None, units: str = "1") -> str:
    """Write an estimate with its interval, as "−1.02 [−1.10, −0.94]"; a dash if there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    decimals = decimals_of(value, low, high)
    text = number(value, decimals)
    if low is not None and high is not None and not math.isnan(low + high):
        text += f" [{_bound(low, decimals)}, {_bound(high, decimals)}]"
    return text if units in ("", "1") else f"{text} {units}"


def _bound(value: float, decimals: int) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return number(value, decimals)


def needed_seeds(needed: Sequence[int] | None) -> str:
    """Say how many seeds would decide a claim; empty where that is not known."""
    if needed is None:
        return ""
    low, high = needed
    most = f"{_MOST_SEEDS:,} or more" if high >= _MOST_SEEDS else f"{high:,}"
    return f"{low:,} to {most} seeds" if low != high else f"{most} seeds"


def minutes(value: float) -> str:
    """Write a time in minutes."""
    if value < 1:
        return f"{value * 60:.0f} s" if value * 60 >= 1 or not value else "less than 1 s"
    return f"{value:.0f} min" if value >= 10 else f"{value:.1f} min"


def counted(count: int, thing: str) -> str:
    """Write "1 run" or "6 runs"."""
    return f"{count:,} {thing}{'s' if count != 1 else ''}"


def sentence(text: str) -> str:
    """Give a text with a full stop at its end, and a word at its beginning with a capital."""
    text = text.strip()
    if _WORD.match(text):
        text = text[0].upper() + text[1:]
    return text if not text or text[-1] in ".!?" else f"{text}."


def listed(words: Sequence[str]) -> str:
    """Write "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def p_number(value: float) -> str:
    """Write a p-value without its name."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def core_time(core_minutes: float) -> str:
    """Write a cost on one core, in minutes, hours or days."""
    if core_minutes < 90:
        return f"{minutes(core_minutes)} of one core"
    hours = core_minutes / 60
    return f"{hours:.0f} h of one core" if hours < 72 else f"{hours / 24:.0f} days of one core"
