"""What the figures of noise stability share."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from resprobe_analyses import style, wording
from resprobe_analyses.noise_stability.effects import Effect, GroupEffect

Floats = npt.NDArray[np.float64]

MOST_NAMED = 24  # layers up to which each is named on the axis
ID_ENTRIES = {"kept": "ID entries kept", "removed": "ID entries removed"}


def title(found: Effect, what: str, width: float, images: int) -> str:
    """Say what is drawn, of which networks and on how many images, wrapped to the width."""
    subject = " and ".join(
        f"{group.label} (mean of {len(group.members)} networks)"
        if len(group.members) > 1
        else group.label
        for group in found.groups
    )
    return textwrap.fill(f"{what}: {subject}; {wording.counted_images(images)}", int(width * 11))


def mark(look: style.Look, label: str, *, line: bool = True) -> Line2D:
    """Give the legend's handle of a series."""
    return Line2D(
        [],
        [],
        color=look.colour,
        linestyle=look.line if line else "none",
        marker=look.marker,
        markersize=4.5,
        label=label,
    )


def name_layers(axes: Axes, groups: Sequence[GroupEffect]) -> None:
    """Name the layers on the horizontal axis where all groups have the same and there is room."""
    names = groups[0].members[0].network.layers
    each = [group.members[0].network.layers for group in groups]
    axes.set_xlim(-0.7, max(map(len, each)) - 0.3)
    if all(one == names for one in each) and len(names) <= MOST_NAMED:
        axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor")
        axes.tick_params(axis="x", labelsize=7.5)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=14, integer=True))
        axes.set_xlabel("layer, in the order of execution")


def width_of(found: Effect) -> float:
    """Give a width that has room for the layers, inches."""
    most = max(len(group.members[0].network.layers) for group in found.groups)
    return float(np.clip(6.5 + 0.25 * most, 8.0, 12.0))


def logarithmic(axes: Axes, which: str, values: npt.ArrayLike) -> None:
    """Make an axis logarithmic, with plain decimals where it spans less than three decades.

    Args:
        axes: to change.
        which: "x" or "y".
        values: that are drawn; nothing is changed where none is positive.
    """
    numbers = np.asarray(values, np.float64)
    numbers = numbers[np.isfinite(numbers) & (numbers > 0)]
    if not numbers.size:
        return
    getattr(axes, f"set_{which}scale")("log")
    if not style.spans_decades(numbers, factor=1e3):
        axis = axes.xaxis if which == "x" else axes.yaxis
        if numbers.max() / numbers.min() < 3:  # else there might be one tick or none
            low, high = numbers.min() / 1.8, numbers.max() * 1.8
            getattr(axes, f"set_{which}lim")(low, high)
        style.write_decades(axis)
