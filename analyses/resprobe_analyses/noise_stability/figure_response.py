"""The response to noise of the weights, layer by layer, and to noise of the input by its level."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from resprobe_analyses import style
from resprobe_analyses.noise_stability import drawing
from resprobe_analyses.noise_stability.effects import Effect, GroupEffect
from resprobe_analyses.noise_stability.equal_noise import EqualNoise
from resprobe_analyses.noise_stability.networks import NORMS
from resprobe_analyses.noise_stability.predictions import LOWEST
from resprobe_analyses.noise_stability.words import percent

CHANGE = r"$\|\Delta f\| / \|f\|$ of the logits"


def response_figure(found: Effect) -> Figure:
    """Draw how the logits and the error answer noise in the weight of each layer.

    Args:
        found: the effect of one group or two.

    Returns:
        The relative change at the lowest level above the error added at the highest, the two norms
        side by side, the groups in one panel; of two groups whose layers correspond, below, the
        change of the first over the second at equal absolute noise.
    """
    width = drawing.width_of(found)
    level = found.members[0].network.weight.level
    contrast = found.contrast
    equal = None if contrast is None else contrast.equal
    with style.figure_style():
        figure = Figure(figsize=(width, 6.6 if equal is None else 9.4), layout="constrained")
        parts: list[FigureBase] = [figure]
        if equal is not None:
            parts = list(figure.subfigures(2, 1, squeeze=False, height_ratios=[5.7, 3.0])[:, 0])
        grid = parts[0].subplots(2, len(NORMS), sharex=True, sharey="row")
        handles: list[Artist] = []
        drawn = []
        for number, group in enumerate(found.groups):
            look = style.look(number)
            handles.append(drawing.mark(look, group.label, line=False))
            shift = 0.16 * (number - (len(found.groups) - 1) / 2)
            for place in range(len(NORMS)):
                one, two = group.weight.log_change, group.weight.error_added
                bounds = (one.value, one.low, one.high)
                change = [np.exp(values[:, place, LOWEST]) for values in bounds]
                error = [values[:, place, -1] for values in (two.value, two.low, two.high)]
                _series(grid[0, place], change, look, shift)
                _series(grid[1, place], error, look, shift)
                drawn.append(change[0])
        for place, norm in enumerate(NORMS):
            drawing.logarithmic(grid[0, place], "y", np.concatenate(drawn))
            grid[0, place].set_title(f"noise relative to the norm with {drawing.ID_ENTRIES[norm]}")
            grid[1, place].axhline(0, color="0.5", linewidth=0.8, zorder=1)
            drawing.name_layers(grid[1, place], found.groups)
        grid[0, 0].set_ylabel(f"{CHANGE},\nnoise of {percent(level[LOWEST])} (log scale)")
        grid[1, 0].set_ylabel(f"error added,\nnoise of {percent(level[-1])}")
        if equal is not None:
            _equal_noise(parts[1].subplots(), found, equal)
        style.legend_below(figure, handles, _bars(found.groups[0]))
        what = "Response to noise in the weight of one layer"
        figure.suptitle(drawing.title(found, what, width, found.images))
    return figure


def _equal_noise(axes: Axes, found: Effect, one: EqualNoise) -> None:
    """Draw the change of the first group over that of the second."""
    first, second = (group.label for group in found.groups)
    ratio = one.log_ratio
    values = [np.exp(bound) for bound in (ratio.value, ratio.low, ratio.high)]
    _series(axes, values, style.Look("0.25", "-", "D"), 0.0)
    axes.axhline(1, color="0.5", linewidth=0.8, zorder=1)
    drawing.logarithmic(axes, "y", np.concatenate([*values, [1.0]]))
    drawing.name_layers(axes, found.groups)
    axes.set_title(r"noise of equal $\|\Delta W\|_F$")
    axes.set_ylabel(f"change of the logits,\n{first} / {second} (log scale)")


def input_figure(found: Effect) -> Figure:
    """Draw how the logits and the error answer noise of the input, against its level.

    Args:
        found: the effect of groups of which one has it, at least.

    Returns:
        Two panels: the relative change of the logits, and the error added.
    """
    width = 8.0
    with style.figure_style():
        figure = Figure(figsize=(width, 4.3), layout="constrained")
        change, error = figure.subplots(1, 2)
        handles: list[Artist] = []
        images, drawn, levels = 0, [], []
        for number, group in enumerate(found.groups):
            response = group.members[0].network.input
            if group.input is None or response is None:
                continue
            look, level = style.look(number), response.level
            images = len(response.log_change)
            one, two = group.input.log_change, group.input.error_added
            place = level * 1.06 ** (number - (len(found.groups) - 1) / 2)  # bars side by side
            _line(change, place, [np.exp(v) for v in (one.value, one.low, one.high)], look)
            _line(error, place, [two.value, two.low, two.high], look)
            handles.append(drawing.mark(look, group.label))
            drawn.append(np.exp(one.value))
            levels.append(level)
        for axes in (change, error):
            drawing.logarithmic(axes, "x", np.concatenate(levels))
            axes.set_xlabel(r"noise of the input $\|\eta\| / \|x\|$ (log scale)")
        drawing.logarithmic(change, "y", np.concatenate(drawn))
        change.set_ylabel(f"{CHANGE} (log scale)")
        error.set_ylabel("error added")
        error.axhline(0, color="0.5", linewidth=0.8, zorder=1)
        style.legend_below(figure, handles, _bars(found.groups[0]))
        figure.suptitle(drawing.title(found, "Response to noise of the input", width, images))
    return figure


def _series(axes: Axes, values: list[drawing.Floats], look: style.Look, shift: float) -> None:
    """Draw values with their bounds by layer; no line joins layers, which are no scale."""
    places = np.arange(len(values[0]), dtype=np.float64) + shift
    _line(axes, places, values, style.Look(look.colour, "none", look.marker))


def _line(axes: Axes, x: drawing.Floats, values: list[drawing.Floats], look: style.Look) -> None:
    value, low, high = values
    axes.vlines(x, low, high, color=look.colour, linewidth=1.1, zorder=2)
    axes.plot(
        x,
        value,
        color=look.colour,
        linestyle=look.line,
        linewidth=1.0,
        marker=look.marker,
        markersize=4.5,
        markerfacecolor="white",
        zorder=3,
    )


def _bars(group: GroupEffect) -> str:
    estimate = group.weight.log_change
    if estimate.over == "seeds":
        return f"bars: 95 % intervals over {estimate.networks} seeds"
    return "bars: 95 % intervals over images, for these networks and draws of noise"
