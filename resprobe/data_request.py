"""The data that `--data` names, in the size and on the scale that the network takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resprobe import data_files, image_folder, registry
from resprobe.data import Images
from resprobe.errors import InputError, UnknownNameError
from resprobe.files import real_path
from resprobe.reference import is_reference
from resprobe.resize import resize_arrays
from resprobe.resolution import at_resolution

# Of an image that is resized: one of twice that length each way takes hundreds of megabytes.
_LONGEST_SIDE = 8192

Statistics = tuple[list[float], list[float]]


@dataclass(frozen=True)
class DataRequest:
    """What to measure a network on.

    Attributes:
        name: a registered data set, a folder of images by class, an .npz, .h5 or .safetensors
            file, or `file.py:loader`.
        folder: of a registered data set's files.
        normalize: mean and standard deviation of each channel; None takes the data's own.
        resize: images to this size, see `resprobe.resize.plan`.
        resolution: of a registered data set: the side to which its images were reduced for the
            run, see `resprobe.resolution`; 0 for as stored.
        sha256: what the file of a loader must still have; "" takes it as it is.
    """

    name: str
    folder: Path | None = None
    normalize: Statistics | None = None
    resize: tuple[int, ...] | None = None
    sha256: str = ""
    resolution: int = 0

    def table(self) -> dict[str, Any]:
        """Give what makes the request again, for the `[data]` of source.toml."""
        table: dict[str, Any] = {"name": self._lasting_name()}
        if self.folder is not None:
            table["dir"] = str(real_path(self.folder))
        if self.normalize is not None:
            table["normalize"] = [list(values) for values in self.normalize]
        if self.resize is not None:
            table["resize"] = list(self.resize)
        if self.sha256:
            table["sha256"] = self.sha256
        if self.resolution:
            table["resolution"] = self.resolution
        return table

    def _lasting_name(self) -> str:
        """Give a name that holds from every working directory."""
        if self.name in registry.entries("datasets"):
            return self.name
        file, colon, attribute = self.name.rpartition(":")
        if is_code(self.name):
            place = str(real_path(Path(file))) if file.endswith(".py") else file
            return f"{place}{colon}{attribute}"
        return str(real_path(Path(self.name)))


@dataclass(frozen=True)
class DataSet:
    """Samples to measure on.

    Attributes:
        images: the samples.
        mean: of each channel, on the scale 0 to 1; empty for ids, which are not standardised.
        std: likewise.
        standardised: whether and by what, in words.
        told: whether `standardised` is something that the user should be told.
        sha256: of the file of a loader, "" where there is none.
    """

    images: Images
    mean: list[float]
    std: list[float]
    standardised: str
    told: bool = False
    sha256: str = ""


def is_code(name: str) -> bool:
    """Whether samples come from the code that their name points at."""
    known = name in registry.entries("datasets") or Path(name).is_dir()
    return is_reference(name) and not known


def request_again(table: Mapping[str, Any], folder: Path | None) -> DataRequest:
    """Make a request again from the `[data]` of a run; `folder` replaces its directory.

    Raises:
        KeyError: the table has no name.
    """
    where = folder or (Path(table["dir"]) if table.get("dir") else None)
    mean, std = table.get("normalize", ([], []))
    size = tuple(map(int, table.get("resize", ()))) or None
    normalize = ([float(m) for m in mean], [float(s) for s in std]) if mean else None
    sha256 = str(table.get("sha256", ""))
    resolution = int(table.get("resolution", 0))
    return DataRequest(table["name"], where, normalize, size, sha256, resolution)


def load_data_set(request: DataRequest) -> DataSet:
    """Load the samples of a request with what they are standardised by.

    Raises:
        UnknownNameError: no data set and no path has that name.
        InputError: the data are missing, damaged, or not what was asked.
    """
    images, sha256 = _loaded(request)
    mean, std, words, told = _standardisation(request, images)
    return DataSet(images, mean, std, words, told, sha256)


def load_samples(request: DataRequest) -> Images:
    """Load the samples of a request alone, resized; it may run its code.

    Raises:
        InputError: see `load_data_set`.
    """
    return _loaded(request)[0]


def _loaded(request: DataRequest) -> tuple[Images, str]:
    """Give the samples, and the SHA-256 of their loader's file, "" where there is none."""
    sha256 = ""
    name, path = request.name, Path(request.name)
    if name in registry.entries("datasets"):
        images = _split(request, "test")
    elif path.is_dir():
        measured, training = image_folder.splits(path)
        given = len(request.normalize[0]) if request.normalize else 1
        if given not in (1, 3):
            raise _wrong_channels(request, "1 or 3")
        channels = None if given == 1 else given  # one value is for all channels alike
        images = image_folder.read(
            measured, resize=request.resize, channels=channels, classes=training
        )
        return images, sha256
    elif path.suffix in data_files.SUFFIXES:
        images = data_files.read(path)
    elif is_code(name):
        images, sha256 = data_files.load(name, request.sha256)
    elif path.exists() or path.suffix or len(path.parts) > 1:
        raise InputError(
            f"--data {name} is {'no such file' if path.exists() else 'not there'}; give a folder "
            "of images by class, an .npz, .h5 or .safetensors file with x and y, FILE.py:LOADER, "
            "or a registered data set (resprobe list datasets)."
        )
    else:
        raise UnknownNameError("data set", name, registry.entries("datasets"))
    return _resized(images, request), sha256


