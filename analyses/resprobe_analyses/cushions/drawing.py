"""What the figures of cushions share."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, MaxNLocator, NullLocator

from resprobe_analyses import style, wording
from resprobe_analyses.cushions.effects import MEDIAN, QUANTILES, Effect

Floats = npt.NDArray[np.float64]

LOW, HIGH = QUANTILES.index(0.05), QUANTILES.index(0.95)
INNER_LOW, INNER_HIGH = QUANTILES.index(0.25), QUANTILES.index(0.75)
BARS = "thick bars: middle half of the images; thin bars: 5 to 95 % of them"
MOST_NAMED = 24  # layers up to which each is named on the axis


def subject(found: Effect) -> str:
    """Name what was measured, as "plain and residual (means of 5 networks)"."""
    labels = [
        group.label
        + (f" (mean of {len(group.networks)} networks)" if len(group.networks) > 1 else "")
        for group in found.groups
    ]
    return " and ".join(labels)


def title(found: Effect, what: str, images: int, width: float) -> str:
    """Say what is drawn, of which networks and on how many images, wrapped to the width."""
    text = f"{what}: {subject(found)}; {wording.counted_images(images)}"
    return textwrap.fill(text, int(width * 11))


def average(quantiles: Sequence[Floats]) -> Floats:
    """Average over networks on a logarithmic scale, where all are positive."""
    stacked = np.stack(list(quantiles))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.exp(np.log(stacked).mean(axis=0))
    return np.asarray(np.where((stacked > 0).all(axis=0), found, stacked.mean(axis=0)))


def distributions(axes: Axes, places: Floats, quantiles: Floats, look: style.Look) -> None:
    """Draw medians with two bars each; `quantiles` has shape (item, quantile)."""
    for low, high, width in ((LOW, HIGH, 0.9), (INNER_LOW, INNER_HIGH, 2.6)):
        axes.vlines(
            places,
            quantiles[:, low],
            quantiles[:, high],
            color=look.colour,
            linewidth=width,
            alpha=0.8,
            zorder=2,
        )
    axes.plot(
        places,
        quantiles[:, MEDIAN],
        color=look.colour,
        linestyle="none",
        marker=look.marker,
        markersize=4.5,
        markerfacecolor="white",
        zorder=3,
    )


def mark(look: style.Look, label: str, *, line: bool = False) -> Line2D:
    """Give the legend's handle of a series."""
    return Line2D(
        [],
        [],
        color=look.colour,
        linestyle=look.line if line else "none",
        marker=look.marker,
        markerfacecolor=look.colour if line else "white",
        label=label,
    )


def scale(axes: Axes, values: npt.ArrayLike, label: str) -> None:
    """Label the vertical axis, and make it logarithmic where values differ tenfold and say so."""
    axes.set_ylabel(label)
    numbers = np.asarray(values, dtype=np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if not style.spans_decades(numbers):
        axes.set_ylim(bottom=min(0.0, float(numbers.min(initial=0.0))))
        return
    axes.set_yscale("log")
    axes.set_ylabel(f"{label}\n(log scale)")
    if style.spans_decades(numbers, factor=1e3):
        axes.yaxis.set_major_locator(LogLocator(numticks=9))
        axes.yaxis.set_major_formatter(LogFormatterSciNotation())
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        style.write_decades(axes.yaxis)


def name_layers(axes: Axes, found: Effect) -> None:
    """Name the layers on the horizontal axis where all groups have the same and there is room."""
    names = found.groups[0].layers
    same = all(group.layers == names for group in found.groups)
    most = max(len(group.layers) for group in found.groups)
    axes.set_xlim(-0.7, most - 0.3)
    if same and len(names) <= MOST_NAMED:
        axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor")
        axes.tick_params(axis="x", labelsize=7.5)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=14, integer=True))
        axes.set_xlabel("layer, in the order of execution")


def shifts(count: int, wide: float = 0.3) -> Floats:
    """Give how far series stand beside each other."""
    return np.linspace(-wide / 2, wide / 2, count) if count > 1 else np.zeros(1)
