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
from resprobe_analyses.noise_stability.networks import OUTSIDE
from resprobe_analyses.stage_names import first_to_last, stage_name

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


def short_layers(group: GroupEffect) -> list[str]:
    """Name each layer by its block where it is the only one in it, else in full."""
    net = group.members[0].network
    return [
        block if block and net.blocks.count(block) == 1 else layer
        for layer, block in zip(net.layers, net.blocks, strict=True)
    ]


def stage_labels(groups: Sequence[GroupEffect]) -> dict[int, str]:
    """Name the stages as their blocks are, as "stage1" for `stage1.0` to `stage1.5`.

    Returns:
        Number to name; with the number and the blocks where their names do not tell the stage.
    """
    blocks: dict[int, list[list[str]]] = {}
    for group in groups:
        net = group.members[0].network
        for stage in sorted(set(net.stage.tolist()) - {OUTSIDE}):
            own = zip(net.blocks, net.stage, strict=True)
            names = list(dict.fromkeys(block for block, one in own if one == stage))
            blocks.setdefault(stage, []).append(names)
    outer = {
        stage: {name.rpartition(".")[0] for names in each for name in names}
        for stage, each in blocks.items()
    }
    labels = {}
    for stage, each in sorted(blocks.items()):
        shared = any(outer[stage] & own for other, own in outer.items() if other != stage)
        (first, *more) = outer[stage]
        labels[stage] = (
            first
            if first and not more and not shared
            else stage_name(stage, [first_to_last(names) for names in each])
        )
    return labels


def name_layers(axes: Axes, groups: Sequence[GroupEffect]) -> None:
    """Name the layers on the horizontal axis where all groups have the same and there is room."""
    each = [short_layers(group) for group in groups]
    names = each[0]
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
