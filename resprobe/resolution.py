"""Images at a lower resolution: each square of pixels becomes its mean."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resprobe.data import Images

# Images averaged at once: 64-bit sums of a whole data set are large.
CHUNK = 1000


def at_resolution(images: Images, resolution: int, name: str) -> Images:
    """Reduce square images to fewer pixels, as the recipe's `data.resolution` asks.

    Args:
        images: `(sample, channel, side, side)`; they are not changed.
        resolution: the side to reduce them to, in pixels; 0 or `side` leaves them as stored.
        name: of the data set, for messages.

    Returns:
        The same samples; where they are reduced, float32 on the scale 0 to 1.

    Raises:
        InputError: they are no square images, or the resolution does not divide their side.
    """
    if not resolution:
        return images
    shape = images.images.shape[1:]
    if len(shape) != 3 or images.are_ids or shape[1] != shape[2]:
        raise InputError(
            f"data.resolution = {resolution} is for square images, but the samples of {name} have "
            f"the shape {shape}: leave it out."
        )
    side = shape[1]
    possible = [fewer for fewer in range(1, side + 1) if side % fewer == 0]
    if resolution not in possible:
        raise InputError(
            f"data.resolution = {resolution}: whole squares of pixels reduce the {side}×{side} "
            f"pixels of {name} to a side of {', '.join(map(str, possible))} only; give one of "
            "these, or 0 for the images as stored."
        )
    if resolution == side:
        return images
    return replace(images, images=square_means(images.images, side // resolution))


def square_means(pixels: NDArray[Any], size: int) -> NDArray[np.float32]:
    """Give the mean of each square of pixels, channel by channel.

    The sums are exact for uint8 and in float64 for floats; there is one rounding, to float32.

    Args:
        pixels: `(sample, channel, height, width)`, uint8 (0 to 255) or floats (0 to 1).
        size: of the squares, in pixels; divides height and width.

    Returns:
        `(sample, channel, height / size, width / size)` float32, on the scale 0 to 1.
    """
    samples, channels, height, width = pixels.shape
    whole = pixels.dtype == np.uint8
    full = size * size * (255 if whole else 1)
    means = np.empty((samples, channels, height // size, width // size), np.float32)
    for start in range(0, samples, CHUNK):
        part = pixels[start : start + CHUNK]
        sums = np.zeros(means[start : start + CHUNK].shape, np.int64 if whole else np.float64)
        for row in range(size):
            for column in range(size):
                sums += part[:, :, row::size, column::size]
        means[start : start + CHUNK] = sums / full
    return means
