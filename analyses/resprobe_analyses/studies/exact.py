"""What exact studies share: their one setting, and checks of distances."""

from __future__ import annotations

from collections.abc import Mapping

from resprobe_analyses.studies.evidence import Check
from resprobe_analyses.studies.study import Setting

# Half the distance from 1 to the next float64: what one operation rounds by, relatively.
ROUNDOFF = 2.0**-53


def exact_scales(meaning: str, core_minutes: float) -> Mapping[str, tuple[Setting, ...]]:
    """Give the scales of a study that trains nothing: the same one as `smoke` and as `small`.

    Args:
        meaning: what is computed, in words.
        core_minutes: expected cost on one core.
    """
    setting = Setting("exact", meaning, core_minutes=core_minutes)
    return {"smoke": (setting,), "small": (setting,)}


def within(name: str, error: float, bound: float, *, expected: str) -> Check:
    """Give the check that a distance is at most `bound`; one that is no number does not hold.

    Args:
        name: of the check; says what the distance is between, and what it is relative to.
        error: the distance.
        bound: the largest that counts as agreement.
        expected: what the claim says.
    """
    return Check(name, f"{error:.2g}", expected, bool(error <= bound), float(error), float(bound))


def equal(name: str, measured: object, expected: object) -> Check:
    """Give the check that two values are the same; whole numbers are written with commas."""
    return Check(name, _written(measured), _written(expected), measured == expected)


def _written(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
