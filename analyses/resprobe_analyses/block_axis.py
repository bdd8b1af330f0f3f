"""A horizontal axis of blocks: their names where there is room, else their positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from resprobe_analyses import style
from resprobe_analyses.stage_names import stage_blocks

MOST_NAMED = 12  # blocks up to which each is named on the axis
LETTER = 5.2 / 72  # width of a letter of a stage's name, inches


def axis_label(blocks: int, word: str = "block") -> str:
    """Say what an axis of so many blocks shows; `word` is what one is called."""
    return word if blocks <= MOST_NAMED else f"{word} (position in the network)"


def label_blocks(
    axes: Axes,
    names: Sequence[str],
    stage: npt.NDArray[np.int64],
    *,
    named: bool,
    width: float,
) -> None:
    """Give a horizontal axis of blocks its limits, its ticks and its stages.

    Args:
        axes: whose horizontal axis counts blocks from 0.
        names: of the blocks; up to 12 are written at the ticks.
        stage: of each block, shape (block,).
        named: whether to name the stages above, by their blocks too where the ticks have no names.
        width: of the axes, about, inches.
    """
    axes.set_xlim(-0.6, len(names) - 0.4)
    if len(names) <= MOST_NAMED:
        name_ticks(axes, range(len(names)), names)
        style.mark_stages(axes, stage, named=named)
        return
    axes.xaxis.set_major_locator(MaxNLocator(nbins=14 if width > 5 else 9, integer=True))
    style.mark_stages(axes, stage, named=named, names=_heads(names, stage, width))


def name_ticks(axes: Axes, places: Sequence[int], names: Sequence[str]) -> None:
    """Write the names of blocks, slanted, at ticks of the horizontal axis."""
    axes.set_xticks(list(places), list(names))
    axes.tick_params(axis="x", labelsize=7.5, labelrotation=60)
    for label in axes.get_xticklabels():
        label.set_horizontalalignment("right")
        label.set_rotation_mode("anchor")


def _heads(
    names: Sequence[str], stage: npt.NDArray[np.int64], width: float
) -> Mapping[int, str] | None:
    """Name every stage by its blocks too, in as few lines as fit; None where none do."""
    blocks = stage_blocks(names, stage)
    room = {one: width * (stage == one).mean() / LETTER for one in blocks}
    for dash in ("–", "–\n"):
        written = {one: f"stage {one}\n{told.replace('–', dash)}" for one, told in blocks.items()}
        if all(max(map(len, told.split("\n"))) < room[one] for one, told in written.items()):
            return written
    return None
