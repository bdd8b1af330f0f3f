"""Where `resprobe convert` writes: nothing that is not its own is lost, nothing half stands there.

What is new is built beside its place and renamed when complete. What an earlier conversion left is
put aside for that moment, and put back by the next conversion to this place if a kill fell into it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from resprobe import checkpoints
from resprobe.converted import CERTIFICATE, read_certificate
from resprobe.errors import InputError
from resprobe.files import real_path
from resprobe.store.lock import LOCK, file_lock, is_in_use

# Of a conversion without a counterpart, which is no run.
STATE = "converted.safetensors"
# Of the folders where a conversion is built, and where the earlier one waits.
_PARTIAL, _REPLACED = "partial", "replaced"
# Files and folders that are named where there are more.
_SHOWN = 5


def refuse_unusable(run: Path, out: Path, *, overwrite: bool) -> None:
    """Refuse to write where something would be lost; put back what a killed conversion put aside.

    Args:
        run: what is converted.
        out: folder to write.
        overwrite: whether an earlier conversion may be replaced.

    Raises:
        InputError: `out` can't be written, lies in `run`, holds something else than an earlier
            conversion left, or is being written.
    """
    mine, theirs = real_path(out), real_path(run)
    if mine == theirs or mine in theirs.parents or theirs in mine.parents:
        raise InputError(
            f"{out} and {run} are the same or lie in each other; what is converted stays as it is: "
            "choose another -o."
        )
    if any(_beside(out, word).exists() for word in (_PARTIAL, _REPLACED)):
        with _writing(out), _lock(out):
            _put_back(out)
    _refuse_loss(out, overwrite=overwrite)


def _refuse_loss(out: Path, *, overwrite: bool) -> None:
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir() or out.is_symlink():
        raise InputError(f"{out} is no folder; choose another -o.")
    if not any(out.iterdir()):
        return
    if not (out / CERTIFICATE).is_file():
        raise InputError(
            f"{out} exists and is not what a conversion left (it holds no {CERTIFICATE}); choose "
            "another -o."
        )
    if not overwrite:
        raise InputError(f"{out} exists; choose another -o, or give --overwrite to replace it.")
    if any(is_in_use(lock) for lock in out.rglob(LOCK)):
        raise InputError(f"{out} is in use by another process; wait until it ends.")
    left = _left_by_conversion(out)
    if more := sorted({_top(path.relative_to(out), left) for path in _files(out) - left}):
        named = ", ".join(more[:_SHOWN])
        others = f" and {len(more) - _SHOWN} more" if len(more) > _SHOWN else ""
        raise InputError(
            f"{out} holds more than a conversion left: {named}{others}; --overwrite replaces a "
            "conversion alone: choose another -o, or move these away if they are not needed."
        )


def _files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}


def _top(path: Path, left: set[Path]) -> str:
    """Name a file by its first folder, but for those of the folder that a conversion makes."""
    if len(path.parts) == 1 or path.parts[0] == checkpoints.FOLDER:
        return str(path)
    return f"{path.parts[0]}/"


def _left_by_conversion(out: Path) -> set[Path]:
    """Give the files that a conversion may have left, by its certificate.

    Raises:
        InputError: the certificate is damaged.
    """
    certificate = read_certificate(out) or {"checkpoints": []}
    steps = [row["step"] for row in certificate["checkpoints"]]
    names = (CERTIFICATE, STATE, LOCK, "recipe.toml", "source.toml")
    suffixes = (".safetensors", ".json", ".state.safetensors")
    stems = [out / checkpoints.FOLDER / checkpoints.stem(step) for step in steps]
    return {
        *(out / name for name in names),
        *(stem.with_name(stem.name + suffix) for stem in stems for suffix in suffixes),
    }


def _beside(out: Path, word: str) -> Path:
    return out.with_name(f".{out.name}.{word}")


def _lock(out: Path) -> AbstractContextManager[None]:
    """Give the lock of a place: of two conversions to it one goes on, and what is left is old."""
    return file_lock(_beside(out, "lock"), f"{out}, where a conversion is written,")


def _put_back(out: Path) -> None:
    """Delete what a conversion did not complete, and put back what it put aside."""
    shutil.rmtree(_beside(out, _PARTIAL), ignore_errors=True)
    aside = _beside(out, _REPLACED)
    if aside.exists() and not out.exists():
        aside.rename(out)
    shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def in_place(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a folder to build in, which takes its place when all went well, else is deleted.

    Args:
        out: its place.
        overwrite: whether an earlier conversion may be replaced.

    Raises:
        InputError: it can't be written, another process writes there, or something came there
            meanwhile that would be lost.
    """
    with _writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with _lock(out):
            try:
                _put_back(out)
                folder = _beside(out, _PARTIAL)
                folder.mkdir()
                yield folder
                _refuse_loss(out, overwrite=overwrite)
                if out.exists():
                    out.rename(_beside(out, _REPLACED))
                folder.rename(out)
            finally:
                _put_back(out)


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{out} can't be written ({error.strerror}); make room or choose another -o."
        ) from error
