"""Names for the numbers that are there only where they were measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from resprobe_analyses.labelling import Variables, number, strings
from resprobe_analyses.stability.eigenvalues import eigenvalue_errors
from resprobe_analyses.stability.families import BRANCH, SYMBOLS
from resprobe_analyses.stability.records import Network
from resprobe_analyses.stability.runs import growth_bounds, measured_runs
from resprobe_analyses.stability.spread import SPREAD_TEXT, spread_of

Floats = npt.NDArray[np.float64]


def padded(
    rows: Sequence[npt.ArrayLike | None], positions: int, rest: tuple[int, ...] = ()
) -> Floats:
    """Stack arrays of shape (block, *rest), with NaN past the last block and for None."""
    found = np.full((len(rows), positions, *rest), np.nan)
    for row, values in zip(found, rows, strict=True):
        if values is not None:
            array = np.asarray(values, dtype=np.float64)
            row[: array.shape[0]] = array
    return found


def eigenvalue_variables(nets: Sequence[Network], positions: int) -> Variables:
    """Name the eigenvalues of the branches, with the radii of their discs."""
    measured = [net.spectrum for net in nets if net.spectrum is not None]
    if not measured:
        return {}
    images = measured[0].eigenvalues.shape[0]
    count = max(len(spectrum.which) for spectrum in measured)
    dims = ("network", "position", "spectrum_image", "eigenvalue")
    missing = np.full((len(nets), positions, images, count), np.nan)
    tables = {what: missing.copy() for what in ("real", "imag", "error", "converged")}
    for row, net in enumerate(nets):
        one = net.spectrum
        if one is None:
            continue
        arrays = {
            "real": one.eigenvalues.real,
            "imag": one.eigenvalues.imag,
            "error": eigenvalue_errors(one),
            "converged": one.converged,
        }
        for what, array in arrays.items():
            by_block = np.moveaxis(array[:, :, BRANCH], 0, 1)
            tables[what][row, : by_block.shape[0], :, : by_block.shape[2]] = by_block
    which = next(one.which for one in measured if len(one.which) == count)
    return {
        "eigenvalue_real": number(dims, tables["real"], "real part of the branch's eigenvalue"),
        "eigenvalue_imag": number(dims, tables["imag"], "imaginary part of it"),
        "eigenvalue_error": number(
            dims,
            tables["error"],
            "residual times norm times condition number, without it where unknown",
        ),
        "eigenvalue_converged": number(dims, tables["converged"], "whether it converged"),
        "which": (("eigenvalue",), strings(which), {"long_name": "what the solver looked for"}),
    }


def exponent_variables(nets: Sequence[Network], positions: int) -> Variables:
    """Name the Lyapunov exponents and the growth of a random perturbation beside them."""
    measured = [net.lyapunov for net in nets if net.lyapunov is not None]
    if not measured:
        return {}
    count = max(one.exponents.shape[2] for one in measured)
    exponents: list[Floats | None] = []
    bounds: list[Floats | None] = []
    growth: list[Floats | None] = []
    for net in nets:
        if net.lyapunov is None:
            for rows in (exponents, bounds, growth):
                rows.append(None)
            continue
        found = spread_of([net.lyapunov.exponents])
        fill = [(0, 0), (0, count - found.middle.shape[1])]
        exponents.append(np.pad(found.middle, fill, constant_values=np.nan))
        bounds.append(np.stack([found.low[:, 0], found.high[:, 0]], axis=-1))
        growth.append(spread_of([net.lyapunov.growth]).middle)
    meaning = "from the beginning of its run through the block, per block, median over images"
    dims = ("network", "position")
    return {
        "lyapunov_exponents": number(
            (*dims, "exponent"),
            padded(exponents, positions, (count,)),
            f"finite-time Lyapunov exponent {meaning}",
        ),
        "leading_exponent_spread": number(
            (*dims, "bound"),
            padded(bounds, positions, (2,)),
            f"leading exponent, bounds of the middle {SPREAD_TEXT} of images",
        ),
        "growth_bound": number(
            dims,
            padded([_bounds(net) for net in nets], positions),
            f"most logarithmic growth of any perturbation {meaning}: mean of ln(sigma_max)",
        ),
        "perturbation_growth": number(
            dims,
            padded(growth, positions),
            f"logarithmic growth of a random perturbation {meaning}",
        ),
    }


def _bounds(net: Network) -> Floats | None:
    """Give the bound of growth by block, shape (block,); NaN outside runs."""
    if net.lyapunov is None:
        return None
    found = np.full(len(net.names), np.nan)
    for run in measured_runs(net):
        found[run.blocks] = spread_of([growth_bounds(net, run)]).middle
    return found


def training_variables(nets: Sequence[Network], positions: int) -> tuple[Variables, list[int]]:
    """Name what was recorded while training, and give the steps of all networks."""
    steps = sorted({int(s) for net in nets if net.training for s in net.training.steps})
    if not steps:
        return {}, []
    found: Variables = {}
    for name in SYMBOLS:
        table = np.full((len(nets), len(steps), positions, 2), np.nan)
        for row, net in zip(table, nets, strict=True):
            if net.training is None:
                continue
            place = np.searchsorted(steps, net.training.steps)
            row[place, : len(net.names)] = net.training.medians[name]
        found[f"training_{name}"] = number(
            ("network", "step", "position", "part"),
            table,
            f"{name} over training, median over the fixed samples",
        )
    return found, steps
