"""The bound: its factors, and its value beside the measured gap."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from resprobe_analyses import style
from resprobe_analyses.noise_stability import drawing
from resprobe_analyses.noise_stability.bound import FACTORS
from resprobe_analyses.noise_stability.effects import Effect, GroupEffect
from resprobe_analyses.noise_stability.networks import NORMS

HATCHES = ("", "///", "...", "xxx")


def bound_figure(found: Effect) -> Figure:
    """Draw log10 of the factors of the bound, of the bound and of the gap.

    Args:
        found: the effect of groups of which one has every part of the bound, at least.

    Returns:
        Bars for every group and norm; those of the factors add up to that of the bound.
    """
    width = 9.0
    groups = [group for group in found.groups if group.log10_bound is not None]
    with style.figure_style():
        figure = Figure(figsize=(width, 4.9), layout="constrained")
        axes = figure.subplots()
        handles: list[Artist] = []
        bars = len(groups) * len(NORMS)
        for number, group in enumerate(groups):
            for place, norm in enumerate(NORMS):
                series = number * len(NORMS) + place
                values = _values(group)[place]
                shift = 0.8 * ((series + 0.5) / bars - 0.5)
                axes.bar(
                    np.arange(len(values)) + shift,
                    values,
                    width=0.72 / bars,
                    facecolor=style.COLOURS[number] if not place else "white",
                    edgecolor=style.COLOURS[number],
                    hatch=HATCHES[series % len(HATCHES)] if place else "",
                )
                handles.append(
                    Patch(
                        facecolor=style.COLOURS[number] if not place else "white",
                        edgecolor=style.COLOURS[number],
                        hatch=HATCHES[series % len(HATCHES)] if place else "",
                        label=f"{group.label}, {drawing.ID_ENTRIES[norm]}",
                    )
                )
        axes.axhline(0, color="0.2", linewidth=1.0)
        axes.axvline(len(FACTORS) - 0.5, color="0.6", linewidth=0.8)
        names = [name.replace(" ", "\n", 1) for name in FACTORS]
        axes.set_xticks(range(len(FACTORS) + 2), [*names, "bound", "measured\ngap"])
        axes.set_ylabel(r"$\log_{10}$")
        axes.grid(axis="x", visible=False)
        axes.set_xlim(-0.6, len(FACTORS) + 1.6)
        told = "left: factors, which add up to the bound; above 0 (a bound of 1) it is void"
        if not all(np.isfinite(_values(group)).all() for group in groups):
            told += ";\nno bar: infinite, or a gap that is unknown or not above 0"
        style.legend_below(figure, handles, told)
        what = "Theorem 4.1 of Arora et al. 2018 without logarithms and constants"
        figure.suptitle(drawing.title(found, what, width, found.cushions.images))
    return figure


def _values(group: GroupEffect) -> drawing.Floats:
    """Give log10 of the factors, of the bound and of the gap, shape (norm, bar).

    Means over networks; NaN where there is nothing to draw.
    """
    bounds = [m.parts.bound for m in group.members if m.parts.bound is not None]
    known = [one for one in bounds if one.exists] or bounds
    with np.errstate(invalid="ignore"):  # where one factor of two is infinite
        factors = np.mean([one.log10_factors for one in known], axis=0)
    assert group.log10_bound is not None
    gap = float(group.gap.value) if group.gap is not None else float("nan")
    last = np.full(factors.shape[1], np.log10(gap) if gap > 0 else np.nan)
    found = np.vstack([factors, group.log10_bound.value, last]).T
    return np.asarray(np.where(np.isfinite(found), found, np.nan))
