"""Leading eigenvalues of the Jacobians of every block and its branch, with their certificates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe.quantities.block_functions import PARTS, BlockFunctions, as_tensors, by_block, map_of
from resprobe.quantities.jacobian import of_parts
from resprobe.store.schema import Coordinate

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from resprobe.blocks.passes import Pass
    from resprobe.blocks.path import Path
    from resprobe.quantities.quantity import Quantity
    from resprobe.store.schema import Group

# How many eigenvalues of each kind.
LEADING = 6
WHICH = ("largest_magnitude", "rightmost")
_EQ_5 = "Chang et al. 2018 (Reversible architectures), Eq. 5: max Re λ ≤ 0"


def _of_spectrum(
    name: str,
    formula: str,
    meaning: str,
    *,
    dtype: str = "float64",
    dims: tuple[str, ...] = (),
    source: str = "definition; BatchNorm on its running statistics",
) -> Quantity:
    return of_parts(
        name,
        formula,
        meaning,
        family="spectrum",
        dtype=dtype,
        dims=dims,
        source=source,
        measured_by="resprobe.quantities.spectrum:Spectrum",
        standard=False,
    )


_EIGENVALUE = ("eigenvalue",)
EIGENVALUES = _of_spectrum(
    "jacobian_eigenvalues",
    f"the {LEADING} eigenvalues λ of J of largest |λ|, then the {LEADING} of largest Re λ",
    "Leading eigenvalues of the Jacobian; NaN where it is not square or has fewer.",
    dtype="complex128",
    dims=_EIGENVALUE,
)
EIGENVALUE_RESIDUAL = _of_spectrum(
    "jacobian_eigenvalue_residual",
    "‖J v - λ v‖/σ_max(J), ‖v‖ = 1",
    "Relative residual of an eigenvalue.",
    dims=_EIGENVALUE,
)
EIGENVALUE_CONDITION = _of_spectrum(
    "jacobian_eigenvalue_condition",
    "1/|wᴴv|, ‖w‖ = ‖v‖ = 1, wᴴJ = λ wᴴ",
    "Condition number of an eigenvalue; NaN where no left vector was computed.",
    dims=_EIGENVALUE,
)
EIGENVALUE_CONVERGED = _of_spectrum(
    "jacobian_eigenvalue_converged",
    "1 if the residual is ≤ 1e-5 (≤ 1e-10 in float64) else 0",
    "Whether an eigenvalue converged.",
    dtype="int8",
    dims=_EIGENVALUE,
)
SPECTRAL_ABSCISSA = _of_spectrum(
    "jacobian_spectral_abscissa",
    "max Re λ(J)",
    "Largest real part of an eigenvalue of the Jacobian; NaN where it is not square.",
    source=_EQ_5,
)
SPECTRAL_ABSCISSA_CONVERGED = _of_spectrum(
    "jacobian_spectral_abscissa_converged",
    "1 if its eigenvalue converged else 0",
    "Whether the spectral abscissa is that of a converged eigenvalue; beyond 200 rows no proof "
    "that none lies further right, which only the logarithmic norm bounds.",
    dtype="int8",
)
SPECTRAL_RADIUS = _of_spectrum(
    "jacobian_spectral_radius",
    "max |λ(J)|",
    "Largest magnitude of an eigenvalue of the Jacobian; NaN where it is not square.",
)
SPECTRAL_RADIUS_CONVERGED = _of_spectrum(
    "jacobian_spectral_radius_converged",
    "1 if its eigenvalue converged else 0",
    "Whether the spectral radius is that of a converged eigenvalue; beyond 200 rows no proof that "
    "none is larger, which only the spectral norm bounds.",
    dtype="int8",
)


def extremes_of(path: Path, *, left: bool = True) -> dict[str, NDArray[Any]]:
    """Give every quantity of the family for one function.

    Args:
        path: of a branch, a block or a span, with its samples.
        left: whether left vectors, and so condition numbers, are computed: that doubles the cost.

    Returns:
        Quantity name to `(sample, …)`: complex128, float64 or int8.
    """
    if path.input_shape != path.output_shape:
        return _nothing(path.samples)
    from resprobe.linalg.lanczos import spectral_norms
    from resprobe.linalg.spectra import leading_eigenvalues, spectral_abscissas, spectral_radii

    linear, _ = map_of(path)
    norms = spectral_norms(linear).values
    largest, rightmost = (
        leading_eigenvalues(linear, LEADING, which, left=left, norms=norms) for which in WHICH
    )
    found = (largest, rightmost)
    converged = np.concatenate([one.converged for one in found], axis=1)
    return {
        "jacobian_eigenvalues": np.concatenate([one.values for one in found], axis=1),
        "jacobian_eigenvalue_residual": np.concatenate([one.residuals for one in found], axis=1),
        "jacobian_eigenvalue_condition": np.concatenate([one.conditions for one in found], axis=1),
        "jacobian_eigenvalue_converged": converged.astype(np.int8),
        **_extreme("jacobian_spectral_radius", *spectral_radii(largest)),
        **_extreme("jacobian_spectral_abscissa", *spectral_abscissas(rightmost)),
    }


def _extreme(
    name: str, values: NDArray[np.float64], converged: NDArray[np.bool_]
) -> dict[str, NDArray[Any]]:
    return {name: values, f"{name}_converged": converged.astype(np.int8)}


def _nothing(samples: int) -> dict[str, NDArray[Any]]:
    """Give NaN for a Jacobian that is not square."""
    real = np.full((samples, len(WHICH) * LEADING), np.nan)
    flags = np.zeros(real.shape, np.int8)
    return {
        "jacobian_eigenvalues": real.astype(np.complex128),
        "jacobian_eigenvalue_residual": real,
        "jacobian_eigenvalue_condition": real,
        "jacobian_eigenvalue_converged": flags,
        **_extreme("jacobian_spectral_radius", real[:, 0], flags[:, 0] == 1),
        **_extreme("jacobian_spectral_abscissa", real[:, 0], flags[:, 0] == 1),
    }


class Spectrum(BlockFunctions):
    """Measures the family `spectrum`."""

    family = "spectrum"
    samples_at_once = 1  # each takes long, and they are solved one by one

    def group(self) -> Group:
        """Give the layout of `/spectrum`."""
        group = super().group()
        which = Coordinate(
            "which",
            _EIGENVALUE,
            [name for name in WHICH for _ in range(LEADING)],
            {"long_name": "by what the eigenvalue is among the leading ones"},
        )
        return replace(group, coordinates=(*group.coordinates, which))

    def rows(self, whole: Pass, labels: Tensor) -> dict[str, Tensor]:
        """Give the leading eigenvalues of a batch, `(sample, block, part, eigenvalue)`."""
        del labels

        def each() -> Iterator[dict[str, NDArray[Any]]]:
            for block in self.blocks:
                for part in PARTS:
                    yield extremes_of(whole.path(block, part=part))

        return as_tensors(by_block(self.blocks, each()))
