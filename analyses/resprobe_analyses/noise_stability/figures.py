"""The figures of the analysis by name."""

from __future__ import annotations

from matplotlib.figure import Figure

from resprobe_analyses.difference import differences_figures
from resprobe_analyses.noise_stability.effects import Effect
from resprobe_analyses.noise_stability.figure_bound import bound_figure
from resprobe_analyses.noise_stability.figure_prediction import prediction_figure
from resprobe_analyses.noise_stability.figure_response import input_figure, response_figure


def figures(found: Effect) -> dict[str, Figure]:
    """Draw the analysis.

    Args:
        found: the effect of one group or two.

    Returns:
        `response` and `prediction`; where any group has noise of the input `input`, where any has
        every part of the bound `bound`; with two groups of one architecture `difference`.
    """
    drawn = {"response": response_figure(found), "prediction": prediction_figure(found)}
    if any(group.input is not None for group in found.groups):
        drawn["input"] = input_figure(found)
    if any(group.log10_bound is not None for group in found.groups):
        drawn["bound"] = bound_figure(found)
    return drawn | differences_figures(found.differences)
