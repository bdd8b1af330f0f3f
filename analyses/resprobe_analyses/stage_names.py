"""How stages are named in sentences and figures: by their number and by their blocks.

The number of a stage is its position in the network, while blocks have the names of their modules:
stage 0 may hold `stage1.0` to `stage1.17`. So the number never stands alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt


def first_to_last(names: Sequence[str]) -> str:
    """Write blocks in a row by the first and the last, as "stage1.0–stage1.17"."""
    return "–".join(dict.fromkeys((names[0], names[-1])))


def stage_name(stage: int, blocks: Iterable[str]) -> str:
    """Name a stage and the blocks that are meant.

    Args:
        stage: its number.
        blocks: one or more `first_to_last`, of networks whose blocks have other names; equal ones
            are written once.

    Returns:
        Such as "stage 0 (stage1.0–stage1.17)".
    """
    return f"stage {stage} ({' / '.join(dict.fromkeys(blocks))})"


def stage_blocks(names: Sequence[str], stage: npt.NDArray[np.int64]) -> Mapping[int, str]:
    """Give the blocks of every stage, first to last.

    Args:
        names: of the blocks.
        stage: of each block, shape (block,).
    """
    return {
        int(one): first_to_last([n for n, own in zip(names, stage, strict=True) if own == one])
        for one in np.unique(stage)
    }
