"""What leaving out blocks saves: parameters, and FLOPs of one sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from resprobe.quantities.quantity import Quantity

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from resprobe.blocks.passes import Pass

FAMILY = "lesion-greedy"
NOTHING = -1  # after the search
SO_FAR = "all blocks dropped so far"


def greedy_quantity(
    name: str,
    dims: tuple[str, ...],
    dtype: str,
    formula: str,
    meaning: str,
    *,
    units: str = "1",
    source: str = "definition",
) -> Quantity:
    """Declare a quantity of the family `lesion-greedy`."""
    return Quantity(
        name=name,
        family=FAMILY,
        dims=dims,
        units=units,
        dtype=dtype,
        formula=formula,
        source=source,
        meaning=meaning,
        cost="lesion",
        measured_by="resprobe.quantities.lesion_greedy:LesionGreedy",
        standard=False,
    )


GREEDY_LESION_PARAMETERS = greedy_quantity(
    "greedy_lesion_parameters",
    ("drop",),
    "int64",
    "numbers in the parameters that no operation reads any more",
    f"Parameters that are saved by leaving out {SO_FAR}; -1 after the search.",
)
_COUNTER = "torch.utils.flop_counter: convolutions, matrix products, attention; multiply-add = 2"
GREEDY_LESION_FLOPS = greedy_quantity(
    "greedy_lesion_flops",
    ("drop",),
    "int64",
    "model_flops minus the FLOPs of what the output still needs",
    f"FLOPs of one sample that are saved by leaving out {SO_FAR}; -1 after the search.",
    source=_COUNTER,
)
BRANCH_PARAMETERS = greedy_quantity(
    "branch_parameters",
    ("block",),
    "int64",
    "numbers in the parameters that no operation reads without the branch",
    "Parameters that leaving out this branch alone saves; not those that something else reads too.",
)
BRANCH_FLOPS = greedy_quantity(
    "branch_flops",
    ("block",),
    "int64",
    "model_flops minus the FLOPs of what the output needs without the branch",
    "FLOPs of one sample that leaving out this branch alone saves; a multiply-add counts as 2.",
    source=_COUNTER,
)
MODEL_PARAMETERS = greedy_quantity(
    "model_parameters",
    (),
    "int64",
    "numbers in all parameters",
    "Parameters of the whole network.",
)
MODEL_FLOPS = greedy_quantity(
    "model_flops",
    (),
    "int64",
    "FLOPs of the operations that the output needs",
    "FLOPs of one sample through the whole network; a multiply-add counts as 2.",
    source=_COUNTER,
)


def costs(
    one: Pass, model: nn.Module, blocks: int, order: Sequence[int]
) -> dict[str, int | NDArray[np.int64]]:
    """Give what the network takes, and what leaving out branches saves.

    Args:
        one: a pass over one sample.
        model: that made it.
        blocks: how many it has.
        order: those that were dropped, in order.
    """
    from resprobe.blocks.flops import cost

    whole = cost(one, model)
    alone = [cost(one, model, [block]) for block in range(blocks)]
    together = [cost(one, model, order[: drop + 1]) for drop in range(len(order))]
    return {
        MODEL_PARAMETERS.name: sum(parameter.numel() for parameter in model.parameters()),
        MODEL_FLOPS.name: whole.flops,
        BRANCH_PARAMETERS.name: np.array([whole.parameters - left.parameters for left in alone]),
        BRANCH_FLOPS.name: np.array([whole.flops - left.flops for left in alone]),
        GREEDY_LESION_PARAMETERS.name: filled(
            [whole.parameters - left.parameters for left in together], blocks
        ),
        GREEDY_LESION_FLOPS.name: filled([whole.flops - left.flops for left in together], blocks),
    }


def filled(values: Sequence[int], length: int) -> NDArray[np.int64]:
    """Give values by drop, `NOTHING` after the search."""
    array = np.full(length, NOTHING, np.int64)
    array[: len(values)] = values
    return array
