"""The empty file of a layout, made by h5netcdf so that any netCDF reader understands it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import numpy as np

from resprobe.store.room import write_new
from resprobe.store.schema import (
    CONVENTIONS,
    REPLAY,
    SCHEMA_VERSION,
    STATUS,
    Group,
    Variable,
)


def differences(file: h5py.File, group: Group) -> Iterator[str]:
    """Say where a file's layout is not the declared one."""
    for variable in (*group.variables, *_bookkeeping()):
        name = f"{group.path}/{variable.name}"
        if name not in file:
            yield f"lacks {name}"
        elif file[name].dtype != np.dtype(variable.dtype) or file[name].ndim != len(variable.dims):
            yield f"has another layout of {name}"
    for coordinate in group.coordinates:
        name = f"{group.path}/{coordinate.name}"
        if name not in file:
            yield f"lacks {name}"
            continue
        text = not isinstance(coordinate.values, np.ndarray)
        stored = file[name].asstr()[...] if text else file[name][...]
        if not np.array_equal(stored, np.asarray(coordinate.values, stored.dtype)):
            yield f"has other values of {name}"


def _bookkeeping() -> tuple[Variable, Variable]:
    """Give the two scalars that every group carries."""
    return (
        Variable("committed", (), "int64", {"long_name": "rows that are safely written"}),
        Variable(
            "status",
            (),
            "int8",
            {
                "long_name": "what became of the recording",
                "flag_values": np.arange(len(STATUS), dtype=np.int8),
                "flag_meanings": " ".join(STATUS),
            },
        ),
    )


def create(
    path: Path, groups: Sequence[Group], attributes: Mapping[str, Any], chunk_rows: int
) -> None:
    """Make the file under another name and move it in place when its layout is whole.

    It is built in memory, because HDF5 crashes the process where the disk fails it. Neither links
    nor attributes keep the order in which they were made: that would give every object a header
    with a checksum, and a header is rewritten when rows are added: killed in the middle of that
    write, its variable would be lost.

    Raises:
        DiskFullError: there is no room; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    memory = io.BytesIO()
    aligned = {"alignment_threshold": 1, "alignment_interval": 8}
    with h5netcdf.File(memory, "w", track_order=False, **aligned) as file:
        file.attrs["Conventions"] = CONVENTIONS
        file.attrs["resprobe_schema"] = np.int64(SCHEMA_VERSION)
        for name, value in attributes.items():
            file.attrs[name] = value
        for group in groups:
            _create_group(file, group, chunk_rows)
    write_new(path, memory.getvalue(), "the layout")


def _create_group(file: Any, group: Group, chunk_rows: int) -> None:
    made = file.create_group(group.path)
    made.dimensions[group.rows] = None
    made.attrs["rows"] = group.rows
    for coordinate in group.coordinates:
        for dim, size in zip(coordinate.dims, np.shape(coordinate.values), strict=True):
            if dim not in made.dimensions:
                made.dimensions[dim] = size
    for coordinate in group.coordinates:
        text = not isinstance(coordinate.values, np.ndarray)
        dtype = h5py.string_dtype() if text else coordinate.values.dtype
        variable = made.create_variable(coordinate.name, coordinate.dims, dtype)
        variable[...] = np.array(coordinate.values, dtype=object) if text else coordinate.values
        variable.attrs.update(coordinate.attributes)
    # netCDF lists a row coordinate that is not the dimension itself in the attribute
    # `coordinates` of each variable that it labels; xarray reads it from there.
    labels = [c.name for c in group.coordinates if c.name not in c.dims]
    rows = [name for name in group.row_coordinates if name != group.rows]
    for declared in (*group.variables, *_bookkeeping()):
        sizes = [chunk_rows if dim == group.rows else None for dim in declared.dims]
        chunks = None
        if group.rows in declared.dims:
            chunks = tuple(
                size if size is not None else made.dimensions[dim].size
                for size, dim in zip(sizes, declared.dims, strict=True)
            )
        fill = np.nan if np.dtype(declared.dtype).kind == "f" else None
        variable = made.create_variable(
            declared.name, declared.dims, declared.dtype, chunks=chunks, fillvalue=fill
        )
        if not declared.dims and (declared.dtype in ("int64", "int8") or declared in REPLAY):
            variable[...] = 0
        variable.attrs.update(declared.attributes)
        own = [
            label
            for label in (*labels, *rows)
            if label != declared.name and _dims_of(group, label) <= set(declared.dims)
        ]
        if own and declared.name not in group.row_coordinates:
            variable.attrs["coordinates"] = " ".join(own)


def _dims_of(group: Group, label: str) -> set[str]:
    for coordinate in group.coordinates:
        if coordinate.name == label:
            return set(coordinate.dims)
    return set(group.variable(label).dims)
