"""What the chosen span of each length costs, on the images that did not choose it."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from resprobe_analyses import style
from resprobe_analyses.spans import drawing
from resprobe_analyses.spans.effects import TOLERANCE, Choice, Effect


def lengths_figure(found: Effect) -> Figure:
    """Draw the cost of the chosen span of each length.

    Args:
        found: the effect of a group with interpretable networks.

    Returns:
        A curve with intervals for each way of choosing, and small crosses where the least
        harmful spans stood on the images that chose them.
    """
    blocks = found.layout.stage.size
    width = float(np.clip(5 + 0.12 * blocks, 7, 10.5))
    with style.figure_style():
        figure = Figure(figsize=(width, 4.9), layout="constrained")
        axes = figure.subplots()
        axes.axhline(0, color="0.4", linewidth=0.9, zorder=1)
        axes.axhline(TOLERANCE, color="0.4", linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
        shifts = 0.12 * (np.arange(len(found.choices)) - (len(found.choices) - 1) / 2)
        for number, (choice, shift) in enumerate(zip(found.choices, shifts, strict=True)):
            _curve(axes, choice, style.look(number), float(shift))
        lengths = np.asarray(found.choices[0].lengths)
        axes.scatter(
            lengths + shifts[0],
            found.choices[0].chosen_on[lengths - 1],
            marker="x",
            s=18,
            linewidth=0.9,
            color="0.35",
            zorder=4,
        )
        axes.set_xlim(0.4, max(choice.lengths[-1] for choice in found.choices) + 0.6)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=14, integer=True))
        axes.set_xlabel("length of the span (blocks)")
        axes.set_ylabel(f"{drawing.INCREASE_LABEL.replace(' minus', chr(10) + 'minus')}")
        _legend(figure, found)
        figure.suptitle(
            drawing.title(
                found, "Cost of the chosen span of each length", found.measuring_images, width
            )
        )
    return figure


def _curve(axes: Axes, choice: Choice, look: style.Look, shift: float) -> None:
    lengths = np.asarray(choice.lengths)
    value, low, high = (
        bound[lengths - 1]
        for bound in (choice.measured_on.value, choice.measured_on.low, choice.measured_on.high)
    )
    axes.plot(
        lengths + shift,
        value,
        color=look.colour,
        linestyle=look.line,
        marker=look.marker,
        markersize=4,
        linewidth=1.2,
        zorder=3,
    )
    axes.vlines(lengths + shift, low, high, color=look.colour, linewidth=0.9, zorder=2)


def _legend(figure: Figure, found: Effect) -> None:
    handles = []
    for number, choice in enumerate(found.choices):
        look = style.look(number)
        handles.append(
            Line2D(
                [],
                [],
                color=look.colour,
                linestyle=look.line,
                marker=look.marker,
                label=choice.name,
            )
        )
    handles.append(
        Line2D(
            [],
            [],
            color="0.35",
            linestyle="none",
            marker="x",
            label=f"{found.choices[0].name}, on the {found.choosing_images:,} images that chose",
        )
    )
    handles.append(
        Line2D([], [], color="0.4", linestyle=(0, (1, 2)), label=f"{TOLERANCE:g} of test error")
    )
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=3 if len(handles) > 4 else 2,
        frameon=False,
        title="bars: paired 95 % intervals over images, each length taken alone",
        title_fontsize=8.5,
    )
