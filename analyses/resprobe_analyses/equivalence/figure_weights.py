"""Histograms of all weights and of the ID entries, as in Fig. 7."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

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
        groups: with weights of at least one network, or of one partner, each.

    Returns:
        Two rows, all weights above and ID entries below, and a column each for step 0 and for the
        last checkpoint, as far as they were measured; counts are logarithmic and means over the
        networks of a group; partners are a group of their own. Each row reaches as far as its
        counts. A line stands at 0.7, and how many weights lie above is written.
    """
    series = [
        Series(group, partner)
        for group in sorted(groups, key=lambda one: one.control)
        for partner in (False, True)
        if any(Series(group, partner).states(when) for when in ("start", "end"))
    ]
    times = [when for when in ("start", "end") if any(one.states(when) for one in series)]
    with style.figure_style():
        figure = Figure(figsize=(3.4 + 3.1 * len(times), 6.0), layout="constrained")
        grid = figure.subplots(2, len(times), sharex="row", sharey="row", squeeze=False)
        for when, (every, entries) in zip(times, grid.T, strict=True):
            every.set_title(_title(series, when), loc="left")
            for number, own in enumerate(series):
                look, chosen = style.look(number), own.states(when)
                _histogram(every, chosen, [one.weights for one in chosen], look)
                _histogram(entries, chosen, [one.id_entries for one in chosen], look)
            _large(every, series, when)
            entries.set_xlabel("weight")
        for axes, what in zip(grid[:, 0], ("all weights", "ID entries"), strict=True):
            axes.set_ylabel(f"{what}\nin a bin (log scale)")
        chosen = [state for one in series for when in times for state in one.states(when)]
        reaches = (
            _reach(chosen, [one.weights for one in chosen]),
            _reach(chosen, [one.id_entries for one in chosen]),
        )
        for row, reach in zip(grid, reaches, strict=True):
            for axes in row:
                axes.set_yscale("log")
                axes.set_ylim(bottom=0.7 / max(len(one.group.networks) for one in series))
                _ticks(axes)
                axes.set_xlim(*reach)
                axes.axvline(LARGE, color="0.45", linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        style.legend_below(figure, _handles(series), f"upright: {LARGE}; counts: means of networks")
        figure.suptitle("Weights of all convolutions, those of residual networks transferred")
    return figure


@dataclass(frozen=True)
class Series:
    """The networks of a group, or their partners."""

    group: Group
    partner: bool

    def states(self, when: str) -> list[State]:
        """Give the weights at the "start" or at the "end"."""
        return self.group.states(when, partner=self.partner)

    @property
    def residual(self) -> bool:
        """Whether blocks have skips."""
        own = self.group.networks[0].own.residual
        return own is False if self.partner else bool(own)

    @property
    def label(self) -> str:
        """Whose weights, for the legend."""
        count = max(len(self.states(when)) for when in ("start", "end"))
        kind = "transferred, " if self.residual else ""
        whose = "partner of " if self.partner else ""
        return f"{whose}{self.group.label} ({kind}{count} network{'s' if count > 1 else ''})"


def _title(series: Sequence[Series], when: str) -> str:
    if when == "start":
        return "before training"
    steps = sorted({state.step for one in series for state in one.states(when)})
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


def _ticks(axes: Axes) -> None:
    """Write counts as numbers, more of them where the axis is short."""
    low, high = axes.get_ylim()
    short = high < 200 * low
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if short else (1,), numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:,g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _large(axes: Axes, series: Sequence[Series], when: str) -> None:
    """Write how many weights lie above 0.7."""
    counts = []
    for number, one in enumerate(series):
        table = group_table(one.group, when, partner=one.partner)
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


def _reach(states: Sequence[State], counts: Sequence[npt.NDArray[np.int64]]) -> tuple[float, float]:
    """Give limits within which all that was counted lies, at most those of the bins."""
    filled = states[0].bins[np.sum(counts, axis=0) > 0]
    return (float(filled[0]) - 0.05, float(filled[-1]) + 0.05) if filled.size else (-2.0, 2.0)


def _handles(series: Sequence[Series]) -> list[Artist]:
    return [
        Line2D(
            [],
            [],
            color=style.look(number).colour,
            linestyle=style.look(number).line,
            label=textwrap.fill(one.label, 42),
        )
        for number, one in enumerate(series)
    ]
