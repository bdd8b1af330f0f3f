"""Whether a study is worth running at a scale, from its power before it."""

from __future__ import annotations

MINIMUM_POWER = 0.5


def attempted(power: float) -> bool:
    """Say whether a study is run: its power, computed before from a pilot, is at least one half.

    Args:
        power: of its primary contrast against the reference effect.
    """
    return power >= MINIMUM_POWER
