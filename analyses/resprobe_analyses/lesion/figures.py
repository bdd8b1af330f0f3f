"""The figures of the lesion analysis by name."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from resprobe_analyses.lesion.effects import GroupEffect
from resprobe_analyses.lesion.figure_blocks import blocks_figure
from resprobe_analyses.lesion.figure_ranking import ranking_figure


def figures(groups: Sequence[GroupEffect]) -> dict[str, Figure]:
    """Draw the analysis.

    Args:
        groups: effects by group.

    Returns:
        `blocks` and, where a group has interpretable networks, `ranking`.
    """
    drawn = {"blocks": blocks_figure(groups)}
    ranked = [group for group in groups if group.used and not group.group.plain]
    ranked = ranked or [group for group in groups if group.used]
    if ranked:
        drawn["ranking"] = ranking_figure(ranked)
    return drawn
