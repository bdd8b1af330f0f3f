"""What dropping more and more blocks costs, on the images that chose them and on the others."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from resprobe_analyses import style
from resprobe_analyses.block_axis import name_ticks
from resprobe_analyses.lesion.greedy import ALLOWED_LOSSES, Greedy

MOST_PANELS = 3
_DOTS = (0, (1, 2))
_LINEAR = 1.0  # points up to which the vertical axis is about linear
_TICKS = (-20, -10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 5, 10, 20, 50, 100)
_TEST, _VALIDATION = style.look(0), style.look(1)


def greedy_figure(found: Sequence[Greedy]) -> Figure:
    """Draw the increase of the error against the blocks dropped, in the order in which they were.

    Args:
        found: networks with dropped blocks, at least one.

    Returns:
        A panel for each of the first three networks: the increase on the images that the blocks
        were chosen by and on the others, the latter with its interval as a band, and the four
        allowed losses as lines, up to the first set beyond the largest of them. A ring marks the
        largest set within each.
    """
    drawn = found[:MOST_PANELS]
    width = 7.5
    with style.figure_style():
        figure = Figure(figsize=(width, 1.3 + 3.6 * len(drawn)), layout="constrained")
        panels = figure.subplots(len(drawn), squeeze=False)[:, 0]
        for axes, one in zip(panels, drawn, strict=True):
            _panel(axes, one)
            if len(drawn) > 1:
                axes.set_title(one.label)
        panels[-1].set_xlabel("block dropped, in addition to those before it")
        style.legend_below(
            figure, _handles(), "band: 95 % interval of the paired difference over test images"
        )
        figure.suptitle(_title(found, drawn, width))
    return figure


def _panel(axes: Axes, one: Greedy) -> None:
    last = _last(one)
    place = np.arange(last + 1)
    tested = one.test_increase
    low, high = (100 * bound[: last + 1] for bound in (tested.low, tested.high))
    axes.fill_between(place, low, high, color=_TEST.colour, alpha=0.18, linewidth=0, zorder=1)
    for increase, look in ((tested.value, _TEST), (one.validation_increase, _VALIDATION)):
        axes.plot(
            place,
            100 * increase[: last + 1],
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            markersize=_size(look),
            markerfacecolor=_face(look),
            linewidth=1.3,
            zorder=3,
        )
    for loss in ALLOWED_LOSSES:
        axes.axhline(100 * loss, color="0.35", linewidth=0.9, linestyle=_DOTS, zorder=2)
    axes.axhline(0, color="0.3", linewidth=0.9, zorder=0.5)
    drops = sorted({advice.drops for advice in one.advice})
    axes.scatter(
        drops,
        100 * one.validation_increase[drops],
        s=90,
        facecolor="none",
        edgecolor="0.2",
        linewidth=1.0,
        zorder=4,
    )
    # an inverse hyperbolic sine keeps the sign and parts 0.5 from 1 beside 20
    axes.set_yscale("asinh", linear_width=_LINEAR)
    shown = [low.min(), high.max(), *(100 * one.validation_increase[: last + 1]), 5]
    axes.set_ylim(min(shown) - 0.2 * _LINEAR, max(shown) * 1.15)
    axes.yaxis.set_major_locator(FixedLocator(_TICKS))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}".replace("-", "−")))
    axes.set_ylabel("increase of the error (points)")
    axes.set_xlim(-0.4, last + 0.4)
    name_ticks(axes, range(last + 1), ["none", *one.names[:last]])


def _size(look: style.Look) -> float:
    return 7.0 if look is _VALIDATION else 4.5


def _face(look: style.Look) -> str:
    """Give the inside of a mark; around that of the test images it is open."""
    return "none" if look is _VALIDATION else look.colour


def _last(one: Greedy) -> int:
    """Give the first set beyond the largest allowed loss on both halves, or the last one."""
    increase = np.minimum(one.validation_increase, one.test_increase.value)
    beyond = np.flatnonzero(increase > max(ALLOWED_LOSSES))
    return int(beyond[0]) if beyond.size else int(one.order.size)


def _handles() -> list[Line2D]:
    lines: list[Line2D] = [
        Line2D(
            [],
            [],
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            markersize=_size(look),
            markerfacecolor=_face(look),
            label=label,
        )
        for look, label in (
            (_TEST, "test images"),
            (_VALIDATION, "images that chose the blocks"),
        )
    ]
    lines.append(
        Line2D(
            [],
            [],
            color="0.2",
            linestyle="none",
            marker="o",
            markersize=8,
            markerfacecolor="none",
            label="largest set within an allowed loss",
        )
    )
    lines.append(Line2D([], [], color="0.45", linewidth=0.9, linestyle=_DOTS, label="allowed loss"))
    return lines


def _title(found: Sequence[Greedy], drawn: Sequence[Greedy], width: float) -> str:
    named = ", ".join(one.label for one in drawn)
    more = f" ({len(drawn)} of {len(found)} networks)" if len(found) > len(drawn) else ""
    counts = dict.fromkeys((one.validation_images, one.test_images) for one in drawn)
    told = " / ".join(f"{ours:,} + {others:,}" for ours, others in counts)
    text = f"Blocks dropped one after the other: {named}{more}; {told} images"
    if any(_last(one) < one.order.size for one in drawn):
        text += f"; up to the first set beyond {100 * max(ALLOWED_LOSSES):g} points"
    return textwrap.fill(text, int(width * 11))
