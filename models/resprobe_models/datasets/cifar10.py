"""CIFAR-10 from its own files, in the binary or the python layout.

Source: A. Krizhevsky (2009), "Learning multiple layers of features from tiny images";
https://www.cs.toronto.edu/~kriz/cifar.html, which also publishes the archive's MD5.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from resprobe.data import Images
from resprobe_models.datasets.cache import Download
from resprobe_models.datasets.cifar_files import SITE, binary_reader, python_reader
from resprobe_models.datasets.files import FileSet, Layout

_TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))

FILES = FileSet(
    name="cifar10",
    site=SITE,
    classes=(
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    ),
    rows={"train": 10_000, "test": 10_000},
    layouts=(
        Layout(
            "cifar-10-batches-bin",
            "cifar-10-binary.tar.gz",
            {"train": tuple(f"{name}.bin" for name in _TRAIN), "test": ("test_batch.bin",)},
            binary_reader(label_bytes=1),
        ),
        Layout(
            "cifar-10-batches-py",
            "cifar-10-python.tar.gz",
            {"train": _TRAIN, "test": ("test_batch",)},
            python_reader("labels"),
        ),
    ),
    download=Download(
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        "md5:c32a1d4ab5d03f1284b67883e8d87530",
    ),
)  # fmt: skip


def load(*, split: Literal["train", "test"], data_dir: Path | None = None) -> Images:
    """Photographs 3×32×32, 50,000 training and 10,000 test, 10 classes; downloaded (162 MB).

    Gives `(sample, 3, 32, 32)` uint8.

    Args:
        split: `"train"` or `"test"`.
        data_dir: the folder `cifar-10-batches-bin` or `cifar-10-batches-py`, or the one that
            holds it; where both layouts are there, the binary one is read. None reads the cache
            and downloads what it lacks.

    Raises:
        InputError: a file is missing, of another length, damaged, or holds a label outside 0 to
            9; or it cannot be downloaded.
        DiskFullError: there is no room for the download.
    """
    return FILES.load(split, data_dir)
