"""Finite-time Lyapunov exponents along the blocks of each stage."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from resprobe_analyses import style
from resprobe_analyses.block_axis import MOST_NAMED, name_ticks
from resprobe_analyses.stability import drawing, words
from resprobe_analyses.stability.records import Group
from resprobe_analyses.stability.runs import Run, growth_bounds, measured_runs
from resprobe_analyses.stability.spread import SPREAD_TEXT, spread_of
from resprobe_analyses.stage_names import first_to_last

BOUND = style.Look("0.6", (0, (6, 2)), "")
RANDOM = style.Look("0.35", (0, (1, 1.5)), "x")


def lyapunov_figure(groups: Sequence[Group]) -> Figure | None:
    """Draw the exponents from the beginning of each run through its blocks, None without any.

    Args:
        groups: a row of panels for each.

    Returns:
        A panel for each run: medians over images of each exponent, the middle 90 % of images of
        the leading one, the growth of a random perturbation, and the most that any can grow.
    """
    rows = [(group, _runs(group)) for group in groups]
    rows = [(group, runs) for group, runs in rows if runs]
    if not rows:
        return None
    columns = max(len(runs) for _, runs in rows)
    width = max(1.2 + 2.6 * columns, 6.5)
    with style.figure_style():
        figure = Figure(figsize=(width, 1.7 + 2.3 * len(rows)), layout="constrained")
        grid = figure.subplots(len(rows), columns, sharey=True, squeeze=False)
        for line, (group, runs) in zip(grid, rows, strict=True):
            for axes, run in zip(line, runs, strict=False):
                _panel(axes, group, run)
                axes.set_title(_panel_name(group, run, several=len(groups) > 1), fontsize=8.5)
            for axes in line[len(runs) :]:
                axes.set_axis_off()
            line[0].set_ylabel(f"exponent per {words.unit(group, 1)}")
        several = "" if all(len(g.networks) == 1 for g, _ in rows) else " and networks"
        style.legend_below(
            figure,
            _handles([group for group, _ in rows]),
            f"medians; band: middle {SPREAD_TEXT} of the images{several} for the leading exponent; "
            "above 0 perturbations grow;\nexponents are ordered at the last "
            f"{words.unit_of([group for group, _ in rows])} of a run: before it each line is the "
            "growth along a fixed direction, and lines may cross",
        )
        lyapunov = rows[0][0].first.lyapunov
        images = 0 if lyapunov is None else lyapunov.exponents.shape[0]
        drawing.put_title(
            figure,
            "Finite-time Lyapunov exponents",
            [group for group, _ in rows],
            images,
            width,
        )
    return figure


def _runs(group: Group) -> tuple[Run, ...]:
    return next((runs for net in group.networks if (runs := measured_runs(net))), ())


def _panel_name(group: Group, run: Run, *, several: bool) -> str:
    names = first_to_last([group.first.names[place] for place in run.blocks])
    name = f"stage {run.stage}: {names}"
    label = textwrap.shorten(group.label, 26, placeholder="…")
    return f"{label}\n{name}" if several else name


def _panel(axes: Axes, group: Group, run: Run) -> None:
    known = [net.lyapunov for net in group.networks if net.lyapunov is not None]
    exponents = spread_of([one.exponents[:, run.blocks] for one in known])
    growth = spread_of([one.growth[:, run.blocks] for one in known])
    depth = np.arange(1, run.blocks.size + 1)
    axes.axhline(0, color="0.4", linewidth=0.9, zorder=1)
    axes.fill_between(
        depth,
        exponents.low[:, 0],
        exponents.high[:, 0],
        color=style.look(0).colour,
        alpha=0.15,
        linewidth=0,
    )
    for number in range(exponents.middle.shape[1]):
        _line(axes, depth, exponents.middle[:, number], style.look(number))
    _line(axes, depth, growth.middle, RANDOM)
    bound = spread_of([growth_bounds(net, run) for net in group.networks])
    _line(axes, depth, bound.middle, BOUND)
    axes.set_xlim(0.5, max(depth[-1], 2) + 0.5)
    if run.blocks.size <= MOST_NAMED:
        name_ticks(axes, depth.tolist(), [group.first.names[place] for place in run.blocks])
        axes.set_xlabel(f"run up to this {words.unit(group, 1)}")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.set_xlabel(f"{words.unit(group, 2)} since the run began")


def _line(
    axes: Axes, depth: npt.NDArray[np.int64], values: npt.NDArray[np.float64], look: style.Look
) -> None:
    axes.plot(
        depth,
        values,
        color=look.colour,
        linestyle=look.line,
        marker=look.marker,
        markersize=3,
        linewidth=1.1,
    )


def _handles(groups: Sequence[Group]) -> list[Artist]:
    count = max(
        net.lyapunov.exponents.shape[2]
        for group in groups
        for net in group.networks
        if net.lyapunov is not None
    )
    names = ["leading exponent", *(f"exponent {number}" for number in range(2, count + 1))]
    found: list[Artist] = [
        drawing.handle(style.look(number), name) for number, name in enumerate(names)
    ]
    found.append(drawing.handle(RANDOM, "random perturbation"))
    units = words.several(words.unit_of(groups))
    bound = rf"bound of all: mean $\ln\sigma_{{\max}}$ of the {units}"
    return [*found, drawing.handle(BOUND, bound)]
