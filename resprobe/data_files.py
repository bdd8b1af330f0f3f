"""Samples from a file of arrays, or from a loader of the user's own."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe.data import Images, are_ids
from resprobe.errors import InputError
from resprobe.reference import find, quoted, refuse_borrowed, running

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIXES = (".npz", ".h5", ".hdf5", ".safetensors")
# Every class gets a name; a larger number is no class but something else.
_MOST_CLASSES = 10**6
_EXPECTED = "x (the inputs) and y (the class of each sample)"


def read(path: Path) -> Images:
    """Read a file of arrays: `x`, `y`, and keyword arguments of the network.

    Args:
        path: .npz, .h5 or .safetensors with `y`, the class of each sample; `x`, what the network
            takes by position; further arrays of as many samples, passed by their names; and in
            .npz and .h5 perhaps `classes`, the names. Without `x` all are passed by their names.

    Raises:
        InputError: the file is damaged, or its arrays are not that.
    """
    if not path.is_file():
        raise InputError(f"{path} is no file; give an .npz, .h5 or .safetensors file.")
    if path.suffix == ".npz":
        arrays = _read_npz(path)
    elif path.suffix == ".safetensors":
        arrays = _read_safetensors(path)
    else:
        arrays = _read_hdf5(path)
    return images_of(arrays, str(path))


def load(name: str, sha256: str = "") -> tuple[Images, str]:
    """Call a loader `file.py:loader` of the user's own.

    It returns `(x, y)`, `(x, y, classes)`, or a mapping of names to arrays or tensors.

    Args:
        name: of the loader.
        sha256: what its file must still have; "" takes it as it is.

    Returns:
        The samples, and the SHA-256 of the file.

    Raises:
        InputError: the file has changed, or the loader fails or returns something else.
    """
    found = find(name, sha256)
    if not callable(found.target):
        raise InputError(f"{name} is {type(found.target).__name__}, expected a function.")
    refuse_borrowed(found)
    with running(name, found.folder):
        result = found.target()
    if isinstance(result, Mapping):
        return images_of(dict(result), name), found.sha256
    if not isinstance(result, tuple | list) or len(result) not in (2, 3):
        raise InputError(
            f"{name} gave {type(result).__name__}, expected (x, y), (x, y, classes) or a mapping "
            f"with {_EXPECTED}."
        )
    named = dict(zip(("x", "y", "classes"), result, strict=False))
    return images_of(named, name), found.sha256


def images_of(arrays: Mapping[str, Any], source: str) -> Images:
    """Make a data set of named arrays.

    Args:
        arrays: `y`, and perhaps `x`, `classes` and keyword arguments; arrays or tensors.
        source: where they come from, for messages.

    Raises:
        InputError: they are not what `read` says.
    """
    named = dict(arrays)
    classes = named.pop("classes", None)
    if "y" not in named:
        raise InputError(
            f"{source} holds {', '.join(named) or 'nothing'}, but no y; expected {_EXPECTED}."
        )
    labels = _labels(_array(named.pop("y"), "y", source), source)
    names = _classes(classes, labels, source)
    inputs = {
        name: _input(_array(value, name, source), name, len(labels), source)
        for name, value in named.items()
    }
    if not inputs:
        raise InputError(f"{source} holds y alone; expected {_EXPECTED}.")
    # Without x everything goes by name; what can be standardised stands in the place of x.
    main = "x" if "x" in inputs else min(inputs, key=lambda name: (are_ids(inputs[name]), name))
    images = inputs.pop(main)
    _refuse_odd_bytes(images, main, source)
    extras = {
        name: array.astype(np.int64) if _is_whole(array) else array
        for name, array in inputs.items()
    }
    return Images(images, labels, names, "" if main == "x" else main, extras)


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:  # numpy leaves a damaged file open
            file = np.load(stream, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise ValueError("it is a single array")
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        reason = (
            "it holds Python objects, which could run code"
            if "allow_pickle" in str(error)
            else quoted(error)
        )
        raise InputError(
            f"{path} can't be read as arrays ({reason}); save plain arrays with "
            "numpy.savez(path, x=…, y=…)."
        ) from error


def _read_safetensors(path: Path) -> dict[str, Any]:
    from resprobe.checkpoints import read_tensors

    return dict(read_tensors(path))


def _read_hdf5(path: Path) -> dict[str, Any]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return {
                name: item.asstr()[()] if h5py.check_string_dtype(item.dtype) else item[()]
                for name, item in file.items()
                if isinstance(item, h5py.Dataset)
            }
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{path} can't be read as HDF5 ({quoted(error)}); take it from a copy."
        ) from error


def _array(value: Any, name: str, source: str) -> NDArray[Any]:
    """Give an array of numbers, of floats that torch has."""
    import torch

    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{source}: {name} can't be made an array ({quoted(error)}).") from error
    if array.dtype.kind not in "biuf" or array.ndim == 0:
        raise InputError(
            f"{source}: {name} is {array.dtype} of shape {array.shape}, expected numbers with the "
            "samples as the first dimension."
        )
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _labels(y: NDArray[Any], source: str) -> NDArray[np.int64]:
    if y.ndim != 1 or not _is_whole(y):
        hint = "; of one-hot rows take y.argmax(1)" if y.ndim == 2 else ""
        raise InputError(
            f"{source}: y is {y.dtype} of shape {y.shape}, expected one whole number, the class, "
            f"for each sample{hint}."
        )
    if not len(y):
        raise InputError(f"{source} holds no samples; give at least one.")
    if y.min() < 0:
        raise InputError(
            f"{source}: y has {y.min()} at sample {int(y.argmin())}; classes count from 0."
        )
    if y.max() >= _MOST_CLASSES:
        raise InputError(
            f"{source}: y has {y.max()} at sample {int(y.argmax())}, expected the numbers of at "
            f"most {_MOST_CLASSES:,} classes; number those that there are from 0."
        )
    return y.astype(np.int64)


def _classes(given: Any, labels: NDArray[np.int64], source: str) -> tuple[str, ...]:
    count = int(labels.max()) + 1
    if given is None:
        return tuple(map(str, range(count)))
    names = tuple(map(str, given if isinstance(given, Sequence) else np.asarray(given).tolist()))
    if len(names) < count:
        raise InputError(
            f"{source}: classes has {len(names)} names, but y goes up to {count - 1}; name every "
            "class."
        )
    return names


def _input(array: NDArray[Any], name: str, samples: int, source: str) -> NDArray[Any]:
    if len(array) != samples:
        raise InputError(
            f"{source}: {name} has {len(array)} samples, but y has {samples}; all arrays are of "
            "the same samples, so leave out what is none."
        )
    if not np.isfinite(array).all():
        place = int(np.argwhere(~np.isfinite(array))[0][0])
        raise InputError(
            f"{source}: {name} is not finite at sample {place}; repair or leave out that sample."
        )
    return array


def _refuse_odd_bytes(images: NDArray[Any], name: str, source: str) -> None:
    """Refuse bytes that look like images in another order of dimensions."""
    if images.dtype != np.uint8 or images.ndim < 3:
        return
    last = images.ndim == 4 and images.shape[3] in (1, 3) and images.shape[1] not in (1, 3)
    if images.ndim != 4 or last:
        raise InputError(
            f"{source}: {name} is uint8 of shape {images.shape}, expected images as (sample, "
            "channel, height, width); transpose it, or save other numbers as floats or int64."
        )


def _is_whole(array: NDArray[Any]) -> bool:
    return array.dtype.kind in "biu"
