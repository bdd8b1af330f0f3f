"""The blocks that an intervention names, and what dropping them changes in a recording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from resprobe.blocks.structure import Ref
from resprobe.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from resprobe.blocks.block import Block, Blocks, Operand
    from resprobe.blocks.operations import Program


def blocks_at(blocks: Blocks, indices: Sequence[int]) -> list[Block]:
    """Give the blocks with these ascending indices.

    Raises:
        InputError: there is none, or not that one.
    """
    if not indices or indices[0] < 0 or indices[-1] >= len(blocks):
        raise InputError(
            f"a lesion of the blocks {list(indices)}: give indices from 0 to {len(blocks) - 1}, "
            "the first of a span before its last."
        )
    return [blocks[index] for index in indices]


def require_span(blocks: Blocks, first: Block, last: Block) -> None:
    """Refuse a span in which a block does not start from what the one before it made.

    Raises:
        InputError: it is no span.
    """
    if first.index > last.index:
        raise InputError(
            f"a span from block {first.name} to block {last.name}, which runs before it; give "
            "the first block of the span first."
        )
    for index in range(first.index + 1, last.index + 1):
        if not blocks[index].follows:
            raise InputError(
                f"block {blocks[index].name} does not start from what block "
                f"{blocks[index - 1].name} made, so no span holds both; give blocks that "
                "follow each other."
            )


def lesion_changes(program: Program, dropped: Sequence[Operand]) -> dict[int, Tensor | Ref]:
    """Give the changes by which additions give one operand, as if they added nothing to it."""
    return {
        program.operations[operand.operation].result.value: Ref(operand.value)
        for operand in dropped
    }
