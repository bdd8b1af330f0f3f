"""What was measured of each block as one table, a row a block."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe.errors import InputError
from resprobe.store.reader import PARTNER
from resprobe.store.reader import open as open_tree
from resprobe.store.schema import BLOCK_COORDINATES

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from numpy.typing import NDArray

# More columns of one quantity than this are no table that anybody reads.
_MOST_LEVELS = 8
_STDERR, _SAMPLES = "_stderr", "_samples"


@dataclass
class _Columns:
    """The columns of one set of rows, what they mean, and what is none of them, with reasons."""

    values: dict[str, NDArray[Any]] = field(default_factory=dict)
    meaning: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def put(self, name: str, values: NDArray[Any], units: str, meaning: str) -> None:
        self.values[name] = values.astype(np.float64) if values.dtype.kind == "f" else values
        self.meaning[name] = {"units": units, "long_name": meaning}


def block_table(source: str | Path | xr.DataTree) -> pd.DataFrame:
    """Give one row a block with everything that was collected of it.

    What was measured on samples is their mean, with its standard error over the samples in
    `NAME_stderr`; samples where it is NaN are left out, and where blocks that have any therefore
    have different numbers of them, `NAME_samples` counts them. A quantity with further dimensions
    has a column for each of their levels, such as `jacobian_spectral_norm_branch`. Where nothing
    was collected, the numbers are those of the last recorded step of training.

    Args:
        source: a run directory, an .h5 file, or the tree that `resprobe.open` gave.

    Returns:
        Indexed by `block`, or by `step` and `block` where several checkpoints were collected.
        `attrs["columns"]` has `units` and `long_name` of every column, and of a mean the number
        of its `samples` where it is the same for all blocks that have any; `attrs["left_out"]`
        says of each quantity that is no column why it is none; `attrs["step"]` is the step of a
        single checkpoint or of training, None for several and where it is not known.

    Raises:
        InputError: nothing was recorded of any block; or see `resprobe.open`.
    """
    import pandas as pd
    import xarray as xr

    if isinstance(source, str | Path):
        tree = open_tree(source)
        try:
            return block_table(tree)
        finally:
            tree.close()
    if not isinstance(source, xr.DataTree):
        raise InputError(
            f"source is {type(source).__name__}, expected the path of a run or an .h5 file, or the "
            "tree that resprobe.open gave."
        )
    parts = _checkpoints(source) or _last_step(source)
    if not parts:
        raise InputError(
            "nothing was recorded of any block; give a run that was trained or collected, or a "
            "file of one."
        )
    tables = []
    meaning: dict[str, dict[str, Any]] = {}
    left_out: dict[str, str] = {}
    for _, groups in parts:
        columns = _columns(groups)
        index = pd.Index(groups[0]["block"].values.astype(str), name="block")
        tables.append(pd.DataFrame(columns.values, index=index))
        meaning = {**columns.meaning, **meaning}
        left_out = {**columns.left_out, **left_out}
    steps = [step for step, _ in parts]
    table = tables[0] if len(parts) == 1 else pd.concat(tables, keys=steps, names=["step"])
    if PARTNER in source.children:
        left_out[PARTNER] = "it is another network, whose run has a table of its own"
    _say_equal_counts_once(table, meaning)
    table.attrs = {
        "columns": {name: meaning[name] for name in table},
        "left_out": left_out,
        "step": steps[0] if len(parts) == 1 else None,
    }
    return table


def _say_equal_counts_once(table: pd.DataFrame, meaning: dict[str, dict[str, Any]]) -> None:
    """Move numbers of samples that are equal in all rows from their column to its meaning."""
    for mean in [name.removesuffix(_SAMPLES) for name in table if name.endswith(_SAMPLES)]:
        name = f"{mean}{_SAMPLES}"
        counts = set(table[name].dropna()) - {0}  # where there are none, the mean is NaN
        if mean in meaning and len(counts) < 2:
            del meaning[name], table[name]
            meaning[mean]["samples"] = int(max(counts, default=0))


def _checkpoints(tree: xr.DataTree) -> list[tuple[int | None, list[xr.Dataset]]]:
    """Give the step and the groups of each checkpoint that was collected, or those of a file."""
    names = sorted(child for child in tree.children if child.startswith("step-"))
    if not names:
        groups = _of_blocks(tree)
        step = tree.attrs.get("checkpoint_step")
        return [(None if step is None else int(step), groups)] if groups else []
    parts = [(int(name.removeprefix("step-")), _of_blocks(tree.children[name])) for name in names]
    return [(step, groups) for step, groups in parts if groups]


def _last_step(tree: xr.DataTree) -> list[tuple[int | None, list[xr.Dataset]]]:
    """Give the last recorded step of training, with the last Jacobians of it."""
    if "training" not in tree.children:
        return []
    groups = [
        group.isel(step=-1)
        for group in _of_blocks(tree.children["training"])
        if group.sizes.get("step") and "step" in group.coords
    ]
    steps = [int(group["step"]) for group in groups]
    for group, step in zip(groups, steps, strict=True):
        if step != max(steps):
            for variable in group.data_vars.values():
                name = variable.attrs.get("long_name", variable.name)
                variable.attrs["long_name"] = f"{name}, at step {step}"
    return [(max(steps), groups)] if groups else []


def _of_blocks(node: xr.DataTree) -> list[xr.Dataset]:
    found = [child.to_dataset() for child in node.children.values()]
    return [data for data in found if "block" in data.coords]


def _columns(groups: Sequence[xr.Dataset]) -> _Columns:
    """Make the columns of one checkpoint."""
    columns = _Columns()
    first = groups[0]
    for place in (place for place in BLOCK_COORDINATES if place in first.variables):
        values = first[place].values
        values = values.astype(bool) if place == "transition" else values
        columns.put(place, values, first[place].attrs.get("units", "1"), _meaning(first[place]))
    for data in groups:
        for name, variable in data.data_vars.items():
            if "block" not in variable.dims or name in BLOCK_COORDINATES:
                continue
            reason = _why_no_column(variable, data)
            if not reason and str(name) in columns.values:
                reason = "another group has it too, whose numbers are shown"
            if reason:
                columns.left_out[str(name)] = reason
            else:
                _put_variable(columns, variable, data)
    return columns


def _why_no_column(variable: xr.DataArray, data: xr.Dataset) -> str:
    """Say why a variable makes no columns, "" if it does."""
    base = str(variable.name).removesuffix(_STDERR)
    flags = np.ravel(variable.attrs.get("flag_values", [0, 1]))
    if variable.dtype.kind not in "biuf":
        return f"its values are {variable.dtype}, not real numbers"
    if flags.tolist() != [0, 1]:
        return "its values are codes, of which there is no mean"
    if "sample" in variable.dims and base != variable.name and base in data:
        return f"the error of each sample's {base}, not that of their mean"
    dims = _further(variable)
    if int(np.prod([data.sizes[dim] for dim in dims])) > _MOST_LEVELS:
        sizes = " × ".join(f"{data.sizes[dim]} {dim}" for dim in dims)
        return f"it has {sizes} for every block, more than {_MOST_LEVELS} columns"
    return ""


def _put_variable(columns: _Columns, variable: xr.DataArray, data: xr.Dataset) -> None:
    """Put one variable: as it is, or the mean over its samples, level by level."""
    whole, meaning = str(variable.name), _meaning(variable)
    units = str(variable.attrs.get("units", "1"))
    base = whole.removesuffix(_STDERR)
    ending = _STDERR if base != whole and base in data else ""
    for at, suffix in _levels(variable, data):
        name = f"{whole.removesuffix(ending)}{suffix}"
        part = variable.isel(at)
        level = suffix.removeprefix("_").replace("_", " ")
        if "sample" not in part.dims:
            told = f"{meaning} ({level})" if level else meaning
            columns.put(f"{name}{ending}", part.values, units, told)
            continue
        mean, error, count = _over_samples(part.transpose("sample", "block").values)
        start = f"{meaning} ({level}; " if level else f"{meaning} ("
        columns.put(name, mean, units, f"{start}mean over samples)")
        columns.put(f"{name}{_STDERR}", error, units, f"{start}standard error of the mean)")
        columns.put(f"{name}{_SAMPLES}", count, "1", f"number of samples in {name}")


def _over_samples(
    values: NDArray[Any],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Give mean, standard error and number of the samples that are there.

    Args:
        values: `(sample, block)`.

    Returns:
        Each `(block,)`; the mean is NaN without samples, the standard error with fewer than two.
    """
    values = values.astype(np.float64)
    there = ~np.isnan(values)
    count = there.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):  # none there, or infinite ones
        mean = np.where(there, values, 0.0).sum(axis=0) / count
        squares = np.where(there, (values - mean) ** 2, 0.0).sum(axis=0)
        error = np.sqrt(squares / (count - 1) / count)
    return mean, np.where(count > 1, error, np.nan), count


def _further(variable: xr.DataArray) -> list[str]:
    return [str(dim) for dim in variable.dims if dim not in ("block", "sample")]


def _levels(variable: xr.DataArray, data: xr.Dataset) -> Iterator[tuple[dict[str, int], str]]:
    """Give the place and the end of a column's name for each level of the further dimensions."""
    dims = _further(variable)
    for place in itertools.product(*(range(data.sizes[dim]) for dim in dims)):
        names = []
        for dim, number in zip(dims, place, strict=True):
            level = data[dim].values[number] if dim in data.coords else number
            names.append(str(level) if isinstance(level, str) else f"{dim}_{level}")
        yield dict(zip(dims, place, strict=True)), "".join(f"_{name}" for name in names)


def _meaning(variable: xr.DataArray) -> str:
    return str(variable.attrs.get("long_name", str(variable.name).replace("_", " ")))
