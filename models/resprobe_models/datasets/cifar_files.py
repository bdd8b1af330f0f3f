"""The files of CIFAR-10 and CIFAR-100: rows of label bytes and pixels, or pickled arrays.

Source: A. Krizhevsky (2009), "Learning multiple layers of features from tiny images";
https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe.errors import InputError
from resprobe_models.datasets.files import refuse_labels_outside, refuse_other_size
from resprobe_models.datasets.restricted_pickle import load_pickled_arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resprobe_models.datasets.files import Samples

SITE = "https://www.cs.toronto.edu/~kriz/cifar.html"
SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32

Reader = Callable[[Path, tuple[str, ...], int, int], "Samples"]


def binary_reader(label_bytes: int) -> Reader:
    """Give the reader of the binary layout.

    Args:
        label_bytes: before the pixels of each row; the last of them is the class.
    """
    return partial(_read_all, partial(_read_binary, label_bytes))


def python_reader(key: str) -> Reader:
    """Give the reader of the python layout.

    Args:
        key: under which the pickle has the labels.
    """
    return partial(_read_all, partial(_read_python, key))


def _read_all(
    read: Callable[[Path, int, int], Samples],
    folder: Path,
    names: tuple[str, ...],
    rows: int,
    classes: int,
) -> Samples:
    parts = [read(folder / name, rows, classes) for name in names]
    pixels = np.concatenate([pixels for pixels, _ in parts]).reshape(-1, *SHAPE)
    return pixels, np.concatenate([labels for _, labels in parts])


def _read_binary(label_bytes: int, path: Path, rows: int, classes: int) -> Samples:
    data = np.fromfile(path, dtype=np.uint8)
    row = label_bytes + PIXELS
    what = f"{rows:,} rows of {label_bytes} label and {PIXELS:,} pixels"
    refuse_other_size(path, data.size, rows * row, what)
    table = data.reshape(rows, row)
    labels = table[:, label_bytes - 1].astype(np.int64)
    refuse_labels_outside(labels, path, 0, classes - 1)
    return table[:, label_bytes:], labels


def _read_python(key: str, path: Path, rows: int, classes: int) -> Samples:
    batch = load_pickled_arrays(path.read_bytes(), str(path))
    pixels, given = _entry(batch, "data", path), _entry(batch, key, path)
    if not isinstance(pixels, np.ndarray) or pixels.shape != (rows, PIXELS):
        raise InputError(
            f"{path}: data is {_describe(pixels)}, expected a uint8 array of shape "
            f"({rows}, {PIXELS}); get a fresh copy."
        )
    labels = _numbers(given, key, path)
    if len(labels) != rows:
        raise InputError(f"{path}: {len(labels):,} labels for {rows:,} images; get a fresh copy.")
    refuse_labels_outside(labels, path, 0, classes - 1)
    return pixels, labels


def _numbers(given: Any, key: str, path: Path) -> NDArray[np.int64]:
    whole = isinstance(given, list) and all(type(label) is int for label in given)
    # A pickle may hold numbers of any length.
    if not whole or not all(-(2**62) < label < 2**62 for label in given):
        raise InputError(
            f"{path}: {key} is {_describe(given)}, expected a list of numbers; get a fresh copy."
        )
    return np.array(given, dtype=np.int64)


def _entry(batch: Any, key: str, path: Path) -> Any:
    # CIFAR's own pickles come from Python 2, whose text is read as bytes.
    for name in (key.encode(), key):
        if isinstance(batch, dict) and name in batch:
            return batch[name]
    raise InputError(
        f"{path} holds {_describe(batch)} without {key!r}: it is not a batch of this data set; "
        "get a fresh copy."
    )


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"a {value.dtype} array of shape {value.shape}"
    return f"a {type(value).__name__}"
