"""What a pass costs, and what leaving branches out saves: parameters and FLOPs.

FLOPs are those of torch's own counter, `torch.utils.flop_counter`, on the recorded operations:
convolutions, matrix products and attention, a multiplication with its addition counted as 2.
Norms, activations, additions and pooling count as none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.utils.flop_counter import flop_registry, sdpa_flop

from resprobe.blocks.operations import substitute

if TYPE_CHECKING:
    from torch import nn

    from resprobe.blocks.operations import Operation
    from resprobe.blocks.passes import Pass

aten = torch.ops.aten

# torch counts every attention kernel but the one for the CPU.
_FORMULAS: Mapping[Any, Any] = {
    **flop_registry,
    aten._scaled_dot_product_flash_attention_for_cpu: sdpa_flop,
}


class Cost(NamedTuple):
    """What the operations that the output needs take.

    Attributes:
        parameters: numbers in the parameters that at least one of them reads.
        flops: of the whole batch, a multiply-add counted as 2.
    """

    parameters: int
    flops: int


def cost(whole: Pass, model: nn.Module, without: Iterable[int] = ()) -> Cost:
    """Give what a pass costs where these branches are left out.

    A parameter that several branches share, or that something else reads too, is saved only where
    nothing that is left reads it.

    Args:
        whole: a pass; for the FLOPs of one sample, one over a batch of one.
        model: that made it.
        without: indices of the blocks whose branches are left out.

    Raises:
        InputError: there is no such block.
    """
    operations, shapes = whole.operations(without), whole.shapes
    read = {name for operation in operations for name in operation.parameters}
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    return Cost(
        sum(sizes[name] for name in read),
        sum(_flops(operation, shapes) for operation in operations),
    )


def _flops(operation: Operation, shapes: Mapping[int, tuple[int, ...]]) -> int:
    formula = _FORMULAS.get(getattr(operation.function, "_overloadpacket", None))
    if formula is None:
        return 0
    args, kwargs = (substitute(part, shapes) for part in (operation.args, operation.kwargs))
    return int(formula(*args, **kwargs, out_val=substitute(operation.result, shapes)))
