"""Cushions against the response that they are to predict."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from resprobe_analyses import style
from resprobe_analyses.noise_stability import drawing
from resprobe_analyses.noise_stability.effects import Effect, GroupEffect
from resprobe_analyses.noise_stability.known import mean_of_known
from resprobe_analyses.noise_stability.networks import NORMS, OUTSIDE, Integers
from resprobe_analyses.noise_stability.predictions import (
    FEWEST_LAYERS,
    LOWEST,
    SCOPES,
    log_cushion,
    log_response,
)
from resprobe_analyses.noise_stability.words import percent, signed

OUTSIDE_MARK = "x"
TOO_FEW = f"fewer than {FEWEST_LAYERS} layers, too few to rank"


def prediction_figure(found: Effect) -> Figure:
    """Draw the response of each layer against its median cushion, in each norm.

    Args:
        found: the effect of one group or two.

    Returns:
        One row for each group, one panel for each norm; a point is a layer, its marker the stage;
        the rank correlations are written in.
    """
    width, rows = 9.0, len(found.groups)
    with style.figure_style():
        figure = Figure(figsize=(width, 1.9 + 3.1 * rows), layout="constrained")
        grid = figure.subplots(rows, len(NORMS), sharex="col", sharey=True, squeeze=False)
        means = [_means(group) for group in found.groups]
        stages = drawing.stage_labels(found.groups)
        outside = False
        for row, (group, (cushion, response)) in enumerate(zip(found.groups, means, strict=True)):
            stage = group.members[0].network.stage
            outside |= OUTSIDE in stage
            for place, norm in enumerate(NORMS):
                axes = grid[row, place]
                _points(axes, cushion[:, place], response[:, place], stage, list(stages))
                axes.set_title(_told(group, norm), fontsize=8.5, loc="left")
        level = found.members[0].network.weight.level
        for axes in grid[:, 0]:
            axes.set_ylabel(
                f"$\\|\\Delta f\\| / \\|f\\|$, noise of {percent(level[LOWEST])}\n(log scale)"
            )
        for place, norm in enumerate(NORMS):
            own = np.concatenate([cushion[:, place] for cushion, _ in means])
            for row in range(rows):
                drawing.logarithmic(grid[row, place], "x", own)
                all_responses = np.concatenate([response.ravel() for _, response in means])
                drawing.logarithmic(grid[row, place], "y", all_responses)
            grid[-1, place].set_xlabel(
                f"median layer cushion, {drawing.ID_ENTRIES[norm]} (log scale)"
            )
        told = "ρ: rank correlation; −1: the larger the cushion, the smaller the response"
        style.legend_below(figure, _handles(stages, outside), told)
        what = "What cushions tell of the response, layer by layer"
        figure.suptitle(drawing.title(found, what, width, found.images))
    return figure


def _means(group: GroupEffect) -> tuple[drawing.Floats, drawing.Floats]:
    """Average over networks on the logarithmic scale; cushion and response, (layer, norm)."""
    networks = [member.network for member in group.members]
    cushion = mean_of_known(np.stack([log_cushion(net) for net in networks]), axis=0)
    response = mean_of_known(np.stack([log_response(net)[..., LOWEST] for net in networks]), axis=0)
    return np.exp(cushion), np.exp(response)


def _points(
    axes: Axes, x: drawing.Floats, y: drawing.Floats, stage: Integers, stages: list[int]
) -> None:
    for number, one in enumerate(stages):
        own, look = stage == one, style.look(number)
        axes.plot(
            x[own],
            y[own],
            color=look.colour,
            linestyle="none",
            marker=look.marker,
            markersize=5,
            markerfacecolor="white" if number % 2 else look.colour,
        )
    own = stage == OUTSIDE
    axes.plot(x[own], y[own], color="0.3", linestyle="none", marker=OUTSIDE_MARK, markersize=5)


def _handles(stages: dict[int, str], outside: bool) -> list[Artist]:
    handles: list[Artist] = []
    for number, label in enumerate(stages.values()):
        handle = drawing.mark(style.look(number), label, line=False)
        handle.set_markerfacecolor("white" if number % 2 else style.look(number).colour)
        handles.append(handle)
    if outside:
        handles.append(
            Line2D([], [], color="0.3", linestyle="none", marker=OUTSIDE_MARK, label="in no block")
        )
    return handles


def _told(group: GroupEffect, norm: str) -> str:
    """Write the rank correlations over as many layers as can be ranked."""
    told = []
    for scope, where in zip(SCOPES, ("within stages", "over all layers"), strict=True):
        layers = group.members[0].prediction.layers[scope][norm].items
        if layers >= FEWEST_LAYERS:
            told.append(f"{signed(group.over_layers[scope][norm])} {where}")
    return f"{group.label}\n" + ("\n".join(f"$\\rho$ {one}" for one in told) or TOO_FEW)
