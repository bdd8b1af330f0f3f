"""Which networks of two groups are compared with each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Trained(Protocol):
    """A network that was trained with a seed."""

    @property
    def seed(self) -> int | None:
        """Seed of its training, None where unknown."""


Net = TypeVar("Net", bound=Trained)


def matched(
    first: Sequence[Net], second: Sequence[Net]
) -> tuple[list[Net], list[Net], tuple[int, ...]]:
    """Pair networks of equal seeds.

    Args:
        first: networks of one group.
        second: networks of another.

    Returns:
        The networks of each group in the order of their common seeds, and those seeds; all
        networks and no seeds where none is common.
    """
    ours = {net.seed: net for net in first if net.seed is not None}
    theirs = {net.seed: net for net in second if net.seed is not None}
    seeds = tuple(sorted(ours.keys() & theirs.keys()))
    if not seeds:
        return list(first), list(second), ()
    return [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds], seeds


def paired_values(
    first: Sequence[Floats], second: Sequence[Floats], seeds: tuple[int, ...]
) -> tuple[Floats, int]:
    """Give differences by pair of networks and the number of networks averaged in each.

    Args:
        first: of the networks of one group, arrays of one shape.
        second: of those of the other, likewise.
        seeds: that were paired; empty where none was, and then all networks of each group are
            averaged.

    Returns:
        Shape (pair, …), and the number.
    """
    if seeds:
        return np.stack(first) - np.stack(second), 1
    difference = np.mean(first, axis=0) - np.mean(second, axis=0)
    return difference[None], min(len(first), len(second))
