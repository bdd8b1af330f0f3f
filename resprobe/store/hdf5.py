"""Open HDF5 files for reading, finished or still being written, without stopping their writer."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from resprobe.errors import ChangingError, InputError
from resprobe.files import refuse_special
from resprobe.store.lock import LOCK, is_in_use
from resprobe.store.schema import SCHEMA_VERSION

# How long a reader tries again while a writer is in the middle of a batch, in seconds; and at least
# how many passes over a large file that is.
PATIENCE = 1.0
_PASSES = 10
# Longer than the writes of one flush take, in seconds.
FLUSH = 0.005
# When the time of a file's last change is so long ago, another change gets another time: file
# systems tell it by a clock of at most 10 ms, or in whole seconds. In nanoseconds.
_TICK = 20 * 10**6
_COARSE_TICK = 3 * 10**9


def require_hdf5(path: Path) -> None:
    """Refuse what is not a readable HDF5 file.

    Raises:
        InputError: with what it is and what to do.
    """
    if not path.exists():
        raise InputError(
            f"{path} does not exist; give a run directory or an .h5 file that resprobe wrote."
        )
    try:
        refuse_special(path)
        with path.open("rb") as stream:
            magic = stream.read(8)
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}); check its permissions.") from (
            error
        )
    if magic != b"\x89HDF\r\n\x1a\n":
        raise InputError(
            f"{path} is not an HDF5 file; give a run directory or an .h5 file that resprobe wrote."
        )


@contextmanager
def hdf5(path: Path, content: bytes | None = None) -> Iterator[h5py.File]:
    """Open a file for reading without HDF5's lock, so that no reader ever stops a writer.

    Args:
        path: of the file.
        content: its bytes, from `snapshot`, if it is being written.

    Raises:
        InputError: it is not HDF5 or damaged.
    """
    require_hdf5(path)
    try:
        file = _without_lock(path) if content is None else h5py.File(io.BytesIO(content), "r")
    except OSError as error:
        raise InputError(
            f"{path} is damaged or truncated ({error}); take it from a copy, or record it again."
        ) from error
    with file:
        yield file


def require_ours(file: h5py.File, path: Path) -> None:
    """Refuse a file that resprobe did not write, or a newer resprobe did.

    Raises:
        InputError: with what it is and what to do.
    """
    try:
        found = file.attrs.get("resprobe_schema")
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} is damaged ({error}); take it from a copy, or record it again."
        ) from error
    version = np.ravel(found)[0] if found is not None else None
    if not isinstance(version, np.integer | int):
        raise InputError(
            f"{path} is HDF5 but not resprobe's (it has no attribute resprobe_schema); give a "
            "file that resprobe wrote."
        )
    if version > SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema {version}, newer than this resprobe's {SCHEMA_VERSION}; upgrade "
            "resprobe."
        )


def require_storage(file: h5py.File, path: Path) -> None:
    """Refuse a file whose committed rows do not lie in it, before they are read lazily.

    HDF5 gives fill values for a chunk that its index has lost.

    Raises:
        InputError: a variable's bytes lie beyond the end, or chunks of committed rows are missing.
    """
    end = path.stat().st_size

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and not _is_stored(item, end):
            raise InputError(
                f"{path} is damaged (rows of {name} are not in it); take it from a copy, or record "
                "it again."
            )

    try:
        file.visititems(visit)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} is damaged ({error}); take it from a copy, or record it again."
        ) from error


def _is_stored(dataset: h5py.Dataset, end: int) -> bool:
    if dataset.chunks is None:
        start = dataset.id.get_offset()
        dataset[()]  # text lies elsewhere in the file
        return start is None or start + dataset.id.get_storage_size() <= end
    rows: set[int] = set()

    def see(chunk: h5py.h5d.StoreInfo) -> None:
        if chunk.byte_offset is not None and chunk.byte_offset + chunk.size <= end:
            rows.add(int(chunk.chunk_offset[0]))

    dataset.id.chunk_iter(see)
    committed = dataset.parent.get("committed")
    count = dataset.shape[0] if committed is None else int(committed[()])
    needed = range(0, min(count, dataset.shape[0]), dataset.chunks[0])
    return rows.issuperset(needed)


def snapshot(path: Path) -> bytes:
    """Give the bytes of a file as they were at one moment, also while it is being written.

    HDF5 looks at the end of a file once, when it opens it, and takes what a writer adds meanwhile
    for damage. What is there between two writes is whole (`ordered.py`). Nothing was written during
    a pass where the time of the last change is the same after it, and so old before it that the
    next one would differ, or nobody holds the lock. Two passes that read the same bytes show what
    was there between them.

    Raises:
        ChangingError: it changes in every pass.
        InputError: it can't be read.
    """
    started, earlier = time.monotonic(), None
    try:
        while True:
            began = time.monotonic()
            before, at_rest = _last_change(path), not is_in_use(path.parent / LOCK)
            old = _is_old(before[0])
            content = path.read_bytes()
            told = old or (at_rest and not is_in_use(path.parent / LOCK))
            if (told and _last_change(path) == before) or content == earlier:
                return content
            earlier, now = content, time.monotonic()
            if now - started > max(PATIENCE, _PASSES * (now - began)):
                raise ChangingError(
                    f"{path} changes faster than it can be read; try again, or wait for its writer."
                )
            # The next pass over a large file is to begin as soon as the last change is old enough.
            time.sleep(min(now - began, _TICK / 1e9))
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}); check it.") from error


def _is_old(last: int) -> bool:
    """Whether a change from now on gets another time than the last one, in nanoseconds."""
    return time.time_ns() - last >= (_TICK if last % 10**9 else _COARSE_TICK)


def _last_change(path: Path) -> tuple[int, int]:
    """Give what changes when a file is written: the time, in nanoseconds, and its size."""
    found = path.stat()
    return found.st_mtime_ns, found.st_size


def _without_lock(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        # HDF5 refuses to open one file twice in a process with and without its lock; where
        # somebody here holds it open with the lock, so do we.
        if "flag values don't match" not in str(error):
            raise
        return h5py.File(path, "r")
