"""Contiguous spans of blocks: the first block and how many follow each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from resprobe.store.schema import Coordinate, Group

if TYPE_CHECKING:
    from numpy.typing import NDArray


def spans(blocks: int) -> Iterator[tuple[int, int]]:
    """Give every span as its first and last block, both counted from 0, shortest spans first."""
    for length in range(1, blocks + 1):
        for first in range(blocks - length + 1):
            yield first, first + length - 1


def inside(blocks: int) -> NDArray[np.bool_]:
    """Tell which spans end within the network, `(block, length)`: first + length ≤ blocks."""
    first = np.arange(blocks)[:, None]
    return first + np.arange(1, blocks + 1)[None, :] <= blocks


def joined(follows: Sequence[bool]) -> NDArray[np.bool_]:
    """Tell in which spans every block starts from what the one before it made.

    Args:
        follows: `Block.follows` of every block, in order.

    Returns:
        `(block, length)`, True past the end as well.
    """
    blocks = len(follows)
    breaks = np.cumsum([not one for one in follows])
    first = np.arange(blocks)[:, None]
    last = np.minimum(first + np.arange(blocks)[None, :], blocks - 1)
    found: NDArray[np.bool_] = breaks[last] == breaks[first]
    return found


def with_lengths(group: Group, blocks: int) -> Group:
    """Add the coordinate of the dimension `length`, 1 to the number of blocks, int64."""
    lengths = Coordinate(
        "length",
        ("length",),
        np.arange(1, blocks + 1, dtype=np.int64),
        {"long_name": "number of blocks of the span that begins with the block", "units": "1"},
    )
    return replace(group, coordinates=(*group.coordinates, lengths))
