"""Images in a folder by class, read with Pillow."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from resprobe.data import Images
from resprobe.errors import InputError, UnknownNameError
from resprobe.files import refuse_special
from resprobe.resize import resize_image

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

# The folders of a split layout: what is measured, the first that is there.
_MEASURED = ("test", "val")
_TRAINING = "train"
_GREY = ("1", "L", "LA")
# 16 bits or floats: Pillow would cut them off at 255 without a word.
_DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


def splits(folder: Path) -> tuple[Path, Path | None]:
    """Give the folder that is measured and the one of the training images, if there is one.

    In a folder with `test/` or `val/` that is the one measured, and `train/` beside it gives the
    statistics; any other folder is measured itself.
    """
    for name in _MEASURED:
        if _folders(folder / name):
            training = folder / _TRAINING
            return folder / name, training if _folders(training) else None
    return folder, None


def read(
    folder: Path,
    *,
    resize: tuple[int, ...] | None = None,
    channels: int | None = None,
    classes: Path | None = None,
) -> Images:
    """Read a folder whose sub-folders are the classes, in the order of their names.

    Args:
        folder: with a sub-folder of images for each class.
        resize: to which size, see `resprobe.resize.plan`; None takes them as they are.
        channels: 1 makes all grey, 3 makes all RGB; None makes them grey if all of them are, else
            RGB.
        classes: a folder whose sub-folders name the classes instead, such as the training split.

    Returns:
        uint8 `(sample, channel, height, width)`.

    Raises:
        InputError: there are no images, one can't be read, or they have several sizes.
    """
    names = _folders(classes or folder)
    files, labels = _listed(folder, names)
    mode = _mode(files, channels)
    first = _pixels(files[0], mode, resize)
    images = np.empty((len(files), *first.shape), np.uint8)
    for place, file in enumerate(files):
        pixels = _pixels(file, mode, resize)
        if pixels.shape != first.shape:
            raise InputError(
                f"{file} has {pixels.shape[1]}×{pixels.shape[2]} pixels (height×width), but "
                f"{files[0]} has {first.shape[1]}×{first.shape[2]}: give --resize N or H,W."
            )
        images[place] = pixels
    return Images(images, np.asarray(labels, np.int64), tuple(names))


def statistics(folder: Path, *, channels: int) -> tuple[list[float], list[float]]:
    """Give mean and standard deviation of each channel over all pixels of a folder, 0 to 1.

    One image after the other is read, in its own size, so memory does not grow with their number.

    Raises:
        InputError: there are no images, or one can't be read.
    """
    files, _ = _listed(folder, _folders(folder))
    mode = "L" if channels == 1 else "RGB"
    count, total, squares = 0, np.zeros(channels), np.zeros(channels)
    for file in files:
        pixels = _pixels(file, mode, None).astype(np.float64).reshape(channels, -1) / 255
        count += pixels.shape[1]
        total += pixels.sum(axis=1)
        squares += (pixels**2).sum(axis=1)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    return mean.tolist(), np.where(std > 0, std, 1.0).tolist()


def _folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _listed(folder: Path, names: Sequence[str]) -> tuple[list[Path], list[int]]:
    """Give the images of a folder and their labels, in the order of classes and names."""
    from PIL.Image import registered_extensions

    known = registered_extensions()
    for name in _folders(folder):
        if name not in names:
            raise UnknownNameError(f"class among the folders of {folder}", name, names)
    files, labels = [], []
    for label, name in enumerate(names):
        for file in sorted((folder / name).rglob("*")):
            if file.suffix.lower() in known and not file.name.startswith("."):
                refuse_special(file)
                files.append(file)
                labels.append(label)
    if not files:
        raise InputError(
            f"{folder} holds no images by class; give a folder with a sub-folder of images for "
            "each class (or test/ and train/ with such sub-folders)."
        )
    return files, labels


def _mode(files: Sequence[Path], channels: int | None) -> str:
    if channels is not None:
        return "L" if channels == 1 else "RGB"
    return "L" if all(_mode_of(file) in _GREY for file in files) else "RGB"


def _mode_of(file: Path) -> str:
    """Give Pillow's name for what an image is made of; only its header is read."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            return image.mode
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(file, error) from error


def _pixels(file: Path, mode: str, resize: tuple[int, ...] | None) -> NDArray[np.uint8]:
    """Read one image as `(channel, height, width)`."""
    from PIL import Image

    try:
        with warnings.catch_warnings(), Image.open(file) as image:
            warnings.simplefilter("ignore")  # of odd metadata: the pixels are what counts
            if image.mode in _DEEP:
                raise InputError(
                    f"{file} has more than 8 bits a pixel ({image.mode}); save such images as "
                    "floats in an .npz file with x and y."
                )
            plain = _converted(image, mode)
            array = np.asarray(plain if resize is None else resize_image(plain, resize))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(file, error) from error
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def _converted(image: Image, mode: str) -> Image:
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # the way that Pillow asks for
    return image.convert(mode)


def _unreadable(file: Path, error: Exception) -> InputError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(
        f"{file} can't be read as an image ({reason}); repair it or take it out of the folder."
    )
