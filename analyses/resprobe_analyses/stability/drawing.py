"""What the figures of stability share."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from resprobe_analyses import style, wording
from resprobe_analyses.block_axis import axis_label, label_blocks
from resprobe_analyses.reading import Flags
from resprobe_analyses.stability import words
from resprobe_analyses.stability.records import Group

BRANCH_LOOK, BLOCK_LOOK = style.look(0), style.look(1)


def subject(groups: Sequence[Group]) -> str:
    """Name what was measured, as "h1 (2 networks), plain"."""
    return ", ".join(
        group.label
        if len(group.networks) == 1
        else f"{group.label} ({len(group.networks)} networks)"
        for group in groups
    )


def put_title(
    figure: Figure, what: str, groups: Sequence[Group], images: int | str, width: float
) -> None:
    """Write what is drawn, of which networks and on how many images, above a figure."""
    told = images if isinstance(images, str) else wording.counted_images(images)
    text = f"{what}: {subject(groups)}; {told}"
    figure.suptitle(textwrap.fill(text, int(width * 11)))


def name_column(axes: Axes, group: Group, groups: Sequence[Group]) -> None:
    """Write the group's label above its column, where there are several."""
    if len(groups) > 1:
        lines = max((text.get_text().count("\n") for text in axes.texts), default=0)
        axes.set_title(textwrap.fill(subject([group]), 34), pad=18 + 11 * lines)


def label_columns(grid: npt.NDArray[np.object_], groups: Sequence[Group], width: float) -> None:
    """Give every column of panels its group's label and an axis of its blocks.

    Args:
        grid: axes, shape (row, column).
        groups: of the columns.
        width: of the figure, inches.
    """
    each = 0.9 * width / len(groups)
    for column, group in zip(grid.T, groups, strict=True):
        names, stage = group.first.names, group.first.layout.stage
        for row, axes in enumerate(column):
            label_blocks(axes, names, stage, named=row == 0, width=each)
        name_column(column[0], group, groups)
        column[-1].set_xlabel(axis_label(len(names), words.unit(group, 1)))


def shade(axes: Axes, blocks: Flags) -> None:
    """Shade blocks that have nothing to draw."""
    for place in blocks.nonzero()[0]:
        axes.axvspan(place - 0.5, place + 0.5, color="0.93", linewidth=0, zorder=0)


def handle(look: style.Look, label: str, **options: object) -> Line2D:
    """Give the legend's handle of a series."""
    shown = {"color": look.colour, "linestyle": look.line, "marker": look.marker, "markersize": 4}
    return Line2D([], [], label=label, **{**shown, **options})
