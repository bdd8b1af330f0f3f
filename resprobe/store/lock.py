"""One writer at a time: advisory locks on a run directory and on files being collected."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from resprobe.errors import InputError

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

_held: dict[Path, int] = {}


@contextmanager
def run_lock(run: Path) -> Iterator[None]:
    """Hold the lock of a run directory; a second holder within the process just enters.

    Raises:
        InputError: another process holds it; the message names that process.
    """
    with file_lock(Path(run) / ".lock", f"the run {run}"):
        yield


@contextmanager
def file_lock(path: Path, what: str) -> Iterator[None]:
    """Hold an exclusive lock on `path`, made if need be and left behind.

    Args:
        path: the file that is locked; it tells who holds it.
        what: what it guards, for the message.

    Raises:
        InputError: another process holds it; the message names that process.
    """
    key = path.resolve()
    if _held.get(key):
        _held[key] += 1
        try:
            yield
        finally:
            _held[key] -= 1
        return
    if fcntl is None:
        with _exclusive_file(path, what):
            yield
        return
    try:
        opened = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path}, which guards {what}, can't be made ({error.strerror}); choose another "
            "directory."
        ) from error
    with opened as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(_taken(path, what)) from error
        _sign(stream)
        _held[key] = 1
        try:
            yield
        finally:
            del _held[key]
            fcntl.flock(stream, fcntl.LOCK_UN)


@contextmanager
def _exclusive_file(path: Path, what: str) -> Iterator[None]:
    """Where `flock` is missing: a file that exists while the lock is held."""
    marker = path.with_name(path.name + ".held")
    try:
        stream = marker.open("x", encoding="utf-8")
    except FileExistsError as error:
        raise InputError(
            f"{_taken(marker, what)} If that process is gone, delete {marker}."
        ) from error
    with stream:
        _sign(stream)
    _held[path.resolve()] = 1
    try:
        yield
    finally:
        del _held[path.resolve()]
        marker.unlink()


def is_locked(path: Path) -> bool:
    """Whether another process holds the lock at `path`."""
    if fcntl is None:
        return path.with_name(path.name + ".held").exists()
    if not path.exists() or _held.get(path.resolve()):
        return False
    with path.open("r", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        fcntl.flock(stream, fcntl.LOCK_UN)
    return False


def _sign(stream: IO[str]) -> None:
    stream.seek(0)
    stream.truncate()
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "command": " ".join(sys.argv)}
    stream.write(json.dumps(holder))
    stream.flush()


def _taken(path: Path, what: str) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        who = f"process {holder['pid']} on {holder['host']} ({holder['command']})"
    except (OSError, ValueError, KeyError):
        who = "another process"
    return f"{what} is in use by {who}; wait until it ends or choose another directory."
