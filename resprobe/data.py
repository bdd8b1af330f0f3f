"""A labelled set of samples and what its readers need: standardisation, subsets, prints."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Images:
    """One split of a data set: images, or whatever else a network takes of each sample.

    Attributes:
        images: `(sample, channel, height, width)`, uint8 (0 to 255) or float32 (0 to 1); or float
            features `(sample, …)`; or integer ids `(sample, …)`, such as tokens.
        labels: `(sample,)` int64, each in `0 … len(classes) - 1`.
        classes: the names of the classes, in the order of the labels.
        name: of the keyword argument that `images` is for; "" passes it by position.
        extras: further keyword arguments of the network, each `(sample, …)`.
    """

    images: NDArray[Any]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    name: str = ""
    extras: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def are_ids(self) -> bool:
        """Whether `images` are ids."""
        return are_ids(self.images)

    def take(self, indices: NDArray[np.int64]) -> Images:
        """Give the samples at `indices`, in that order."""
        return Images(
            self.images[indices],
            self.labels[indices],
            self.classes,
            self.name,
            {name: array[indices] for name, array in self.extras.items()},
        )

    def fingerprint(self) -> str:
        """Give the SHA-256 of shapes, pixels and labels: equal data, equal print."""
        digest = hashlib.sha256()
        for array in (self.images, self.labels):
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        digest.update(self.name.encode())
        for name, array in sorted(self.extras.items()):
            digest.update(f"{name}{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def standardisation(self) -> tuple[list[float], list[float]]:
        """Give mean and standard deviation of each channel, on the scale 0 to 1, in float64.

        The channels are the second dimension.
        """
        scale = 255.0 if self.images.dtype == np.uint8 else 1.0
        axes = (0, *range(2, self.images.ndim))
        mean = self.images.mean(axis=axes, dtype=np.float64) / scale
        std = self.images.std(axis=axes, dtype=np.float64) / scale
        return mean.tolist(), np.where(std > 0, std, 1.0).tolist()


def are_ids(array: NDArray[Any]) -> bool:
    """Whether an array holds integers that stand for something, which are never standardised."""
    pixels = array.dtype == np.uint8 and array.ndim == 4
    return array.dtype.kind != "f" and not pixels


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
