"""What figures of all analyses share: readable in grey, no global state.

Figures are built without pyplot, so that nothing is shown, registered or left open. Signs come
from mathematical text in the fonts that matplotlib carries, which SVG viewers show alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

COLOURS = ("#0f2a56", "#b8432f", "#2fa08c", "#e9b64a", "#7d6b91", "#9aa0a6")
LINES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
MARKERS = ("o", "s", "^", "v", "P", "X")
TRANSITION_MARKER = "D"


@dataclass(frozen=True)
class Look:
    """Colour, line style and marker of one series; any one of them tells it from the others."""

    colour: str
    line: Any
    marker: str


def look(number: int) -> Look:
    """Give the look of the series with that number; from the seventh on they repeat."""
    return Look(
        COLOURS[number % len(COLOURS)],
        LINES[number % len(LINES)],
        MARKERS[number % len(MARKERS)],
    )


@contextmanager
def figure_style() -> Iterator[None]:
    """Set fonts, grid and frame for the figure built inside, and nothing afterwards."""
    fonts: dict[Any, Any] = {
        "font.family": "DejaVu Sans",
        "mathtext.fontset": "dejavusans",
        "font.size": 9.0,
    }
    sizes: dict[Any, Any] = {"axes.titlesize": 9.5, "legend.fontsize": 8.5, "figure.titlesize": 11}
    grid: dict[Any, Any] = {
        "grid.color": "0.9",
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with mpl.rc_context({**sns.axes_style("whitegrid"), **fonts, **sizes, **grid}):
        yield


def spans_decades(values: npt.ArrayLike, factor: float = 10.0) -> bool:
    """Tell whether finite positive values differ by more than `factor`, all being positive."""
    numbers = np.asarray(values, dtype=np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if not numbers.size or numbers.min() <= 0:
        return False
    return bool(numbers.max() / numbers.min() > factor)


def write_decades(axis: Axis) -> None:
    """Write a few ticks of a logarithmic axis as plain decimals."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
    axis.set_minor_locator(NullLocator())


def mark_stages(
    axes: Axes,
    stage: npt.NDArray[np.int64],
    *,
    named: bool,
    names: Mapping[int, str] | None = None,
) -> None:
    """Draw a line between stages of blocks at 0, 1, … and name the stages above the frame.

    Args:
        axes: whose horizontal axis counts blocks.
        stage: stage of each block, shape (block,).
        named: whether to write the names.
        names: of the stages, instead of "stage 0" and so on.
    """
    starts = np.flatnonzero(np.diff(stage, prepend=stage[:1] - 1))
    for start, end in zip(starts, [*starts[1:], stage.size], strict=True):
        if start:
            axes.axvline(start - 0.5, color="0.6", linewidth=0.8, zorder=0)
        if named:
            axes.text(
                (start + end - 1) / 2,
                1.01,
                f"stage {stage[start]}" if names is None else names[int(stage[start])],
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="bottom",
                color="0.35",
                fontsize=8.5,
            )


def hollow_mark(label: str) -> Line2D:
    """Give the legend's handle of blocks that change the shape, or begin a stage."""
    return Line2D(
        [],
        [],
        color="0.3",
        linestyle="none",
        marker=TRANSITION_MARKER,
        markerfacecolor="white",
        label=label,
    )


def legend_below(figure: Figure, handles: Sequence[Artist], title: str) -> None:
    """Put the legend below all panels, titled by what the intervals are over."""
    figure.legend(
        handles=list(handles),
        loc="outside lower center",
        ncols=3,
        frameon=False,
        title=title,
        title_fontsize=8.5,
    )
