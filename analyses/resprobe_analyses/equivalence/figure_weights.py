"""Histograms of all weights and of the ID entries, as in Fig. 7."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from resprobe_analyses import style
from resprobe_analyses.equivalence.effects import group_table
from resprobe_analyses.equivalence.networks import Group
from resprobe_analyses.equivalence.weights import State

LARGE = 0.7


def weights_figure(groups: Sequence[Group]) -> Figure:
    """Draw the histograms before and after training.

    Args:
        groups: with weights of at least one network each.

    Returns:
        Two rows, all weights above and ID entries below, and a column each for step 0 and for the
        last checkpoint, as far as they were measured; counts are logarithmic and means over the
        networks of a group. A line stands at 0.7, and how many weights lie above is written.
    """
    times = [when for when in ("start", "end") if any(group.states(when) for group in groups)]
    with style.figure_style():
        figure = Figure(figsize=(3.4 + 3.1 * len(times), 6.0), layout="constrained")
        grid = figure.subplots(2, len(times), sharex=True, sharey="row", squeeze=False)
        for when, (every, entries) in zip(times, grid.T, strict=True):
            every.set_title(_title(groups, when), loc="left")
            for number, group in enumerate(groups):
                look, chosen = style.look(number), group.states(when)
                _histogram(every, chosen, [one.weights for one in chosen], look)
                _histogram(entries, chosen, [one.id_entries for one in chosen], look)
            _large(every, groups, when)
            entries.set_xlabel("weight")
        for axes, what in zip(grid[:, 0], ("all weights", "ID entries"), strict=True):
            axes.set_ylabel(f"{what}\nin a bin (log scale)")
        for axes in grid.ravel():
            axes.set_yscale("log")
            axes.set_ylim(bottom=0.7 / max(len(one.networks) for one in groups))
            _ticks(axes)
            axes.set_xlim(*_reach(groups))
            axes.axvline(LARGE, color="0.45", linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        style.legend_below(figure, _handles(groups), f"dashed: {LARGE}; counts: means of networks")
        figure.suptitle("Weights of all convolutions, those of residual networks transferred")
    return figure


def _title(groups: Sequence[Group], when: str) -> str:
    if when == "start":
        return "before training"
    steps = sorted({state.step for group in groups for state in group.states(when)})
    if steps[0] < 0:
        return "at the checkpoint measured"
    return f"step {steps[0]}" if len(steps) == 1 else f"steps {steps[0]} to {steps[-1]}"


def _histogram(
    axes: Axes, states: Sequence[State], counts: Sequence[npt.NDArray[np.int64]], look: style.Look
) -> None:
    if not np.any(counts):
        return
    mean = np.mean(counts, axis=0)
    bins = states[0].bins
    shown = np.where(mean > 0, mean, 1e-6)  # below the axis: empty bins draw nothing
    axes.step(bins, shown, where="mid", color=look.colour, linestyle=look.line, linewidth=1.1)
    marked = np.flatnonzero(mean > 0)[:: max(1, int((mean > 0).sum()) // 12)]
    axes.plot(
        bins[marked],
        mean[marked],
        color=look.colour,
        linestyle="none",
        marker=look.marker,
        markersize=3.5,
        markerfacecolor="white",
    )


def _ticks(axes: Axes) -> None:
    """Write counts as numbers, more of them where the axis is short."""
    low, high = axes.get_ylim()
    short = high < 200 * low
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if short else (1,), numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:,g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _large(axes: Axes, groups: Sequence[Group], when: str) -> None:
    """Write how many weights lie above 0.7."""
    counts = []
    for number, group in enumerate(groups):
        table = group_table(group, when)
        if "above 0.7" in table:
            counts.append((number, float(table["above 0.7"].value)))
    for row, (number, count) in enumerate(counts):
        axes.annotate(
            f"above {LARGE}: {count:,.5g}",
            (1, 1),
            xycoords="axes fraction",
            xytext=(-2, -8 - 11 * row),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
            color=style.look(number).colour,
        )


def _reach(groups: Sequence[Group]) -> tuple[float, float]:
    """Give limits within which all weights lie, at most those of the bins."""
    chosen = [state for one in groups for when in ("start", "end") for state in one.states(when)]
    counts = np.sum([state.weights for state in chosen], axis=0)
    bins = chosen[0].bins
    filled = bins[counts > 0]
    return (float(filled[0]) - 0.05, float(filled[-1]) + 0.05) if filled.size else (-2.0, 2.0)


def _handles(groups: Sequence[Group]) -> list[Artist]:
    handles: list[Artist] = []
    for number, group in enumerate(groups):
        look, count = style.look(number), sum(bool(net.own.states) for net in group.networks)
        kind = "transferred, " if group.networks[0].own.residual else ""
        told = f"{kind}{count} network{'s' if count > 1 else ''}"
        handles.append(
            Line2D(
                [],
                [],
                color=look.colour,
                linestyle=look.line,
                marker=look.marker,
                markerfacecolor="white",
                label=textwrap.fill(f"{group.label} ({told})", 42),
            )
        )
    return handles
