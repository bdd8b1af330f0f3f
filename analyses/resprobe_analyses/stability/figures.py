"""The figures of the analysis by name."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from resprobe_analyses.difference import Difference, differences_figures
from resprobe_analyses.stability.figure_conditions import conditions_figure
from resprobe_analyses.stability.figure_lyapunov import lyapunov_figure
from resprobe_analyses.stability.figure_norms import norms_figure
from resprobe_analyses.stability.figure_spectra import spectra_figure
from resprobe_analyses.stability.figure_training import training_figure
from resprobe_analyses.stability.records import Group


def figures(groups: Sequence[Group], by_block: Sequence[Difference]) -> dict[str, Figure]:
    """Draw the analysis.

    Args:
        groups: all that were read.
        by_block: differences of groups of one architecture.

    Returns:
        `norms`, and where there is something to draw `spectra`, `conditions`, `lyapunov`,
        `training` and `difference`.
    """
    drawn = {
        "spectra": spectra_figure(groups),
        "norms": norms_figure(groups),
        "conditions": conditions_figure(groups),
        "lyapunov": lyapunov_figure(groups),
        "training": training_figure(groups),
    }
    there = {name: figure for name, figure in drawn.items() if figure is not None}
    return there | differences_figures(by_block)
