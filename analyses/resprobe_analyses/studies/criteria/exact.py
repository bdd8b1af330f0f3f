"""Exact claims: every check agrees, or the claim fails."""

from __future__ import annotations

from collections.abc import Sequence

from resprobe_analyses.studies.criteria.judgement import FAILS, HOLDS, Judgement
from resprobe_analyses.studies.evidence import Check

_NAN = float("nan")


def judge_checks(checks: Sequence[Check]) -> Judgement:
    """Judge an exact claim from its checks.

    Args:
        checks: at least one.

    Returns:
        `holds` if every one of them does, else `fails`; without numbers and seeds. The reason
        names each check that fails with what was measured and expected.

    Raises:
        ValueError: no checks: nothing would be left that could fail.
    """
    if not checks:
        raise ValueError("an exact claim needs at least one check")
    failing = [check for check in checks if not check.holds]
    if not failing:
        count = f"all {len(checks)} checks hold" if len(checks) > 1 else "the one check holds"
        return _exact(HOLDS, count)
    named = "; ".join(
        f"{check.name}: {check.measured} instead of {check.expected}" for check in failing
    )
    return _exact(FAILS, f"{len(failing)} of {len(checks)} checks fail: {named}")


def _exact(outcome: str, reason: str) -> Judgement:
    return Judgement(outcome, _NAN, _NAN, _NAN, _NAN, 0, None, reason)
