"""The figure of ZH-F1: solutions by Euler's method, and their error against the step size."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resprobe_analyses import style
from resprobe_analyses.studies.evidence import Floats


def labelled(steps: Floats, errors: Floats, solutions: Mapping[float, Floats]) -> xr.Dataset:
    """Give what the figure shows as a dataset.

    Args:
        steps: step sizes whose errors were taken, shape (h,).
        errors: their errors, shape (h,).
        solutions: step size to x_0, x_1, …

    Returns:
        `error` on `h`, and `x` on `shown_h` and `place`, the number of a step; NaN behind a
        solution's end.
    """
    longest = max(values.size for values in solutions.values())
    x = np.full((len(solutions), longest), np.nan)
    for row, values in zip(x, solutions.values(), strict=True):
        row[: values.size] = values
    meaning = {"units": "1", "long_name": "error of Euler's method at t = 1"}
    return xr.Dataset(
        {
            "error": ("h", errors, meaning),
            "x": (
                ("shown_h", "place"),
                x,
                {"units": "1", "long_name": "solution by Euler's method"},
            ),
        },
        coords={"h": steps, "shown_h": list(solutions), "place": np.arange(longest)},
    )


def euler_figure(data: xr.Dataset, rate: float, limit: float) -> Figure:
    """Draw the solutions over time beside the error against the step size.

    Args:
        data: as `labelled` gives it.
        rate: of the decay.
        limit: the step size above which solutions diverge.
    """
    with style.figure_style():
        figure = Figure(figsize=(9.5, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        _solutions(left, data, rate)
        _errors(right, data, limit)
        figure.suptitle(rf"Euler's method on $\dot x = -{rate:g}\,x$, $x(0) = 1$")
    return figure


def _solutions(axes: Axes, data: xr.Dataset, rate: float) -> None:
    t = np.linspace(0, 4, 400)
    axes.plot(t, np.exp(-rate * t), color="0.2", linewidth=2.6, alpha=0.35, label="exact")
    for number, h in enumerate(data["shown_h"].values):
        look = style.look(number)
        x = data["x"].sel(shown_h=h).dropna("place").values
        axes.plot(
            h * np.arange(x.size),
            x,
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            markersize=4,
            linewidth=1.1,
            label=f"h = {h:g}",
        )
    axes.set(xlabel="t", ylabel="x", title="solutions")
    axes.legend(frameon=True, framealpha=0.9, ncols=2)


def _errors(axes: Axes, data: xr.Dataset, limit: float) -> None:
    h, error = data["h"].values, data["error"].values
    look = style.look(0)
    axes.plot(h, error, color=look.colour, marker=look.marker, markersize=4.5, label="error")
    # the guide goes through the finest step, where the order shows
    guide = error[-1] * h / h[-1]
    axes.plot(h, guide, color="0.5", linestyle="--", linewidth=1, label="slope 1")
    axes.axvline(limit, color=style.COLOURS[1], linestyle=":", linewidth=1.6)
    axes.text(
        limit * 0.9,
        error[-1],
        f"diverges for\nh > {limit:.4g}",
        ha="right",
        va="bottom",
        color=style.COLOURS[1],
    )
    axes.set(xscale="log", yscale="log", xlabel="step size h", ylabel="|error| at t = 1")
    axes.set_title("error")
    axes.legend(loc="upper left", frameon=False)
