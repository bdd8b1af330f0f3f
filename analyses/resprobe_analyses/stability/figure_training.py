"""The branches' Jacobians over training."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resprobe_analyses import style
from resprobe_analyses.reading import Flags
from resprobe_analyses.stability import drawing, words
from resprobe_analyses.stability.families import BRANCH, SYMBOLS
from resprobe_analyses.stability.records import Group, Network
from resprobe_analyses.stability.training import fixed_samples, median
from resprobe_analyses.stage_names import stage_blocks, stage_name

Floats = npt.NDArray[np.float64]


def training_figure(groups: Sequence[Group]) -> Figure | None:
    """Draw four quantities of every branch over the steps, None where none was recorded.

    Args:
        groups: each network with a recorded training has a row.

    Returns:
        Thin lines for the blocks, coloured by stage, dashed for transitions, and a thick line for
        the median over the within-stage blocks of each stage.
    """
    shown = [g for g in groups if any(net.training is not None for net in g.networks)]
    nets = [net for group in shown for net in group.networks if net.training is not None]
    if not nets:
        return None
    width = 11.0
    with style.figure_style():
        figure = Figure(figsize=(width, 1.7 + 2.4 * len(nets)), layout="constrained")
        grid = figure.subplots(len(nets), len(SYMBOLS), squeeze=False, sharey="col")
        for net, line in zip(nets, grid, strict=True):
            for axes, name in zip(line, SYMBOLS, strict=True):
                _panel(axes, net, name)
                axes.set_title(SYMBOLS[name])
            label = textwrap.fill(net.label, 24)
            word = "unit" if net.plain else "branch"
            line[0].set_ylabel(f"{label}\n{word}" if len(nets) > 1 else f"{word} Jacobian")
        for column, name in enumerate(SYMBOLS):
            _scale(list(grid[:, column]), nets, name)
            grid[-1, column].set_xlabel("training step")
        units = words.several(words.unit_of(shown))
        style.legend_below(figure, _handles(nets), f"thick lines: median over the stage's {units}")
        samples = max(net.training.samples for net in nets if net.training is not None)
        drawing.put_title(
            figure,
            f"{words.branch_of(shown).capitalize()} Jacobians over training, medians",
            shown,
            fixed_samples(samples),
            width,
        )
    return figure


def stage_colour(stage: int, stages: Sequence[int]) -> style.Look:
    """Give the look of a stage."""
    return style.look(list(stages).index(stage))


def _panel(axes: Axes, net: Network, name: str) -> None:
    if net.training is None:
        return
    steps, table = net.training.steps, net.training.medians[name][:, :, BRANCH]
    layout, stages = net.layout, np.unique(net.layout.stage).tolist()
    for place, stage in enumerate(layout.stage):
        look = stage_colour(int(stage), stages)
        _line(axes, steps, table[:, place], look, transition=bool(layout.transition[place]))
    for stage in stages:
        inside: Flags = layout.within & (layout.stage == stage)
        look = stage_colour(stage, stages)
        axes.plot(
            steps,
            median(table[:, inside], 1) if inside.any() else np.full(steps.size, np.nan),
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            markersize=3.5,
            markevery=max(1, steps.size // 8),
            linewidth=2.0,
            zorder=3,
        )


def _line(
    axes: Axes, steps: npt.NDArray[np.int64], values: Floats, look: style.Look, *, transition: bool
) -> None:
    axes.plot(
        steps,
        values,
        color=mpl.colors.to_rgba(look.colour, 0.5),
        linestyle=(0, (2, 1.5)) if transition else "-",
        linewidth=0.7,
    )


def _scale(panels: Sequence[Axes], nets: Sequence[Network], name: str) -> None:
    signed = name in ("spectral_abscissa", "log_norm")
    values = np.concatenate(
        [n.training.medians[name][:, :, BRANCH].ravel() for n in nets if n.training is not None]
    )
    for axes in panels:
        axes.locator_params(axis="x", nbins=4)
        if signed:
            axes.axhline(0, color="0.4", linewidth=0.9, zorder=1)
    if not signed and style.spans_decades(values):
        panels[0].set_yscale("log")
        panels[0].set_title(f"{SYMBOLS[name]} (log scale)")
        style.write_decades(panels[0].yaxis)


def _handles(nets: Sequence[Network]) -> list[Artist]:
    deepest = max(nets, key=lambda net: len(set(net.layout.stage.tolist())))
    stages = np.unique(deepest.layout.stage).tolist()
    blocks = [stage_blocks(net.names, net.layout.stage) for net in nets]
    found: list[Artist] = [
        drawing.handle(
            stage_colour(stage, stages),
            stage_name(stage, [one[stage] for one in blocks if stage in one]),
        )
        for stage in stages
    ]
    if any(net.layout.transition.any() for net in nets):
        look = style.Look("0.4", (0, (2, 1.5)), "")
        found.append(drawing.handle(look, "transition", linewidth=0.8))
    return found
