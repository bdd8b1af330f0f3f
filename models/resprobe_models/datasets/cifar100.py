"""CIFAR-100 with its fine labels from its own files, in the binary or the python layout.

A row of the binary layout is one byte of the coarse label (20 superclasses, not read), one of the
fine label, and the pixels.

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

FILES = FileSet(
    name="cifar100",
    site=SITE,
    # The order of fine_label_names.txt: by alphabet.
    classes=(
        "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle",
        "bottle", "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle",
        "caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch",
        "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox",
        "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard",
        "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse",
        "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck",
        "pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray",
        "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail",
        "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
        "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle",
        "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
    ),
    rows={"train": 50_000, "test": 10_000},
    layouts=(
        Layout(
            "cifar-100-binary",
            "cifar-100-binary.tar.gz",
            {"train": ("train.bin",), "test": ("test.bin",)},
            binary_reader(label_bytes=2),
        ),
        Layout(
            "cifar-100-python",
            "cifar-100-python.tar.gz",
            {"train": ("train",), "test": ("test",)},
            python_reader("fine_labels"),
        ),
    ),
    download=Download(
        "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        "md5:03b5dce01913d631647c71ecec9e9cb8",
    ),
)  # fmt: skip


def load(*, split: Literal["train", "test"], data_dir: Path | None = None) -> Images:
    """Photographs 3×32×32, 50,000 training and 10,000 test, 100 classes; downloaded (161 MB).

    Gives `(sample, 3, 32, 32)` uint8.

    Args:
        split: `"train"` or `"test"`.
        data_dir: the folder `cifar-100-binary` or `cifar-100-python`, or the one that holds it;
            where both layouts are there, the binary one is read. None reads the cache and
            downloads what it lacks.

    Raises:
        InputError: a file is missing, of another length, damaged, or holds a label outside 0 to
            99; or it cannot be downloaded.
        DiskFullError: there is no room for the download.
    """
    return FILES.load(split, data_dir)
