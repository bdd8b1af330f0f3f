"""The figures of the analysis by name."""

from __future__ import annotations

from matplotlib.figure import Figure

from resprobe_analyses.difference import differences_figures
from resprobe_analyses.equivalence.effects import Effect
from resprobe_analyses.equivalence.figure_divergence import divergence_figure
from resprobe_analyses.equivalence.figure_training import training_figure
from resprobe_analyses.equivalence.figure_weights import weights_figure


def figures(found: Effect) -> dict[str, Figure]:
    """Draw the analysis.

    Args:
        found: what was computed.

    Returns:
        `divergence` with pairs, `weights` where that family was collected, `training` where epochs
        of residual and plain networks stand side by side, `difference` with the weights of two
        groups of one architecture.
    """
    drawn = {}
    if found.pairs:
        drawn["divergence"] = divergence_figure(found.pairs)
    weighed = [
        group
        for group in found.groups
        if group.partners or any(net.own.states for net in group.networks)
    ]
    if weighed:
        drawn["weights"] = weights_figure(weighed)
    sides = [side for side in found.sides if all(one.curves for one in side.couples)]
    if sides:
        drawn["training"] = training_figure(sides)
    return drawn | differences_figures(found.differences)
