"""The figure of YT-T3: how far each reading of Table 3 lies from each printed cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resprobe_analyses import style
from resprobe_analyses.studies.yt_t3_cells import COLUMNS, COUNTED, WORDS, Cell, Reading

_VALUES = {
    "printed": "number of Table 3",
    "expected": "expected number under the reading",
    "deviation": "standard deviation of one draw of it",
    "drawn": "number of one drawn network",
    "low": "least expected number that meets the cell",
    "high": "greatest one",
}


def labelled(tables: Mapping[Reading, Sequence[Cell]]) -> xr.Dataset:
    """Give all cells as a dataset.

    Args:
        tables: reading to its column.

    Returns:
        The values of a cell, on `column`, `fan`, `counted` and `statistic`.
    """
    axes: dict[str, list[str]] = {
        "column": list(COLUMNS),
        "fan": ["in", "out"],
        "counted": list(COUNTED),
        "statistic": list(WORDS),
    }
    shape = tuple(len(names) for names in axes.values())
    values = {name: np.full(shape, np.nan) for name in _VALUES}
    for reading, column in tables.items():
        place = (
            axes["column"].index(reading.scheme),
            axes["fan"].index(reading.fan),
            axes["counted"].index(reading.counted),
        )
        for cell in column:
            found = {
                "printed": float(cell.printed),
                "expected": cell.expected.value,
                "deviation": cell.expected.deviation,
                "drawn": cell.drawn,
                "low": cell.interval[0],
                "high": cell.interval[1],
            }
            for name, number in found.items():
                values[name][(*place, axes["statistic"].index(cell.statistic))] = number
    return xr.Dataset(
        {
            name: (tuple(axes), table, {"units": "1", "long_name": _VALUES[name]})
            for name, table in values.items()
        },
        coords=axes,
    )


def table_figure(data: xr.Dataset) -> Figure:
    """Draw the distance of every expected number from the printed one, in units of what is granted.

    Args:
        data: as `labelled` gives it.
    """
    with style.figure_style():
        figure = Figure(figsize=(9.5, 4.6), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for axes, column in zip(panels, COLUMNS, strict=True):
            _column(axes, data.sel(column=column))
            axes.set_title(
                {"kwi": "plain network by KWI", "hmwi": "residual network by HMWI"}[column]
            )
        names = [WORDS[name] for name in WORDS]
        panels[0].set_yticks(range(len(names)), names)
        panels[0].set_ylim(len(names) - 0.5, -0.5)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
        figure.suptitle("Table 3 before training: expected minus printed")
    return figure


def _column(axes: Axes, data: xr.Dataset) -> None:
    granted = (data["high"] - data["low"]) / 2
    centre = (data["high"] + data["low"]) / 2
    off = ((data["expected"] - centre) / granted).transpose("fan", "counted", "statistic")
    rows = np.arange(data.sizes["statistic"])
    axes.axvspan(-1, 1, color="0.88", zorder=0, label="rounding in print and two deviations")
    number = 0
    for fan, side in (("in", "input"), ("out", "output")):
        for counted, words in COUNTED.items():
            look = style.look(number)
            axes.plot(
                off.sel(fan=fan, counted=counted).values,
                rows + (number - 2.5) * 0.12,
                color=look.colour,
                marker=look.marker,
                linestyle="none",
                markersize=5,
                label=f"S from the {side} channels, {words}",
            )
            number += 1
    axes.set_xlabel("expected - printed, over what is granted")
