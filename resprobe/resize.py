"""Images in the size that a network takes: bilinear, with antialiasing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

# Images that are resized at once.
_CHUNK = 256


class Plan(NamedTuple):
    """To which size an image is scaled, and which part of that is kept."""

    height: int
    width: int
    top: int
    left: int
    rows: int
    columns: int


def plan(height: int, width: int, size: tuple[int, ...]) -> Plan:
    """Plan the resizing of one image.

    Args:
        height: of the image.
        width: of the image.
        size: `(N,)` scales the shorter side to N and keeps the N×N in the middle; `(H, W)`
            scales to exactly that.
    """
    if len(size) == 2:
        return Plan(size[0], size[1], 0, 0, size[0], size[1])
    side = size[0]
    shorter = min(height, width)
    tall, wide = side * height // shorter, side * width // shorter
    return Plan(tall, wide, round((tall - side) / 2), round((wide - side) / 2), side, side)


def resize_image(image: Image, size: tuple[int, ...]) -> Image:
    """Resize one image of Pillow as `plan` says."""
    from PIL.Image import Resampling

    to = plan(image.height, image.width, size)
    scaled = image.resize((to.width, to.height), Resampling.BILINEAR)
    return scaled.crop((to.left, to.top, to.left + to.columns, to.top + to.rows))


def resize_arrays(images: NDArray[Any], size: tuple[int, ...]) -> NDArray[Any]:
    """Resize `(sample, channel, height, width)` as `plan` says; the dtype stays."""
    import torch
    import torch.nn.functional as F

    to = plan(images.shape[2], images.shape[3], size)
    parts = []
    for start in range(0, len(images), _CHUNK):
        pixels = torch.from_numpy(np.ascontiguousarray(images[start : start + _CHUNK]))
        scaled = F.interpolate(
            pixels.to(torch.float64 if pixels.dtype == torch.float64 else torch.float32),
            size=(to.height, to.width),
            mode="bilinear",
            antialias=True,
        )
        kept = scaled[:, :, to.top : to.top + to.rows, to.left : to.left + to.columns]
        if pixels.dtype == torch.uint8:
            kept = kept.round().clamp(0, 255)
        parts.append(kept.to(pixels.dtype).numpy())
    return np.concatenate(parts)
