"""A certificate that a Jacobian is of Hamiltonian type, and so its spectrum imaginary.

The right-hand side Ẏ = K₁ᵀσ(K₁Z + b₁), Ż = -K₂ᵀσ(K₂Y + b₂) with σ' ≥ 0 has, in the order (Y, Z),

    J = [[0, A], [-B, 0]] = Ω diag(B, A),   Ω = [[0, I], [-I, 0]],
    A = K₁ᵀD₁K₁ ⪰ 0,   B = K₂ᵀD₂K₂ ⪰ 0

Its square's blocks are -AB and -BA, and the eigenvalues of AB, a product of two semidefinite
matrices, are σ² ≥ 0, σ the singular values of R_A R_Bᵀ where A = R_AᵀR_A and B = R_BᵀR_B. So the
eigenvalues of J are ±iσ whatever the rounding, while those of a numerical eigenvalue solver are
good to √ε only at zero, which is defective as a rule.

An imaginary spectrum alone makes nothing stable where J changes from block to block.

Source: Chang et al. 2018 (Reversible architectures for arbitrarily deep residual neural networks),
Eqs. 8 to 10, doi:10.1609/aaai.v32i1.11668; its proof divides by D, which is singular for ReLU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.linalg

from resprobe.errors import InputError
from resprobe.linalg.explicit import NOT_FINITE
from resprobe.linalg.matrix_map import MatrixMap
from resprobe.linalg.spectra import LARGEST

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Certificate:
    """How far a matrix is from the Hamiltonian type; every defect is relative.

    Attributes:
        symmetry_defect: ‖H - Hᵀ‖_F/‖J‖_F of H = ΩᵀJ.
        diagonal_defect: ‖(J_YY, J_ZZ)‖_F/‖J‖_F.
        smallest_eigenvalues: of the symmetric parts of A = J_YZ and B = -J_ZY, over ‖A‖_2 and
            ‖B‖_2.
        tolerance: 10 √n ε for n rows and the rounding ε of the matrix's dtype: what the defects
            of an exact one come to after rounding.
        frequencies: `(n/2,)` float64, σ in descending order; the eigenvalues of the nearest
            matrix of the type are ±iσ. They say nothing of J unless `holds`. Eigenvalues of A and
            B within the tolerance of zero count as zero, so no σ < √tolerance ‖J‖ is resolved.
    """

    symmetry_defect: float
    diagonal_defect: float
    smallest_eigenvalues: tuple[float, float]
    tolerance: float
    frequencies: NDArray[np.float64]

    @property
    def holds(self) -> bool:
        """Whether every defect is within the tolerance, so that the spectrum is imaginary."""
        return (
            self.symmetry_defect <= self.tolerance
            and self.diagonal_defect <= self.tolerance
            and min(self.smallest_eigenvalues) >= -self.tolerance
        )

    @property
    def eigenvalues(self) -> NDArray[np.complex128]:
        """The imaginary spectrum, `(n,)`: each iσ followed by -iσ."""
        return _imaginary(self.frequencies)


def certify(J: Any) -> Certificate:
    """Give the certificate of a Jacobian in the order (Y, Z), both of one size.

    Args:
        J: a Jacobian, a linear map of one sample, a tensor, an array or a sparse matrix, of an
            even number of rows, at most 4,096.

    Returns:
        The certificate, computed in float64.

    Raises:
        InputError: J is not square, has an odd number of rows, is too large or not finite.
    """
    given = MatrixMap.of(J)
    rows, columns = given.output_shape[0], given.input_shape[0]
    if rows != columns or rows % 2 or not 0 < rows <= LARGEST:
        raise InputError(
            f"a matrix of {rows:,} by {columns:,} cannot be certified: expected a square one of an "
            f"even number of rows, at most {LARGEST:,}, Y first and then Z"
        )
    matrix = given.matrix().astype(np.float64)
    tolerance = 10 * float(np.sqrt(rows)) * given.rounding
    if not np.isfinite(matrix).all():
        raise InputError(NOT_FINITE)
    half = rows // 2
    A, B = matrix[:half, half:], -matrix[half:, :half]
    diagonal = np.hypot(np.linalg.norm(matrix[:half, :half]), np.linalg.norm(matrix[half:, half:]))
    # H = ΩᵀJ = [[B, -J_ZZ], [J_YY, A]]
    H = np.block([[B, -matrix[half:, half:]], [matrix[:half, :half], A]])
    total = float(np.linalg.norm(matrix))
    root_A, smallest_A = _root(A, tolerance)
    root_B, smallest_B = _root(B, tolerance)
    return Certificate(
        symmetry_defect=_over(float(np.linalg.norm(H - H.T)), total),
        diagonal_defect=_over(float(diagonal), total),
        smallest_eigenvalues=(smallest_A, smallest_B),
        tolerance=tolerance,
        frequencies=scipy.linalg.svdvals(root_A @ root_B.T),
    )


def hamiltonian_eigenvalues(
    K1: NDArray[Any], D1: NDArray[Any], K2: NDArray[Any], D2: NDArray[Any]
) -> NDArray[np.complex128]:
    """Give the spectrum of the right-hand side from its factors: ±i times σ(√D₁ K₁ K₂ᵀ √D₂).

    Args:
        K1: `(p, m)`, acts on Z.
        D1: `(p,)`, σ'(K₁Z + b₁), not negative.
        K2: `(q, m)`, acts on Y.
        D2: `(q,)`, σ'(K₂Y + b₂), not negative.

    Returns:
        `(2m,)` complex128, each iσ followed by -iσ, the largest σ first.

    Raises:
        InputError: a derivative is negative, or the sizes do not fit.
    """
    if K1.ndim != 2 or K2.ndim != 2 or K1.shape[1] != K2.shape[1]:
        raise InputError(
            f"K1 of shape {K1.shape} and K2 of shape {K2.shape}: expected matrices of as many "
            "columns, as Y and Z are of one size"
        )
    if D1.shape != K1.shape[:1] or D2.shape != K2.shape[:1] or min(D1.min(), D2.min()) < 0:
        raise InputError(
            f"derivatives of shapes {D1.shape} and {D2.shape}: expected {K1.shape[:1]} and "
            f"{K2.shape[:1]}, none negative (an activation that falls makes no such system)"
        )
    size = K1.shape[1]
    left = np.sqrt(D1.astype(np.float64))[:, None] * K1
    right = np.sqrt(D2.astype(np.float64))[:, None] * K2
    # At most m of them are not zero, whatever the number of rows of the K.
    found = scipy.linalg.svdvals(left @ right.T)[:size]
    return _imaginary(np.pad(found, (0, size - len(found))))


def _root(matrix: NDArray[np.float64], tolerance: float) -> tuple[NDArray[np.float64], float]:
    """Give R with RᵀR the semidefinite part, and the smallest eigenvalue over the largest |λ|."""
    values, vectors = scipy.linalg.eigh((matrix + matrix.T) / 2)
    largest = float(np.abs(values).max())
    # The root of a rounding error ε would be √ε, and the frequencies no better than a solver's.
    values_kept = np.where(values > tolerance * largest, values, 0)
    return np.sqrt(values_kept)[:, None] * vectors.T, _over(float(values[0]), largest)


def _over(a: float, b: float) -> float:
    """Give a/b, 0 for 0/0."""
    return a / b if b > 0 else 0.0


def _imaginary(frequencies: NDArray[np.float64]) -> NDArray[np.complex128]:
    pairs: NDArray[np.complex128] = (1j * np.outer(frequencies, [1, -1])).ravel()
    return pairs
