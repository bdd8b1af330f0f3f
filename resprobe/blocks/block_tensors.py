"""x, s and G of a block from the tensors of a recording."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from resprobe.blocks.block import Block, subsampling
from resprobe.blocks.samples import samples_first
from resprobe.errors import ViolationError

if TYPE_CHECKING:
    from torch import Tensor


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


def values_of(block: Block) -> tuple[int, ...]:
    """Give the values that x, s and G are made of."""
    shortcut = () if block.shortcut is None else (block.shortcut,)
    return (block.input, *shortcut, *(operand.value for operand in block.branch))


def tensors_of(block: Block, kept: Mapping[int, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Give x, s and G, each `(sample, …)`."""
    # Where the skip is the identity, x and s are the same tensor, not only equal ones.
    x = samples_first(block, kept[block.input])
    s = x if block.shortcut == block.input else shortcut_tensor(block, kept)
    return x, s, samples_first(block, branch_of(block, kept))


def branch_of(block: Block, tensors: Mapping[int, Tensor]) -> Tensor:
    """Give G: the sum of the branch's operands, each times its factor."""
    parts = [
        tensors[operand.value] if operand.factor == 1 else operand.factor * tensors[operand.value]
        for operand in block.branch
    ]
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


def shortcut_tensor(block: Block, kept: Mapping[int, Tensor]) -> Tensor:
    """Give s, `(sample, …)`."""
    if block.shortcut is None:
        return shortcut_of(block, samples_first(block, kept[block.input]))
    return samples_first(block, kept[block.shortcut])
