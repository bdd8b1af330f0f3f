"""Test error after each lesion above ‖G‖/‖s‖, block by block."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from resprobe_analyses import style
from resprobe_analyses.lesion.effects import GroupEffect
from resprobe_analyses.lesion.series import RATIO_LABEL, Series, put_title, series_of
from resprobe_analyses.reading import Layout

Floats = npt.NDArray[np.float64]

ERROR_TICKS = (0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1)


def blocks_figure(groups: Sequence[GroupEffect]) -> Figure:
    """Draw test error after each lesion above ‖G‖/‖s‖, block by block.

    Args:
        groups: effects by group.

    Returns:
        Two panels on one block axis: intervals of the paired difference, the whole network's
        error as a horizontal line, hollow diamonds at transitions, lines between stages.
    """
    layout = groups[0].layout
    drawn = [one for group in groups for one in series_of(group)]
    width = float(np.clip(4.5 + 0.16 * layout.stage.size, 7, 12))
    with style.figure_style():
        figure = Figure(figsize=(width, 6.6), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        shifts = np.linspace(-0.15, 0.15, len(drawn)) if len(drawn) > 1 else [0.0]
        for number, (one, shift) in enumerate(zip(drawn, shifts, strict=True)):
            look = style.look(number)
            upper.axhline(
                one.baseline, color=look.colour, linestyle=look.line, linewidth=0.7, zorder=1
            )
            _curve(upper, layout, one.error(), look, shift)
            ratio = (one.ratio.value, one.ratio.low, one.ratio.high)
            _curve(lower, layout, ratio, look, shift)
        if len(groups) == 1 and len(groups[0].used) > 1:
            _members(upper, lower, groups[0])
        _error_axis(upper, drawn)
        _ratio_axis(lower, drawn)
        for axes, named in ((upper, True), (lower, False)):
            style.mark_stages(axes, layout.stage, named=named)
        lower.set_xlabel("block (position in the network)")
        lower.set_xlim(-0.6, layout.stage.size - 0.4)
        lower.xaxis.set_major_locator(MaxNLocator(nbins=14, integer=True))
        _legend(figure, drawn, layout, groups)
        put_title(figure, "Test error without the branch of one block", groups, width)
    return figure


def _curve(
    axes: Axes, layout: Layout, curve: tuple[Floats, Floats, Floats], look: style.Look, shift: float
) -> None:
    value, low, high = curve
    place = np.arange(value.size) + shift
    # each stage has its own line: what joins stages is no trend
    for stage in np.unique(layout.stage):
        inside = layout.stage == stage
        axes.plot(
            place[inside], value[inside], color=look.colour, linestyle=look.line, linewidth=1.2
        )
    axes.vlines(place, low, high, color=look.colour, linewidth=1.0)
    for chosen, marker, face, size in (
        (layout.within, look.marker, look.colour, 22),
        (layout.transition, style.TRANSITION_MARKER, "white", 38),
    ):
        if chosen.any():
            sns.scatterplot(
                x=place[chosen],
                y=value[chosen],
                ax=axes,
                marker=marker,
                s=size,
                facecolor=face,
                edgecolor=look.colour,
                linewidth=1.2,
                zorder=3,
                legend=False,
            )


def _members(upper: Axes, lower: Axes, group: GroupEffect) -> None:
    for member in group.used:
        error = member.network.lesion_wrong.mean(axis=0)
        for axes, values in ((upper, error), (lower, member.ratio.value)):
            for stage in np.unique(group.layout.stage):
                inside = np.flatnonzero(group.layout.stage == stage)
                axes.plot(inside, values[inside], color="0.65", linewidth=0.7, zorder=0.5)


def _error_axis(axes: Axes, drawn: Sequence[Series]) -> None:
    errors = [one.error() for one in drawn]
    top = max(float(np.nanmax([*value, *high])) for value, _, high in errors)
    highest = [float(np.nanmax(value)) for value, _, _ in errors]
    typical = [float(np.nanmedian(value)) for value, _, _ in errors]
    axes.set_ylabel("test error after the lesion (fraction)")
    if max(highest) > 10 * max(min(typical), 1e-9) and max(highest) > 0.2:
        # a square root keeps an error of 0 and shows 0.02 beside 0.9
        axes.set_yscale("function", functions=(_root, np.square))
        axes.yaxis.set_major_locator(FixedLocator([tick for tick in ERROR_TICKS if tick <= top]))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
        axes.set_ylabel("test error after the lesion\n(fraction; square-root scale)")
    axes.set_ylim(0, min(1.0, top) * 1.08)


def _root(values: npt.ArrayLike) -> Floats:
    return np.sqrt(np.maximum(np.asarray(values, dtype=np.float64), 0.0))


def _ratio_axis(axes: Axes, drawn: Sequence[Series]) -> None:
    axes.set_ylabel(RATIO_LABEL)
    if style.spans_decades(np.concatenate([one.ratio.value for one in drawn])):
        axes.set_yscale("log")
        style.write_decades(axes.yaxis)
    else:
        axes.set_ylim(bottom=0)


def _legend(
    figure: Figure, drawn: Sequence[Series], layout: Layout, groups: Sequence[GroupEffect]
) -> None:
    handles = []
    for number, one in enumerate(drawn):
        look = style.look(number)
        handles.append(
            Line2D(
                [], [], color=look.colour, linestyle=look.line, marker=look.marker, label=one.label
            )
        )
    if len(groups) == 1 and len(groups[0].used) > 1:
        handles.append(Line2D([], [], color="0.65", linewidth=0.7, label="each network"))
    handles.append(Line2D([], [], color="0.3", linewidth=0.9, label="whole network"))
    if layout.transition.any():
        handles.append(style.hollow_mark("transition (shape changes)"))
    over = dict.fromkeys(one.increase.over for one in drawn)
    title = f"bars: 95 % intervals over {' / '.join(over)}, above of the paired difference"
    style.legend_below(figure, handles, title)
