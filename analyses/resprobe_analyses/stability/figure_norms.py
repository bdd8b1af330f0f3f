"""Spectral abscissa, log norm, σ_max and spectral radius block by block."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from resprobe_analyses import style
from resprobe_analyses.reading import Flags, Integers, Layout
from resprobe_analyses.stability import drawing, words
from resprobe_analyses.stability.families import BLOCK, BRANCH, SYMBOLS
from resprobe_analyses.stability.quality import not_square
from resprobe_analyses.stability.records import Group
from resprobe_analyses.stability.spread import SPREAD_TEXT, Spread, cells, spread_of

LOOKS = (drawing.BRANCH_LOOK, drawing.BLOCK_LOOK)
SHIFTS = (-0.12, 0.12)


def norms_figure(groups: Sequence[Group]) -> Figure:
    """Draw what is known of each block's Jacobian against its position.

    Args:
        groups: a column for each.

    Returns:
        A row for each quantity that was collected: medians over images and the middle 90 % of
        them, branch and whole block, transitions hollow, blocks without eigenvalues shaded.
    """
    rows = [name for name in SYMBOLS if any(_spread(group, name) for group in groups)]
    deepest = max(group.first.layout.stage.size for group in groups)
    each = float(np.clip(3.2 + 0.08 * deepest, 3.6, 7.5))
    width = max(1.4 + each * len(groups), 6.5)
    with style.figure_style():
        figure = Figure(figsize=(width, 1.7 + 1.75 * len(rows)), layout="constrained")
        grid = figure.subplots(len(rows), len(groups), sharey="row", sharex="col", squeeze=False)
        for column, group in enumerate(groups):
            for row, name in enumerate(rows):
                _panel(grid[row, column], group, name)
        drawing.label_columns(grid, groups, width)
        for row, name in enumerate(rows):
            grid[row, 0].set_ylabel(SYMBOLS[name])
            _scale(grid[row], groups, name)
        style.legend_below(figure, _handles(groups), _told(groups))
        images = groups[0].first.classes.size
        drawing.put_title(figure, f"{_word(groups)} Jacobians", groups, images, width)
    return figure


def _spread(group: Group, name: str) -> Spread | None:
    found = [cells(net, name) for net in group.networks]
    known = [one for one in found if one is not None]
    return spread_of(known) if known else None


def _panel(axes: Axes, group: Group, name: str) -> None:
    spread, layout = _spread(group, name), group.first.layout
    drawing.shade(axes, _nothing(group, name))
    if spread is None:
        axes.text(0.5, 0.5, "not collected", transform=axes.transAxes, ha="center", color="0.4")
        return
    # the branch of a plain unit is all of it
    for part in (BRANCH,) if group.first.plain else (BRANCH, BLOCK):
        _series(axes, spread, part, layout)


def _nothing(group: Group, name: str) -> Flags:
    """Tell which blocks cannot have the quantity, shape (block,)."""
    odd = not_square(group.first)
    return np.zeros_like(odd) if name == "spectral_norm" else odd


def _series(axes: Axes, spread: Spread, part: int, layout: Layout) -> None:
    look, place = LOOKS[part], np.arange(layout.stage.size) + SHIFTS[part]
    middle = spread.middle[:, part]
    # lines join blocks of one shape only
    joined: Integers = np.cumsum(layout.transition) * 1000 + layout.stage
    for part_of in np.unique(joined):
        inside = (joined == part_of) & layout.within
        axes.plot(
            place[inside], middle[inside], color=look.colour, linestyle=look.line, linewidth=1.0
        )
    axes.vlines(place, spread.low[:, part], spread.high[:, part], color=look.colour, linewidth=1.0)
    for chosen, marker, face, size in (
        (layout.within, look.marker, look.colour, 12),
        (layout.transition, style.TRANSITION_MARKER, "white", 28),
    ):
        axes.scatter(
            place[chosen],
            middle[chosen],
            marker=marker,
            s=size,
            facecolor=face,
            edgecolor=look.colour,
            linewidth=1.1,
            zorder=3,
        )


def _scale(panels: Sequence[Axes], groups: Sequence[Group], name: str) -> None:
    """Mark what tells growth from decay, and use decades where values differ much."""
    signed = name in ("spectral_abscissa", "log_norm")
    known = [one for group in groups if (one := _spread(group, name)) is not None]
    values = np.concatenate([np.r_[one.low.ravel(), one.high.ravel()] for one in known])
    for axes in panels:
        axes.axhline(0 if signed else 1, color="0.4", linewidth=0.9, zorder=1)
    if not signed and style.spans_decades(values):
        panels[0].set_yscale("log")
        panels[0].set_ylabel(f"{SYMBOLS[name]} (log scale)")
        style.write_decades(panels[0].yaxis)
    elif not signed:
        panels[0].set_ylim(bottom=0)


def _told(groups: Sequence[Group]) -> str:
    several = "" if all(len(group.networks) == 1 for group in groups) else " and networks"
    return f"medians; bars: middle {SPREAD_TEXT} of the images{several}, a spread and no interval"


def _word(groups: Sequence[Group]) -> str:
    return words.unit_of(groups).capitalize()


def _handles(groups: Sequence[Group]) -> list[Artist]:
    found: list[Artist] = [drawing.handle(LOOKS[BRANCH], f"{words.branch_of(groups)} Jacobian")]
    if not all(group.first.plain for group in groups):
        found.append(drawing.handle(LOOKS[BLOCK], "whole block"))
    if any(group.first.layout.transition.any() for group in groups):
        found.append(style.hollow_mark("transition"))
    if any(not_square(group.first).any() for group in groups):
        found.append(Patch(color="0.93", label="not square: no eigenvalues, no log norm"))
    return found
