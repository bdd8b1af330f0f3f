"""What a recipe trains and evaluates on: the images of `[data]`, fewer, smaller, with noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from resprobe import registry
from resprobe.data import Images, stratified
from resprobe.errors import InputError
from resprobe.resolution import at_resolution
from resprobe_models.datasets.noise import add_gaussian, mosaic, replace_labels
from resprobe_models.recipe import DataTable


def load_images(table: DataTable) -> tuple[Images, Images]:
    """Load the training images that `[data]` asks for, without noise, and all test images.

    Raises:
        InputError: the files are not there, the subset is larger than the set, or the samples
            can't be augmented or reduced.
        UnknownNameError: the data set is not registered.
    """
    load = registry.load("datasets", table.name)
    folder = Path(table.dir) if table.dir else None
    train, test = load(split="train", data_dir=folder), load(split="test", data_dir=folder)
    if table.augment != "none" and train.images.ndim != 4:
        raise InputError(
            f"data.augment = {table.augment!r} is for images, but the samples of {table.name} have "
            f"the shape {train.images.shape[1:]}: leave it out."
        )
    train = _subset(train, "subset", table.subset, table, "training")
    train, test = (at_resolution(images, table.resolution, table.name) for images in (train, test))
    return train, test


def evaluated(test: Images, table: DataTable) -> Images:
    """Give the test images that a network is evaluated on while it trains.

    Args:
        test: all test images.
        table: says how many.

    Raises:
        InputError: there are not so many.
    """
    return _subset(test, "test_subset", table.test_subset, table, "test")


def _subset(images: Images, key: str, count: int, table: DataTable, kind: str) -> Images:
    if not count:
        return images
    if count > len(images):
        raise InputError(
            f"data.{key} = {count}: {table.name} has {len(images):,} {kind} images; give that or "
            "less, or 0 for all."
        )
    return images.take(stratified(images.labels, count, table.subset_seed))


def with_noise(train: Images, table: DataTable, std: Sequence[float], seed: int) -> Images:
    """Give the training images with the noise that `[data]` asks for; without any, as they are.

    Args:
        train: the images without noise; they are not changed.
        table: says which noise.
        std: of each channel of these images, on the scale 0 to 1.
        seed: of the noise, where the table names none: a run of another seed then has other noise.

    Raises:
        InputError: the noise has no meaning for these samples.
    """
    seed = seed if table.noise_seed is None else table.noise_seed
    if table.label_noise:
        if len(train.classes) < 2:
            raise InputError(
                f"data.label_noise = {table.label_noise}: {table.name} has one class only, so no "
                "label can be another; leave it out."
            )
        classes = len(train.classes)
        labels = replace_labels(train.labels, classes, table.label_noise, seed)
        train = replace(train, labels=labels)
    if table.input_noise and table.input_noise_kind == "gaussian":
        return replace(train, images=add_gaussian(train.images, std, table.input_noise, seed))
    if table.input_noise:
        return replace(train, images=mosaic(train.images, _side(train, table)))
    return train


def _side(train: Images, table: DataTable) -> int:
    side, shape = int(table.input_noise), train.images.shape[1:]
    if len(shape) != 3 or side > max(shape[1:]):
        raise InputError(
            f"data.input_noise = {side}: a mosaic needs images of at least that many pixels, but "
            f"the samples of {table.name} have the shape {shape}; take smaller squares, or "
            'data.input_noise_kind = "gaussian".'
        )
    return side
