"""Find out along which axis of a block's tensors the samples lie, from a smaller batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from resprobe.blocks.block import Block, Blocks
from resprobe.blocks.operations import Program
from resprobe.blocks.structure import rebuild, tensors_in
from resprobe.errors import InputError


def count_samples(arguments: Any) -> int:
    """Give the size of the first dimension of the first tensor among a model's arguments."""
    return next((len(tensor) for tensor in tensors_in(arguments) if tensor.dim()), 1)


def with_sample_axes(
    blocks: Blocks,
    program: Program,
    arguments: tuple[tuple[Any, ...], Mapping[str, Any]],
    run: Callable[[tuple[Any, ...], Mapping[str, Any]], Program],
) -> Blocks:
    """Give the blocks with their `sample_axis`.

    Args:
        blocks: of the program.
        program: recorded from the arguments.
        arguments: positional and keyword arguments, whose tensors have the samples first.
        run: records the model on other arguments.

    Returns:
        The blocks; as they are where a batch with one sample less can't tell, because the model
        can't take one or runs other operations for it.

    Raises:
        InputError: the samples of a block can't be told apart, as where they are folded into
            one dimension with something else.
    """
    samples = count_samples(arguments)
    if samples < 2:
        return blocks
    args, kwargs = rebuild(arguments, lambda leaf: _fewer(leaf, samples))
    try:
        fewer = run(args, kwargs)
    except Exception:
        return blocks  # such as a batch norm that wants two samples
    if not fewer.as_expected:
        return blocks
    found = [_with_axis(block, program, fewer, samples) for block in blocks]
    return replace(blocks, blocks=tuple(found))


def _fewer(leaf: Any, samples: int) -> Any:
    """Give an argument without its last sample."""
    if isinstance(leaf, torch.Tensor) and leaf.dim() and len(leaf) == samples:
        return leaf[:-1]
    return leaf


def _with_axis(block: Block, program: Program, fewer: Program, samples: int) -> Block:
    shapes = [(program.shapes[value], fewer.shapes[value]) for value in (block.input, block.total)]
    axes = [[axis for axis, size in enumerate(a) if b[axis] != size] for a, b in shapes]
    told = axes[0] == axes[1] and len(axes[0]) == 1
    if not told or any(shape[axes[0][0]] != samples for shape, _ in shapes):
        raise InputError(
            f"the features of block {block.name} have shape {shapes[1][0]} for {samples} samples, "
            "which can't be told apart in it; give a model that keeps the samples in a dimension "
            "of their own."
        )
    axis = axes[0][0]
    if axis == 0:
        return block
    into, out = (tuple(n for i, n in enumerate(a) if i != axis) for a, _ in shapes)
    return replace(block, sample_axis=axis, input_shape=into, output_shape=out)


def samples_first(block: Block, tensor: torch.Tensor) -> torch.Tensor:
    """View a tensor of a block, as the model has it, as `(sample, …)`."""
    return tensor.movedim(block.sample_axis, 0) if block.sample_axis else tensor
