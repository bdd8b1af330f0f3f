"""Test error against the number of blocks dropped at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from resprobe_analyses import style
from resprobe_analyses.lesion.curves import WITH_TRANSITION, Curve
from resprobe_analyses.lesion.series import put_title
from resprobe_analyses.lesion.sweeps import REESTIMATED

SUM_COLOUR = "0.35"


def multi_figure(found: Sequence[Curve]) -> Figure:
    """Draw the error of random sets of blocks.

    Args:
        found: curves of at least one group.

    Returns:
        For each curve the mean over the sets with intervals of the paired difference, the range
        of single sets as a band, and crosses where the sum of the single lesions would be.
        Horizontal lines are the networks without a lesion.
    """
    width = 7.5
    with style.figure_style():
        figure = Figure(figsize=(width, 5.4), layout="constrained")
        axes = figure.subplots()
        shifts = np.linspace(-0.14, 0.14, len(found)) if len(found) > 1 else [0.0]
        handles: list[Artist] = []
        for number, (curve, shift) in enumerate(zip(found, shifts, strict=True)):
            look = style.look(number)
            _draw(axes, curve, look, float(shift))
            face = "white" if curve.sweep.batch_norm == REESTIMATED else look.colour
            handles.append(
                Line2D(
                    [],
                    [],
                    color=look.colour,
                    linestyle=look.line,
                    marker=look.marker,
                    markerfacecolor=face,
                    label=label(curve),
                )
            )
        axes.set_xlabel("number of blocks dropped at once")
        axes.set_ylabel("test error (fraction)")
        axes.set_ylim(0, 1)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=14, integer=True))
        handles.append(Patch(color="0.85", label="lowest to highest of the sets"))
        handles.append(Line2D([], [], color=SUM_COLOUR, linewidth=0.9, label="no block dropped"))
        if any(curve.single_sum is not None for curve in found):
            handles.append(
                Line2D(
                    [],
                    [],
                    color=SUM_COLOUR,
                    linestyle="none",
                    marker="x",
                    markersize=5,
                    label="sum of the single lesions",
                )
            )
        over = dict.fromkeys(curve.increase.over for curve in found)
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=2,
            frameon=False,
            title=f"points: mean over random sets; bars: 95 % intervals over {' / '.join(over)} "
            "of the paired difference, for these sets",
            title_fontsize=8.5,
        )
        groups = list({id(curve.group): curve.group for curve in found}.values())
        images = [curve.sweep.images for curve in found]
        put_title(figure, "Several blocks dropped at once", groups, width, images=images)
    return figure


def label(curve: Curve) -> str:
    """Give the name of a curve in legends."""
    parts = [curve.group.group.label]
    if len(curve.sweep.labels) > 1:
        parts[0] += f" (mean of {len(curve.sweep.labels)} networks)"
    if curve.kind == WITH_TRANSITION:
        parts.append("sets with a transition")
    if curve.sweep.batch_norm == REESTIMATED:
        parts.append("BatchNorm re-estimated")
    return ", ".join(parts)


def _draw(axes: Axes, curve: Curve, look: style.Look, shift: float) -> None:
    base = float(curve.test_error.value)
    known = curve.trials > 0
    place = curve.sweep.level[known] + shift
    value, low, high = (
        np.clip(base + bound[known], 0, 1)
        for bound in (curve.increase.value, curve.increase.low, curve.increase.high)
    )
    face = "white" if curve.sweep.batch_norm == REESTIMATED else look.colour
    axes.axhline(base, color=look.colour, linestyle=look.line, linewidth=0.7, zorder=1)
    axes.fill_between(
        place,
        base + curve.lowest[known],
        base + curve.highest[known],
        color=look.colour,
        alpha=0.14,
        linewidth=0,
        zorder=0.5,
    )
    axes.plot(
        place,
        value,
        color=look.colour,
        linestyle=look.line,
        marker=look.marker,
        markersize=5,
        markerfacecolor=face,
        linewidth=1.3,
        zorder=3,
    )
    axes.vlines(place, low, high, color=look.colour, linewidth=1.0, zorder=2)
    if curve.single_sum is not None:
        sums = base + curve.single_sum.value[known]
        axes.plot(
            place[sums <= 1],
            sums[sums <= 1],
            color=look.colour,
            linestyle="none",
            marker="x",
            markersize=5,
            zorder=4,
        )
