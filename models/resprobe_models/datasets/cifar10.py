"""CIFAR-10 from its own files, in the binary or the python layout.

Source: A. Krizhevsky (2009), "Learning multiple layers of features from tiny images";
https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from resprobe.data import Images
from resprobe.errors import InputError
from resprobe_models.datasets.restricted_pickle import load_pickled_arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

SITE = "https://www.cs.toronto.edu/~kriz/cifar.html"
CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
PIXELS = 3 * 32 * 32
ROWS = 10_000

Rows = tuple["NDArray[np.uint8]", "NDArray[np.int64]"]


class Layout(NamedTuple):
    """One way in which the files are handed out."""

    folder: str
    suffix: str
    archive: str
    read: Callable[[Path, int], Rows]

    def files(self, split: Literal["train", "test"]) -> list[str]:
        """Name the files of one split, in order."""
        names = [f"data_batch_{i}" for i in range(1, 6)] if split == "train" else ["test_batch"]
        return [name + self.suffix for name in names]


def load(*, split: Literal["train", "test"], data_dir: Path | None = None) -> Images:
    """Give one split of CIFAR-10: `(sample, 3, 32, 32)` uint8, 50,000 train or 10,000 test.

    Args:
        split: `"train"` or `"test"`.
        data_dir: the folder `cifar-10-batches-bin` or `cifar-10-batches-py`, or the one that
            holds it. Where both layouts are there, the binary one is read.

    Raises:
        InputError: no folder is given, a file is missing, of another length, damaged, or holds
            a label outside 0 to 9.
    """
    return _load(split, data_dir, ROWS)


def _load(split: Literal["train", "test"], data_dir: Path | None, rows: int) -> Images:
    layout, folder = _find(split, data_dir)
    parts = [layout.read(folder / name, rows) for name in layout.files(split)]
    return Images(
        np.concatenate([pixels for pixels, _ in parts]).reshape(-1, 3, 32, 32),
        np.concatenate([labels for _, labels in parts]),
        CLASSES,
    )


def _find(split: Literal["train", "test"], data_dir: Path | None) -> tuple[Layout, Path]:
    if data_dir is None:
        raise InputError(
            "cifar10 is read from files: give the folder that holds cifar-10-batches-bin or "
            f"cifar-10-batches-py with --data-dir. {_how_to_get(LAYOUTS[0])}"
        )
    if not data_dir.is_dir():
        raise InputError(f"the data directory {data_dir} is not there. {_how_to_get(LAYOUTS[0])}")
    incomplete = None
    for layout in LAYOUTS:
        for folder in (data_dir / layout.folder, data_dir):
            there = [name for name in layout.files(split) if (folder / name).is_file()]
            if len(there) == len(layout.files(split)):
                return layout, folder
            # The folder that comes nearest to a whole split is the one the user meant.
            if there or (folder.name == layout.folder and folder.is_dir()):
                incomplete = incomplete or (layout, folder)
    layout, folder = incomplete or (LAYOUTS[0], data_dir / LAYOUTS[0].folder)
    missing = [name for name in layout.files(split) if not (folder / name).is_file()]
    raise InputError(
        f"cifar10 lacks {', '.join(missing)}: looked for the {split} files in {folder} and, in "
        f"either layout, in and under {data_dir}. {_how_to_get(layout)}"
    )


def _how_to_get(layout: Layout) -> str:
    return (
        f"Download {layout.archive} from {SITE}, unpack it, and give the folder that holds "
        f"{layout.folder} as --data-dir."
    )


def _read_binary(path: Path, rows: int) -> Rows:
    data = np.fromfile(path, dtype=np.uint8)
    if data.size != rows * (1 + PIXELS):
        raise InputError(
            f"{path} holds {data.size:,} bytes, expected {rows * (1 + PIXELS):,} ({rows:,} rows of "
            f"1 label and {PIXELS:,} pixels): it is truncated or another file; get a fresh copy."
        )
    table = data.reshape(rows, 1 + PIXELS)
    return table[:, 1:], _checked_labels(table[:, 0].astype(np.int64), path)


def _read_python(path: Path, rows: int) -> Rows:
    batch = load_pickled_arrays(path.read_bytes(), str(path))
    pixels, labels = _entry(batch, "data", path), _entry(batch, "labels", path)
    if not isinstance(pixels, np.ndarray) or pixels.shape != (rows, PIXELS):
        raise InputError(
            f"{path}: data is {_describe(pixels)}, expected a uint8 array of shape "
            f"({rows}, {PIXELS}); get a fresh copy."
        )
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise InputError(f"{path}: labels is {_describe(labels)}, expected a list of numbers.")
    if len(labels) != rows:
        raise InputError(f"{path}: {len(labels):,} labels for {rows:,} images; get a fresh copy.")
    return pixels, _checked_labels(np.array(labels, dtype=np.int64), path)


def _entry(batch: Any, key: str, path: Path) -> Any:
    # CIFAR-10's own pickles come from Python 2, whose text is read as bytes.
    for name in (key.encode(), key):
        if isinstance(batch, dict) and name in batch:
            return batch[name]
    raise InputError(
        f"{path} holds {_describe(batch)} without {key!r}: it is not a CIFAR-10 batch; get a "
        "fresh copy."
    )


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"a {value.dtype} array of shape {value.shape}"
    return f"a {type(value).__name__}"


def _checked_labels(labels: NDArray[np.int64], path: Path) -> NDArray[np.int64]:
    wrong = np.flatnonzero((labels < 0) | (labels >= len(CLASSES)))
    if len(wrong):
        raise InputError(
            f"{path}: row {wrong[0]} has the label {labels[wrong[0]]}, expected 0 to "
            f"{len(CLASSES) - 1} ({len(wrong):,} such rows): this is not CIFAR-10, or damaged."
        )
    return labels


LAYOUTS = (
    Layout("cifar-10-batches-bin", ".bin", "cifar-10-binary.tar.gz", _read_binary),
    Layout("cifar-10-batches-py", "", "cifar-10-python.tar.gz", _read_python),
)
