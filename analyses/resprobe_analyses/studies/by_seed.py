"""From numbers by seed and how runs ended to the sample of a contrast and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from resprobe_analyses.statistics import student_interval
from resprobe_analyses.studies.evidence import Sample

if TYPE_CHECKING:
    import numpy.typing as npt

    from resprobe_analyses.sweeps.outcomes import PointOutcome

NAN = float("nan")


def sample_of(points: Sequence[PointOutcome], values: Mapping[int, float]) -> Sample:
    """Give the sample of a contrast, with an entry for every seed of the sweep.

    Args:
        points: the runs that the contrast needs; a seed counts as diverged if one of them did.
        values: by seed; of a diverged one the value that stands for it, such as that of a network
            at chance, or nothing where it is missing.
    """
    seeds = tuple(sorted({point.seed for point in points}))
    diverged = diverged_seeds(points)
    found = [values.get(seed, NAN) for seed in seeds]
    return Sample(
        seeds,
        np.array(found, dtype=np.float64),
        np.array([seed in diverged for seed in seeds], dtype=np.bool_),
    )


def diverged_seeds(points: Sequence[PointOutcome]) -> set[int]:
    """Give the seeds of which a run diverged."""
    return {point.seed for point in points if point.status == "diverged"}


def endings(points: Sequence[PointOutcome]) -> tuple[str, ...]:
    """Say in one sentence each which runs did not end as they should; nothing if all did."""
    told = {
        "diverged": "diverged",
        "reached_cap": "reached the cap of epochs before the training loss that ends a run",
        "failed": "failed",
        "missing": "were not run to their end",
    }
    found = []
    for status, words in told.items():
        names = [point.name for point in points if point.status == status]
        if names:
            found.append(f"{len(names)} of {len(points)} runs {words}: {', '.join(names)}.")
    return tuple(found)


def mean_in_words(values: npt.ArrayLike, *, exponential: bool = False) -> str:
    """Write a mean over seeds with its 95 % interval, as "0.012 [0.003, 0.021] (5 seeds)".

    Args:
        values: shape (seed,); those that are not finite are left out.
        exponential: whether they are logarithms, to be written as ratios.
    """
    numbers = np.asarray(values, dtype=np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if not numbers.size:
        return "not measured"
    written = np.exp if exponential else np.asarray
    if numbers.size > 1 and np.ptp(numbers) == 0:  # of which there is no interval
        return f"{written(numbers[0]):.3g} (each of {numbers.size} seeds)"
    interval = student_interval(numbers)
    if interval is None:
        return f"{written(numbers.mean()):.3g} ({numbers.size} seeds, no interval)"
    mean, low, high = (float(written(bound)) for bound in interval)
    return f"{mean:.3g} [{low:.3g}, {high:.3g}] ({numbers.size} seeds)"
