"""The figures of the analysis by name."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from resprobe_analyses.attribution.effects import GroupEffect, predictors_of
from resprobe_analyses.attribution.figure_ranking import ranking_figure
from resprobe_analyses.attribution.figure_trust import trust_figure


def figures(groups: Sequence[GroupEffect]) -> dict[str, Figure]:
    """Draw the analysis.

    Args:
        groups: effects by group.

    Returns:
        `trust` and `ranking` of the groups with interpretable networks; nothing without any.
    """
    able = [group for group in groups if group.used]
    if not able:
        return {}
    symbols = {name: one.symbol for name, one in predictors_of(able).items()}
    return {"trust": trust_figure(able, symbols), "ranking": ranking_figure(able, symbols)}
