"""The figures of the analysis by name."""

from __future__ import annotations

from matplotlib.figure import Figure

from resprobe_analyses.cushions.effects import Effect
from resprobe_analyses.cushions.figure_interlayer import interlayer_figure
from resprobe_analyses.cushions.figure_layers import groups_figure, layers_figure, norms_figure
from resprobe_analyses.difference import differences_figures


def figures(found: Effect) -> dict[str, Figure]:
    """Draw the analysis.

    Args:
        found: the effect of one group or two.

    Returns:
        `layers` and `norms`; with two groups whose layers correspond `groups`; where interlayer
        cushions were collected for all networks of a group `interlayer`; with two groups of one
        architecture `difference`.
    """
    drawn = {"layers": layers_figure(found), "norms": norms_figure(found)}
    if found.layers:
        drawn["groups"] = groups_figure(found)
    if any(all(member.interlayer for member in members) for members in found.members):
        drawn["interlayer"] = interlayer_figure(found)
    return drawn | differences_figures(found.differences)
