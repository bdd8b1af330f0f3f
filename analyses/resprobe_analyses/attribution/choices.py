"""What it costs to trust a predictor: the lesions of the blocks that it calls least harmful.

Blocks are chosen among all that keep their shape, whatever their stage, as somebody would who
wants to do without some of them. Lesions are those of single blocks: what several cost together is
another question (`lesion-multi`, `lesion-greedy`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resprobe_analyses.attribution.networks import Network
from resprobe_analyses.attribution.rankings import lesion_effects
from resprobe_analyses.attribution.standing import ERROR, LOSS
from resprobe_analyses.reading import every_second

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

SHARES = (0.25, 0.5)
FEWEST = 4  # blocks of which a quarter is one


@dataclass(frozen=True)
class Choice:
    """A share of the blocks of one network, chosen by every predictor.

    Attributes:
        share: of the ranked blocks.
        count: how many blocks that are.
        among: of how many.
        hits: predictor to how many of its blocks are among the least harmful ones.
        changes: predictor to the change of wrong by the lesion of one of its blocks, the mean over
            them, on each image, shape (image,).
        best: the same for the blocks that the lesion chooses on the other half of the images.
        random: the same for all ranked blocks: what a random choice gives on average.
    """

    share: float
    count: int
    among: int
    hits: Mapping[str, int]
    changes: Mapping[str, Floats]
    best: Floats
    random: Floats

    @property
    def random_hits(self) -> float:
        """How many a random choice hits on average."""
        return self.count**2 / self.among


def choices(network: Network) -> tuple[Choice, ...]:
    """Choose a quarter and a half of the blocks by every predictor; nothing below four blocks."""
    kept = np.flatnonzero(network.ranked)
    if kept.size < FEWEST:
        return ()
    return tuple(_choice(network, kept, share) for share in SHARES)


def _choice(network: Network, kept: Integers, share: float) -> Choice:
    count = int(share * kept.size)
    effects = lesion_effects(network)
    change = effects[ERROR]
    everywhere = np.ones(network.images.size, dtype=np.bool_)
    least = set(_least_harmful(effects, kept, count, everywhere))
    chosen = {
        one.predictor.name: kept[np.argsort(one.mean[kept], kind="stable")[:count]]
        for one in network.predictors
    }
    first = every_second(network.lesion.classes)
    best = np.empty(change.shape[0])
    for half in (first, ~first):
        if half.any() and not half.all():
            blocks = _least_harmful(effects, kept, count, ~half)
            best[half] = change[half][:, blocks].mean(axis=1)
        else:  # a single image can't choose for another
            best[:] = np.nan
    return Choice(
        share=share,
        count=count,
        among=int(kept.size),
        hits={name: len(least & set(map(int, blocks))) for name, blocks in chosen.items()},
        changes={name: change[:, blocks].mean(axis=1) for name, blocks in chosen.items()},
        best=best,
        random=change[:, kept].mean(axis=1),
    )


def _least_harmful(
    effects: Mapping[str, Floats], kept: Integers, count: int, images: npt.NDArray[np.bool_]
) -> list[int]:
    """Give the blocks of the smallest error increase on some images; of equals the loss decides."""
    error, loss = (effects[name][images][:, kept].mean(axis=0) for name in (ERROR, LOSS))
    return [int(kept[place]) for place in np.lexsort((loss, error))[:count]]
