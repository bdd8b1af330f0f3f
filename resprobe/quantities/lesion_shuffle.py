"""What running blocks of equal shape in another order does to every sample."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from resprobe.blocks.chains import chains
from resprobe.errors import InputError
from resprobe.quantities.outputs import CORRECT, TEST_ERROR, TEST_LOSS
from resprobe.quantities.quantity import Quantity
from resprobe.quantities.reestimated import WHOLE
from resprobe.quantities.sweep import NO_TRIAL, Sweep, SweepFamily, placed, trial_coordinate
from resprobe.quantities.trials import discordant, random_orders
from resprobe.store.schema import Coordinate

if TYPE_CHECKING:
    from resprobe.blocks.block import Blocks
    from resprobe.blocks.passes import Pass
    from resprobe.quantities.trials import Trials

_SOURCE = (
    "Veit, Wilber, Belongie 2016, Sec. 4.3; Chang et al. 2018 (Multi-level residual networks), "
    "Sec. 3.3"
)
_ONE = ("level", "trial")
ALL_STAGES = -1


def _quantity(
    name: str,
    dims: tuple[str, ...],
    dtype: str,
    formula: str,
    meaning: str,
    *,
    units: str = "1",
    source: str = _SOURCE,
) -> Quantity:
    again = name.startswith("reestimated")
    return Quantity(
        name=name,
        family="lesion-shuffle-reestimated" if again else "lesion-shuffle",
        dims=dims,
        units=units,
        dtype=dtype,
        formula=formula,
        source=source,
        meaning=meaning,
        cost="lesion",
        measured_by="resprobe.quantities.lesion_shuffle:" + ("REESTIMATED" if again else "SHUFFLE"),
        standard=False,
    )


ORDER = _quantity(
    "shuffle_order",
    (*_ONE, "block"),
    "int32",
    "index of the block that runs at this block's place; -1 where a level has no such trial",
    "In which order a trial runs the blocks.",
)
DISTANCE = _quantity(
    "kendall_tau_distance",
    _ONE,
    "float64",
    "pairs of blocks that run the other way round / pairs of blocks; Kendall's tau is 1 - 2 times "
    "it",
    "How far the order is from the network's own, over all pairs of blocks; NaN without such a "
    "trial.",
    source="Kendall 1938 (A New Measure of Rank Correlation); Veit et al. 2016, Sec. 4.3",
)
POSSIBLE_DISTANCE = _quantity(
    "kendall_tau_distance_possible",
    _ONE,
    "float64",
    "pairs of blocks that run the other way round / pairs that the level's swaps can turn round",
    "How far the order is from the network's own, over the pairs that may change: 1 is the reverse "
    "order; NaN without such a trial.",
    source="Kendall 1938 (A New Measure of Rank Correlation)",
)
SHUFFLE_ERROR = _quantity(
    "shuffle_error",
    _ONE,
    "float64",
    "1 - mean(shuffle_correct)",
    "Test error with blocks of equal shape run in another order; NaN where there are fewer "
    "different orders than trials.",
)
SHUFFLE_LOSS = _quantity(
    "shuffle_loss",
    ("sample", *_ONE),
    "float32",
    "-log softmax(z with the blocks in that order)_y",
    "Cross-entropy of each sample with the blocks in another order; NaN without such a trial.",
    units="nat",
)
SHUFFLE_CORRECT = _quantity(
    "shuffle_correct",
    ("sample", *_ONE),
    "int8",
    "1 if argmax z = y else 0, with the blocks in that order; -1 without such a trial",
    "Whether the sample is classified rightly with the blocks in another order.",
)
_AGAIN = "with the statistics of BatchNorm estimated anew from training images"
REESTIMATED_SHUFFLE_ERROR = _quantity(
    "reestimated_shuffle_error",
    _ONE,
    "float64",
    "1 - mean(reestimated_shuffle_correct)",
    f"Test error with the blocks in another order, {_AGAIN} in that state.",
)
REESTIMATED_SHUFFLE_LOSS = _quantity(
    "reestimated_shuffle_loss",
    ("sample", *_ONE),
    "float32",
    "shuffle_loss with BatchNorm's statistics estimated anew",
    f"Cross-entropy of each sample with the blocks in another order, {_AGAIN}.",
    units="nat",
)
REESTIMATED_SHUFFLE_CORRECT = _quantity(
    "reestimated_shuffle_correct",
    ("sample", *_ONE),
    "int8",
    "shuffle_correct with BatchNorm's statistics estimated anew",
    f"Whether the sample is classified rightly with the blocks in another order, {_AGAIN}.",
)


class Level(NamedTuple):
    """What one level of a shuffle does.

    Attributes:
        swaps: how many random pairs change places, one after the other.
        stage: the one in which they do; `ALL_STAGES` for every stage.
        chains: places that may change with each other.
    """

    swaps: int
    stage: int
    chains: list[list[int]]


def shuffle_levels(blocks: Blocks, most_swaps: int) -> list[Level]:
    """Give the levels: 1, 2, 3, 5, 8, … swaps up to `most_swaps`, in all stages and in each alone.

    The numbers are Fibonacci's: they grow fast, and odd and even ones alternate, which matters
    because an even number of swaps never gives the orders of an odd one. A network in which only
    one stage can be shuffled has no levels for each stage.

    Raises:
        InputError: no two blocks may change places.
    """
    found = chains(blocks)
    if not found:
        raise InputError(
            "no two neighbouring blocks of the network have equal shapes and nothing between them "
            "that others read, so none can change places: lesion-shuffle can't be measured on it."
        )
    stage_of = [block.stage for block in blocks]
    scopes = {ALL_STAGES: found}
    stages = sorted({stage_of[chain[0]] for chain in found})
    if len(stages) > 1:
        scopes |= {s: [chain for chain in found if stage_of[chain[0]] == s] for s in stages}
    counts = _fibonacci(most_swaps)
    return [Level(swaps, stage, own) for swaps in counts for stage, own in scopes.items()]


def _fibonacci(most: int) -> list[int]:
    found, following = [1], 2
    while following <= most:
        found.append(following)
        following = found[-1] + found[-2]
    return found


def shuffle_sweep(blocks: Blocks, trials: Trials) -> Sweep:
    """Give the random orders of every level."""
    levels = shuffle_levels(blocks, trials.levels)
    wanted = [
        random_orders(
            len(blocks),
            level.chains,
            level.swaps,
            trials.count,
            np.random.default_rng([trials.seed, level.swaps, level.stage + 1]),
        )
        for level in levels
    ]
    different, place = placed(wanted, trials.count)
    runs = chains(blocks)
    return Sweep(
        [partial(_reorder, places=moved(order, runs)) for order in different],
        place,
        _said(levels, wanted, place.shape, len(blocks)),
        (*_level_coordinates(levels), trial_coordinate(trials.count)),
    )


def moved(order: Sequence[int], runs: Sequence[Sequence[int]]) -> list[list[int]]:
    """Give the part of each chain that has to run again: from its first moved block to its last.

    Args:
        order: the block that runs at each place.
        runs: the chains.
    """
    found = []
    for chain in runs:
        changed = [place for place in chain if order[place] != place]
        if changed:
            found.append([order[place] for place in range(changed[0], changed[-1] + 1)])
    return found


def _reorder(whole: Pass, places: Sequence[Sequence[int]]) -> Any:
    return whole.reorder(*([whole.blocks[index] for index in run] for run in places))


def _said(
    levels: Sequence[Level],
    wanted: Sequence[Sequence[tuple[int, ...]]],
    shape: tuple[int, ...],
    blocks: int,
) -> dict[str, Any]:
    """Give the orders and how far each is from the network's own."""
    orders = np.full((*shape, blocks), NO_TRIAL, np.int32)
    distance, possible = np.full(shape, np.nan), np.full(shape, np.nan)
    for number, (level, drawn) in enumerate(zip(levels, wanted, strict=True)):
        pairs = sum(len(chain) * (len(chain) - 1) // 2 for chain in level.chains)
        for trial, order in enumerate(drawn):
            turned = discordant(order)
            orders[number, trial] = order
            distance[number, trial] = turned / (blocks * (blocks - 1) // 2)
            possible[number, trial] = turned / pairs
    return {ORDER.name: orders, DISTANCE.name: distance, POSSIBLE_DISTANCE.name: possible}


def _level_coordinates(levels: Sequence[Level]) -> tuple[Coordinate, ...]:
    dims = ("level",)
    return (
        Coordinate(
            "level",
            dims,
            np.arange(1, len(levels) + 1, dtype=np.int64),
            {"long_name": "number of the level: so many swaps in such a stage", "units": "1"},
        ),
        Coordinate(
            "swaps",
            dims,
            np.array([level.swaps for level in levels], np.int64),
            {"long_name": "pairs of blocks that change places, one after the other", "units": "1"},
        ),
        Coordinate(
            "shuffled_stage",
            dims,
            np.array([level.stage for level in levels], np.int64),
            {
                "long_name": f"stage whose blocks change places, {ALL_STAGES} for all stages",
                "units": "1",
            },
        ),
    )


SHUFFLE = SweepFamily(
    "lesion-shuffle",
    SHUFFLE_ERROR,
    SHUFFLE_LOSS,
    SHUFFLE_CORRECT,
    (CORRECT, TEST_LOSS, TEST_ERROR),
    shuffle_sweep,
    (ORDER, DISTANCE, POSSIBLE_DISTANCE),
    reorders=True,
)
REESTIMATED = SweepFamily(
    "lesion-shuffle-reestimated",
    REESTIMATED_SHUFFLE_ERROR,
    REESTIMATED_SHUFFLE_LOSS,
    REESTIMATED_SHUFFLE_CORRECT,
    WHOLE,
    shuffle_sweep,
    (ORDER, DISTANCE, POSSIBLE_DISTANCE),
    reorders=True,
    reestimates=True,
)
