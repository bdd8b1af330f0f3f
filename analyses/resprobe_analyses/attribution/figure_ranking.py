"""The error increase of within-stage blocks against every predictor."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from resprobe_analyses import style, wording
from resprobe_analyses.attribution.effects import GroupEffect
from resprobe_analyses.attribution.standing import ERROR, STAGE, Standing

Floats = npt.NDArray[np.float64]

COLUMNS = 5
MOST_GROUPS = 2
MANY = 60.0


def ranking_figure(groups: Sequence[GroupEffect], symbols: Mapping[str, str]) -> Figure:
    """Draw the error increase against each predictor, a panel for each.

    Args:
        groups: with interpretable networks; at most two are drawn.
        symbols: of the predictors, by name.

    Returns:
        Scatter of the blocks that are ranked, with intervals of the increase in a single network.
        Colour and marker tell the stage, and the kind of the branch where kinds are told apart;
        the title is the rank correlation within stages. Panels are in the order of the
        correlations. Several networks are averaged block by block.
    """
    drawn = groups[:MOST_GROUPS]
    orders = [_order(group.standings[ERROR, STAGE]) for group in drawn]
    columns = min(max(map(len, orders)), COLUMNS)
    rows = [-(-len(order) // columns) for order in orders]
    width = 1.0 + 2.25 * max(columns, 2)
    with style.figure_style():
        figure = Figure(figsize=(width, 1.2 + 2.3 * sum(rows)), layout="constrained")
        grid = figure.subplots(sum(rows), columns, squeeze=False, sharey=len(drawn) == 1)
        first = 0
        for group, order, count in zip(drawn, orders, rows, strict=True):
            panels = grid[first : first + count].ravel()
            for place, axes in enumerate(panels):
                if place < len(order):
                    _panel(axes, group, order[place], symbols, left=place % columns == 0)
                else:
                    axes.set_axis_off()
            first += count
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
        images = drawn[0].used[0].network.images.size
        more = f" ({MOST_GROUPS} of {len(groups)} groups)" if len(groups) > MOST_GROUPS else ""
        named = ", ".join(group.group.label for group in drawn)
        text = (
            f"Lesions and predictors: {named}{more}; {wording.counted_images(images)}; above each "
            "panel the rank correlation within stages"
        )
        figure.suptitle(textwrap.fill(text, int(width * 11)))
    return figure


def _order(one: Standing) -> list[str]:
    """Give predictors by their correlation, those that rank nothing last."""
    rest = [place for place in range(len(one.names)) if place not in one.ordered]
    return [one.names[place] for place in (*one.ordered, *rest)]


def _panel(
    axes: Axes, group: GroupEffect, name: str, symbols: Mapping[str, str], *, left: bool
) -> None:
    layout, one = group.layout, group.standings[ERROR, STAGE]
    kept = np.logical_and.reduce([member.network.ranked for member in group.used])
    increase = np.mean([member.lesion.increase.value for member in group.used], axis=0)
    place = _means(group, name)
    axes.axhline(0, color="0.5", linewidth=0.9, zorder=1)
    for (stage, kind), look in _looks(group).items():
        chosen = kept & (layout.stage == stage)
        if kind is not None:
            chosen &= group.used[0].network.kinds == kind
        if not chosen.any():
            continue
        if len(group.used) == 1:
            bounds = group.used[0].lesion.increase
            axes.vlines(
                place[chosen],
                bounds.low[chosen],
                bounds.high[chosen],
                color=look.colour,
                linewidth=0.7,
            )
        hollow = kind is not None and kind % 2 == 1
        axes.scatter(
            place[chosen],
            increase[chosen],
            facecolor="white" if hollow else look.colour,
            edgecolor=look.colour if hollow else "white",
            marker=look.marker,
            s=24,
            linewidth=1.0 if hollow else 0.4,
            zorder=3,
            label=f"stage {stage}" if kind is None else f"stage {stage}, kind {kind} of branch",
        )
    if style.spans_decades(place[kept]):
        axes.set_xscale("log")
        style.write_decades(axes.xaxis)
        if style.spans_decades(place[kept], MANY):  # a panel has room for few numbers
            axes.xaxis.set_major_locator(LogLocator())
    value = float(one.value[one.names.index(name)])
    told = wording.signed_number(value) if np.isfinite(value) else "none"
    axes.set_title(f"{group.group.label}: {told}" if left else told)
    axes.set_xlabel(symbols[name])
    if left:
        axes.set_ylabel("test error increase")


def _looks(group: GroupEffect) -> dict[tuple[int, int | None], style.Look]:
    """Give the look of every stage, and where kinds of branches are told apart of each kind."""
    kinds = group.used[0].network.kinds
    each: list[int | None] = [None] if kinds is None else [int(one) for one in np.unique(kinds)]
    pairs = [(int(stage), kind) for stage in np.unique(group.layout.stage) for kind in each]
    return {pair: style.look(number) for number, pair in enumerate(pairs)}


def _means(group: GroupEffect, name: str) -> Floats:
    found = [member.network.predictor(name) for member in group.used]
    return np.asarray(np.mean([one.mean for one in found if one is not None], axis=0))
