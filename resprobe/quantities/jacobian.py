"""Norms of the Jacobians of every block and its branch, sample by sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe.quantities.block_functions import (
    PARTS,
    BlockFunctions,
    as_tensors,
    by_block,
    generators,
    map_of,
)
from resprobe.quantities.quantity import Quantity

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from resprobe.blocks.passes import Pass
    from resprobe.blocks.path import Path
    from resprobe.linalg.linear_map import LinearMap
    from resprobe.store.schema import Group

# How ‖J‖_F was found, as it is stored.
METHODS = ("linear", "stencil", "vmap", "dense", "estimate")
# Predicted seconds of one core, for one sample, up to which every entry is computed.
_AFFORDABLE = 1.0
_SOURCE = "definition; BatchNorm on its running statistics"


def of_parts(
    name: str,
    formula: str,
    meaning: str,
    *,
    family: str = "jacobian",
    dtype: str = "float64",
    dims: tuple[str, ...] = (),
    source: str = _SOURCE,
    measured_by: str = "resprobe.quantities.jacobian:JacobianNorms",
    standard: bool = True,
    estimate: bool = False,
) -> Quantity:
    """Give the declaration of a quantity of every sample, block and part."""
    return Quantity(
        name=name,
        family=family,
        dims=("sample", "block", "part", *dims),
        units="1",
        dtype=dtype,
        formula=formula,
        source=source,
        meaning=meaning,
        cost="jacobian",
        estimate=estimate,
        measured_by=measured_by,
        standard=standard,
    )


FROBENIUS_NORM = of_parts(
    "jacobian_frobenius_norm",
    "‖J‖_F",
    "Frobenius norm of the Jacobian of the branch or the block.",
)
FROBENIUS_NORM_STDERR = of_parts(
    "jacobian_frobenius_norm_stderr",
    "standard error of ‖J‖_F (Hutchinson, Rademacher probes); 0 where it is exact",
    "Standard error of the Frobenius norm, 0 where every entry was computed.",
)
SPECTRAL_NORM = of_parts(
    "jacobian_spectral_norm",
    "σ_max(J)",
    "Largest singular value of the Jacobian.",
)
SPECTRAL_NORM_RESIDUAL = of_parts(
    "jacobian_spectral_norm_residual",
    "‖JᵀJ v - σ²v‖/σ², ‖v‖ = 1",
    "Relative residual of the largest singular value.",
)
SPECTRAL_NORM_CONVERGED = of_parts(
    "jacobian_spectral_norm_converged",
    "1 if the residual is ≤ 1e-5 (≤ 1e-10 in float64) else 0",
    "Whether the largest singular value converged.",
    dtype="int8",
)
LOG_NORM = of_parts(
    "jacobian_log_norm",
    "λ_max((J + Jᵀ)/2)",
    "Logarithmic norm of the Jacobian; NaN where it is not square.",
    source="Dahlquist 1958; Söderlind 2006 (The logarithmic norm)",
)
LOG_NORM_RESIDUAL = of_parts(
    "jacobian_log_norm_residual",
    "‖(J + Jᵀ)/2 v - μ v‖/σ_max(J), ‖v‖ = 1",
    "Residual of the logarithmic norm, relative to the spectral norm.",
)
LOG_NORM_CONVERGED = of_parts(
    "jacobian_log_norm_converged",
    "1 if the residual is ≤ 1e-5 (≤ 1e-10 in float64) else 0",
    "Whether the logarithmic norm converged.",
    dtype="int8",
)
RELATIVE_ERROR = of_parts(
    "jacobian_relative_error",
    "‖J v - jvp(v)‖/‖jvp(v)‖, v random",
    "Difference of the Jacobian from a derivative by autodiff, the larger of two checks.",
)
METHOD = of_parts(
    "jacobian_method",
    " ".join(f"{number} {name}" for number, name in enumerate(METHODS)),
    "How the Frobenius norm was computed.",
    dtype="int8",
)


def norms_of(path: Path, first_sample: int) -> dict[str, NDArray[Any]]:
    """Give every quantity of the family for one function.

    Args:
        path: of a branch, a block or a span, with its samples.
        first_sample: its number in the collection; seeds the signs where ‖J‖_F is estimated.

    Returns:
        Quantity name to `(sample,)`, float64 or int8.
    """
    from resprobe.linalg.lanczos import log_norms, spectral_norms

    linear, errors = map_of(path)
    found: dict[str, Any] = _frobenius(path, linear, errors, first_sample)
    largest = spectral_norms(linear)
    found |= _named("jacobian_spectral_norm", largest.values, largest.residuals, largest.converged)
    missing = np.full(path.samples, np.nan)
    values, residuals, converged = missing, missing, np.zeros(path.samples, bool)
    if path.input_shape == path.output_shape:
        extremes = log_norms(linear, largest.values)
        values, residuals = extremes.values, extremes.residuals
        converged = extremes.converged
    return found | _named("jacobian_log_norm", values, residuals, converged)


def _frobenius(
    path: Path, linear: LinearMap, errors: Tensor, first_sample: int
) -> dict[str, NDArray[Any]]:
    """Give ‖J‖_F: exactly where that is predicted to be affordable, else estimated."""
    import torch

    from resprobe.linalg import frobenius, jacobians
    from resprobe.linalg.linearise import Linearised
    from resprobe.linalg.ways import ways

    point = path.point()
    structured = isinstance(linear, Linearised)  # or what it takes is not known
    if structured and ways(linear).open[0].seconds <= _AFFORDABLE:
        exact = jacobians.frobenius_norms(linear, path, point)
        values, method = exact.norms, exact.method
        stderr, errors = torch.zeros_like(values), exact.relative_errors.maximum(errors)
    else:
        drawn = generators(first_sample, path.samples)
        estimate = frobenius.frobenius_norms(linear, generator=drawn)
        values, stderr, method = estimate.values, estimate.stderr, "estimate"
    return {
        "jacobian_frobenius_norm": values.cpu().numpy(),
        "jacobian_frobenius_norm_stderr": stderr.cpu().numpy(),
        "jacobian_relative_error": errors.cpu().numpy(),
        "jacobian_method": np.full(path.samples, METHODS.index(method), np.int8),
    }


def _named(
    name: str, values: NDArray[Any], residuals: NDArray[Any], converged: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    return {
        name: values,
        f"{name}_residual": residuals,
        f"{name}_converged": converged.astype(np.int8),
    }


class JacobianNorms(BlockFunctions):
    """Measures the family `jacobian`."""

    family = "jacobian"
    products = 250  # Lanczos takes 30 to 60 steps of two products, twice

    def group(self) -> Group:
        """Give the layout of `/jacobian`."""
        group = super().group()
        flags = {
            "flag_values": np.arange(len(METHODS), dtype=np.int8),
            "flag_meanings": " ".join(METHODS),
        }
        variables = tuple(
            replace(variable, attributes={**variable.attributes, **flags})
            if variable.name == METHOD.name
            else variable
            for variable in group.variables
        )
        return replace(group, variables=variables)

    def rows(self, whole: Pass, labels: Tensor) -> dict[str, Tensor]:
        """Give the norms of a batch, `(sample, block, part)`."""
        del labels

        def each() -> Iterator[dict[str, NDArray[Any]]]:
            for block in self.blocks:
                for part in PARTS:
                    yield norms_of(whole.path(block, part=part), self.measured)

        return as_tensors(by_block(self.blocks, each()))
