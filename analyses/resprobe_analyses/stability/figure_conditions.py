"""On how many images the conditions of stability hold, block by block."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resprobe_analyses import style
from resprobe_analyses.stability import drawing
from resprobe_analyses.stability.conditions import (
    CONTRACTION,
    EQ5,
    EULER,
    whole_share,
)
from resprobe_analyses.stability.records import Group
from resprobe_analyses.statistics import MINIMUM_SEEDS

LABELS = {
    EQ5: r"every $\mathrm{Re}\,\lambda\leq 0$ (RA Eq. 5)",
    EULER: r"every $|1+\lambda|\leq 1$ (forward Euler)",
    CONTRACTION: r"log norm $\leq 0$ (no growth at once)",
}


def conditions_figure(groups: Sequence[Group]) -> Figure | None:
    """Draw the share of images on which each condition holds, None where none was tested.

    Args:
        groups: a column for each that has blocks with an identity skip.

    Returns:
        A row for each condition, with exact intervals where the group is one network; blocks that
        cannot be tested are shaded.
    """
    tested = [group for group in groups if any(whole_share(group, name) for name in LABELS)]
    if not tested:
        return None
    rows = [name for name in LABELS if any(whole_share(group, name) for group in tested)]
    deepest = max(group.first.layout.stage.size for group in tested)
    width = max(1.4 + float(np.clip(3.2 + 0.08 * deepest, 3.6, 7.5)) * len(tested), 8.4)
    with style.figure_style():
        figure = Figure(figsize=(width, 1.6 + 1.5 * len(rows)), layout="constrained")
        grid = figure.subplots(len(rows), len(tested), sharey=True, sharex="col", squeeze=False)
        for column, group in enumerate(tested):
            for row, name in enumerate(rows):
                _panel(grid[row, column], group, name, style.look(row))
        drawing.label_columns(grid, tested, width)
        for row in range(len(rows)):
            grid[row, 0].set_ylabel("share of images")
        handles = [drawing.handle(style.look(row), LABELS[name]) for row, name in enumerate(rows)]
        style.legend_below(
            figure,
            handles,
            _told(tested),
        )
        images = groups[0].first.classes.size
        drawing.put_title(figure, "Conditions of stability", tested, images, width)
    return figure


def _told(groups: Sequence[Group]) -> str:
    """Say what the bars are, of every kind of group that is drawn."""
    counts = {len(group.networks) for group in groups}
    kinds = []
    if 1 in counts:
        kinds.append("exact 95 % intervals over images, undecided images either way")
    if max(counts) >= MINIMUM_SEEDS:
        kinds.append("95 % intervals over seeds")
    bars = f"bars: {'; '.join(kinds)}; " if kinds else "means over networks, no interval; "
    return f"{bars}shaded: not tested (no identity skip)"


def _panel(axes: Axes, group: Group, name: str, look: style.Look) -> None:
    found = whole_share(group, name)
    axes.set_ylim(-0.06, 1.06)
    if found is None:
        axes.text(0.5, 0.5, "not collected", transform=axes.transAxes, ha="center", color="0.4")
        return
    place = np.arange(found.value.size)
    drawing.shade(axes, ~np.isfinite(found.value))
    axes.vlines(place, found.low, found.high, color=look.colour, linewidth=1.2, alpha=0.6)
    axes.scatter(place, found.value, color=look.colour, marker=look.marker, s=16, zorder=3)
