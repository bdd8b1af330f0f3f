"""How far two networks in lockstep come apart: their losses (Fig. 6) and their weights."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from resprobe_analyses import style
from resprobe_analyses.equivalence.effects import Pairs
from resprobe_analyses.equivalence.pairs import UNITS

MARKS = 10  # markers on a line, which tell it from others in grey
RUG = 0.03  # height of a row of ticks, as a share of the axis


def divergence_figure(pairs: Sequence[Pairs]) -> Figure:
    """Draw |ΔL| and the distance of the weights against the step, logarithmically.

    Args:
        pairs: groups of pairs, at least one.

    Returns:
        Two panels. Left thin lines of the seeds, and the mean of their fitted lines; right the
        distance of the weights of each seed beside the largest weight, with the unit roundoff of
        each arithmetic. Negative controls come last. What is 0 has no place on the axis and leaves
        a gap; ticks at the bottom, a row for each group, stand at the steps of equal losses.
    """
    pairs = sorted(pairs, key=lambda one: one.group.control)
    with style.figure_style():
        figure = Figure(figsize=(9.4, 4.8), layout="constrained")
        losses, weights = figure.subplots(1, 2, sharex=True)
        handles: list[Artist] = []
        for number, one in enumerate(pairs):
            look = style.look(number)
            _losses(losses, one, look)
            _equal(losses, one, look, number)
            _weights(weights, one, look)
            handles.append(
                Line2D(
                    [],
                    [],
                    color=look.colour,
                    linestyle=look.line,
                    marker=look.marker,
                    markerfacecolor="white",
                    label=_name(one),
                )
            )
        for dtype in dict.fromkeys(one.dtype for one in pairs):
            weights.axhline(UNITS[dtype], color="0.45", linewidth=0.9, zorder=1)
            weights.annotate(
                f"rounding of {dtype}",
                (1, UNITS[dtype]),
                xycoords=weights.get_yaxis_transform(),
                xytext=(-3, 2),
                textcoords="offset points",
                ha="right",
                color="0.3",
                fontsize=7.5,
            )
        losses.set_ylabel(r"difference of the losses $|\Delta L|$" "\n(log scale)")
        weights.set_ylabel("difference of the weights\nbeside the largest weight (log scale)")
        for axes in (losses, weights):
            _scale(axes)
            axes.set_xlabel("optimizer step")
        title = "thin: each seed; straight: mean of the lines fitted to each seed"
        if any(member.divergence.zeros for one in pairs for member in one.members):
            title += "; ticks at the bottom: the losses are equal"
        style.legend_below(figure, handles, title)
        count = sum(len(one.members) for one in pairs)
        what = f"Equivalent networks in lockstep: {count} pair{'s' if count > 1 else ''}"
        figure.suptitle(textwrap.fill(what, 100))
    return figure


def _name(pairs: Pairs) -> str:
    seeds = len(pairs.members)
    kind = "negative control, " if pairs.group.control else ""
    told = f"{kind}{pairs.dtype}, {seeds} seed{'s' if seeds > 1 else ''}"
    return textwrap.fill(f"{pairs.group.label} ({told})", 42)


def _losses(axes: Axes, pairs: Pairs, look: style.Look) -> None:
    for member in pairs.members:
        size = np.where(member.pair.loss_distance == 0, np.nan, np.abs(member.pair.loss_distance))
        axes.plot(
            member.pair.step,
            size,
            color=look.colour,
            linewidth=0.6,
            marker=".",  # a step between two of equal losses has no line
            markersize=2,
            alpha=0.45,
            zorder=2,
        )
    if pairs.slope is None or pairs.start is None:
        return
    last = max(int(member.pair.step[-1]) for member in pairs.members)
    ends = np.linspace(1, last, MARKS)
    axes.plot(
        ends,
        10.0 ** (float(pairs.start.value) + float(pairs.slope.value) * (ends - 1)),
        color=look.colour,
        linestyle=look.line,
        marker=look.marker,
        markersize=4.5,
        markerfacecolor="white",
        linewidth=1.5,
        zorder=3,
    )


def _equal(axes: Axes, pairs: Pairs, look: style.Look, row: int) -> None:
    """Tick the steps at which the losses of a pair are equal."""
    for member in pairs.members:
        steps = member.pair.step[member.pair.loss_distance == 0]
        axes.vlines(
            steps,
            row * RUG,
            (row + 0.7) * RUG,
            transform=axes.get_xaxis_transform(),
            color=look.colour,
            linewidth=0.8,
        )


def _weights(axes: Axes, pairs: Pairs, look: style.Look) -> None:
    for member in pairs.members:
        beside = member.multiples["weight"] * member.pair.unit
        axes.plot(
            member.pair.step,
            np.where(beside == 0, np.nan, beside),
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            markersize=4,
            markerfacecolor="white",
            markevery=max(1, member.pair.step.size // MARKS),
            linewidth=1,
            zorder=3,
        )


def _scale(axes: Axes) -> None:
    drawn = np.concatenate([np.asarray(line.get_ydata(), np.float64) for line in axes.lines])
    if not (np.isfinite(drawn) & (drawn > 0)).any():
        axes.text(0.5, 0.5, "exactly 0 at every step", transform=axes.transAxes, ha="center")
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(numticks=9))
    axes.yaxis.set_minor_locator(NullLocator())
