"""Eigenpairs of one map: dense where it is small, else by ARPACK, checked by their residuals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg

from resprobe.linalg.arpack import VectorMap, eigenpairs, tolerance
from resprobe.linalg.explicit import matrices
from resprobe.linalg.ordering import ordered, whole_pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resprobe.linalg.linear_map import LinearMap

WHICH = {"largest_magnitude": "LM", "rightmost": "LR"}
# Up to here explicit columns are cheaper than an iteration; up to the second, where an iteration
# did not end, as of spectra near the imaginary axis, all eigenvalues take a second or two.
_DENSE, _DENSE_AFTER_ALL = 200, 1024
# Of the goal for residuals: about the rounding of an eigenvalue that is well conditioned.
_TIE = 1e-2


@dataclass(frozen=True)
class Found:
    """Eigenvalues of one map.

    Attributes:
        values: `(found,)` complex128.
        residuals: `(found,)` float64, ‖Jv - λv‖/‖J‖.
        conditions: `(found,)` float64, 1/|wᴴv|, NaN where unknown.
        products: how many products with the map they took.
        complete: whether they are all of the map's, so that none of the leading ones was missed.
    """

    values: NDArray[np.complex128]
    residuals: NDArray[np.float64]
    conditions: NDArray[np.float64]
    products: int
    complete: bool = False

    def by(self, which: str, tie: float) -> Found:
        """Give them in order; `tie` as `ordered` takes it."""
        order = ordered(self.values, which, tie)
        table = (self.values[order], self.residuals[order], self.conditions[order])
        return Found(*table, self.products, self.complete)

    def table(self) -> NDArray[np.complex128]:
        """Give values, residuals and condition numbers, `(3, found)`."""
        return np.stack([self.values, self.residuals, self.conditions])


def leading(linear_map: LinearMap, k: int, which: str, *, left: bool, norm: float) -> Found:
    """Give at least the `k` leading eigenvalues of the map of one sample, fewer if ARPACK does.

    What ARPACK finds are eigenvalues, by their residuals; that none of the leading ones was missed
    is only sure where all were computed.

    Args:
        linear_map: of one sample.
        k: how many are wanted.
        which: "largest_magnitude" or "rightmost".
        left: whether to find left vectors too.
        norm: ‖J‖_2.
    """
    size, goal = prod(linear_map.input_shape), tolerance(linear_map.dtype)

    def every(products: int = 0) -> Found:
        matrix = matrices(linear_map)[0].cpu().numpy()
        found = dense(matrix, norm, left=left).by(which, _TIE * goal * norm)
        return replace(found, products=found.products + products)

    if size <= max(_DENSE, k + 4):
        return every()
    if norm == 0:  # ARPACK cannot begin with a map that gives nothing
        known = np.ones(k) if left else np.full(k, np.nan)
        return Found(np.zeros(k, dtype=np.complex128), np.zeros(k), known, 0)
    vectors = VectorMap(linear_map)
    # ARPACK's goal is relative to |λ|. The rightmost ones may be small against ‖J‖, which our
    # residuals are relative to: moved to the right by 2‖J‖ they are not.
    shift = 2 * norm if which == "rightmost" else 0.0
    values, right = eigenpairs(
        lambda v: vectors.matvec(v) + shift * v, size, k, WHICH[which], goal / 10
    )
    if len(values) < k and size <= _DENSE_AFTER_ALL:
        return every(vectors.products)
    values, right = whole_pairs(values - shift, right)
    if not len(values):
        return Found(values, np.empty(0), np.empty(0), vectors.products)
    residuals = _residuals(vectors.matvec(_parts(right)), values, right, norm)
    conditions = np.full(len(values), np.nan)
    if left:
        others, vectors_left = eigenpairs(
            lambda v: vectors.rmatvec(v) + shift * v, size, k, WHICH[which], goal / 10
        )
        others, vectors_left = whole_pairs(others - shift, vectors_left)
        conditions = _matched(values, right, others, vectors_left, 10 * goal * norm)
    return Found(values, residuals, conditions, vectors.products).by(which, _TIE * goal * norm)


def dense(matrix: NDArray[np.float64], norm: float, *, left: bool) -> Found:
    """Give all eigenvalues of a float64 matrix of known norm; condition numbers where `left`."""
    if left:
        values, lefts, right = scipy.linalg.eig(matrix, left=True, right=True)
        conditions = _inverse(np.abs((lefts.conj() * right).sum(axis=0)))
    else:
        values, right = scipy.linalg.eig(matrix)
        conditions = np.full(len(values), np.nan)
    residuals = _residuals(matrix @ _parts(right), values, right, norm)
    return Found(values.astype(np.complex128), residuals, conditions, len(matrix), complete=True)


def _parts(vectors: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Give real parts and then imaginary parts of complex columns."""
    return np.concatenate([vectors.real, vectors.imag], axis=1)


def _residuals(
    images: NDArray[np.float64],
    values: NDArray[np.complex128],
    vectors: NDArray[np.complex128],
    norm: float,
) -> NDArray[np.float64]:
    """Give ‖Jv - λv‖/‖J‖ from the images of `_parts(vectors)`; 0 for J = 0."""
    real, imaginary = np.split(images, 2, axis=1)
    lengths = np.linalg.norm(real + 1j * imaginary - values * vectors, axis=0)
    scale = np.maximum(norm, np.abs(values).max(initial=0.0))  # |λ| ≤ ‖J‖ too
    residuals: NDArray[np.float64] = lengths / scale if scale > 0 else np.zeros_like(lengths)
    return residuals


def _matched(
    values: NDArray[np.complex128],
    right: NDArray[np.complex128],
    others: NDArray[np.complex128],
    left: NDArray[np.complex128],
    near: float,
) -> NDArray[np.float64]:
    """Give the condition numbers of those eigenvalues whose nearest one of Jᵀ is theirs too.

    Jᵀu = μu is wᴴJ = μwᴴ for w = ū, so wᴴv = uᵀv.
    """
    conditions = np.full(len(values), np.nan)
    distances = np.abs(values[:, None] - others[None, :])
    if distances.size == 0:
        return conditions
    nearest, back = distances.argmin(axis=1), distances.argmin(axis=0)
    rows = np.arange(len(values))
    mine = (back[nearest] == rows) & (distances[rows, nearest] <= near)
    products = np.abs((left[:, nearest[mine]] * right[:, mine]).sum(axis=0))
    conditions[mine] = _inverse(products)
    return conditions


def _inverse(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give 1/x, inf for 0 (a defective eigenvalue)."""
    return np.divide(1.0, x, out=np.full_like(x, np.inf), where=x > 0)
