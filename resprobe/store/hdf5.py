"""Open HDF5 files for reading, finished or still being written, without stopping their writer."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from resprobe.errors import InputError
from resprobe.store.schema import SCHEMA_VERSION

# How long a reader tries again while a writer is in the middle of a batch, in seconds.
PATIENCE = 1.0
# Longer than the writes of one flush take, in seconds.
FLUSH = 0.005


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
    found = file.attrs.get("resprobe_schema")
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


def snapshot(path: Path) -> bytes:
    """Give the bytes of a file as they were at one moment, also while it is being written.

    HDF5 looks at the end of a file once, when it opens it, and takes what a writer adds meanwhile
    for damage. Two passes that read the same bytes show what was there between them.

    Raises:
        InputError: it changes all the time.
    """
    deadline = time.monotonic() + PATIENCE
    earlier = path.read_bytes()
    while (content := path.read_bytes()) != earlier:
        if time.monotonic() > deadline:
            raise InputError(
                f"{path} changes faster than it can be read; try again, or wait for its writer."
            )
        earlier = content
    return content


def _without_lock(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        # HDF5 refuses to open one file twice in a process with and without its lock; where
        # somebody here holds it open with the lock, so do we.
        if "flag values don't match" not in str(error):
            raise
        return h5py.File(path, "r")
