"""Read the Jacobians that were recorded while training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from resprobe.errors import InputError
from resprobe_analyses.reading import Integers, values
from resprobe_analyses.stability.families import CELL, PARTS, SYMBOLS, TRAINING

if TYPE_CHECKING:
    import xarray as xr

    from resprobe.result import Input

Floats = npt.NDArray[np.float64]

ROW = ("step", *CELL)


@dataclass(frozen=True)
class Training:
    """Quantities over training, at ascending steps.

    Attributes:
        steps: shape (row,).
        samples: how many fixed samples are behind each median.
        medians: over the samples, by name, each of shape (row, block, part).
    """

    steps: Integers
    samples: int
    medians: dict[str, Floats]


def read_training(given: Input, names: tuple[str, ...]) -> Training | None:
    """Read `/training/jacobian` of an input, None where it was not recorded or has no rows.

    Args:
        given: one input.
        names: of its blocks.

    Raises:
        InputError: it has other blocks, or a variable is missing.
    """
    try:
        data = given.tree[TRAINING].to_dataset()
    except KeyError:
        return None
    _check(given, data, names)
    if not data.sizes["step"] or not data.sizes["sample"]:
        return None
    data = data.sel(block=list(names), part=list(PARTS))
    steps = data["step"].values.astype(np.int64)
    order = np.argsort(steps, kind="stable")
    found = {
        name: median(values(data, f"jacobian_{name}", *ROW).astype(np.float64), axis=1)[order]
        for name in SYMBOLS
    }
    return Training(steps[order], data.sizes["sample"], found)


def fixed_samples(count: int) -> str:
    """Give "4 fixed samples"."""
    return f"{count:,} fixed sample{'s' * (count != 1)}"


def median(numbers: Floats, axis: int) -> Floats:
    """Give the median of what is finite along an axis, NaN where nothing is."""
    return quantile(numbers, 0.5, axis)


def quantile(numbers: Floats, share: float, axis: int) -> Floats:
    """Give a quantile of what is finite along an axis, NaN where nothing is."""
    moved = np.moveaxis(np.where(np.isfinite(numbers), numbers, np.nan), axis, 0)
    known = np.isfinite(moved).any(axis=0)
    found = np.full(known.shape, np.nan)
    if known.any():  # numpy warns of columns without a number
        found[known] = np.nanquantile(moved[:, known], share, axis=0)
    return found


def _check(given: Input, data: xr.Dataset, names: tuple[str, ...]) -> None:
    for name in SYMBOLS:
        variable = f"jacobian_{name}"
        if variable not in data or set(data[variable].dims) != set(ROW):
            raise InputError(
                f"{given.label}: /{TRAINING} has no variable {variable!r} with the dimensions "
                f"{', '.join(ROW)}; train again with this version of resprobe."
            )
    missing = [what for what in ("step", "block", "part") if what not in data.coords]
    if missing:
        raise InputError(
            f"{given.label}: /{TRAINING} has no coordinate {missing[0]!r}; train again with this "
            "version of resprobe."
        )
    if {str(block) for block in data["block"].values} != set(names):
        raise InputError(
            f"{given.label}: /{TRAINING} and the family 'jacobian' have different blocks; analyze "
            "a run whose model was not exchanged."
        )