def load_training(request: DataRequest, channels: int) -> Images:
    """Load the training images that belong to a request, resized, without augmentation.

    Args:
        request: of the data that a network is measured on.
        channels: of its images, which those of a folder get too.

    Raises:
        InputError: it brings none.
    """
    if request.name in registry.entries("datasets"):
        return _resized(_split(request, "train"), request)
    path = Path(request.name)
    training = image_folder.splits(path)[1] if path.is_dir() else None
    if training is None:
        raise InputError(
            f"{request.name} brings no training images, from which the statistics of BatchNorm "
            "are estimated anew: give --data a registered data set (resprobe list datasets), or a "
            "folder with train/ beside test/."
        )
    return image_folder.read(
        training, resize=request.resize, channels=channels if channels == 3 else 1
    )


def load_images(name: str, split: str, data_dir: Path | None) -> Images:
    """Load one split of a registered data set.

    Raises:
        UnknownNameError: nobody offers it.
        InputError: its files are missing or damaged.
    """
    images: Images = registry.load("datasets", name)(split=split, data_dir=data_dir)
    return images


def _split(request: DataRequest, split: str) -> Images:
    images = load_images(request.name, split, request.folder)
    return at_resolution(images, request.resolution, request.name)


def normalize_of(texts: tuple[str, str] | None) -> Statistics | None:
    """Read the two values of --normalize.

    Raises:
        InputError: they are not as many means as positive deviations.
    """
    if texts is None:
        return None
    try:
        mean, std = ([float(part) for part in text.split(",")] for text in texts)
    except ValueError:
        mean, std = [], []
    usable = len(mean) == len(std) > 0 and min(std) > 0 and all(map(math.isfinite, mean + std))
    if not usable:
        raise InputError(
            f"--normalize {' '.join(texts)}: give the mean of each channel and then the standard "
            "deviation of each, such as 0.485,0.456,0.406 0.229,0.224,0.225."
        )
    return mean, std


def resize_of(text: str | None) -> tuple[int, ...] | None:
    """Read the value of --resize.

    Raises:
        InputError: it is neither one nor two positive whole numbers.
    """
    if text is None:
        return None
    parts = text.split(",")
    whole = all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts)
    if not whole or len(parts) > 2:
        raise InputError(
            f"--resize {text}: give the length of the shorter side, such as 224, or height and "
            "width, such as 224,224."
        )
    if max(map(int, parts)) > _LONGEST_SIDE:
        raise InputError(
            f"--resize {text}: a side of an image has at most {_LONGEST_SIDE} pixels; give fewer."
        )
    return tuple(map(int, parts))


def _resized(images: Images, request: DataRequest) -> Images:
    if request.resize is None:
        return images
    if images.are_ids or images.images.ndim != 4:
        raise InputError(
            f"--resize is for images, but {request.name} holds {images.images.dtype} of shape "
            f"{images.images.shape}; leave --resize out."
        )
    pixels = resize_arrays(images.images, request.resize)
    return Images(pixels, images.labels, images.classes, images.name, images.extras)


def _standardisation(
    request: DataRequest, images: Images
) -> tuple[list[float], list[float], str, bool]:
    if images.are_ids:
        if request.normalize is not None:
            raise InputError(
                f"--normalize is for images and features, but {request.name} holds whole numbers "
                f"({images.images.dtype}), which are passed as they are; leave it out."
            )
        return [], [], "not standardised, whole numbers are passed as they are", False
    if request.normalize is not None:
        channels = images.images.shape[1] if images.images.ndim > 1 else 1
        if len(request.normalize[0]) not in (1, channels):
            raise _wrong_channels(request, str(channels))
        return *request.normalize, "standardised as given with --normalize", False
    if request.name in registry.entries("datasets"):
        return (
            *_split(request, "train").standardisation(),
            f"standardised by the training split of {request.name}",
            False,
        )
    if Path(request.name).is_dir():
        training = image_folder.splits(Path(request.name))[1]
        if training is not None:
            channels = images.images.shape[1]
            own = image_folder.statistics(training, channels=channels)
            return *own, f"standardised by the images of {training.name}/", False
    if images.images.dtype.kind == "f":
        return [0.0], [1.0], "not standardised, x is passed as it is", True
    return *images.standardisation(), "standardised by the measured images themselves", True


def _wrong_channels(request: DataRequest, channels: str) -> InputError:
    assert request.normalize is not None
    return InputError(
        f"--normalize gives {len(request.normalize[0])} means, but {request.name} has {channels} "
        "channels; give one mean and one deviation for each."
    )
