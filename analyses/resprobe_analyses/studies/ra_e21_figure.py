"""The figure of RA-E21: the largest root of Eq. 21 over the plane of its coefficients."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from resprobe_analyses import style
from resprobe_analyses.studies.evidence import Floats


def labelled(axis: Floats, modulus: Floats) -> xr.Dataset:
    """Give the largest |ξ| as a dataset.

    Args:
        axis: values of alpha, and of beta, shape (n,).
        modulus: shape (n, n), alpha first.
    """
    meaning = {"units": "1", "long_name": "largest modulus of the roots of Eq. 21"}
    return xr.Dataset(
        {"modulus": (("alpha", "beta"), modulus, meaning)}, coords={"alpha": axis, "beta": axis}
    )


def modulus_figure(data: xr.Dataset) -> Figure:
    """Draw the largest |ξ| over alpha and beta, and the borders of the range of modulus 1.

    Args:
        data: as `labelled` gives it.
    """
    alpha, beta = data["alpha"].values, data["beta"].values
    with style.figure_style():
        figure = Figure(figsize=(6.6, 5.2), layout="constrained")
        axes = figure.subplots()
        mesh = axes.pcolormesh(
            alpha,
            beta,
            np.log10(data["modulus"].values.T),
            cmap="Greys",
            shading="nearest",
            rasterized=True,
        )
        bar = figure.colorbar(mesh, ax=axes)
        bar.set_label(r"growth per block, $\log_{10}\max|\xi|$")
        for sign in (-1, 1):
            side = np.linspace(4 / np.abs(beta).max(), np.abs(alpha).max(), 200)
            label = r"$\alpha\beta = -4$" if sign > 0 else None
            axes.plot(
                sign * side, -4 / (sign * side), color=style.COLOURS[1], linewidth=1.6, label=label
            )
        for number, draw in enumerate((axes.axhline, axes.axvline)):
            label = r"$\alpha\beta = 0$" if number == 0 else None
            draw(0, color=style.COLOURS[0], linestyle="--", linewidth=1.4, label=label)
        for x, y in ((1, -1), (-1, 1)):
            axes.text(x, y, r"$|\xi| = 1$", ha="center", va="center")
        axes.set(xlabel=r"$\alpha$", ylabel=r"$\beta$")
        axes.set_title(r"Linear RevNet: roots of $\xi^2 - (2 + \alpha\beta)\,\xi + 1 = 0$")
        axes.grid(visible=False)
        axes.legend(loc="upper right", framealpha=0.9)
    return figure
