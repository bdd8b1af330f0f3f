"""The figures of the analysis by name."""

from __future__ import annotations

from matplotlib.figure import Figure

from resprobe_analyses.spans.effects import Effect
from resprobe_analyses.spans.figure_angles import angles_figure
from resprobe_analyses.spans.figure_lengths import lengths_figure
from resprobe_analyses.spans.figure_map import map_figure


def figures(found: Effect) -> dict[str, Figure]:
    """Draw the analysis.

    Args:
        found: the effect of a group.

    Returns:
        `map`; where a network is interpretable also `lengths`, and with angles `angles`.
    """
    drawn = {"map": map_figure(found)}
    if found.choices:
        drawn["lengths"] = lengths_figure(found)
        nets = [member.network for member in found.used]
        if any(net.influence is not None or net.distance is not None for net in nets):
            drawn["angles"] = angles_figure(found)
    return drawn
