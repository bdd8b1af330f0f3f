"""Differences by block or layer: a panel for each quantity, a series for each contrast."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from resprobe_analyses import style, wording
from resprobe_analyses.block_axis import axis_label, label_blocks, name_ticks
from resprobe_analyses.difference.compared import Difference, Items

MOST_SERIES = 3  # contrasts of one architecture that are drawn
MOST_COLUMNS = 3  # architectures that are drawn
OUTSTANDING = 30.0  # times the median: a change beside which the others would lie on the axis


def differences_figures(differences: Sequence[Difference]) -> dict[str, Figure]:
    """Draw differences item by item.

    Args:
        differences: any number.

    Returns:
        Nothing without differences, else the figure `difference`: a row of panels for each quantity
        and a column for each architecture, with intervals, a line at no change, lines between
        stages and diamonds at transitions. Filled marks are items that differ after Holm at 5 %.
        At most three contrasts of three architectures are drawn; the title says of how many.
    """
    if not differences:
        return {}
    quantities = list(dict.fromkeys(one.quantity for one in differences))
    columns = _by_items(differences)
    drawn = columns[:MOST_COLUMNS]
    most = max(len(one.items.names) for column in drawn for one in column)
    width = float(np.clip(4.5 + 0.16 * most, 7, 12)) if len(drawn) == 1 else 1.5 + 4.2 * len(drawn)
    labels = [one.label for column in drawn for one in column]
    looks = {label: style.look(number) for number, label in enumerate(dict.fromkeys(labels))}
    with style.figure_style():
        figure = Figure(figsize=(width, 1.9 + 2.6 * len(quantities)), layout="constrained")
        grid = figure.subplots(len(quantities), len(drawn), squeeze=False)
        for place, column in enumerate(drawn):
            for row, quantity in enumerate(quantities):
                chosen = [one for one in column if one.quantity == quantity]
                axes = grid[row, place]
                if not chosen:
                    axes.set_axis_off()
                    continue
                _panel(axes, chosen, looks)
                _label_items(axes, chosen[0].items, row, (width - 1.2) / len(drawn))
                if row < len(quantities) - 1 and all(q.dim == quantity.dim for q in quantities):
                    axes.tick_params(labelbottom=False)
                else:
                    named = chosen[0].items.layers_named
                    count = 0 if named else len(chosen[0].items.names)
                    axes.set_xlabel(axis_label(count, quantity.item))
                scale = ["asinh scale"] if axes.get_yscale() == "asinh" else []
                told = [_meaning(chosen[0])] if place == 0 else []
                axes.set_ylabel(_wrapped(", ".join([*told, *scale])))
        _legend(figure, [one for column in drawn for one in column], looks)
        figure.suptitle(_title(differences, len(looks), width))
    return {"difference": figure}


def _by_items(differences: Sequence[Difference]) -> list[list[Difference]]:
    """Part differences by architecture, each with its first contrasts."""
    columns: list[list[Difference]] = []
    for one in differences:
        same = next((c for c in columns if _together(c, one)), None)
        if same is None:
            columns.append([one])
            continue
        labels = dict.fromkeys(other.label for other in same)
        if one.label in labels or len(labels) < MOST_SERIES:
            same.append(one)
    return columns


def _together(column: Sequence[Difference], one: Difference) -> bool:
    """Tell whether a difference belongs to a column: by its items, or by its contrast."""
    alike = [other for other in column if other.quantity.dim == one.quantity.dim]
    if alike:
        return alike[0].items.same_as(one.items)
    return any(other.label == one.label for other in column)


def _label_items(axes: Axes, items: Items, row: int, width: float) -> None:
    names = items.names
    if items.layers_named:
        axes.set_xlim(-0.6, len(names) - 0.4)
        name_ticks(axes, range(len(names)), names)
        axes.tick_params(axis="x", labelsize=6.5)
        return
    stage = np.zeros(len(names), np.int64) if items.stage is None else items.stage
    label_blocks(axes, names, stage, named=row == 0 and items.stage is not None, width=width)


def _panel(axes: Axes, chosen: Sequence[Difference], looks: dict[str, style.Look]) -> None:
    axes.axhline(chosen[0].nothing, color="0.3", linewidth=0.9, zorder=1)
    shifts = np.linspace(-0.17, 0.17, len(chosen)) if len(chosen) > 1 else np.zeros(1)
    for one, shift in zip(chosen, shifts, strict=True):
        _series(axes, one, looks[one.label], float(shift))
    _scale(axes, chosen)


def _series(axes: Axes, one: Difference, look: style.Look, shift: float) -> None:
    place = np.arange(len(one.items.names)) + shift
    # each stage has its own line: what joins stages, or layers of several kinds, is no trend
    for part in () if one.items.stage is None else np.unique(one.items.stage):
        inside = one.items.stage == part
        axes.plot(
            place[inside],
            one.change.value[inside],
            color=look.colour,
            linestyle=look.line,
            linewidth=0.8,
        )
    axes.vlines(place, one.change.low, one.change.high, color=look.colour, linewidth=1.1)
    changed = np.isin(np.arange(len(one.items.names)), one.changed)
    for within, marker, size in (
        (one.items.within, look.marker, 22),
        (~one.items.within, style.TRANSITION_MARKER, 34),
    ):
        for hit, face in ((changed, look.colour), (~changed, "white")):
            axes.scatter(
                place[within & hit],
                one.change.value[within & hit],
                marker=marker,
                s=size,
                facecolor=face,
                edgecolor=look.colour,
                linewidth=1.2,
                zorder=3,
            )


def _scale(axes: Axes, chosen: Sequence[Difference]) -> None:
    values = np.concatenate([one.change.value for one in chosen])
    values = values[np.isfinite(values)]
    if chosen[0].quantity.ratio:
        if style.spans_decades(values, 4.0):
            axes.set_yscale("log")
            style.write_decades(axes.yaxis)
        return
    sizes = np.abs(values[values != 0])
    if sizes.size and sizes.max() > OUTSTANDING * np.median(sizes):
        # an inverse hyperbolic sine keeps the sign and shows 0.001 beside 1
        typical = float(np.median(sizes))
        axes.set_yscale("asinh", linear_width=typical)
        powers = np.arange(np.ceil(np.log10(typical / 2)), np.ceil(np.log10(sizes.max())) + 1)
        decades = 10.0**powers
        axes.yaxis.set_major_locator(FixedLocator([*-decades, 0.0, *decades]))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}".replace("-", "−")))


def _meaning(one: Difference) -> str:
    quantity = one.quantity
    symbol = quantity.symbol or quantity.label
    units = "" if quantity.ratio or quantity.units == "1" else f" ({quantity.units})"
    return f"{symbol}, first / second" if quantity.ratio else f"difference of {symbol}{units}"


def _wrapped(told: str) -> str:
    # a line must not break within mathematical text
    whole = re.sub(r"\$[^$]*\$", lambda found: found[0].replace(" ", "\0"), told)
    return textwrap.fill(whole, 34).replace("\0", " ")


def _legend(figure: Figure, drawn: Sequence[Difference], looks: dict[str, style.Look]) -> None:
    told = {one.label: _named(one, drawn) for one in drawn}
    handles = [
        Line2D(
            [],
            [],
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            markersize=5,
            label=told[label],
        )
        for label, look in looks.items()
    ]
    tested = any(np.isfinite(one.p_holm).any() for one in drawn)
    outcomes = (("0.3", "differs (Holm, 5 %)"), ("white", "no difference seen"))
    for face, label in outcomes if tested else ():
        handles.append(
            Line2D(
                [],
                [],
                color="0.3",
                linestyle="none",
                marker="o",
                markersize=5,
                markerfacecolor=face,
                label=label,
            )
        )
    if any((~one.items.within).any() for one in drawn):
        handles.append(style.hollow_mark("transition (shape changes)"))
    over = dict.fromkeys(one.change.over for one in drawn if np.isfinite(one.change.low).any())
    bars = f"bars: 95 % intervals over {' / '.join(over)}, paired" if over else "no intervals"
    style.legend_below(figure, handles, bars)


def _named(one: Difference, drawn: Sequence[Difference]) -> str:
    """Name a contrast by what its panels show: a difference, a ratio, or both."""
    kinds = {other.quantity.ratio for other in drawn}
    sign = "against" if len(kinds) > 1 else "/" if True in kinds else "−"
    return f"{one.first} {sign} {one.second}"


def _title(differences: Sequence[Difference], drawn: int, width: float) -> str:
    first = differences[0]
    labels = dict.fromkeys(one.label for one in differences)
    items = " and ".join(dict.fromkeys(one.quantity.item for one in differences))
    told = f"Difference by {items}"
    if len(labels) == 1:
        told += f": {_named(first, differences)}"
    elif drawn < len(labels):
        told += f" ({drawn} of {len(labels)} comparisons; the others are in dataset.nc)"
    counts = dict.fromkeys(one.images for one in differences if one.images)
    if len(counts) == 1:
        told += f"; {wording.counted_images(next(iter(counts)))}"
    return textwrap.fill(told, int(width * 11))
