"""One writer at a time: advisory locks on a run directory and on files being collected."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from resprobe.errors import InputError

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

# Of a run, and of any folder that a writer works in.
LOCK = ".lock"

# Attempts at a lock, 10 ms apart.
_LOOKS = 10


@dataclass
class _Hold:
    """What this process holds of one lock: what gives it back, and how many are inside."""

    resources: ExitStack
    count: int = 0


_held: dict[Path, _Hold] = {}
# Of `_held`.
_turn = threading.Lock()


@contextmanager
def run_lock(run: Path) -> Iterator[None]:
    """Hold the lock of a run directory; a second holder within the process just enters.

    Raises:
        InputError: another process holds it; the message names that process.
    """
    with file_lock(Path(run) / LOCK, f"the run {run}"):
        yield


@contextmanager
def file_lock(path: Path, what: str) -> Iterator[None]:
    """Hold an exclusive lock on `path`, made for it and deleted when it is given back.

    A second holder within the process just enters; whoever leaves last gives it back.

    Args:
        path: the file that is locked; it tells who holds it.
        what: what it guards, for the message.

    Raises:
        InputError: another process holds it, and the message names that process; or it can't be
            made.
    """
    key = path.resolve()
    with _turn:
        if key not in _held:
            resources = ExitStack()
            resources.enter_context((_locked if fcntl else _exclusive_file)(path, what))
            _held[key] = _Hold(resources)
        hold = _held[key]
        hold.count += 1
    try:
        yield
    finally:
        with _turn:
            hold.count -= 1
            if not hold.count:
                hold.resources.close()
                del _held[key]


@contextmanager
def _locked(path: Path, what: str) -> Iterator[None]:
    """Lock the file that is at `path` also when it is locked."""
    while True:
        try:
            stream = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise _unmade(path, what, error) from error
        with stream:
            if not _flock(stream):
                raise InputError(_taken(path, what))
            if _is_at(stream, path):
                _sign(stream)
                try:
                    yield
                finally:
                    # Deleted while it is held: whoever has it open meanwhile sees that it is gone.
                    with suppress(OSError):
                        path.unlink()
                return


def _flock(stream: IO[str]) -> bool:
    """Lock a file; one that is only being looked at (`is_locked`) is free again in no time."""
    for _ in range(_LOOKS):
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(0.01)
        else:
            return True
    return False


def _is_at(stream: IO[str], path: Path) -> bool:
    """Whether an open file is still the one at `path`: its last holder may have deleted it."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False


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
    except OSError as error:
        raise _unmade(path, what, error) from error
    with stream:
        _sign(stream)
    try:
        yield
    finally:
        with suppress(OSError):
            marker.unlink()


def _unmade(path: Path, what: str, error: OSError) -> InputError:
    return InputError(
        f"{path}, which guards {what}, can't be made ({error.strerror}); choose another directory."
    )


def is_locked(path: Path) -> bool:
    """Whether another process holds the lock at `path`."""
    if fcntl is None:
        return path.with_name(path.name + ".held").exists()
    if path.resolve() in _held:
        return False
    try:
        stream = path.open("r", encoding="utf-8")
    except OSError:
        return False
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def is_in_use(path: Path) -> bool:
    """Whether any process, this one too, holds the lock at `path`."""
    return path.resolve() in _held or is_locked(path)


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
    except (OSError, ValueError, LookupError, TypeError):
        who = "another process"
    return f"{what} is in use by {who}; wait until it ends or choose another directory."
