"""A data set on the device: batches, standardisation and augmentation without a Python loop.

All random draws of an epoch are made at its start by explicit generators on the host and moved to
the device once: every device then sees the same images in the same order, a step waits for no
transfer, and the generators' states are all that a checkpoint must keep.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from resprobe.data import Images
from resprobe.errors import InputError

Augmentation = Literal["none", "crop", "crop-flip"]


class DeviceData:
    """The images, or features, and labels of one split as two tensors on a device.

    Pixels stay as they were stored (uint8 takes a quarter of the room) and are standardised batch
    by batch: `(pixel / 255 - mean) / std`, without the 255 for floats, in `dtype`.

    Attributes:
        pixels: `(sample, channel, height, width)` or `(sample, feature)` as stored.
        labels: `(sample,)` int64.
    """

    def __init__(
        self,
        images: Images,
        *,
        mean: list[float],
        std: list[float],
        device: torch.device,
        dtype: torch.dtype,
        channels_last: bool = False,
    ) -> None:
        """Move a split to the device.

        Args:
            images: the split.
            mean: of each channel, on the scale 0 to 1; the training set's.
            std: of each channel, likewise.
            device: where batches are made.
            dtype: of the batches.
            channels_last: memory format of the batches; of images only.

        Raises:
            InputError: `channels_last` is asked of samples that are no images.
        """
        self.pixels = torch.from_numpy(images.images).to(device)
        self.labels = torch.from_numpy(images.labels).to(device)
        self._scale = 255.0 if self.pixels.dtype == torch.uint8 else 1.0
        by_channel = (-1, *(1,) * (self.pixels.ndim - 2))
        self._mean = torch.tensor(mean, dtype=dtype, device=device).reshape(by_channel)
        self._std = torch.tensor(std, dtype=dtype, device=device).reshape(by_channel)
        if channels_last and self.pixels.ndim != 4:
            raise InputError(
                "train.channels_last = true is for images, but the samples have the shape "
                f"{tuple(self.pixels.shape[1:])}: leave it out."
            )
        self._format = torch.channels_last if channels_last else torch.contiguous_format

    def __len__(self) -> int:
        return len(self.labels)

    def steps(self, batch_size: int) -> int:
        """Give the number of batches of an epoch; the last, shorter one is kept."""
        return -(-len(self) // batch_size)

    def standardised(self, pixels: Tensor) -> Tensor:
        """Standardise pixels `(sample, channel, …)` as stored."""
        scaled = pixels.to(self._mean.dtype)
        if self._scale != 1.0:
            scaled = scaled / self._scale
        return (scaled - self._mean) / self._std

    def epoch(
        self,
        plan: EpochPlan,
        batch_size: int,
        *,
        pad: int = 0,
        first: int = 0,
        rank: int = 0,
        processes: int = 1,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Give `(images, labels)` of one epoch of training; the last batch may be shorter.

        Args:
            plan: the draws of this epoch.
            batch_size: images a batch.
            pad: pixels of zeros around the *standardised* image before it is cropped: the rim has
                the colour of the mean.
            first: the batch to begin with, counted from 0.
            rank: of this process; it gets every so many-th sample of each batch, maybe none.
            processes: that share each batch.
        """
        plan = plan.to(self.pixels.device)
        for start in range(first * batch_size, len(self), batch_size):
            own = slice(start + rank, min(start + batch_size, len(self)), processes)
            chosen = plan.order[own]
            batch = self.standardised(self.pixels[chosen])
            if plan.offsets is not None:
                flips = None if plan.flips is None else plan.flips[own]
                batch = crop_flip(batch, plan.offsets[own], flips, pad)
            yield batch.contiguous(memory_format=self._format), self.labels[chosen]

    def in_order(
        self, batch_size: int, *, rank: int = 0, processes: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Give `(images, labels)` of the split as it lies, without augmentation.

        With several processes each gets every so many-th batch.
        """
        for start in range(rank * batch_size, len(self), processes * batch_size):
            batch = self.standardised(self.pixels[start : start + batch_size])
            yield (
                batch.contiguous(memory_format=self._format),
                self.labels[start : start + batch_size],
            )


@dataclass(frozen=True)
class EpochPlan:
    """All random draws of one epoch.

    Attributes:
        order: `(sample,)` int64, a permutation.
        offsets: `(sample, 2)` int64, the crop's first row and column in the padded image, by
            position in the epoch; None without augmentation.
        flips: `(sample,)` bool, which images are mirrored; None without flips.
    """

    order: Tensor
    offsets: Tensor | None
    flips: Tensor | None

    @classmethod
    def draw(
        cls,
        samples: int,
        augment: Augmentation,
        pad: int,
        order: torch.Generator,
        augmentation: torch.Generator,
    ) -> EpochPlan:
        """Draw one epoch from the two generators (of the host)."""
        permutation = torch.randperm(samples, generator=order)
        if augment == "none":
            return cls(permutation, None, None)
        offsets = torch.randint(0, 2 * pad + 1, (samples, 2), generator=augmentation)
        if augment == "crop":
            return cls(permutation, offsets, None)
        flips = torch.randint(0, 2, (samples,), generator=augmentation).bool()
        return cls(permutation, offsets, flips)

    def to(self, device: torch.device) -> EpochPlan:
        """Move the draws to a device."""
        return EpochPlan(
            self.order.to(device),
            None if self.offsets is None else self.offsets.to(device),
            None if self.flips is None else self.flips.to(device),
        )


def crop_flip(batch: Tensor, offsets: Tensor, flips: Tensor | None, pad: int) -> Tensor:
    """Cut a window of the original size out of each zero-padded image and mirror some.

    Args:
        batch: `(sample, channel, height, width)`.
        offsets: `(sample, 2)` int64, first row and column of the window, 0 to `2 * pad`.
        flips: `(sample,)` bool, mirrored left to right; None for none.
        pad: zeros on each side.
    """
    samples, channels, height, width = batch.shape
    padded = functional.pad(batch, (pad, pad, pad, pad))
    rows = offsets[:, :1] + torch.arange(height, device=batch.device)
    columns = torch.arange(width, device=batch.device).expand(samples, width)
    if flips is not None:
        columns = torch.where(flips[:, None], width - 1 - columns, columns)
    columns = offsets[:, 1:] + columns
    sample = torch.arange(samples, device=batch.device)[:, None, None, None]
    channel = torch.arange(channels, device=batch.device)[None, :, None, None]
    return padded[sample, channel, rows[:, None, :, None], columns[:, None, None, :]]
