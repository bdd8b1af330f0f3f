"""The rise of the test error by each span: first block against length."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from resprobe_analyses import style
from resprobe_analyses.spans import drawing
from resprobe_analyses.spans.effects import Effect
from resprobe_analyses.spans.networks import within_network

MOST_WRITTEN = 12  # blocks up to which each cell holds its number
MOST_PARTED = 30  # blocks up to which lines part the cells
TICKS = (0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1)


def map_figure(found: Effect) -> Figure:
    """Draw the rise of the test error by the lesion of every contiguous span.

    Args:
        found: the effect of a group.

    Returns:
        A triangle of cells, first block to the right and length upwards; cells past the end stay
        blank. Circles mark the least harmful span of each length, diamonds the transitions, and
        the dotted lines enclose the spans that hold one.
    """
    blocks = found.layout.stage.size
    width = float(np.clip(3.6 + 0.3 * blocks, 6.2, 10.5))
    images = found.choosing_images + found.measuring_images
    with style.figure_style():
        figure = Figure(figsize=(width, 0.86 * width), layout="constrained")
        axes = figure.subplots()
        axes.grid(visible=False)
        norm = _scale(found.increase)
        cells = axes.pcolormesh(
            np.arange(blocks + 1) - 0.5,
            np.arange(blocks + 1) + 0.5,
            np.ma.masked_invalid(found.increase.T),
            cmap=drawing.shades(),
            norm=norm,
            edgecolor="white" if blocks <= MOST_PARTED else "none",
            linewidth=0.8,
        )
        if blocks <= MOST_WRITTEN:
            _write(axes, found.increase, norm)
        _chosen(axes, found)
        _enclose_transitions(axes, found.layout.transition)
        drawing.mark_transitions(axes, found.layout.transition)
        style.mark_stages(axes, found.layout.stage, named=True)
        axes.set_xlim(-0.6, blocks - 0.4)
        axes.set_ylim(0.4, blocks + 0.6)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=14, integer=True))
        axes.tick_params(axis="x", pad=9)  # leaves room for the diamonds
        axes.set_xlabel("first block of the span (position in the network)")
        axes.set_ylabel("length of the span (blocks)")
        _colour_bar(figure, axes, cells, norm)
        _legend(figure, found)
        figure.suptitle(
            drawing.title(
                found, "Rise of the test error without the branches of a span", images, width
            )
        )
    return figure


def _scale(increase: npt.NDArray[np.float64]) -> PowerNorm:
    top = max(float(np.nanmax(increase)), 0.01)
    # a square root shows 0.01 beside 0.9; what lies below 0 is drawn as 0
    return PowerNorm(0.5, vmin=0.0, vmax=top, clip=True)


def _write(axes: Axes, increase: npt.NDArray[np.float64], norm: PowerNorm) -> None:
    for first, place in np.argwhere(within_network(len(increase))):
        value = float(increase[first, place])
        axes.text(
            first,
            place + 1.27,
            f"{value:.3f}".replace("-", "−"),
            ha="center",
            va="center",
            fontsize=6.5,
            color=drawing.ink(float(norm(value))),
        )


def _chosen(axes: Axes, found: Effect) -> None:
    if not found.choices:
        return
    choice, norm = found.choices[0], _scale(found.increase)
    lengths = np.asarray(choice.lengths)
    places = choice.first[lengths - 1]
    shades = np.asarray(norm(found.increase[places, lengths - 1]))
    axes.scatter(
        places,
        lengths - (0.15 if len(choice.first) <= MOST_WRITTEN else 0),
        marker="o",
        s=float(np.clip(900 / len(choice.first), 8, 34)),
        facecolor="none",
        edgecolor=[drawing.ink(float(shade)) for shade in shades],
        linewidth=1.0,
        zorder=4,
    )


def _enclose_transitions(axes: Axes, transition: npt.NDArray[np.bool_]) -> None:
    """Draw the edges of the spans that hold each transition: a wall and a stair."""
    for place in np.flatnonzero(transition):
        wall = np.array([[place + 0.5, 0.5], [place + 0.5, transition.size - place + 0.5]])
        first = np.arange(place, -1, -1)
        stair = np.empty((2 * first.size, 2))
        stair[0::2, 0], stair[1::2, 0] = first + 0.5, first - 0.5
        stair[:, 1] = np.repeat(place - first + 0.5, 2)
        for edge in (wall, stair):
            # black dots on a white line are seen on light and on dark cells
            axes.plot(edge[:, 0], edge[:, 1], color="white", linewidth=1.4)
            axes.plot(edge[:, 0], edge[:, 1], color="black", linestyle=":", linewidth=1.4)


def _colour_bar(figure: Figure, axes: Axes, cells: object, norm: PowerNorm) -> None:
    bar = figure.colorbar(cells, ax=axes, shrink=0.85, pad=0.02)  # type: ignore[arg-type]
    bar.set_label(f"{drawing.INCREASE_LABEL};\nsquare-root scale, 0 and below alike")
    top = float(norm.vmax or 1.0)
    ticks = [tick for tick in TICKS if tick <= top]
    ticks = ticks if len(ticks) > 2 else [0.0, top / 4, top]
    bar.ax.yaxis.set_major_locator(FixedLocator(ticks))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:.3g}"))


def _legend(figure: Figure, found: Effect) -> None:
    handles = []
    if found.choices:
        handles.append(
            Line2D(
                [],
                [],
                linestyle="none",
                marker="o",
                markerfacecolor="none",
                color="black",
                label=f"{found.choices[0].name}, chosen on {found.choosing_images:,} images",
            )
        )
    if found.layout.transition.any():
        handles.append(
            Line2D(
                [],
                [],
                color="black",
                linestyle=":",
                marker=style.TRANSITION_MARKER,
                markerfacecolor="white",
                label="transition, and the spans that hold it",
            )
        )
    if handles:
        columns = 2 if figure.get_size_inches()[0] > 8 else 1
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
