"""A labelled set of images and what every reader of one needs: standardisation, subsets, prints."""

from __future__ import annotations

import hashlib
import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from resprobe.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Images:
    """One split of a data set.

    Attributes:
        images: `(sample, channel, height, width)`, uint8 (0 to 255) or float32 (0 to 1).
        labels: `(sample,)` int64, each in `0 … len(classes) - 1`.
        classes: the names of the classes, in the order of the labels.
    """

    images: NDArray[np.uint8] | NDArray[np.float32]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> Images:
        """Give the samples at `indices`, in that order."""
        return Images(self.images[indices], self.labels[indices], self.classes)

    def fingerprint(self) -> str:
        """Give the SHA-256 of shapes, pixels and labels: equal data, equal print."""
        digest = hashlib.sha256()
        for array in (self.images, self.labels):
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def standardisation(self) -> tuple[list[float], list[float]]:
        """Give mean and standard deviation of each channel, on the scale 0 to 1, in float64."""
        scale = 255.0 if self.images.dtype == np.uint8 else 1.0
        mean = self.images.mean(axis=(0, 2, 3), dtype=np.float64) / scale
        std = self.images.std(axis=(0, 2, 3), dtype=np.float64) / scale
        return mean.tolist(), np.where(std > 0, std, 1.0).tolist()


def stratified(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Draw `count` samples with the classes in proportion, in data-set order.

    The draw is prefix-nested: the samples of a smaller count are among those of a larger one,
    for the same labels and seed.

    Args:
        labels: `(sample,)` int64.
        count: how many; at most `len(labels)`.
        seed: of the draw.

    Returns:
        `(count,)` int64 indices, ascending.

    Raises:
        InputError: `count` is not within 1 and the number of samples.
    """
    if not 1 <= count <= len(labels):
        raise InputError(
            f"{count} samples asked of a set of {len(labels)}: give a number from 1 to "
            f"{len(labels)}."
        )
    order = np.random.default_rng(seed).permutation(len(labels))
    classes = np.unique(labels)
    members = [order[labels[order] == label] for label in classes]
    shares = _shares([len(own) for own in members], count)
    chosen = [own[:share] for own, share in zip(members, shares, strict=True)]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def _shares(sizes: list[int], count: int) -> list[int]:
    """Give how many of `count` draws each class gets: less than one off its share, at any count.

    Draw by draw, the i-th member of a class of n among N is drawn at the latest when its class's
    share reaches i + 1 and at the earliest when it exceeds i; the one whose time runs out first
    goes first (Tijdeman 1980, doi:10.1016/0012-365X(80)90269-1). Rounding each share by itself
    would not be prefix-nested, and ranking by (i + ½)/n is several samples off where classes are
    rare.
    """
    total = sum(sizes)
    drawn = [0] * len(sizes)
    waiting = [(0, place) for place in range(len(sizes))]
    ready: list[tuple[int, float, int]] = []
    for turn in range(count):
        while waiting and waiting[0][0] <= turn:
            _, place = heapq.heappop(waiting)
            number, size = drawn[place], sizes[place]
            latest = -(-(number + 1) * total // size)
            heapq.heappush(ready, (latest, (number + 0.5) / size, place))
        place = heapq.heappop(ready)[2]
        drawn[place] += 1
        if drawn[place] < sizes[place]:
            heapq.heappush(waiting, (drawn[place] * total // sizes[place], place))
    return drawn
