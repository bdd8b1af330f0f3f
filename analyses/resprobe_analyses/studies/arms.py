"""Which network of an analysis is which arm's run with which seed, and differences of arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import xarray as xr

    from resprobe_analyses.sweeps.outcomes import PointOutcome

Row = tuple[str, int]


def rows_by_arm(data: xr.Dataset, points: Sequence[PointOutcome]) -> dict[Row, int]:
    """Give where the run of each arm and seed stands along `network`; others are left out.

    Args:
        data: of an analysis that names its networks by their runs.
        points: of a sweep without a grid.
    """
    place = {str(name): row for row, name in enumerate(data["network"].values)}
    return {(p.arm, p.seed): place[p.name] for p in points if p.name in place}


def of_arm(numbers: npt.NDArray[np.float64], rows: Mapping[Row, int], arm: str) -> dict[int, float]:
    """Give one number of each network of an arm by its seed.

    Args:
        numbers: shape (network,).
        rows: as of `rows_by_arm`.
        arm: its name.
    """
    return {seed: float(numbers[row]) for (name, seed), row in rows.items() if name == arm}


def differences(first: Mapping[int, float], second: Mapping[int, float]) -> dict[int, float]:
    """Subtract by seed, for the seeds that both have."""
    return {seed: first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())}
