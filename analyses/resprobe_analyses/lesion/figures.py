"""The figures of the lesion analysis by name."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from resprobe_analyses.lesion.curves import Curves
from resprobe_analyses.lesion.effects import GroupEffect
from resprobe_analyses.lesion.figure_blocks import blocks_figure
from resprobe_analyses.lesion.figure_multi import multi_figure
from resprobe_analyses.lesion.figure_ranking import ranking_figure
from resprobe_analyses.lesion.figure_shuffle import shuffle_figure


def figures(groups: Sequence[GroupEffect], found: Curves) -> dict[str, Figure]:
    """Draw the analysis.

    Args:
        groups: effects by group.
        found: curves over several blocks.

    Returns:
        `blocks`; where a group has interpretable networks, `ranking`; where they were measured,
        `multi` and `shuffle`.
    """
    drawn = {"blocks": blocks_figure(groups)}
    ranked = [group for group in groups if group.used and not group.group.plain]
    ranked = ranked or [group for group in groups if group.used]
    if ranked:
        drawn["ranking"] = ranking_figure(ranked)
    if found.multi:
        drawn["multi"] = multi_figure(found.multi)
    if found.shuffle:
        drawn["shuffle"] = shuffle_figure(found.shuffle)
    return drawn
