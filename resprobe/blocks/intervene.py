"""Interventions on a block by replay of the rest of the forward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import nn

from resprobe.blocks.block import subsampling
from resprobe.blocks.discover import discover
from resprobe.blocks.operations import Program
from resprobe.blocks.program import record
from resprobe.errors import ViolationError

if TYPE_CHECKING:
    from typing import Any

    from torch import Tensor

    from resprobe.blocks.block import Block, Blocks


def shortcut_of(block: Block, x: Tensor) -> Tensor:
    """Give the parameter-free padded shortcut of a plain unit: subsample, then zero channels.

    Args:
        block: a unit of a plain network.
        x: `(sample, channel, …)`, the unit's input.

    Returns:
        `(sample, …)` of the block's output shape: every k-th place of each spatial dimension, and
        the channels padded with zeros on both sides alike (He et al. 2016, option A).

    Raises:
        ViolationError: the output shape is not reached by subsampling and padding.
    """
    if tuple(x.shape[1:]) == block.output_shape:
        return x
    strides = subsampling(tuple(x.shape[1:]), block.output_shape)
    if strides is None:
        raise ViolationError(
            f"block {block.name}: no parameter-free shortcut leads from features of shape "
            f"{tuple(x.shape[1:])} to {block.output_shape}."
        )
    places = (slice(None), slice(None), *(slice(None, None, stride) for stride in strides))
    missing = block.output_shape[0] - x.shape[1]
    before = missing // 2
    return F.pad(x[places], [0, 0] * (x.dim() - 2) + [before, missing - before])


class Runner:
    """Runs batches through a model and gives the tensors of its blocks and lesioned outputs.

    A first recording finds the blocks; later batches keep just the tensors that the blocks and
    the replays need, so memory does not grow with depth beyond these.

    Args:
        model: an eager module, in the mode it is to be measured in.
        example: one batch `(sample, …)`, or all positional arguments as a tuple.
        kwargs: keyword arguments of every pass.
    """

    def __init__(
        self,
        model: nn.Module,
        example: Tensor | tuple[Any, ...],
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self._kwargs = kwargs
        self._program = record(model, _arguments(example), kwargs)
        self.blocks: Blocks = discover(model, self._program)
        self._structure = self._program.structure()

    def run(
        self,
        batch: Tensor | tuple[Any, ...],
        *,
        see: Callable[[Block, Tensor, Tensor, Tensor], None] | None = None,
        branches: bool = False,
        replays: bool = True,
    ) -> Pass:
        """Run one batch.

        Args:
            batch: like the example.
            see: shown every block with x, s and G, in the order of execution, while they are
                there; they are not kept, so memory does not grow with depth.
            branches: keep x and G of every block, for `Pass.tensors`.
            replays: keep what interventions need.

        Raises:
            ViolationError: the model took another way through its operations than with the
                example, so that its blocks are not the same.
        """
        kept = self._needed(branches, replays)
        program = record(
            self.model,
            _arguments(batch),
            self._kwargs,
            keep=kept if see is None else kept | self._needed(branches=True, replays=False),
            visits=None if see is None else self._visits(see, kept),
        )
        if program.structure() != self._structure:
            raise ViolationError(
                "the model runs other operations for this batch than for the first one, so its "
                "blocks are not the same; measure batches on which its control flow agrees."
            )
        program.share_plans(self._program)
        return Pass(program, self.blocks)

    def _visits(
        self, see: Callable[[Block, Tensor, Tensor, Tensor], None], kept: set[int]
    ) -> dict[int, Callable[[dict[int, Tensor]], None]]:
        """Plan where each block is shown: before its addition, or after a plain unit."""
        last: dict[int, int] = {}
        for block in self.blocks:
            for value in _values(block):
                last[value] = block.index

        def show(blocks: list[Block], tensors: dict[int, Tensor]) -> None:
            for block in blocks:
                see(block, *_tensors_of(block, tensors))
                for value in _values(block):
                    if last[value] == block.index and value not in kept:
                        tensors.pop(value, None)

        places: dict[int, list[Block]] = {}
        for block in self.blocks:
            place = block.resume if block.shortcut is None else block.resume - 1
            places.setdefault(place, []).append(block)
        return {place: partial(show, blocks) for place, blocks in places.items()}

    def kept_bytes(self, samples: int, *, replays: bool = True) -> int:
        """Give how many bytes of tensors a batch of `samples` keeps for its blocks."""
        program = self._program
        total = 0
        for value in self._needed(branches=not replays, replays=replays):
            elements = 1
            for size in program.shapes[value][1:]:
                elements *= size
            total += samples * elements * program.dtypes[value].itemsize
        return total

    def _needed(self, branches: bool, replays: bool) -> set[int]:
        program = self._program
        needed: set[int] = set()
        for block in self.blocks:
            if branches:
                needed |= set(_values(block))
            if replays:
                needed.add(block.input if block.shortcut is None else block.shortcut)
                needed |= program.live(block.resume, {_sum_of(program, block)})
        return needed


def _arguments(batch: Tensor | tuple[Any, ...]) -> tuple[Any, ...]:
    return batch if isinstance(batch, tuple) else (batch,)


class Pass:
    """One recorded batch: the tensors of its blocks, its output, and its lesioned outputs."""

    def __init__(self, program: Program, blocks: Blocks) -> None:
        self._program = program
        self.blocks = blocks
        self.output: Any = program.result

    def tensors(self, block: Block) -> tuple[Tensor, Tensor, Tensor]:
        """Give x, s and G of a block, each `(sample, …)`."""
        return _tensors_of(block, self._program.kept)

    def shortcut(self, block: Block) -> Tensor:
        """Give s of a block, `(sample, …)`."""
        return _shortcut(block, self._program.kept)

    def replace_sum(self, block: Block, total: Tensor) -> Any:
        """Give the model's output with `total` in the place of the block's s + G."""
        return self._program.replay(block.resume, {_sum_of(self._program, block): total})

    def lesion(self, block: Block) -> Any:
        """Give the model's output with the block's branch dropped and its skip kept."""
        return self.replace_sum(block, self.shortcut(block))


def _values(block: Block) -> tuple[int, ...]:
    shortcut = () if block.shortcut is None else (block.shortcut,)
    return (block.input, *shortcut, block.branch)


def _tensors_of(block: Block, kept: Mapping[int, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    # Where the skip is the identity, x and s are the same tensor, not only equal ones.
    return kept[block.input], _shortcut(block, kept), kept[block.branch]


def _shortcut(block: Block, kept: Mapping[int, Tensor]) -> Tensor:
    if block.shortcut is None:
        return shortcut_of(block, kept[block.input])
    return kept[block.shortcut]


def _sum_of(program: Program, block: Block) -> int:
    """Give the value of s + G, before the block's own activation."""
    if block.addition is None and block.shortcut is None:
        return block.output
    return program.operations[block.resume - 1].writes[0]
