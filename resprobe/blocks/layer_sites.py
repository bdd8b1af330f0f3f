"""Where convolutions and matrix products with learned weights stand in a recorded program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from resprobe.blocks.ancestry import Ancestry
from resprobe.blocks.kinds import CONVOLUTION
from resprobe.blocks.operations import Operation, Program
from resprobe.blocks.structure import Ref

if TYPE_CHECKING:
    from resprobe.blocks.block import Block, Blocks

aten = torch.ops.aten

# Module, parameters, and how many before it have the same.
Key = tuple[str, tuple[str, ...], int]

# Matrix products, with the places of bias, left and right factor among their arguments.
_PRODUCTS = {aten.mm.default: (None, 0, 1), aten.addmm.default: (0, 1, 2)}


class Site(NamedTuple):
    """Where a layer stands in a program.

    Attributes:
        place: index of the operation.
        operation: what ran.
        input, output: values.
        weight, bias: parameters, or the `Ref` of what was computed from them.
        row_axis: of x and out, in which the samples must lie; of a product the other axis of x
            holds the features.
        parameters: names of those in the weight.
        key: the same in every recording of the network.
        block: name, "" for none.
        unit: the block if its addition and the operation are one layer perhaps.
        total: operation that makes the block's sum.
    """

    place: int
    operation: Operation
    input: int
    output: int
    weight: Tensor | Ref
    bias: Tensor | Ref | None
    row_axis: int
    parameters: tuple[str, ...]
    key: Key
    block: str
    unit: Block | None
    total: int

    def learned(self) -> list[int]:
        """Give the values that weight and bias are, where they are no parameters themselves."""
        return [one.value for one in (self.weight, self.bias) if isinstance(one, Ref)]

    def end(self, *, whole: bool) -> tuple[int, int]:
        """Give the value of out, and the operation that makes it; `whole` with the skip."""
        if not whole:
            return self.output, self.place
        assert self.unit is not None
        return self.unit.total, self.total


def sites(program: Program, blocks: Blocks) -> list[Site]:
    """Find where convolutions and matrix products with parameters stand in a program."""
    ancestry = Ancestry(program)
    within: dict[int, Block] = {}
    for block in blocks:
        for place in ancestry.path(block.input, block.total):
            within.setdefault(place, block)
    counts = Counter[tuple[str, tuple[str, ...]]]()
    found = []
    for place, op in enumerate(program.operations):
        parts = _parts(op, ancestry)
        if parts is None:
            continue
        value, weight, bias, row_axis = parts
        parameters = tuple(sorted(_parameters(weight, op, ancestry)))
        key = (op.module, parameters)
        around = within.get(place)
        unit = around if around is not None and _may_be_unit(around, op, value) else None
        total = -1 if unit is None else ancestry.maker[unit.total]
        found.append(
            Site(
                place, op, value, op.writes[0], weight, bias, row_axis, parameters,
                (*key, counts[key]), "" if around is None else around.name, unit, total,
            )
        )  # fmt: skip
        counts[key] += 1
    return found


_Parts = tuple[int, "Tensor | Ref", "Tensor | Ref | None", int]


def _parts(op: Operation, ancestry: Ancestry) -> _Parts | None:
    """Give input, weight, bias and row axis of an operation that is a layer, else None."""

    def learned(one: Any) -> bool:
        return one.value in ancestry.learned if isinstance(one, Ref) else isinstance(one, Tensor)

    def features(one: Any) -> bool:
        return isinstance(one, Ref) and ancestry.depends_on_input(one.value)

    if op.function is CONVOLUTION:
        x, weight, bias = op.args[:3]
        row_axis = 0
    elif op.function in _PRODUCTS and not op.kwargs:
        of_bias, of_left, of_right = _PRODUCTS[op.function]
        bias = None if of_bias is None else op.args[of_bias]
        left, right = op.args[of_left], op.args[of_right]
        row_axis = 0 if learned(right) else 1
        x, weight = (left, right) if row_axis == 0 else (right, left)
    else:
        return None
    if not features(x) or not learned(weight) or not (bias is None or learned(bias)):
        return None
    return x.value, weight, bias, row_axis


def _parameters(weight: Tensor | Ref, op: Operation, ancestry: Ancestry) -> Collection[str]:
    if isinstance(weight, Ref):
        return ancestry.learned[weight.value]
    return op.parameters[:1] if op.function is CONVOLUTION else op.parameters[-1:]


def _may_be_unit(block: Block, op: Operation, value: int) -> bool:
    """Whether a block's branch is just this convolution, and its skip carries x alone."""
    if op.function is not CONVOLUTION or op.args[6] or block.skip not in ("identity", "padded"):
        return False
    alone = len(block.branch) == 1 and block.branch[0].value == op.writes[0]
    return (
        alone
        and value == block.input
        and len(block.carried) == 1
        and block.carried[0].factor == 1
        and block.sample_axis == 0
    )
