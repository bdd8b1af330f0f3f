"""Some files out of a tar archive, and nothing else that it may hold."""

from __future__ import annotations

import os
import shutil
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from resprobe.errors import InputError


def unpack(archive: Path, members: Sequence[str], into: Path) -> None:
    """Unpack regular files of a tar archive, and nothing else that it holds.

    Paths are ours, not the archive's: a member is written below `into` only if it bears exactly a
    wanted name, and links are not followed.

    Args:
        archive: compressed or not.
        members: the wanted names.
        into: an empty folder.

    Raises:
        InputError: the archive is damaged or lacks one of them.
        OSError: a file cannot be written.
    """
    missing = set(members)
    try:
        with tarfile.open(archive) as opened:
            for item in opened:
                name = item.name.removeprefix("./")
                if name in missing and item.isreg():
                    missing.remove(name)
                    source = opened.extractfile(item)
                    assert source is not None  # a regular file has contents
                    _write(source, into / name)
                if not missing:
                    return
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(f"{archive} is damaged ({error}): delete it and try again.") from error
    raise InputError(
        f"{archive} lacks {', '.join(sorted(missing))}: it is another archive; delete it and try "
        "again."
    )


def _write(source: IO[bytes], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
        target.flush()
        os.fsync(target.fileno())  # the file must be whole when its last name is seen
