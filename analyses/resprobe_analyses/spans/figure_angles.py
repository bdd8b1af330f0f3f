"""The rise of the test error against the angle by which blocks and spans turn their input."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from resprobe_analyses import style
from resprobe_analyses.spans import drawing
from resprobe_analyses.spans.effects import Effect
from resprobe_analyses.spans.rankings import INFLUENCE

Floats = npt.NDArray[np.float64]


def angles_figure(found: Effect) -> Figure:
    """Draw block influence and angular distance against the rise of the test error.

    Args:
        found: the effect of a group with interpretable networks, some with angles.

    Returns:
        A panel for single within-stage blocks and one for spans without a transition; means over
        networks. The first one's title holds the rank correlation of each network.
    """
    influence = _mean([member.network.influence for member in found.used])
    distance = _mean([member.network.distance for member in found.used])
    panels = int(influence is not None) + int(distance is not None)
    width = 1.2 + 4.4 * max(panels, 1.4)
    images = found.choosing_images + found.measuring_images
    with style.figure_style():
        figure = Figure(figsize=(width, 4.7), layout="constrained")
        axes = list(figure.subplots(1, panels, squeeze=False).ravel())
        if influence is not None:
            _blocks_panel(axes.pop(0), found, influence)
        if distance is not None:
            _spans_panel(figure, axes.pop(0), found, distance)
        figure.suptitle(drawing.title(found, "Angles and lesions", images, width))
    return figure


def _mean(found: list[Floats | None]) -> Floats | None:
    known = [one for one in found if one is not None]
    return np.asarray(np.mean(known, axis=0)) if known and len(known) == len(found) else None


def _blocks_panel(axes: Axes, found: Effect, influence: Floats) -> None:
    layout = found.layout
    for number, stage in enumerate(np.unique(layout.stage)):
        chosen = layout.within & (layout.stage == stage)
        if chosen.any():
            look = style.look(number)
            axes.scatter(
                influence[chosen],
                found.increase[chosen, 0],
                color=look.colour,
                marker=look.marker,
                s=26,
                edgecolor="white",
                linewidth=0.4,
                zorder=3,
                label=f"stage {stage}",
            )
    if style.spans_decades(influence[layout.within]):
        axes.set_xscale("log")
        style.write_decades(axes.xaxis)
    _common(axes, "block influence (mean over images)", "single blocks within stages")
    values = [m.correlations[INFLUENCE].value for m in found.used if INFLUENCE in m.correlations]
    told = ", ".join(f"{v:+.2f}" if np.isfinite(v) else "none" for v in values)
    axes.set_title(f"{axes.get_title()}\nrank correlation within stages {told}")
    if np.unique(layout.stage).size > 1:
        axes.legend(frameon=False)


def _spans_panel(figure: Figure, axes: Axes, found: Effect, distance: Floats) -> None:
    kept = np.isfinite(distance) & np.isfinite(found.increase) & ~found.transition
    length = np.broadcast_to(np.arange(1, kept.shape[1] + 1), kept.shape)
    drawn = axes.scatter(
        distance[kept],
        found.increase[kept],
        c=length[kept],
        cmap=drawing.shades(),
        s=16,
        edgecolor="0.3",
        linewidth=0.25,
        zorder=3,
    )
    bar = figure.colorbar(drawn, ax=axes, shrink=0.85, pad=0.02)
    bar.set_label("length of the span (blocks)")
    bar.ax.yaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    label = r"angular distance $\arccos(\cos)\,/\,\pi$ (mean over images)"
    _common(axes, label, "spans without a transition")


def _common(axes: Axes, label: str, title: str) -> None:
    axes.axhline(0, color="0.5", linewidth=0.9, zorder=1)
    axes.set_xlabel(label)
    axes.set_ylabel("test error increase (fraction)")
    axes.set_title(title)
