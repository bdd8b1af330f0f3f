"""Noise on training data: labels replaced, pixels disturbed; plain functions of arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LABELS, INPUTS = 3, 4  # streams of a seed; order and augmentation are 1 and 2
CHUNK = 1000  # samples worked on at a time: float64 copies of a whole data set are large


def noisy_count(fraction: float, samples: int) -> int:
    """Give how many labels a fraction of noise replaces: rounded, a half upwards."""
    return math.floor(fraction * samples + 0.5)


def replace_labels(
    labels: NDArray[np.int64], classes: int, fraction: float, seed: int
) -> NDArray[np.int64]:
    """Replace a fraction of the labels, each by another class drawn uniformly.

    Exactly `noisy_count` labels change, drawn from all alike (not stratified by class), and none
    becomes itself: symmetric noise that excludes the own class. The labels that a smaller
    fraction changes are changed to the same classes by a larger one.

    Args:
        labels: `(sample,)` int64, 0 to `classes - 1`; is not changed.
        classes: 2 or more.
        fraction: 0 to 1.
        seed: of the draw.
    """
    generator = np.random.default_rng([seed, LABELS])
    order = generator.permutation(len(labels))
    steps = generator.integers(1, classes, len(labels))
    chosen = order[: noisy_count(fraction, len(labels))]
    changed = labels.copy()
    changed[chosen] = (labels[chosen] + steps[chosen]) % classes
    return changed


def add_gaussian(
    images: NDArray[Any], std: Sequence[float], level: float, seed: int
) -> NDArray[np.float32]:
    """Add independent Gaussian noise of standard deviation `level` on the standardised scale.

    On the scale 0 to 1 that is `level * std` of each channel; nothing is clipped. The noise of a
    sample depends on seed and place alone: it grows linearly with the level, and a shorter set
    gets the beginning of a longer one's.

    Args:
        images: `(sample, channel, …)`, uint8 (0 to 255) or floats.
        std: of each channel, by which it is standardised, on the scale 0 to 1.
        level: standard deviation.
        seed: of the draw.

    Returns:
        Images of the same shape, float32 on the scale 0 to 1.
    """
    generator = np.random.default_rng([seed, INPUTS])
    noisy = generator.standard_normal(images.shape, dtype=np.float32)
    noisy *= level * np.array(std, dtype=np.float32).reshape(-1, *(1,) * (images.ndim - 2))
    for start in range(0, len(images), CHUNK):
        noisy[start : start + CHUNK] += _scaled(images[start : start + CHUNK])
    return noisy


def mosaic(images: NDArray[Any], side: int) -> NDArray[np.float32]:
    """Replace each square of pixels by its mean, channel by channel.

    The squares are laid from the upper left corner; at the other rims they are cut. The mean of
    an image stays as it is, and a second pass changes nothing. This is our own definition: Zhang
    et al. (2019) train on mosaics without saying how they are made.

    Args:
        images: `(sample, channel, height, width)`, uint8 (0 to 255) or floats.
        side: of the squares, in pixels.

    Returns:
        Images of the same shape, float32 on the scale 0 to 1.
    """
    height, width = images.shape[2:]
    rows, columns = np.arange(0, height, side), np.arange(0, width, side)
    tall = np.diff(rows, append=height)
    wide = np.diff(columns, append=width)
    coarse = np.empty(images.shape, dtype=np.float32)
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK].astype(np.float64)
        sums = np.add.reduceat(np.add.reduceat(part, rows, axis=2), columns, axis=3)
        means = sums / (tall[:, None] * wide * _full_scale(images))
        coarse[start : start + CHUNK] = means.repeat(tall, axis=2).repeat(wide, axis=3)
    return coarse


def _full_scale(images: NDArray[Any]) -> float:
    return 255.0 if images.dtype == np.uint8 else 1.0


def _scaled(images: NDArray[Any]) -> NDArray[np.float32]:
    return images.astype(np.float32) / np.float32(_full_scale(images))
