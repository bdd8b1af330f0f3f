"""The folder that downloaded data sets lie in, and how one comes to lie there whole."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from resprobe.errors import DiskFullError, InputError
from resprobe.store.lock import file_lock
from resprobe_models.datasets.transfer import FULL, TransferError, transfer
from resprobe_models.datasets.transfer_progress import Shown, make_shown
from resprobe_models.datasets.unpack import unpack

VARIABLE = "RESPROBE_DATA"
WAIT_SECONDS = 0.5
_threads = threading.Lock()  # a file lock lets the threads of one process in together


@dataclass(frozen=True)
class Download:
    """A published archive.

    Attributes:
        url: http or https.
        checksum: as pooch writes it, `"md5:…"` or another algorithm of hashlib.
    """

    url: str
    checksum: str

    @property
    def archive(self) -> str:
        """Name of the file."""
        return self.url.rpartition("/")[2]


def cache_folder() -> Path:
    """Give the folder of downloaded data sets: RESPROBE_DATA, or the user's cache."""
    import pooch

    named = os.environ.get(VARIABLE)
    return Path(named).expanduser().absolute() if named else Path(pooch.os_cache("resprobe"))


def fetch(name: str, download: Download, members: Sequence[str], folder: Path) -> None:
    """Download an archive and put some of its files into the cache.

    The archive is checked before it is unpacked, each file is moved to its place when it is
    whole, and only then is the archive deleted. All that happens in a folder `.NAME.download` of
    the cache, where what a broken-off download received stays as a `.part` file, from which the
    next call goes on. Another process that fetches the same is waited for.

    Args:
        name: of the data set, for messages.
        download: the archive.
        members: paths of the wanted files in the archive, and below `folder`.
        folder: the cache, made if need be.

    Raises:
        InputError: the folder cannot be written, or the download fails.
        DiskFullError: there is no room.
    """
    with _explained(name, download, folder), make_shown(name) as shown:
        folder.mkdir(parents=True, exist_ok=True)
        with _turn(folder / f".{name}.lock", f"the download of {name} into {folder}", shown):
            if all((folder / member).is_file() for member in members):
                return  # another process was faster
            work = folder / f".{name}.download"
            work.mkdir(exist_ok=True)
            archive = _checked_archive(download, work, shown)
            shown.say(f"unpacking {archive}")
            _place(archive, members, folder, work / "unpacked")
            shutil.rmtree(work)
            shown.say(f"{name} is in {folder}")


@contextmanager
def _turn(path: Path, what: str, shown: Shown) -> Iterator[None]:
    """Wait for the lock: the processes of one training all ask at once."""
    told = False
    with _threads, ExitStack() as stack:
        while True:
            try:
                stack.enter_context(file_lock(path, what))
                break
            except InputError as error:
                cause = error.__cause__
                if cause is not None and not isinstance(cause, FileExistsError):
                    raise cause from None  # the file to lock cannot be made
                if not told:
                    shown.say(f"waiting: {error}")
                told = True
                time.sleep(WAIT_SECONDS)
        yield


def _checked_archive(download: Download, work: Path, shown: Shown) -> Path:
    """Give the path of the whole archive, whose checksum is the published one."""
    import pooch

    part = work / f"{download.archive}.part"

    def into(url: str, output: str, _: object) -> None:
        shown.say(f"downloading {url} to {work}")
        transfer(url, part, shown)
        part.replace(output)  # pooch looks at the checksum next, and deletes what is wrong

    with _quiet(pooch.get_logger()):
        path = pooch.retrieve(
            download.url, download.checksum, fname=download.archive, path=work, downloader=into
        )
    return Path(path)


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Keep pooch's own lines off the terminal, where ours say the same."""
    before = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(before)


def _place(archive: Path, members: Sequence[str], folder: Path, unpacked: Path) -> None:
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir()
    try:
        unpack(archive, members, unpacked)
        for member in members:
            (folder / member).parent.mkdir(parents=True, exist_ok=True)
            (unpacked / member).replace(folder / member)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


@contextmanager
def _explained(name: str, download: Download, folder: Path) -> Iterator[None]:
    """Turn what may go wrong into a sentence that says what to do."""
    try:
        yield
    except TransferError as error:
        raise InputError(_cannot(name, download, folder, str(error))) from error
    except ValueError as error:  # pooch: another checksum
        reason = "its checksum is not the published one, the file was deleted"
        raise InputError(_cannot(name, download, folder, reason)) from error
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in FULL:
            raise DiskFullError(
                f"no room for {name} in {folder} ({reason}): free some space and try again, it "
                f"goes on where it ended, or set {VARIABLE} to a folder that has room."
            ) from error
        raise InputError(
            f"{name} cannot be put into {folder} ({reason}): set {VARIABLE} to a folder that can "
            "be written, or give the files with --data-dir."
        ) from error


def _cannot(name: str, download: Download, folder: Path, reason: str) -> str:
    return (
        f"{name} is not in {folder} and cannot be downloaded from {download.url} ({reason}). Where "
        "there is a network, such as on a login node, "
        f"`python -c \"from resprobe_models.datasets.{name} import load; load(split='test')\"` "
        f"puts it there; or unpack {download.archive} and give its folder with --data-dir."
    )
