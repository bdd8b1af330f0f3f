"""Write rows of measurements so that a kill, a full disk or a reader loses nothing committed.

The whole layout is declared first, by h5netcdf, in a file that nobody reads yet. Then rows are
appended by h5py: space is reserved, the rows of every variable are written and flushed, and last
the group's own `committed` is written and flushed. Groups made while recording left files
unreadable after a kill, and HDF5's own lock shuts readers out, so neither is used.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from resprobe.errors import DiskFullError, InputError
from resprobe.store.layout import create, differences
from resprobe.store.room import reserve
from resprobe.store.schema import SCHEMA_VERSION, STATUS, Group

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Room for the metadata (B-tree nodes, object headers) that a batch of rows may add.
_METADATA_ROOM = 1 << 18

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
            create(self.path, groups, attributes, chunk_rows)
        try:
            self._file = h5py.File(self.path, "r+", locking=False)
        except OSError as error:
            raise InputError(
                self._open_here(error)
                or f"{self.path} can't be opened for writing ({error}); make it writable, or give "
                "another path."
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

    def _open_here(self, error: OSError) -> str:
        """Say so if HDF5 refuses a file because this process has it open, else ""."""
        if not any(words in str(error) for words in ("flag values don't match", "already open")):
            return ""
        return f"{self.path} is open in this process; close it (tree.close()) and try again."

    def _check_layout(self) -> None:
        try:
            with h5py.File(self.path, "r", locking=False) as file:
                version = int(np.ravel(file.attrs.get("resprobe_schema", 0))[0])
                other = [
                    line for group in self._groups.values() for line in differences(file, group)
                ]
        except OSError as error:
            raise InputError(
                self._open_here(error)
                or f"{self.path} can't be read as HDF5 ({error}); `resprobe check` says more."
            ) from error
        if version != SCHEMA_VERSION:
            other.insert(0, f"has schema {version}")
        if other:
            raise InputError(
                f"{self.path} {other[0]}, so recording can't go on in it; start anew with "
                "--overwrite."
            )
