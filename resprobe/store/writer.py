"""Write rows of measurements so that a kill, a full disk or a reader loses nothing committed.

The whole layout is declared first, in a file that nobody reads yet. Then rows are appended: the
rows of every variable are flushed, and last the group's own `committed` is written and flushed.
A flush reaches the disk in a safe order and takes its space before (`ordered.py`). Groups made
while recording left files unreadable after a kill, and HDF5's own lock shuts readers out, so
neither is used.
"""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import h5py
import numpy as np

from resprobe.errors import DiskFullError, InputError
from resprobe.store.layout import create, differences
from resprobe.store.ordered import NODE_ALIGNMENT, NODE_SIZE, OrderedFile
from resprobe.store.schema import SCHEMA_VERSION, STATUS, Group

if TYPE_CHECKING:
    from numpy.typing import NDArray


_open_writers: weakref.WeakSet[Writer] = weakref.WeakSet()


@atexit.register
def _leave() -> None:
    """Let go of files that nobody closed while HDF5 can still call Python; they keep their rows."""
    for writer in list(_open_writers):
        writer.abandon()


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
        self._open()
        _open_writers.add(self)
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

    def read_anyway(self, group: str, name: str, start: int, stop: int) -> NDArray[Any]:
        """Give some rows of one variable, also those that a truncation has forgotten."""
        values: NDArray[Any] = self._file[group][name][start:stop]
        return values

    def get(self, group: str, name: str) -> Any:
        """Give the whole of a variable that has no row dimension, as it is written so far."""
        return self._file[group][name][()]

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
        try:
            for name, values in rows.items():
                dataset = self._file[group][name]
                if dataset.shape[0] < start + count:
                    dataset.resize(start + count, axis=0)
                dataset[start : start + count] = values
        except (OSError, RuntimeError) as error:
            self._fail(error)
        self._flush("more rows")
        self._commit(group, start + count)

    def put(self, group: str, values: Mapping[str, Any]) -> None:
        """Write whole variables that have no row dimension.

        Raises:
            DiskFullError: there is no room, or the write failed; committed rows are safe.
        """
        self._write(group, values, ", ".join(values))

    def close(self, status: str = "finished") -> None:
        """Cut off what is not committed, write what became of the recording, close the file.

        Raises:
            DiskFullError: writing failed; committed rows are safe, and the file is closed.
        """
        if not self._file:
            return
        try:
            self._cut()
            for path in self._groups:
                self._write(path, {"status": STATUS.index(status)}, "the status")
        finally:
            self._file.close()
            self._disk.commit("the end")
            self._disk.close()

    def abandon(self) -> None:
        """Close the file as it is on the disk."""
        self._disk.discard()
        self._file.close()
        self._disk.close()

    def _open(self) -> None:
        try:
            self._disk = OrderedFile(self.path)
            self._file = h5py.File(
                self._disk,
                "r+",
                alignment_threshold=NODE_SIZE,
                alignment_interval=NODE_ALIGNMENT,
            )
            # HDF5 tells where the file ends; room that a killed process had taken lies beyond.
            self._file.flush()
            self._disk.commit("the end")
        except OSError as error:
            raise InputError(
                f"{self.path} can't be opened for writing ({error}); make it writable, or give "
                "another path."
            ) from error

    def _commit(self, group: str, count: int) -> None:
        self._write(group, {"committed": count}, "the number of rows")
        self._committed[group] = count

    def _write(self, group: str, values: Mapping[str, Any], what: str) -> None:
        try:
            for name, value in values.items():
                self._file[group][name][...] = value
        except (OSError, RuntimeError) as error:
            self._fail(error)
        self._flush(what)

    def _cut(self) -> None:
        """Drop rows beyond the committed ones, which other readers would take for rows."""
        try:
            for path, group in self._groups.items():
                count = self._committed[path]
                for variable in group.variables:
                    dataset = self._file[path][variable.name]
                    if group.rows in variable.dims and dataset.shape[0] > count:
                        dataset.resize(count, axis=0)
        except (OSError, RuntimeError) as error:
            self._fail(error)
        self._flush("the end")

    def _flush(self, what: str) -> None:
        try:
            self._file.flush()
            self._disk.commit(what)
        except (OSError, RuntimeError, DiskFullError) as error:
            self._fail(error)

    def _fail(self, error: Exception) -> NoReturn:
        """Go back to what is on the disk, so that the file can be closed or written again."""
        self.abandon()
        self._open()
        if isinstance(error, DiskFullError):
            raise error
        raise DiskFullError(
            f"writing {self.path} failed ({error}); every committed row is safe. "
            "Free some space and resume."
        ) from error

    def _check_layout(self) -> None:
        try:
            with self.path.open("rb") as stream, h5py.File(stream, "r") as file:
                version = int(np.ravel(file.attrs.get("resprobe_schema", 0))[0])
                other = [
                    line for group in self._groups.values() for line in differences(file, group)
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
