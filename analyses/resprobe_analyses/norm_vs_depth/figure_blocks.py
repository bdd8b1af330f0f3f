"""‖x‖ and ‖G‖ block by block, a panel for each depth and step size."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from resprobe_analyses import style, wording
from resprobe_analyses.estimates import Estimate
from resprobe_analyses.norm_vs_depth import words
from resprobe_analyses.norm_vs_depth.curves import TRAINED, Curve
from resprobe_analyses.reading import Integers

STATE, BRANCH = style.look(1), style.look(0)
COLUMNS = 3


def blocks_figure(name: str, curves: Sequence[Curve], images: int) -> Figure:
    """Draw ‖x‖ and ‖G‖ against the position of the block.

    Args:
        name: of what was measured.
        curves: at least one.
        images: how many are behind every mean.

    Returns:
        A panel for each curve, all with one vertical axis: intervals, lines between stages, and
        hollow diamonds at the first block of each stage.
    """
    columns = min(COLUMNS, len(curves))
    rows = -(-len(curves) // columns)
    width = 7.0 if columns == 1 else 1.5 + 3.4 * columns
    with style.figure_style():
        figure = Figure(figsize=(width, 1.6 + 2.8 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
        panels = list(grid.flat)
        for axes, curve in zip(panels, curves, strict=False):
            _panel(axes, curve)
        for axes in panels[len(curves) :]:
            axes.set_axis_off()
        norms = np.concatenate([np.r_[one.branch.value, one.input.value] for one in curves])
        if style.spans_decades(norms):
            panels[0].set_yscale("log")
            style.write_decades(panels[0].yaxis)
        else:
            panels[0].set_ylim(bottom=0)
        for row in grid:
            row[0].set_ylabel("mean norm over images")
        _legend(figure, curves)
        title = f"Norms block by block: {name}; {wording.counted_images(images)}"
        figure.suptitle(textwrap.fill(title, int(width * 11)))
    return figure


def panel_name(curve: Curve) -> str:
    """Say what a panel shows, as "24 blocks, h = 0.5 (mean of 5 networks)"."""
    size = words.at(curve.h, curve.moment)
    count = len(curve.labels)
    told = f" (mean of {count} networks)" if count > 1 else ""
    state = "" if curve.state == TRAINED else f"\n{curve.state}"
    return f"{curve.blocks} block{'s' * (curve.blocks > 1)}{size}{told}{state}"


def _panel(axes: Axes, curve: Curve) -> None:
    # a line joins what has one shape: the input of a transition still has that of the stage before
    shape: Integers = np.cumsum(curve.layout.transition) - curve.layout.transition
    _curve(axes, curve, curve.input, STATE, shape)
    _curve(axes, curve, curve.branch, BRANCH, curve.layout.stage)
    style.mark_stages(axes, curve.layout.stage, named=False)
    axes.set_title(panel_name(curve))
    axes.set_xlabel("block (position in the network)")
    axes.set_xlim(-0.6, curve.blocks - 0.4)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))


def _curve(
    axes: Axes, curve: Curve, estimate: Estimate, look: style.Look, joined: Integers
) -> None:
    place, first = np.arange(curve.blocks), curve.layout.index_in_stage == 0
    for part in np.unique(joined):
        inside = joined == part
        axes.plot(
            place[inside],
            estimate.value[inside],
            color=look.colour,
            linestyle=look.line,
            linewidth=1.2,
        )
    axes.vlines(place, estimate.low, estimate.high, color=look.colour, linewidth=1.0)
    for chosen, marker, face, size in (
        (~first, look.marker, look.colour, 12),
        (first, style.TRANSITION_MARKER, "white", 34),
    ):
        axes.scatter(
            place[chosen],
            estimate.value[chosen],
            marker=marker,
            s=size,
            facecolor=face,
            edgecolor=look.colour,
            linewidth=1.2,
            zorder=3,
        )


def _legend(figure: Figure, curves: Sequence[Curve]) -> None:
    handles = [
        Line2D(
            [],
            [],
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            markersize=4,
            label=label,
        )
        for look, label in (
            (STATE, r"$\Vert x\Vert$, input of the block"),
            (BRANCH, r"$\Vert G\Vert$, its branch"),
        )
    ]
    handles.append(style.hollow_mark("first block of a stage"))
    over = dict.fromkeys(curve.branch.over for curve in curves)
    style.legend_below(figure, handles, f"bars: 95 % intervals over {' / '.join(over)}")
