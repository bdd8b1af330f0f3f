"""What is drawn at random: sets of blocks to drop, orders of blocks to run, noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 1000  # levels, and trials of each
# Draws in a row that give nothing new, after which a level is taken to hold no other order.
_PATIENCE = 200
# What tells the streams of the families of noise apart. That of `weight-noise` is the first one
# that there was: its key has no number.
_STREAMS = {"weight-noise": 0, "input-noise": 1, "interlayer-smoothness": 2}


@dataclass(frozen=True)
class Trials:
    """What is drawn for the families of several blocks, and how many images re-estimate.

    Attributes:
        levels: the most blocks dropped at once, and the most swaps of one shuffle.
        count: trials of each level.
        seed: of the draws, those of training images included.
        transitions: whether blocks that change the shape are dropped too.
        training_samples: images that re-estimate the statistics of BatchNorm.
        noise_levels: size of the noise, relative to what it is added to, each above 0 and once.
    """

    levels: int = 10
    count: int = 10
    seed: int = 0
    transitions: bool = False
    training_samples: int = 1000
    noise_levels: tuple[float, ...] = (0.03, 0.1, 0.3)

    def __post_init__(self) -> None:
        """Refuse what can't be drawn.

        Raises:
            InputError: a number outside its range.
        """
        for option, value in (("--levels", self.levels), ("--trials", self.count)):
            if not 1 <= value <= MOST:
                raise InputError(f"{option} {value}: give a number from 1 to {MOST}.")
        if self.seed < 0:
            raise InputError(f"--trial-seed {self.seed}: give 0 or a larger whole number.")
        if self.training_samples < 2:
            raise InputError(f"--training-samples {self.training_samples}: give 2 or more.")
        levels = self.noise_levels
        wrong = [level for level in levels if not (math.isfinite(level) and level > 0)]
        if wrong or not levels or len(set(levels)) < len(levels):
            given = ",".join(map(str, levels))
            raise InputError(
                f"--noise-levels {given}: give different finite numbers above 0, such as "
                "0.03,0.1,0.3."
            )

    def of_draws(self) -> dict[str, Any]:
        """Give what decides the interventions, JSON-ready."""
        others = ("training_samples", "noise_levels")
        return {k: v for k, v in asdict(self).items() if k not in others}

    def of_noise(self) -> dict[str, Any]:
        """Give what decides the noise, JSON-ready."""
        return {"levels": self.noise_levels, "count": self.count, "seed": self.seed}


def direction(shape: Sequence[int], family: str, seed: int, *key: int) -> NDArray[np.float64]:
    """Draw a Gaussian array of norm 1, a function of family, seed and key.

    No two families have a stream in common at one seed. A family's number goes into the spawn key,
    before which numpy fills the seed up to four words: a plain key of fewer words is the same as
    that key with zeros after it.

    Args:
        shape: of the array.
        family: that draws it, one of `_STREAMS`.
        seed: from 0.
        *key: whole numbers from 0, always as many in one family.
    """
    stream = _STREAMS[family]
    sequence = np.random.SeedSequence(
        seed if stream else (seed, *key), spawn_key=(stream, *key) if stream else ()
    )
    drawn = np.random.default_rng(sequence).standard_normal(tuple(shape))
    unit: NDArray[np.float64] = drawn / np.linalg.norm(drawn)
    return unit


def random_sets(
    items: Sequence[int], size: int, count: int, generator: np.random.Generator
) -> list[tuple[int, ...]]:
    """Draw different sets, each as likely as any other.

    Args:
        items: to choose from.
        size: of each set, at most `len(items)`.
        count: how many sets; fewer where there are not so many.
        generator: drawn from until there are enough: a larger count keeps the first sets.

    Returns:
        Ascending tuples, in the order of the draws.
    """
    found: dict[tuple[int, ...], None] = {}
    wanted = min(count, math.comb(len(items), size))
    while len(found) < wanted:
        drawn = generator.permutation(len(items))[:size]
        found.setdefault(tuple(sorted(items[place] for place in drawn)))
    return list(found)


def random_orders(
    blocks: int,
    chains: Sequence[Sequence[int]],
    swaps: int,
    count: int,
    generator: np.random.Generator,
) -> list[tuple[int, ...]]:
    """Draw different orders that swaps of random pairs make.

    Each swap exchanges two places of one chain, every such pair as likely as any other. Orders in
    which everything is back in its place are drawn again.

    Args:
        blocks: how many there are.
        chains: places that may change with each other, each of two and more.
        swaps: made one after the other.
        count: how many orders; fewer where no others are found.
        generator: a larger count keeps the first orders.

    Returns:
        For each order, the block that runs at each place, `(block,)`.

    Source:
        Veit, Wilber, Belongie 2016, Sec. 4.3.
    """
    pairs = [pair for chain in chains for pair in combinations(chain, 2)]
    whole = tuple(range(blocks))
    found: dict[tuple[int, ...], None] = {}
    in_vain = 0
    while len(found) < count and in_vain < _PATIENCE:
        order = list(whole)
        for pair in generator.integers(len(pairs), size=swaps):
            first, second = pairs[pair]
            order[first], order[second] = order[second], order[first]
        drawn = tuple(order)
        if drawn == whole or drawn in found:
            in_vain += 1
        else:
            found[drawn] = None
            in_vain = 0
    return list(found)


def discordant(order: Sequence[int]) -> int:
    """Count the pairs of blocks that run the other way round: Kendall's tau distance.

    Args:
        order: the block that runs at each place.
    """
    return sum(before > after for before, after in combinations(order, 2))
