"""Images drawn again: with replacement for intervals, in halves for reliability.

Lesions and predictors are measured on images of which some are the same. All of them are drawn at
once, so that an image counts as often in a predictor as in the lesion, and each measurement keeps
its number of images: those measured by the same measurements are drawn among themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

AT_ONCE = 125  # draws whose weights are held at a time


def all_images(measured: Sequence[Integers]) -> tuple[Integers, Integers]:
    """Give all images, and which of them were measured by the same measurements.

    Args:
        measured: the images of each measurement, ascending.

    Returns:
        The images, ascending, and the number of the pattern of each, both of shape (image,).
    """
    images = np.unique(np.concatenate(measured))
    inside = np.stack([np.isin(images, one) for one in measured], axis=1)
    patterns = np.unique(inside, axis=0, return_inverse=True)[1].reshape(-1)
    return images, np.asarray(patterns, dtype=np.int64)


def drawn_again(patterns: Integers, draws: int, generator: np.random.Generator) -> Iterator[Floats]:
    """Draw images with replacement, pattern by pattern.

    Args:
        patterns: shape (image,).
        draws: how often.
        generator: random numbers.

    Yields:
        How often each image counts, shape (draw, image), some draws at a time.
    """
    for count in _parts(draws):
        weights = np.empty((count, patterns.size))
        for one in np.unique(patterns):
            inside = patterns == one
            size = int(inside.sum())
            weights[:, inside] = generator.multinomial(size, np.full(size, 1 / size), size=count)
        yield weights


def in_halves(patterns: Integers, draws: int, generator: np.random.Generator) -> Iterator[Floats]:
    """Choose half of the images, pattern by pattern.

    Args:
        patterns: shape (image,).
        draws: how often.
        generator: random numbers.

    Yields:
        1 for the chosen images, else 0, shape (draw, image), some draws at a time. Of an odd
        number the chosen half is the larger one in every second draw.
    """
    first = 0
    for count in _parts(draws):
        weights = np.zeros((count, patterns.size))
        for one in np.unique(patterns):
            inside = np.flatnonzero(patterns == one)
            half = (inside.size + (first + np.arange(count)) % 2) // 2
            order = generator.permuted(np.tile(np.arange(inside.size), (count, 1)), axis=1)
            weights[:, inside] = order < half[:, None]
        first += count
        yield weights


def weighted_means(values: Floats, weights: Floats) -> Floats:
    """Average over images, each counted as often as drawn.

    Args:
        values: shape (image, block), NaN where an image has none.
        weights: shape (draw, image).

    Returns:
        Shape (draw, block), NaN where nothing was drawn that has a value.
    """
    known = np.isfinite(values)
    if known.all():
        total, count = weights @ values, weights.sum(axis=1, keepdims=True)
    else:
        total = weights @ np.where(known, values, 0.0)
        count = weights @ known.astype(np.float64)
    found = np.full(total.shape, np.nan)
    np.divide(total, count, out=found, where=count > 0)
    return found


def _parts(draws: int) -> list[int]:
    whole, rest = divmod(draws, AT_ONCE)
    return [AT_ONCE] * whole + ([rest] if rest else [])
