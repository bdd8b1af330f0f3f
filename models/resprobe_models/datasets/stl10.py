"""STL-10's labelled images from its own binary files.

The files hold each image one channel after the other, and each channel column by column.

Source: A. Coates, H. Lee and A. Y. Ng (2011), "An analysis of single-layer networks in
unsupervised feature learning"; https://cs.stanford.edu/~acoates/stl10/. That page gives no
checksum; the archive's MD5 is the one that torchvision publishes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from resprobe.data import Images
from resprobe_models.datasets.cache import Download
from resprobe_models.datasets.files import (
    FileSet,
    Layout,
    refuse_labels_outside,
    refuse_other_size,
)

if TYPE_CHECKING:
    from resprobe_models.datasets.files import Samples

SHAPE = (3, 96, 96)
PIXELS = 3 * 96 * 96


def _read(folder: Path, names: tuple[str, ...], rows: int, classes: int) -> Samples:
    images, numbers = (folder / name for name in names)
    pixels = np.fromfile(images, dtype=np.uint8)
    refuse_other_size(images, pixels.size, rows * PIXELS, f"{rows:,} images of {PIXELS:,} pixels")
    labels = np.fromfile(numbers, dtype=np.uint8).astype(np.int64)
    refuse_other_size(numbers, labels.size, rows, f"{rows:,} labels")
    refuse_labels_outside(labels, numbers, 1, classes)
    columns = pixels.reshape(rows, SHAPE[0], SHAPE[2], SHAPE[1])
    return np.ascontiguousarray(columns.swapaxes(2, 3)), labels - 1


FILES = FileSet(
    name="stl10",
    site="https://cs.stanford.edu/~acoates/stl10/",
    classes=(
        "airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck",
    ),
    rows={"train": 5_000, "test": 8_000},
    layouts=(
        Layout(
            "stl10_binary",
            "stl10_binary.tar.gz",
            {"train": ("train_X.bin", "train_y.bin"), "test": ("test_X.bin", "test_y.bin")},
            _read,
        ),
    ),
    download=Download(
        "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
        "md5:91f7769df0f17e558f3565bffb0c7dfb",
    ),
)  # fmt: skip


def load(*, split: Literal["train", "test"], data_dir: Path | None = None) -> Images:
    """Photographs 3×96×96, 5,000 training and 8,000 test, 10 classes; downloaded (2.6 GB).

    Gives `(sample, 3, 96, 96)` uint8; labels 1 to 10 of the files become 0 to 9. The unlabelled
    images and the ten folds are not read.

    Args:
        split: `"train"` or `"test"`.
        data_dir: the folder `stl10_binary` or the one that holds it. None reads the cache and
            downloads what it lacks.

    Raises:
        InputError: a file is missing, of another length, or holds a label outside 1 to 10; or it
            cannot be downloaded.
        DiskFullError: there is no room for the download.
    """
    return FILES.load(split, data_dir)
