"""Write rows of measurements so that a kill, a full disk or a reader loses nothing committed.

The whole layout is declared first, by h5netcdf, in a file that nobody reads yet. Then rows are
appended by h5py: space is reserved, the rows of every variable are written and flushed, and last
the group's own `committed` is written and flushed. Groups made while recording left files
unreadable after a kill, and HDF5's own lock shuts readers out, so neither is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5netcdf
import h5py
import numpy as np

from resprobe.errors import DiskFullError, InputError
from resprobe.store.room import reserve, reserve_new
from resprobe.store.schema import CONVENTIONS, SCHEMA_VERSION, STATUS, Group, Variable

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Room for the metadata (B-tree nodes, object headers) that a batch of rows may add.
_METADATA_ROOM = 1 << 18
# Room for an empty file with all its coordinates.
_LAYOUT_ROOM = 1 << 20

# Files whose HDF5 write failed. Closing one crashes the process, so they stay open, and the
# command line leaves the process without HDF5's clean-up.
_abandoned: list[h5py.File] = []


def abandoned() -> bool:
    """Whether a file could not be closed, so that the process must end without clean-up."""
    return bool(_abandoned)


class Writer:
    """The one writer of one file.

    Args:
        path: of the file; it must not exist for a new one.
        groups: the whole layout.
        attributes: provenance, of str, int or float, written to the root.
        chunk_rows: rows of one chunk; about as many as are appended at once.
        resume: go on in an existing file of this layout instead of making one.

    Raises:
        InputError: the file exists (new), or is missing or has another layout (resume).
    """

    def __init__(
        self,
        path: Path,
        groups: Sequence[Group],
        attributes: Mapping[str, Any],
        *,
        chunk_rows: int = 64,
        resume: bool = False,
    ) -> None:
        self.path = Path(path)
        self._groups = {group.path: group for group in groups}
        self._chunk_rows = chunk_rows
        if resume:
            self._check_layout()
        else:
            if self.path.exists():
                raise InputError(f"{self.path} exists; give another path or --overwrite.")
            _create(self.path, groups, attributes, chunk_rows)
        try:
            self._file = h5py.File(self.path, "r+", locking=False)
        except OSError as error:
            raise InputError(
                f"{self.path} can't be opened for writing ({error}); close it if this process has "
                "it open for reading."
            ) from error
        self._descriptor = os.open(self.path, os.O_RDWR)
        self._committed = {path: int(self._file[path]["committed"][()]) for path in self._groups}

    def committed(self, group: str) -> int:
        """Give how many rows of `group` are safe."""
        return self._committed[group]

    def rows(self, group: str) -> NDArray[np.int64]:
        """Give the row coordinate of the committed rows."""
        return self.read(group, self._groups[group].rows)

    def read(self, group: str, name: str) -> NDArray[Any]:
        """Give the committed rows of one variable."""
        values: NDArray[Any] = self._file[group][name][: self._committed[group]]
        return values

    def read_rows(self, group: str, name: str, start: int, stop: int) -> NDArray[Any]:
        """Give some committed rows of one variable."""
        values: NDArray[Any] = self._file[group][name][start : min(stop, self._committed[group])]
        return values

    def truncate(self, group: str, count: int) -> None:
        """Forget the rows from `count` on; later rows take their place."""
        self._commit(group, count)

    def append(self, group: str, rows: Mapping[str, NDArray[Any]]) -> None:
        """Append rows to every variable of `group` along its row dimension, and commit them.

        Args:
            group: its path.
            rows: each variable with the row dimension, the row coordinate included, to an array
                whose first axis is the new rows.

        Raises:
            DiskFullError: there is no room, or the write failed; committed rows are safe.
        """
        declared = self._groups[group]
        count = len(rows[declared.rows])
        start = self._committed[group]
        missing = {v.name for v in declared.variables if declared.rows in v.dims} - set(rows)
        if missing:
            raise ValueError(f"rows of {group} lack {sorted(missing)}")
        for name, values in rows.items():
            if len(values) != count:
                raise ValueError(f"{group}: {name} has {len(values)} rows instead of {count}")
        self._reserve(rows, "more rows")
        try:
            for name, values in rows.items():
                dataset = self._file[group][name]
                if dataset.shape[0] < start + count:
                    dataset.resize(start + count, axis=0)
                dataset[start : start + count] = values
            self._file.flush()
        except (OSError, RuntimeError) as error:
            self._abandon(error)
        self._commit(group, start + count)

    def put(self, group: str, values: Mapping[str, Any]) -> None:
        """Write whole variables that have no row dimension.

        Raises:
            DiskFullError: there is no room, or the write failed; committed rows are safe.
        """
        self._reserve(values, ", ".join(values))
        self._write(group, values)

    def close(self, status: str = "finished") -> None:
        """Cut off what is not committed, write what became of the recording, close the file."""
        if self._file in _abandoned:
            return
        for path, group in self._groups.items():
            self._cut(group)
            self._write(path, {"status": STATUS.index(status)})
        self._file.close()
        os.close(self._descriptor)
        # HDF5 does not know of the room that was reserved; opened anew, it cuts it off.
        with h5py.File(self.path, "r+", locking=False):
            pass

    def _commit(self, group: str, count: int) -> None:
        self._write(group, {"committed": count})
        self._committed[group] = count

    def _write(self, group: str, values: Mapping[str, Any]) -> None:
        try:
            for name, value in values.items():
                self._file[group][name][...] = value
            self._file.flush()
        except (OSError, RuntimeError) as error:
            self._abandon(error)

    def _cut(self, group: Group) -> None:
        """Drop rows beyond the committed ones, which other readers would take for rows."""
        count = self._committed[group.path]
        try:
            for variable in group.variables:
                dataset = self._file[group.path][variable.name]
                if group.rows in variable.dims and dataset.shape[0] > count:
                    dataset.resize(count, axis=0)
        except (OSError, RuntimeError) as error:
            self._abandon(error)

    def _reserve(self, values: Mapping[str, Any], what: str) -> None:
        """Make sure that the disk has room, before HDF5 is asked to write."""
        size = sum(np.asarray(value).nbytes for value in values.values())
        # A batch may open a new chunk in every dataset; chunks are allocated whole.
        need = 2 * size + len(values) * 4096 + _METADATA_ROOM
        reserve(self.path, self._descriptor, self._file.id.get_filesize(), need, what)

    def _abandon(self, error: Exception) -> None:
        """Leave a file whose write failed open: HDF5 crashes the process when it closes it."""
        _abandoned.append(self._file)
        raise DiskFullError(
            f"writing {self.path} failed ({error}); every committed row is safe. "
            "Free some space and resume."
        ) from error

    def _check_layout(self) -> None:
        try:
            with h5py.File(self.path, "r", locking=False) as file:
                version = int(np.ravel(file.attrs.get("resprobe_schema", 0))[0])
                other = [
                    line for group in self._groups.values() for line in _differences(file, group)
                ]
        except OSError as error:
            raise InputError(
                f"{self.path} can't be read as HDF5 ({error}); `resprobe check` says more."
            ) from error
        if version != SCHEMA_VERSION:
            other.insert(0, f"has schema {version}")
        if other:
            raise InputError(
                f"{self.path} {other[0]}, so recording can't go on in it; start anew with "
                "--overwrite."
            )


def _differences(file: h5py.File, group: Group) -> Iterator[str]:
    """Say where a file's layout is not the declared one."""
    for variable in (*group.variables, *bookkeeping()):
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


def bookkeeping() -> tuple[Variable, Variable]:
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


def _create(
    path: Path, groups: Sequence[Group], attributes: Mapping[str, Any], chunk_rows: int
) -> None:
    """Make the file under another name and move it in place when its layout is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unborn = path.with_name(path.name + ".new")
    reserve_new(unborn, _LAYOUT_ROOM, "the layout")
    with h5netcdf.File(unborn, "w") as file:
        file.attrs["Conventions"] = CONVENTIONS
        file.attrs["resprobe_schema"] = np.int64(SCHEMA_VERSION)
        for name, value in attributes.items():
            file.attrs[name] = value
        for group in groups:
            _create_group(file, group, chunk_rows)
    unborn.replace(path)


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
    for declared in (*group.variables, *bookkeeping()):
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
        if not declared.dims and declared.dtype in ("int64", "int8"):
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
