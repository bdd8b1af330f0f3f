"""Room on the disk, taken before anything is written, so that a full disk harms nothing."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from resprobe.errors import DiskFullError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def reserve(path: Path, descriptor: int, offset: int, size: int, what: str) -> None:
    """Take `size` bytes of disk for a file from `offset` on.

    Where the platform or the file system can't do that, the free space is looked at instead.

    Args:
        path: of the file.
        descriptor: of the file, open for writing.
        offset: first byte.
        size: number of bytes.
        what: is to be written, for the message.

    Raises:
        DiskFullError: there is no room; nothing has been written.
    """
    reason = f"{size:,} bytes are needed"
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, offset, size)
            return
    except OSError as error:
        reason = str(error)
        if error.errno in _FULL:
            raise DiskFullError(_message(path, what, reason)) from error
    if shutil.disk_usage(path.parent).free < size:
        raise DiskFullError(_message(path, what, reason))


def reserve_new(path: Path, size: int, what: str) -> None:
    """Make sure that a new file of `size` bytes fits; the file is left empty.

    Raises:
        DiskFullError: it does not; nothing is left behind.
    """
    try:
        with path.open("wb") as stream:
            reserve(path, stream.fileno(), 0, size, what)
            stream.truncate(0)
    except DiskFullError:
        path.unlink()
        raise


def write_new(path: Path, content: bytes, what: str) -> None:
    """Write a file under another name and move it in place when it is whole.

    Raises:
        DiskFullError: there is no room; nothing is left behind.
    """
    unborn = path.with_name(path.name + ".new")
    try:
        with unborn.open("wb", buffering=0) as stream:
            reserve(path, stream.fileno(), 0, len(content), what)
            view = memoryview(content)
            while view:
                view = view[stream.write(view) :]
        unborn.replace(path)
    except (OSError, DiskFullError) as error:
        unborn.unlink(missing_ok=True)
        if isinstance(error, DiskFullError) or error.errno not in _FULL:
            raise
        raise DiskFullError(_message(path, what, str(error))) from error


def _message(path: Path, what: str, reason: str) -> str:
    return (
        f"no room on the disk for {what} of {path} ({reason}); every committed row is safe. Free "
        "some space and go on."
    )
