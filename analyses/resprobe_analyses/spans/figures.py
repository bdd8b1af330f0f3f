"""The figures of the analysis by name."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from resprobe_analyses.spans.effects import Effect
from resprobe_analyses.spans.figure_angles import angles_figure
from resprobe_analyses.spans.figure_lengths import lengths_figure
from resprobe_analyses.spans.figure_map import map_figure


def figures(found: Sequence[Effect]) -> dict[str, Figure]:
    """Draw the analysis.

    Args:
        found: the effects of one group or two.

    Returns:
        `map`; where a network is interpretable also `lengths`, and with angles `angles`; those of
        a second group end in `-2`.
    """
    drawn = _figures(found[0])
    for number, one in enumerate(found[1:], start=2):
        drawn |= {f"{name}-{number}": figure for name, figure in _figures(one).items()}
    return drawn


def _figures(found: Effect) -> dict[str, Figure]:
    drawn = {"map": map_figure(found)}
    if found.choices:
        drawn["lengths"] = lengths_figure(found)
        nets = [member.network for member in found.used]
        if any(net.influence is not None or net.distance is not None for net in nets):
            drawn["angles"] = angles_figure(found)
    return drawn
