"""Which predictor to trust: correlations beside chance and the lesion, and what trust costs."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from resprobe_analyses import style, wording
from resprobe_analyses.attribution.effects import Cost, GroupEffect
from resprobe_analyses.attribution.standing import ERROR, STAGE, Standing
from resprobe_analyses.statistics import MINIMUM_SEEDS

MOST_GROUPS = 3
BAND, UNTESTED, MARK = "0.88", "0.7", style.COLOURS[0]
CEILING, CHOSEN = style.COLOURS[1], style.COLOURS[2]

Symbols = Mapping[str, str]


def trust_figure(groups: Sequence[GroupEffect], symbols: Symbols) -> Figure:
    """Draw how far each predictor can be trusted, a row of panels for each group.

    Args:
        groups: with interpretable networks; at most three are drawn.
        symbols: of the predictors, by name.

    Returns:
        On the left the rank correlation with the error increase within stages with its interval,
        a band for random rankings and a line for what a predictor without noise could reach;
        filled marks rank better than at random after Holm. On the right the error increase by the
        lesion of one block of the half that each predictor calls least harmful, beside those of
        the lesion's own choice and of any block. The highest correlation is on top.
    """
    drawn = groups[:MOST_GROUPS]
    most = max(len(group.standings[ERROR, STAGE].names) for group in drawn)
    width = 10.5
    with style.figure_style():
        height = (1.2 + 0.27 * most) * len(drawn) + 1.5
        figure = Figure(figsize=(width, height), layout="constrained")
        grid = figure.subplots(len(drawn), 2, squeeze=False)
        for (left, right), group in zip(grid, drawn, strict=True):
            one = group.standings[ERROR, STAGE]
            order = one.ordered[::-1]
            _correlations(left, group, one, order, symbols)
            _costs(right, group, one, order)
        images = drawn[0].used[0].network.images.size
        more = f" (3 of {len(groups)} groups)" if len(groups) > MOST_GROUPS else ""
        named = ", ".join(group.group.label for group in drawn)
        text = (
            f"Which predictor ranks blocks as lesions do: {named}{more}; "
            f"lesions on {wording.counted_images(images)}"
        )
        figure.suptitle(textwrap.fill(text, int(width * 11)))
        style.legend_below(figure, _handles(drawn), _intervals(drawn))
    return figure


def _correlations(
    axes: Axes, group: GroupEffect, one: Standing, order: Sequence[int], symbols: Symbols
) -> None:
    if np.isfinite(one.random[0]):
        axes.axvspan(*one.random, color=BAND, zorder=0)
    axes.axvline(0, color="0.5", linewidth=0.9, zorder=1)
    if np.isfinite(one.ceiling):
        axes.axvline(one.ceiling, color=CEILING, linestyle="--", linewidth=1.4, zorder=1)
    for row, place in enumerate(order):
        if np.isfinite(one.low[place]):
            axes.hlines(row, one.low[place], one.high[place], color=MARK, linewidth=1.2, zorder=2)
        axes.plot(
            one.value[place],
            row,
            marker="o",
            color=MARK,
            markerfacecolor=_face(one, place),
            markersize=6,
            linestyle="none",
            zorder=3,
        )
        if one.networks > 1:
            name = one.names[place]
            each = [member.standings[ERROR, STAGE] for member in group.used]
            values = [found.value[found.names.index(name)] for found in each]
            axes.plot(values, [row - 0.28] * len(values), "|", color="0.45", markersize=5)
    axes.set_yticks(range(len(order)), [symbols[one.names[place]] for place in order])
    axes.set_ylim(-0.7, max(len(order), 1) - 0.3)
    axes.set_xlim(-1.05, 1.05)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("rank correlation with the error increase, within stages")
    axes.set_title(f"{group.group.label}: {one.blocks} blocks in {one.strata} stages")


def _costs(axes: Axes, group: GroupEffect, one: Standing, order: Sequence[int]) -> None:
    cost: Cost | None = group.costs[-1] if group.costs else None
    if cost is None:
        axes.set_axis_off()
        return
    axes.axvline(0, color="0.5", linewidth=0.9, zorder=1)
    for estimate, colour, line in ((cost.best, CHOSEN, "-."), (cost.random, "0.35", ":")):
        axes.axvline(float(estimate.value), color=colour, linestyle=line, linewidth=1.4, zorder=1)
    for row, place in enumerate(order):
        found = cost.increase.get(one.names[place])
        if found is None:
            continue
        if np.isfinite(found.low):
            axes.hlines(row, found.low, found.high, color=MARK, linewidth=1.2, zorder=2)
        axes.plot(found.value, row, marker="s", color=MARK, markersize=5, linestyle="none")
    axes.set_yticks(range(len(order)), [""] * len(order))
    axes.set_ylim(-0.7, max(len(order), 1) - 0.3)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("test error increase by one lesion (fraction)")
    axes.set_title(f"the {cost.count} of {cost.among} blocks called least harmful, all stages")


def _face(one: Standing, place: int) -> str:
    if not np.isfinite(one.random_p[place]):
        return UNTESTED
    told = (*one.better_than_random, *one.against)
    return MARK if place in told else "white"


def _handles(groups: Sequence[GroupEffect]) -> list[Line2D | Patch]:
    standings = [group.standings[ERROR, STAGE] for group in groups]
    faces = {_face(one, place) for one in standings for place in one.ordered}
    marks = {
        MARK: "told from a random ranking (Holm)",
        "white": "not told from a random ranking",
        UNTESTED: "no test below five seeds",
    }
    # a mean over networks lies in a narrower range
    of_one = " of one network" if any(one.networks > 1 for one in standings) else ""
    return [
        *(_mark(face, label) for face, label in marks.items() if face in faces),
        Patch(color=BAND, label=f"95 % of random rankings{of_one}"),
        Line2D([], [], color=CEILING, linestyle="--", label="a right predictor without noise"),
        Line2D([], [], color=CHOSEN, linestyle="-.", label="lesion's own choice, other images"),
        Line2D([], [], color="0.35", linestyle=":", label="any block"),
    ]


def _intervals(groups: Sequence[GroupEffect]) -> str:
    counts = [len(group.used) for group in groups]
    if all(count == 1 for count in counts):
        return "95 % intervals over images"
    if all(count >= MINIMUM_SEEDS for count in counts):
        return "95 % intervals over seeds; small strokes are single networks"
    return "95 % intervals over images, or over seeds from 5 on; small strokes are single networks"


def _mark(face: str, label: str) -> Line2D:
    return Line2D(
        [], [], marker="o", color=MARK, markerfacecolor=face, linestyle="none", label=label
    )
