"""Files that are whole or not there, whenever the process is killed."""

from __future__ import annotations

import os
from pathlib import Path

from resprobe.errors import InputError


def write_text(path: Path, text: str) -> None:
    """Write a text so that a reader sees the old one or the new one, also after a power cut.

    Raises:
        InputError: it can't be written.
    """
    unborn = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with unborn.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            unborn.replace(path)
        finally:
            unborn.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path} can't be written ({error}); give another -o.") from error


def make_folder(path: Path) -> None:
    """Make a folder with its parents, if it is not there.

    Raises:
        InputError: it can't be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = "it is a file" if path.is_file() else error.strerror or error
        raise InputError(f"{path} can't be a folder ({why}); give another -o.") from error


def seen_from(text: str, folder: Path) -> str:
    """Give a text in which files below a folder are named as seen from it."""
    return text.replace(f"{folder.resolve()}/", "").replace(f"{folder}/", "")
