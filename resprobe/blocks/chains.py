"""Chains: runs of neighbouring blocks that may change places with each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from resprobe.errors import InputError

if TYPE_CHECKING:
    from resprobe.blocks.block import Block
    from resprobe.blocks.operations import Program


def chains(blocks: Iterable[Block]) -> list[list[int]]:
    """Give the indices of every run of two and more blocks that may change places."""
    runs: list[list[int]] = []
    for block in blocks:
        if block.exchangeable:
            runs[-1].append(block.index)
        else:
            runs.append([block.index])
    return [run for run in runs if len(run) > 1]


def with_exchangeable(program: Program, blocks: Sequence[Block]) -> list[Block]:
    """Say of each block whether it may change places with the one before it.

    Args:
        program: the recording in which they were found.
        blocks: in the order of execution.
    """
    last_read: dict[int, int] = {}
    for index, op in enumerate(program.operations):
        last_read.update(dict.fromkeys(op.reads, index))
    found = list(blocks[:1])
    for before, block in pairwise(blocks):
        shapes = {
            before.input_shape,
            before.output_shape,
            block.input_shape,
            block.output_shape,
        }
        joined = block.input == before.output and before.stage == block.stage
        # what lies between them may not reach past the second, as a skip of a U-net does
        alone = last_read.get(block.input, -1) < block.resume
        found.append(replace(block, exchangeable=joined and len(shapes) == 1 and alone))
    return found


def chain_of(blocks: Sequence[Block]) -> list[Block]:
    """Give blocks in the order of execution, if they may change places with each other.

    Raises:
        InputError: they may not.
    """
    chain = sorted(blocks, key=lambda block: block.index)
    neighbours = all(b.index == a.index + 1 and b.exchangeable for a, b in pairwise(chain))
    if not neighbours:
        names = ", ".join(block.name for block in chain)
        raise InputError(
            f"the blocks {names} can't change places: give blocks of one stage, each starting "
            "where the one before it ends."
        )
    return chain
