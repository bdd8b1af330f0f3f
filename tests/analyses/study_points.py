"""How the runs of a sweep ended, without any run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from resprobe_analyses.sweeps.outcomes import PointOutcome

from resprobe.result import Result


def point(seed=0, status="finished", arm="", settings: Mapping[str, object] | None = None):
    """One run."""
    told = "-".join(str(value) for value in (settings or {}).values())
    return PointOutcome(
        name="-".join(part for part in (arm, told, f"seed-{seed}") if part),
        run=Path("nowhere"),
        arm=arm,
        settings=settings or {},
        seed=seed,
        status=status,
        attempts=1,
        seconds=1.0,
        metrics={},
    )


def points_of_arms(arms: Sequence[str], seeds=range(5), diverged: Sequence[tuple[str, int]] = ()):
    """A run of every arm and seed."""
    return [
        point(seed, "diverged" if (arm, seed) in diverged else "finished", arm)
        for arm in arms
        for seed in seeds
    ]


def result_of(data) -> Result:
    """What an analysis gives, as far as a study reads it."""
    return Result(data, {}, {}, "")
