"""‖F‖ = ‖G‖/h against t = j·h, networks of different depth and step size over each other."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from resprobe_analyses import style, wording
from resprobe_analyses.norm_vs_depth import words
from resprobe_analyses.norm_vs_depth.curves import TRAINED, Curve

ALONE = "0.7"  # of networks whose d·h no other has


def time_figure(name: str, curves: Sequence[Curve], images: int) -> Figure:
    """Draw ‖F‖ over t = j·h, where j = 0, 1, … counts the blocks.

    Args:
        name: of what was measured.
        curves: of known step size, at least one.
        images: how many are behind every mean.

    Returns:
        One panel, a line for each curve and stage, hollow diamonds at stage-first blocks, and
        bands for the intervals. If networks of equal d·h are steps of one differential equation,
        their curves fall on each other; where there are such, the others are grey.
    """
    width = 8.2
    with style.figure_style():
        figure = Figure(figsize=(width, 4.8), layout="constrained")
        axes = figure.subplots()
        for curve, look in zip(curves, looks(curves), strict=True):
            _curve(axes, curve, look)
        forces = [one.force.value for one in curves if one.force is not None]
        if style.spans_decades(np.concatenate(forces)):
            axes.set_yscale("log")
            style.write_decades(axes.yaxis)
        else:
            axes.set_ylim(bottom=0)
        axes.set_xlabel("t = j·h at the input of block j = 0, 1, …")
        axes.set_ylabel(r"$\Vert F\Vert = \Vert G\Vert\,/\,h$ (mean over images)")
        _legend(figure, curves)
        title = f"Right-hand side over time: {name}; {wording.counted_images(images)}"
        figure.suptitle(textwrap.fill(title, int(width * 11)))
    return figure


def looks(curves: Sequence[Curve]) -> list[style.Look]:
    """Give a look for each curve, no two alike; grey for those that share d·h with no other."""
    spans = Counter(_whole_time(curve) for curve in curves)
    least = min(2, max(spans.values()))  # where no two share it, none is grey
    together = [spans[_whole_time(curve)] >= least for curve in curves]
    order = sorted(range(len(curves)), key=lambda number: not together[number])
    found = [style.look(0)] * len(curves)
    for rank, number in enumerate(order):
        turn = rank + rank // len(style.COLOURS)  # from the seventh on another line
        colour = style.look(rank).colour if together[number] else ALONE
        found[number] = replace(style.look(turn), colour=colour)
    return found


def _whole_time(curve: Curve) -> float:
    return round(curve.blocks * (curve.h or 0.0), 9)


def curve_name(curve: Curve) -> str:
    """Name a curve, as "d = 9, h = 0.5 (5 networks)"."""
    count = len(curve.labels)
    told = f" ({count} networks)" if count > 1 else ""
    state = "" if curve.state == TRAINED else f", {curve.state}"
    return f"d = {curve.blocks}{words.at(curve.h, curve.moment)}{told}{state}"


def _curve(axes: Axes, curve: Curve, look: style.Look) -> None:
    force, time = curve.force, curve.time
    if force is None or time is None:
        return
    first = curve.layout.index_in_stage == 0
    # each stage has its own line: what joins stages is no trend
    for stage in np.unique(curve.layout.stage):
        inside = curve.layout.stage == stage
        axes.plot(
            time[inside],
            force.value[inside],
            color=look.colour,
            linestyle=look.line,
            linewidth=1.2,
            marker=look.marker,
            markersize=3,
        )
        axes.fill_between(
            time[inside],
            force.low[inside],
            force.high[inside],
            color=look.colour,
            alpha=0.15,
            linewidth=0,
        )
    axes.scatter(
        time[first],
        force.value[first],
        marker=style.TRANSITION_MARKER,
        s=34,
        facecolor="white",
        edgecolor=look.colour,
        linewidth=1.2,
        zorder=3,
    )


def _legend(figure: Figure, curves: Sequence[Curve]) -> None:
    handles = []
    for curve, look in zip(curves, looks(curves), strict=True):
        handles.append(
            Line2D(
                [],
                [],
                color=look.colour,
                linestyle=look.line,
                marker=look.marker,
                markersize=4,
                label=curve_name(curve),
            )
        )
    handles.append(style.hollow_mark("first block of a stage"))
    over = dict.fromkeys(curve.branch.over for curve in curves)
    style.legend_below(figure, handles, f"bands: 95 % intervals over {' / '.join(over)}")
