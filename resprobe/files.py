"""What a path leads to, asked before it is opened."""

from __future__ import annotations

import stat
from pathlib import Path

from resprobe.errors import InputError


def refuse_special(path: Path) -> None:
    """Refuse a pipe, a socket or a device: opening one may wait for ever.

    A path that leads nowhere passes: whoever opens it says so.

    Raises:
        InputError: it is none of a file and a folder.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(f"{path} is a pipe, a socket or a device; save it as a file, give that.")


def read_text(path: Path) -> str:
    """Read a file of UTF-8 text, never waiting for a writer.

    Raises:
        InputError: it is a pipe, a socket or a device.
        OSError: it can't be read.
        UnicodeDecodeError: it is not text.
    """
    refuse_special(path)
    return path.read_text(encoding="utf-8")


def real_path(path: Path) -> Path:
    """Give the absolute path behind links; where they go in a circle, that of the first."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # RuntimeError: a circle, before Python 3.13
        return path.absolute()
