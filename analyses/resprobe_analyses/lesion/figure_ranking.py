"""The error increase of within-stage blocks against ‖G‖/‖s‖."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resprobe_analyses import style
from resprobe_analyses.lesion.effects import GroupEffect
from resprobe_analyses.lesion.series import RATIO_LABEL, put_title, series_of


def ranking_figure(groups: Sequence[GroupEffect]) -> Figure:
    """Draw the error increase against ‖G‖/‖s‖ of within-stage blocks, a panel for each group.

    Args:
        groups: effects by group, each with interpretable networks.

    Returns:
        Scatter with intervals of the increase; colour and marker tell the stage, the title holds
        the rank correlation within stages of each network.
    """
    columns = min(len(groups), 3)
    rows = -(-len(groups) // columns)
    width = 1.2 + 3.9 * max(columns, 1.5)
    with style.figure_style():
        figure = Figure(figsize=(width, 0.9 + 3.7 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, group in zip(panels, groups, strict=False):
            _ranking_panel(axes, group)
        for axes in panels[len(groups) :]:
            axes.set_axis_off()
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
        put_title(figure, "Lesion and branch size within stages", groups, width)
    return figure


def _ranking_panel(axes: Axes, group: GroupEffect) -> None:
    (one,) = series_of(group)
    layout, increase = group.layout, one.increase
    axes.axhline(0, color="0.5", linewidth=0.9, zorder=1)
    for number, stage in enumerate(np.unique(layout.stage)):
        chosen = layout.within & (layout.stage == stage)
        if not chosen.any():
            continue
        look = style.look(number)
        place = one.ratio.value[chosen]
        axes.vlines(
            place, increase.low[chosen], increase.high[chosen], color=look.colour, linewidth=0.7
        )
        sns.scatterplot(
            x=place,
            y=increase.value[chosen],
            ax=axes,
            color=look.colour,
            marker=look.marker,
            s=30,
            edgecolor="white",
            linewidth=0.4,
            zorder=3,
            label=f"stage {stage}",
            legend=False,
        )
    if style.spans_decades(one.ratio.value[layout.within]):
        axes.set_xscale("log")
        style.write_decades(axes.xaxis)
    axes.set_xlabel(RATIO_LABEL)
    axes.set_ylabel("test error increase (fraction)")
    axes.set_title(f"{one.label}\nrank correlation within stages {_correlations(group)}")


def _correlations(group: GroupEffect) -> str:
    name = "branch_shortcut_ratio"
    if group.correlations and name in group.correlations:
        return f"{float(group.correlations[name].value):+.2f}"
    values = [member.correlations[name].value for member in group.used]
    told = [f"{value:+.2f}" if np.isfinite(value) else "none" for value in values]
    return ", ".join(told)
