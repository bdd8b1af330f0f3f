"""What a pass keeps of a batch, and how it refuses what it did not keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from resprobe.blocks.block_tensors import values_of
from resprobe.blocks.chosen import lesion_changes
from resprobe.blocks.structure import Ref
from resprobe.blocks.taps import Taps, logits_of
from resprobe.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from resprobe.blocks.block import Block, Blocks
    from resprobe.blocks.layers import Layer
    from resprobe.blocks.operations import Program


class Keep(NamedTuple):
    """What a pass keeps of its blocks.

    Attributes:
        replays: what interventions on the sum s + G need.
        branches: x and the branch, for `Pass.tensors` and `Pass.replace_branch`.
        states: x, s + G and I(s + G), for `Pass.input`, `Pass.total` and `Pass.block_output`.
        functions: what running a block on another input needs, for `Pass.reorder` and
            `Pass.path`.
        layers: what changes of the layers need, for `Pass.layer_image` and `Pass.add_to_layer`.
        inputs: what changes of the model's input need, for `Pass.model_input` and
            `Pass.replace_input`.
        taps: what `Pass.taps` needs.
    """

    replays: bool = True
    branches: bool = False
    states: bool = False
    functions: bool = False
    layers: bool = False
    inputs: bool = False
    taps: bool = False


def needed(
    keep: Keep, program: Program, blocks: Blocks, layers: Sequence[Layer], wanted: Any
) -> set[int]:
    """Give the values whose tensors a pass keeps.

    Args:
        keep: what for.
        program: the recording.
        blocks: in it.
        layers: in it, where they may be changed.
        wanted: structure of `Ref` that replays give.
    """
    values: set[int] = set()
    for block in blocks:
        if keep.branches:
            values |= set(values_of(block))
        if keep.states:
            values |= {block.input, block.total, block.output}
        if keep.replays:
            values |= _needed_to_replay(block, program, wanted)
        if keep.functions:
            values |= program.needs({block.input: None}, output=Ref(block.output))
            values |= program.needs({block.output: None}, output=wanted)
            values.add(block.input)
    for layer in layers:
        values |= program.needs({layer.output: None}, output=wanted)
        values |= {layer.input, layer.output}
    for value in program.inputs[:1] if keep.inputs else ():
        values |= program.needs({value: None}, output=wanted) | {value}
    if keep.taps:
        values |= Taps.needs(program, logits_of(wanted))
    return values


def _needed_to_replay(block: Block, program: Program, wanted: Any) -> set[int]:
    values = program.needs({block.total: None}, output=wanted)
    if block.shortcut is None:
        return values | {block.input}
    lesion = lesion_changes(program, block.carried)
    values |= program.needs(lesion, output=wanted)
    return values | {operand.value for operand in block.carried}


NOT_KEPT = (
    "the pass did not keep the tensors that this needs: give Runner.run branches=True for tensors "
    "and replace_branch, states=True for input, total and block_output, functions=True for reorder "
    "and path, layers=True for layer_image and add_to_layer, inputs=True for model_input and "
    "replace_input, taps=True for taps."
)


class Kept(Mapping[int, "Tensor"]):
    """The tensors that a pass kept; what it did not is refused in words."""

    def __init__(self, kept: Mapping[int, Tensor]) -> None:
        self._kept = kept

    def __getitem__(self, value: int) -> Tensor:
        try:
            return self._kept[value]
        except KeyError:
            raise InputError(NOT_KEPT) from None

    def __iter__(self) -> Iterator[int]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)
