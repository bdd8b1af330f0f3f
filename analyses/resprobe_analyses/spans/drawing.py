"""What the figures of spans share."""

from __future__ import annotations

import textwrap

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap

from resprobe_analyses import style, wording
from resprobe_analyses.spans.effects import Effect

INCREASE_LABEL = "test error without the span minus with it (fraction)"


def shades() -> Colormap:
    """Give the colours from little to much: they darken evenly, and the first is not white."""
    return ListedColormap(mpl.colormaps["cividis_r"](np.linspace(0.02, 1, 256)))


def ink(value: float) -> str:
    """Give the colour of text on a shade, for a value from 0 to 1 on its scale."""
    return "black" if value < 0.55 else "white"


def subject(found: Effect) -> str:
    """Name what was measured, as "r20 (mean of 2 networks)"."""
    label = found.group.label
    if not found.used:
        return f"{label} (uninterpretable)"
    return label if len(found.used) == 1 else f"{label} (mean of {len(found.used)} networks)"


def title(found: Effect, what: str, images: int, width: float) -> str:
    """Say what is drawn, of which networks and on how many images, wrapped to the width."""
    text = f"{what}: {subject(found)}; {wording.counted_images(images)}"
    return textwrap.fill(text, int(width * 11))


def mark_transitions(axes: Axes, transition: npt.NDArray[np.bool_]) -> None:
    """Put a hollow diamond under each transition on the horizontal axis of blocks."""
    places = np.flatnonzero(transition)
    axes.scatter(
        places,
        np.full(places.size, -0.02),
        marker=style.TRANSITION_MARKER,
        s=26,
        facecolor="white",
        edgecolor="black",
        linewidth=1.0,
        transform=axes.get_xaxis_transform(),
        clip_on=False,
        zorder=5,
    )
