"""Test error against how far the order of the blocks is changed, and by stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from resprobe_analyses import style
from resprobe_analyses.lesion.curves import ALL_STAGES, Shuffle
from resprobe_analyses.lesion.series import put_title
from resprobe_analyses.lesion.sweeps import REESTIMATED

DISTANCE_LABEL = "Kendall's tau distance from the network's order\n(share of all pairs of blocks)"


def shuffle_figure(found: Sequence[Shuffle]) -> Figure:
    """Draw the error of random orders of blocks.

    Args:
        found: shuffles of at least one group, those of one group after each other.

    Returns:
        A row for each group: on the left every order, by the stage in which it moves blocks; on
        the right the mean over orders with intervals, by number of swaps. Hollow markers and
        thin lines are re-estimated statistics of BatchNorm.
    """
    rows: dict[int, list[Shuffle]] = {}
    for one in found:
        rows.setdefault(id(one.group), []).append(one)
    width = 9.5
    with style.figure_style():
        figure = Figure(figsize=(width, 1.5 + 3.6 * len(rows)), layout="constrained")
        panels = figure.subplots(len(rows), 2, squeeze=False, sharey="row", width_ratios=[1, 1.15])
        handles: dict[str, Line2D] = {}
        for (left, right), members in zip(panels, rows.values(), strict=True):
            for one in members:
                handles = _draw(left, right, one) | handles
            left.set_xlabel(DISTANCE_LABEL)
            right.set_xlabel("swaps of two blocks, one after the other")
            left.set_ylabel("test error (fraction)")
            left.set_ylim(0, 1)
            left.set_xlim(left=0)
            if len(rows) > 1:
                left.set_title(members[0].group.group.label, loc="left")
        if any(one.sweep.batch_norm == REESTIMATED for one in found):
            handles["hollow: BatchNorm re-estimated"] = Line2D(
                [], [], color="0.35", linewidth=0.8, marker="o", markerfacecolor="white"
            )
        handles["no block moved"] = Line2D([], [], color="0.35", linewidth=0.9)
        over = dict.fromkeys(one.increase.over for one in found)
        figure.legend(
            handles=list(handles.values()),
            labels=list(handles),
            loc="outside lower center",
            ncols=4,
            frameon=False,
            title="left: single orders; right: mean over orders, 95 % intervals over "
            f"{' / '.join(over)} of the paired difference",
            title_fontsize=8.5,
        )
        groups = [members[0].group for members in rows.values()]
        images = [one.sweep.images for one in found]
        put_title(figure, "Blocks of equal shape in another order", groups, width, images=images)
    return figure


def _draw(left: Axes, right: Axes, one: Shuffle) -> dict[str, Line2D]:
    base = float(one.test_error.value)
    again = one.sweep.batch_norm == REESTIMATED
    swaps = sorted(set(one.swaps.tolist()))
    for axes in (left, right):
        axes.axhline(base, color="0.35", linewidth=0.6 if again else 0.9, zorder=1)
    handles = {}
    stages = list(dict.fromkeys(one.stage.tolist()))
    for number, stage in enumerate(stages):
        look = style.look(number)
        name = "all stages" if stage == ALL_STAGES else f"stage {stage} only"
        drawn: dict[str, Any] = {
            "color": look.colour,
            "marker": look.marker,
            "markerfacecolor": "white" if again else look.colour,
        }
        levels = one.stage == stage
        shown = one.sweep.exists & levels[:, None]
        distance = np.asarray(one.sweep.said["kendall_tau_distance"], dtype=np.float64)
        left.plot(
            distance[shown],
            base + one.by_order[shown],
            linestyle="none",
            markersize=4.5,
            alpha=0.8,
            zorder=3,
            **drawn,
        )
        known = np.flatnonzero(levels & (one.trials > 0))
        place = np.array([swaps.index(count) for count in one.swaps[known]], dtype=np.float64)
        place += 0.09 * (number - (len(stages) - 1) / 2) + (0.045 if again else 0.0)
        value, low, high = (
            np.clip(base + bound[known], 0, 1)
            for bound in (one.increase.value, one.increase.low, one.increase.high)
        )
        line: dict[str, Any] = {"linestyle": look.line, "linewidth": 0.8 if again else 1.4}
        right.plot(place, value, markersize=5, zorder=3, **drawn, **line)
        right.vlines(place, low, high, color=look.colour, linewidth=0.9, zorder=2)
        if not again:
            handles[name] = Line2D([], [], **drawn, **line)
    right.set_xticks(range(len(swaps)), [str(count) for count in swaps])
    return handles
