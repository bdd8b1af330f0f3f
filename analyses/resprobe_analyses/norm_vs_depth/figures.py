"""The figures of the analysis by name."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from resprobe_analyses.norm_vs_depth.curves import Curve
from resprobe_analyses.norm_vs_depth.figure_blocks import blocks_figure
from resprobe_analyses.norm_vs_depth.figure_depth import depth_figure, drawn_groups
from resprobe_analyses.norm_vs_depth.figure_time import time_figure
from resprobe_analyses.norm_vs_depth.scaling import Group


def figures(
    name: str, groups: Sequence[Group], curves: Sequence[Curve], images: int
) -> dict[str, Figure]:
    """Draw the analysis.

    Args:
        name: of what was measured.
        groups: exponents by step size.
        curves: norms by block.
        images: how many are behind every mean.

    Returns:
        `depth` where a seed has two depths, `blocks`, and `time` where a step size is known.
    """
    drawn = {}
    if drawn_groups(groups):
        drawn["depth"] = depth_figure(name, drawn_groups(groups), images)
    drawn["blocks"] = blocks_figure(name, curves, images)
    timed = [curve for curve in curves if curve.h is not None]
    if timed:
        drawn["time"] = time_figure(name, timed, images)
    return drawn
