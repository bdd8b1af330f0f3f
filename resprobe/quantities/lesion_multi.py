"""What dropping the branches of several random blocks at once does to every sample."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from resprobe.errors import InputError
from resprobe.quantities.outputs import CORRECT, TEST_ERROR, TEST_LOSS
from resprobe.quantities.quantity import Quantity
from resprobe.quantities.reestimated import WHOLE
from resprobe.quantities.sweep import NO_TRIAL, Sweep, SweepFamily, placed, trial_coordinate
from resprobe.quantities.trials import random_sets
from resprobe.store.schema import Coordinate

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from numpy.typing import NDArray

    from resprobe.blocks.block import Blocks
    from resprobe.blocks.passes import Pass
    from resprobe.quantities.trials import Trials

_SOURCE = "Veit, Wilber, Belongie 2016, Sec. 4.2"
_ONE = ("level", "trial")


def _quantity(
    name: str, dims: tuple[str, ...], dtype: str, formula: str, meaning: str, *, units: str = "1"
) -> Quantity:
    again = name.startswith("reestimated")
    return Quantity(
        name=name,
        family="lesion-multi-reestimated" if again else "lesion-multi",
        dims=dims,
        units=units,
        dtype=dtype,
        formula=formula,
        source=_SOURCE,
        meaning=meaning,
        cost="lesion",
        measured_by="resprobe.quantities.lesion_multi:" + ("REESTIMATED" if again else "MULTI"),
        standard=False,
    )


DROPPED = _quantity(
    "multi_lesion_dropped",
    (*_ONE, "block"),
    "int8",
    "1 if the branch of the block is dropped, else 0; -1 where a level has no such trial",
    "Which blocks a trial drops: a random set of as many as the level says.",
)
MULTI_LESION_ERROR = _quantity(
    "multi_lesion_error",
    _ONE,
    "float64",
    "1 - mean(multi_lesion_correct)",
    "Test error with the branches of several random blocks dropped at once, their skips kept; "
    "NaN where there are fewer different sets than trials.",
)
MULTI_LESION_LOSS = _quantity(
    "multi_lesion_loss",
    ("sample", *_ONE),
    "float32",
    "-log softmax(z without G of every dropped block)_y",
    "Cross-entropy of each sample with several blocks dropped; NaN without such a trial.",
    units="nat",
)
MULTI_LESION_CORRECT = _quantity(
    "multi_lesion_correct",
    ("sample", *_ONE),
    "int8",
    "1 if argmax z = y else 0, without G of every dropped block; -1 without such a trial",
    "Whether the sample is classified rightly with several blocks dropped.",
)
_AGAIN = "with the statistics of BatchNorm estimated anew from training images"
REESTIMATED_MULTI_LESION_ERROR = _quantity(
    "reestimated_multi_lesion_error",
    _ONE,
    "float64",
    "1 - mean(reestimated_multi_lesion_correct)",
    f"Test error with the branches of several random blocks dropped, {_AGAIN} in that state.",
)
REESTIMATED_MULTI_LESION_LOSS = _quantity(
    "reestimated_multi_lesion_loss",
    ("sample", *_ONE),
    "float32",
    "multi_lesion_loss with BatchNorm's statistics estimated anew",
    f"Cross-entropy of each sample with several blocks dropped, {_AGAIN}.",
    units="nat",
)
REESTIMATED_MULTI_LESION_CORRECT = _quantity(
    "reestimated_multi_lesion_correct",
    ("sample", *_ONE),
    "int8",
    "multi_lesion_correct with BatchNorm's statistics estimated anew",
    f"Whether the sample is classified rightly with several blocks dropped, {_AGAIN}.",
)


def dropped_sets(blocks: Blocks, trials: Trials) -> list[list[tuple[int, ...]]]:
    """Give the blocks to drop, by level and trial.

    Level k holds random sets of k blocks, all different; it has fewer trials than asked where
    there are not so many sets. Blocks that change the shape are left in place unless asked for.

    Raises:
        InputError: every block changes the shape, and such are not to be dropped.
    """
    items = [block.index for block in blocks if trials.transitions or not block.transition]
    if not items:
        raise InputError(
            "every block of the network changes the shape of the features, and lesion-multi leaves "
            "such blocks in place; give --drop-transitions."
        )
    return [
        random_sets(items, size, trials.count, np.random.default_rng([trials.seed, size]))
        for size in range(1, min(trials.levels, len(items)) + 1)
    ]


def multi_sweep(blocks: Blocks, trials: Trials) -> Sweep:
    """Give the lesions of every random set."""
    wanted = dropped_sets(blocks, trials)
    different, place = placed(wanted, trials.count)
    levels = np.arange(1, len(wanted) + 1, dtype=np.int64)
    level = Coordinate(
        "level", ("level",), levels, {"long_name": "number of blocks dropped", "units": "1"}
    )
    return Sweep(
        [partial(_lesion, indices=indices) for indices in different],
        place,
        {DROPPED.name: _dropped(wanted, place.shape, len(blocks))},
        (level, trial_coordinate(trials.count)),
    )


def _lesion(whole: Pass, indices: Iterable[int]) -> Any:
    return whole.lesion_set(indices)


def _dropped(
    wanted: list[list[tuple[int, ...]]], shape: tuple[int, ...], blocks: int
) -> NDArray[np.int8]:
    dropped = np.full((*shape, blocks), NO_TRIAL, np.int8)
    for level, drawn in enumerate(wanted):
        for trial, indices in enumerate(drawn):
            dropped[level, trial] = 0
            dropped[level, trial, list(indices)] = 1
    return dropped


MULTI = SweepFamily(
    "lesion-multi",
    MULTI_LESION_ERROR,
    MULTI_LESION_LOSS,
    MULTI_LESION_CORRECT,
    (CORRECT, TEST_LOSS, TEST_ERROR),
    multi_sweep,
    (DROPPED,),
)
REESTIMATED = SweepFamily(
    "lesion-multi-reestimated",
    REESTIMATED_MULTI_LESION_ERROR,
    REESTIMATED_MULTI_LESION_LOSS,
    REESTIMATED_MULTI_LESION_CORRECT,
    WHOLE,
    multi_sweep,
    (DROPPED,),
    reestimates=True,
)
