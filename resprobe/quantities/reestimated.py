"""The network, and every single lesion, with BatchNorm's statistics estimated anew."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe.quantities.quantity import Quantity
from resprobe.quantities.sweep import Sweep, SweepFamily

if TYPE_CHECKING:
    from resprobe.blocks.block import Block, Blocks
    from resprobe.blocks.passes import Pass
    from resprobe.quantities.trials import Trials

_AGAIN = "with the statistics of BatchNorm estimated anew from training images"


def _quantity(
    name: str, dims: tuple[str, ...], dtype: str, formula: str, meaning: str, *, units: str = "1"
) -> Quantity:
    return Quantity(
        name=name,
        family="lesion-reestimated",
        dims=dims,
        units=units,
        dtype=dtype,
        formula=formula,
        source="definition",
        meaning=meaning,
        cost="lesion",
        measured_by="resprobe.quantities.reestimated:LESION",
        standard=False,
    )


REESTIMATED_CORRECT = _quantity(
    "reestimated_correct",
    ("sample",),
    "int8",
    "correct with BatchNorm's statistics estimated anew",
    f"Whether the whole network classifies the sample rightly {_AGAIN}.",
)
REESTIMATED_TEST_LOSS = _quantity(
    "reestimated_test_loss",
    ("sample",),
    "float32",
    "test_loss with BatchNorm's statistics estimated anew",
    f"Cross-entropy of each sample by the whole network {_AGAIN}.",
    units="nat",
)
REESTIMATED_TEST_ERROR = _quantity(
    "reestimated_test_error",
    (),
    "float64",
    "1 - mean(reestimated_correct)",
    f"Test error of the whole network {_AGAIN}.",
)
REESTIMATED_LESION_ERROR = _quantity(
    "reestimated_lesion_error",
    ("block",),
    "float64",
    "1 - mean(reestimated_lesion_correct)",
    f"Test error with this block's branch dropped, {_AGAIN} in that state.",
)
REESTIMATED_LESION_LOSS = _quantity(
    "reestimated_lesion_loss",
    ("sample", "block"),
    "float32",
    "lesion_loss with BatchNorm's statistics estimated anew",
    f"Cross-entropy of each sample with this block's branch dropped, {_AGAIN}.",
    units="nat",
)
REESTIMATED_LESION_CORRECT = _quantity(
    "reestimated_lesion_correct",
    ("sample", "block"),
    "int8",
    "lesion_correct with BatchNorm's statistics estimated anew",
    f"Whether the sample is classified rightly with this block's branch dropped, {_AGAIN}.",
)
# What the families with re-estimation measure of the network without an intervention.
WHOLE = (REESTIMATED_CORRECT, REESTIMATED_TEST_LOSS, REESTIMATED_TEST_ERROR)


def single_sweep(blocks: Blocks, trials: Trials) -> Sweep:
    """Give the lesion of every single block."""
    del trials
    interventions = [partial(_lesion, block=block) for block in blocks]
    return Sweep(interventions, np.arange(len(blocks), dtype=np.int64))


def _lesion(whole: Pass, block: Block) -> Any:
    return whole.lesion(block)


LESION = SweepFamily(
    "lesion-reestimated",
    REESTIMATED_LESION_ERROR,
    REESTIMATED_LESION_LOSS,
    REESTIMATED_LESION_CORRECT,
    WHOLE,
    single_sweep,
    draws=False,
    reestimates=True,
)
