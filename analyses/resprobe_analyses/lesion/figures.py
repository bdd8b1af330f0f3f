"""The figures of the lesion analysis by name."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from resprobe_analyses.difference import Difference, differences_figures
from resprobe_analyses.lesion.curves import Curves
from resprobe_analyses.lesion.effects import GroupEffect
from resprobe_analyses.lesion.figure_blocks import blocks_figure
from resprobe_analyses.lesion.figure_greedy import greedy_figure
from resprobe_analyses.lesion.figure_multi import multi_figure
from resprobe_analyses.lesion.figure_ranking import ranking_figure
from resprobe_analyses.lesion.figure_shuffle import shuffle_figure
from resprobe_analyses.lesion.greedy import Greedy


def figures(
    groups: Sequence[GroupEffect],
    differences: Sequence[Difference],
    found: Curves,
    advised: Sequence[Greedy],
) -> dict[str, Figure]:
    """Draw the analysis.

    Args:
        groups: effects by group.
        differences: groups of one kind beside each other.
        found: curves over several blocks.
        advised: networks with blocks dropped one after the other.

    Returns:
        `blocks`; where a group has interpretable networks, `ranking`; where two of a kind have,
        `difference`; where they were measured, `multi`, `shuffle` and `greedy`.
    """
    drawn = {"blocks": blocks_figure(groups)}
    ranked = [group for group in groups if group.used and not group.group.plain]
    ranked = ranked or [group for group in groups if group.used]
    if ranked:
        drawn["ranking"] = ranking_figure(ranked)
    drawn |= differences_figures(differences)
    if found.multi:
        drawn["multi"] = multi_figure(found.multi)
    if found.shuffle:
        drawn["shuffle"] = shuffle_figure(found.shuffle)
    if advised:
        drawn["greedy"] = greedy_figure(advised)
    return drawn
