"""Interlayer cushions: of single blocks in both modes of BatchNorm, and of longer spans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from resprobe_analyses import style
from resprobe_analyses.block_axis import axis_label, label_blocks
from resprobe_analyses.cushions import drawing
from resprobe_analyses.cushions.effects import MEDIAN, Effect, NetworkEffect
from resprobe_analyses.cushions.networks import MODES, Interlayer, several, unit_of

WORDS = {"eval": "evaluation mode", "train": "training mode, batch of one"}
AXIS = r"interlayer cushion $\sqrt{n}\,\|Jx\| / (\|J\|_F \|x\|)$"


def interlayer_figure(found: Effect) -> Figure:
    """Draw the interlayer cushions of the groups that have them.

    Args:
        found: the effect of one group or two.

    Returns:
        Above, single blocks in evaluation mode, beside training mode where there is a
        BatchNorm; below, the medians of all spans in evaluation mode against their length, with
        intervals of the estimate.
    """
    groups = [
        (group, members)
        for group, members in zip(found.groups, found.members, strict=True)
        if all(member.interlayer for member in members)
    ]
    width = 8.0
    with style.figure_style():
        figure = Figure(figsize=(width, 7.6), layout="constrained")
        blocks, spans = figure.subplots(2, 1)
        handles: list[Artist] = []
        drawn = []
        shifts = drawing.shifts(len(groups) * len(MODES), 0.36)
        for number, (group, members) in enumerate(groups):
            batch_norm = any(_inter(member).batch_norm for member in members)
            for place, mode in enumerate(MODES):
                quantiles = drawing.average([m.interlayer[mode][:, 0] for m in members])
                if not np.isfinite(quantiles).any():
                    continue
                look = style.look(len(MODES) * number + place)
                where = np.arange(len(quantiles)) + shifts[len(MODES) * number + place]
                drawing.distributions(blocks, where, quantiles, look)
                told = f"{group.label}, {WORDS[mode]}" if batch_norm else group.label
                handles.append(drawing.mark(look, told))
                drawn.append(quantiles[:, 1:].ravel())
            _spans(spans, members, style.look(len(MODES) * number))
        drawing.scale(blocks, np.concatenate(drawn), AXIS)
        for axes in (blocks, spans):
            axes.axhline(1, color="0.4", linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
        inters = [_inter(member) for _, members in groups for member in members]
        unit = unit_of(inters)
        _label(blocks, spans, inters, width)
        handles.append(
            Line2D([], [], color="0.4", linestyle=(0, (1, 2)), label="1: that of the identity")
        )
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=2,
            frameon=False,
            title=f"above, {drawing.BARS};\n"
            f"below, lines join the spans that begin with one {unit}, bars: 95 % intervals "
            "of the estimate",
            title_fontsize=8.5,
        )
        images = len(_inter(groups[0][1][0]).values["eval"])
        figure.suptitle(drawing.title(found, "Interlayer cushions", images, width))
    return figure


def _spans(axes: Axes, members: tuple[NetworkEffect, ...], look: style.Look) -> None:
    """Draw a line for the spans that begin with each block, against their length."""
    medians = drawing.average([member.interlayer["eval"][:, :, MEDIAN] for member in members])
    errors = np.sqrt(np.mean([_errors(member) ** 2 for member in members], axis=0) / len(members))
    for first, (values, error) in enumerate(zip(medians, errors, strict=True)):
        known = np.flatnonzero(np.isfinite(values))
        places = known + 1
        shade = 0.9 - 0.6 * first / max(len(medians) - 1, 1)
        axes.plot(
            places,
            values[known],
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            markersize=3,
            linewidth=0.9,
            alpha=shade,
        )
        half = 1.96 * error[known]
        axes.vlines(
            places,
            values[known] - half,
            values[known] + half,
            color=look.colour,
            linewidth=1.2,
            alpha=shade,
        )


def _errors(member: NetworkEffect) -> drawing.Floats:
    """Give the median standard error of the estimates of each span, shape (block, length)."""
    stderr = _inter(member).stderr["eval"]
    known = np.isfinite(stderr).any(axis=0)
    found = np.full(known.shape, np.nan)
    found[known] = np.nanmedian(stderr[:, known], axis=0)
    return found


def _inter(member: NetworkEffect) -> Interlayer:
    inter = member.network.interlayer
    assert inter is not None
    return inter


def _label(blocks: Axes, spans: Axes, inters: Sequence[Interlayer], width: float) -> None:
    first, unit, most = inters[0], unit_of(inters), max(len(one.blocks) for one in inters)
    if all(one.blocks == first.blocks for one in inters):
        label_blocks(blocks, first.blocks, first.stage, named=True, width=0.9 * width)
        blocks.set_xlabel(axis_label(most, unit))
    else:  # names of one group would stand below points of the other
        blocks.set_xlim(-0.6, most - 0.4)
        blocks.xaxis.set_major_locator(MaxNLocator(nbins=14, integer=True))
        blocks.set_xlabel(f"{unit} (position in the network)")
    spans.set_xlim(0.4, most + 0.6)
    spans.set_ylim(0, 1.03 * spans.get_ylim()[1])
    mode = ", evaluation mode" if any(one.batch_norm for one in inters) else ""
    spans.set_xlabel(f"length of the span ({several(unit)}){mode}")
    spans.set_ylabel("median over images")
    spans.xaxis.set_major_locator(MaxNLocator(nbins=14, integer=True))
