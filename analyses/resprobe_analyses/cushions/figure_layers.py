"""Layer cushions: their distribution by layer, the choice of norm, and two groups."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from resprobe_analyses import style
from resprobe_analyses.cushions import drawing
from resprobe_analyses.cushions.effects import NORMS, Effect

MAP = r"layer cushion $\|Ax\| / (\|A\|_F \|x\|)$"


def layers_figure(found: Effect) -> Figure:
    """Draw the distribution of the cushions of each layer, ID entries kept.

    Args:
        found: the effect of one group or two.

    Returns:
        Medians with bars and the minimum of each layer, the groups side by side; seeds of a group
        are averaged on the logarithmic scale.
    """
    width = _width(found)
    with style.figure_style():
        figure = Figure(figsize=(width, 5.2), layout="constrained")
        axes = figure.subplots()
        handles: list[Artist] = []
        drawn = []
        shifts = drawing.shifts(len(found.groups))
        for number, (group, members) in enumerate(zip(found.groups, found.members, strict=True)):
            look = style.look(number)
            quantiles = drawing.average([member.kept for member in members])
            places = np.arange(len(quantiles)) + shifts[number]
            drawing.distributions(axes, places, quantiles, look)
            axes.plot(
                places,
                quantiles[:, 0],
                color=look.colour,
                linestyle="none",
                marker="_",
                markersize=7,
                zorder=3,
            )
            handles.append(drawing.mark(look, f"{group.label}, median"))
            drawn.append(quantiles.ravel())
        handles.append(Line2D([], [], color="0.3", linestyle="none", marker="_", label="minimum"))
        drawing.scale(axes, np.concatenate(drawn), f"{MAP}, ID entries kept")
        drawing.name_layers(axes, found)
        style.legend_below(figure, handles, drawing.BARS)
        figure.suptitle(drawing.title(found, "Layer cushions", found.images, width))
    return figure


def norms_figure(found: Effect) -> Figure:
    """Draw what the choice of norm does to the median cushion of each layer.

    Args:
        found: the effect of one group or two.

    Returns:
        One panel for each group with three lines: the norm of the layer as a map, that without ID
        entries, and that of the weight.
    """
    width = _width(found)
    names = (
        r"$\|A\|_F$, ID entries kept",
        r"$\|A\|_F$, ID entries removed",
        r"$\|W\|_F$, ID entries kept",
    )
    with style.figure_style():
        panels = len(found.groups)
        figure = Figure(figsize=(width, 1.8 + 2.9 * panels), layout="constrained")
        grid = figure.subplots(panels, 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        drawn = []
        for axes, group, members in zip(grid, found.groups, found.members, strict=True):
            series = [drawing.average([m.medians(norm) for m in members]) for norm in NORMS]
            series.append(drawing.average([member.by_weight() for member in members]))
            for number, values in enumerate(series):
                _line(axes, values, style.look(number), hollow=number == 1)
            drawn += series
            axes.set_title(group.label, loc="left")
        for axes in grid:
            drawing.scale(axes, np.concatenate(drawn), "median layer cushion")
        drawing.name_layers(grid[-1], found)
        handles = [drawing.mark(style.look(n), name, line=True) for n, name in enumerate(names)]
        handles[1].set_markerfacecolor("white")
        style.legend_below(figure, handles, "the norm in the denominator: A the map, W its weight")
        what = "Layer cushions by the choice of norm"
        figure.suptitle(drawing.title(found, what, found.images, width))
    return figure


def groups_figure(found: Effect) -> Figure:
    """Draw Cliff's δ of the first group over the second, layer by layer.

    Args:
        found: the effect of two groups whose layers correspond.

    Returns:
        Points for each pair of networks, and the mean with its interval where there is one, with
        ID entries kept and removed.
    """
    width = _width(found)
    first, second = (group.label for group in found.groups)
    with style.figure_style():
        figure = Figure(figsize=(width, 4.8), layout="constrained")
        axes = figure.subplots()
        axes.axhline(0, color="0.4", linewidth=0.9, zorder=1)
        handles = []
        for number, (norm, shift) in enumerate(zip(NORMS, drawing.shifts(2), strict=True)):
            one, look = found.layers[norm], style.look(number)
            places = np.arange(one.pairs.shape[1]) + shift
            if len(one.pairs) > 1:
                axes.plot(
                    places,
                    one.pairs.T,
                    color=look.colour,
                    linestyle="none",
                    marker=".",
                    markersize=3,
                    alpha=0.6,
                    zorder=2,
                )
            axes.vlines(places, one.mean.low, one.mean.high, color=look.colour, linewidth=1.1)
            axes.plot(
                places,
                one.mean.value,
                color=look.colour,
                linestyle="none",
                marker=look.marker,
                markersize=5,
                markerfacecolor="white" if number else look.colour,
                zorder=3,
            )
            handle = drawing.mark(look, f"ID entries {norm}")
            handle.set_markerfacecolor("white" if number else look.colour)
            handles.append(handle)
        axes.set_ylim(-1.06, 1.06)
        axes.set_ylabel(f"Cliff's δ over images\n(+1: {first} above {second})")
        drawing.name_layers(axes, found)
        style.legend_below(figure, handles, _basis(found))
        what = "Which group has the larger layer cushions"
        figure.suptitle(drawing.title(found, what, found.images, width))
    return figure


def _basis(found: Effect) -> str:
    one = found.layers[NORMS[0]]
    if one.mean.networks == 1:
        return "one network each: no interval"
    if np.isfinite(one.mean.low).any():
        return f"bars: 95 % intervals over {one.mean.networks} seeds; dots: single seeds"
    kind = "seeds" if one.paired else "pairs of networks"
    return f"dots: the {one.mean.networks} {kind}, too few for an interval"


def _line(axes: Axes, values: drawing.Floats, look: style.Look, *, hollow: bool) -> None:
    axes.plot(
        np.arange(len(values)),
        values,
        color=look.colour,
        linestyle=look.line,
        marker=look.marker,
        markersize=4.5,
        markerfacecolor="white" if hollow else look.colour,
        linewidth=1.2,
    )


def _width(found: Effect) -> float:
    most = max(len(group.layers) for group in found.groups)
    return float(np.clip(4.5 + 0.2 * most, 7.0, 11.0))
