"""Test error against training loss of residual and plain networks, as behind Fig. 2."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from resprobe_analyses import style
from resprobe_analyses.equivalence import words
from resprobe_analyses.equivalence.sides import Side
from resprobe_analyses.estimates import over_seeds

NAMES = ("residual", "plain")
DIFFERENCE = 2  # its look
INTERPOLATED = 1e-9  # differences of errors below it are the rounding of their interpolation
LEAST = 0.002  # error that the axis reaches at least: rounding alone is to look like nothing


def training_figure(sides: Sequence[Side]) -> Figure:
    """Draw errors at equal training loss.

    Args:
        sides: with epochs of all their networks, at least one.

    Returns:
        A row for each, negative controls last. Left the test error after each epoch against the
        training loss, a line for each network; right residual minus plain where both first come
        down to a training loss, a thin line for each couple where there are several, their mean
        level by level, at the geometric mean of their losses, and its interval where there is one.
        Levels lie between epochs, so they carry no markers.
    """
    sides = sorted(sides, key=lambda one: one.control)
    with style.figure_style():
        figure = Figure(figsize=(9.4, 1.6 + 3.3 * len(sides)), layout="constrained")
        grid = figure.subplots(len(sides), 2, squeeze=False)
        for side, (curves, difference) in zip(sides, grid, strict=True):
            _curves(curves, side)
            _difference(difference, side)
            heading = f"{side.label}{' (negative control)' if side.control else ''}"
            curves.set_title(textwrap.fill(heading, 60), loc="left")
            count = len(side.couples)
            difference.set_title(f"residual minus plain, {words.seeds(count)}", loc="left")
        for axes in grid[-1]:
            axes.set_xlabel("training loss, falling to the right")
        handles = [
            Line2D(
                [],
                [],
                color=look.colour,
                linestyle=look.line,
                marker="" if number == DIFFERENCE else look.marker,
                markerfacecolor=look.colour if number == 0 else "white",
                label=name,
            )
            for number, name in enumerate((*NAMES, "residual minus plain, mean"))
            for look in (style.look(number),)
        ]
        told = any(side.matched is not None and np.isfinite(side.matched.low) for side in sides)
        title = "thin: each seed" + ("; band: 95 % interval over seeds" if told else "")
        style.legend_below(figure, handles, title)
        figure.suptitle("Test error at equal training loss, residual and plain networks")
    return figure


def _curves(axes: Axes, side: Side) -> None:
    for couple in side.couples:
        for number, curve in enumerate(couple.curves or ()):
            look = style.look(number)
            axes.plot(
                curve.train_loss,
                curve.test_error,
                color=look.colour,
                linestyle=look.line,
                marker=look.marker,
                markersize=4 - number if side.paired else 3.5,
                markerfacecolor="white" if number else look.colour,
                markevery=max(1, curve.epoch.size // 12),
                linewidth=0.9,
                alpha=0.85,
            )
    axes.set_ylabel("test error")
    losses = [curve.train_loss for one in side.couples for curve in one.curves or ()]
    _loss_axis(axes, np.concatenate(losses))


def _difference(axes: Axes, side: Side) -> None:
    axes.axhline(0, color="0.4", linewidth=0.9, zorder=1)
    axes.set_ylabel("test error,\nresidual minus plain")
    if not side.levels.size:
        axes.text(0.5, 0.6, "no training loss in common", transform=axes.transAxes, ha="center")
        return
    look, each = style.look(DIFFERENCE), side.errors[0] - side.errors[1]
    shared = np.isfinite(each).all(axis=1)
    each, levels = each[shared], side.levels[shared]
    if len(each) > 1:  # the mean of one is that one
        axes.plot(levels.T, each.T, color="0.55", linewidth=0.7, zorder=2)
    if np.abs(each).max() < INTERPOLATED:
        axes.text(0.5, 0.6, "equal at every level", transform=axes.transAxes, ha="center")
    mean, middle = over_seeds(each), np.exp(np.log(levels).mean(axis=0))
    axes.fill_between(middle, mean.low, mean.high, color=look.colour, alpha=0.25, linewidth=0)
    axes.plot(
        middle,
        mean.value,
        color=look.colour,
        linestyle=look.line,
        linewidth=1.8,
        zorder=3,
    )
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -LEAST), max(high, LEAST))
    _loss_axis(axes, levels.ravel())


def _loss_axis(axes: Axes, losses: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    if style.spans_decades(losses, factor=5):
        axes.set_xscale("log")
        style.write_decades(axes.xaxis)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.invert_xaxis()
