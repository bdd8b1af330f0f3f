"""The bound: its factors, and its value beside the measured gap."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resprobe_analyses import style
from resprobe_analyses.estimates import Estimate
from resprobe_analyses.noise_stability import drawing
from resprobe_analyses.noise_stability.bound import FACTORS
from resprobe_analyses.noise_stability.effects import Effect, GroupEffect
from resprobe_analyses.noise_stability.networks import NORMS

STEP = 0.13  # between the points of one factor


def bound_figure(found: Effect) -> Figure:
    """Draw the factors of the bound on the left, the bound beside the gap on the right.

    Args:
        found: the effect of groups of which one has every part of the bound, at least.

    Returns:
        Points for every group: log10 of the factors, which add up to that of the bound, and the
        bound, in each norm; the gap once. Geometric means over networks.
    """
    width = 10.0
    groups = [group for group in found.groups if group.log10_bound is not None]
    with style.figure_style():
        figure = Figure(figsize=(width, 4.9), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[3, 1.3])
        handles: list[Artist] = []
        points = len(groups) * len(NORMS)
        drawn = [1.0]
        for number, group in enumerate(groups):
            handles.append(drawing.mark(style.look(number), group.label, line=False))
            assert group.log10_bound is not None
            for place in range(len(NORMS)):
                shift = STEP * (number * len(NORMS) + place - (points - 1) / 2)
                factors = _factors(group)[:, place]
                places = np.arange(len(factors), dtype=np.float64) + shift
                _points(left, places, factors, number, place)
                drawn += _value(right, shift, _bounds(group.log10_bound, place), number, place)
            shift = STEP * len(NORMS) * (number - (len(groups) - 1) / 2)
            drawn += _value(right, 1 + shift, _gap(group), number, 0)
        left.axhline(0, color="0.5", linewidth=0.8, zorder=1)
        left.set_xticks(range(len(FACTORS)), [name.replace(" ", "\n", 1) for name in FACTORS])
        left.set_ylabel(r"$\log_{10}$ of the factor")
        left.set_title("what the bound is the product of")
        right.axhline(1, color="0.5", linewidth=0.8, zorder=1)
        right.set_yscale("log")
        known = np.array([value for value in drawn if np.isfinite(value) and value > 0])
        right.set_ylim(known.min() / 5, known.max() * 5)
        right.set_xticks([0, 1], ["bound", "measured\ngap"])
        right.set_xlim(-0.6, 1.6)
        right.set_ylabel("error (log scale)")
        right.set_title("above 1 the bound is void")
        for axes in (left, right):
            axes.grid(axis="x", visible=False)
        style.legend_below(figure, handles, _note(groups))
        what = "Theorem 4.1 of Arora et al. 2018 without logarithms and constants"
        figure.suptitle(drawing.title(found, what, width, found.cushions.images))
    return figure


def _points(axes: Axes, x: drawing.Floats, y: drawing.Floats, number: int, place: int) -> None:
    """Draw points, filled with ID entries kept and hollow with them removed."""
    look = style.look(number)
    axes.plot(
        x,
        np.where(np.isfinite(y), y, np.nan),
        color=look.colour,
        linestyle="none",
        marker=look.marker,
        markersize=5.5,
        markerfacecolor="white" if place else look.colour,
        zorder=3,
    )


def _value(
    axes: Axes, x: float, values: tuple[float, float, float], number: int, place: int
) -> list[float]:
    """Draw a positive number with its interval, and give what it takes room for."""
    value, low, high = values
    if not (np.isfinite(value) and value > 0):
        return []
    _points(axes, np.array([x]), np.array([value]), number, place)
    if np.isfinite(low):
        # an end at 0 or below lies under the axis, which the smallest number drawn ends
        axes.vlines(x, max(low, 1e-12), high, color=style.look(number).colour, linewidth=1.1)
    return [one for one in (value, low, high) if np.isfinite(one) and one > 0]


def _bounds(estimate: Estimate, place: int) -> tuple[float, float, float]:
    each = (estimate.value, estimate.low, estimate.high)
    value, low, high = (float(10.0 ** np.asarray(one, np.float64)[place]) for one in each)
    return value, low, high


def _gap(group: GroupEffect) -> tuple[float, float, float]:
    if group.gap is None:
        return float("nan"), float("nan"), float("nan")
    return float(group.gap.value), float(group.gap.low), float(group.gap.high)


def _factors(group: GroupEffect) -> drawing.Floats:
    """Give log10 of the factors, the mean over networks, shape (factor, norm)."""
    bounds = [m.parts.bound for m in group.members if m.parts.bound is not None]
    known = [one for one in bounds if one.exists] or bounds
    with np.errstate(invalid="ignore"):  # where one factor of two is infinite
        return np.asarray(np.mean([one.log10_factors for one in known], axis=0))


def _note(groups: list[GroupEffect]) -> str:
    told = "filled: ID entries kept, and the gap; hollow: ID entries removed"
    over = next((g.log10_bound for g in groups if g.log10_bound is not None), None)
    if over is not None and np.isfinite(over.low).all():
        told += f"; bars: 95 % intervals over {over.networks} seeds"
    numbers = [_factors(group) for group in groups]
    numbers += [np.array(_gap(group)[:1]) for group in groups]
    if not (all(np.isfinite(one).all() for one in numbers) and _gaps_above_0(groups)):
        told += ";\nno point: infinite, or a gap that is unknown or not above 0"
    return told


def _gaps_above_0(groups: list[GroupEffect]) -> bool:
    return all(_gap(group)[0] > 0 for group in groups)
