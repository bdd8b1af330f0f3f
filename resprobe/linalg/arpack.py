"""SciPy's ARPACK around a linear map of one sample: float64 vectors, products in its own dtype.

With vectors in float64 only the products round in float32, so residuals of 1e-6 are reached where
an all-float32 iteration stalls. Start vectors come from a fixed seed: one map gives one answer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigs, eigsh

from resprobe.errors import InputError
from resprobe.linalg.explicit import NOT_FINITE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resprobe.linalg.linear_map import LinearMap

# A relative residual, of an eigenvector of norm 1, up to which a result counts as converged.
CONVERGED = {torch.float32: 1e-5, torch.float64: 1e-10}
# Restarts, and vectors kept in each: what has not converged after them is said to have not. For
# one eigenvector from a good start fewer vectors do, as the first restart mostly ends it.
_RESTARTS, _VECTORS, _VECTORS_ONE = 60, 40, 16
# More eigenvalues than were asked for are sought: of two nearly as large, and of a pair at the end
# of the list, an iteration for the one may settle on the other.
_SPARE = 2


def tolerance(dtype: torch.dtype) -> float:
    """Give the relative residual up to which a result in the dtype counts as converged."""
    return CONVERGED.get(dtype, 1e-5)


class VectorMap:
    """A linear map of one sample as a function of flat float64 arrays.

    Attributes:
        products: how many products with the map or its transpose were made.
    """

    def __init__(self, linear_map: LinearMap) -> None:
        self.products = 0
        self._map = linear_map

    def matvec(self, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give J v; `v` is `(inputs,)` or `(inputs, vectors)`."""
        return self._product(v, self._map.matvec, self._map.input_shape)

    def rmatvec(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give Jᵀ u; `u` is `(outputs,)` or `(outputs, vectors)`."""
        return self._product(u, self._map.rmatvec, self._map.output_shape)

    def _product(
        self,
        v: NDArray[np.float64],
        multiply: Callable[[torch.Tensor], torch.Tensor],
        shape: tuple[int, ...],
    ) -> NDArray[np.float64]:
        flat = torch.from_numpy(np.ascontiguousarray(v.T)).to(self._map.device, self._map.dtype)
        image = multiply(flat.reshape(-1, 1, *shape)).flatten(1)
        self.products += len(image)
        result: NDArray[np.float64] = image.double().cpu().numpy().T.reshape(-1, *v.shape[1:])
        if not np.isfinite(result).all():
            raise InputError(NOT_FINITE)
        return result


def start_vector(size: int) -> NDArray[np.float64]:
    """Give the vector that every iteration begins with."""
    return np.random.default_rng(0).standard_normal(size)


def symmetric_largest(
    multiply: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    start: NDArray[np.float64],
    tol: float,
) -> NDArray[np.float64] | None:
    """Give the eigenvector of the largest eigenvalue of a symmetric operator, None if not found.

    Args:
        multiply: the operator; positive semidefinite, as `tol` is relative to its eigenvalue.
        start: `(size,)`, at best near the eigenvector.
        tol: relative residual.
    """
    size = len(start)
    operator = LinearOperator((size, size), matvec=multiply, dtype=np.float64)
    options = _options(size, _VECTORS_ONE, start, tol)
    try:
        _, vectors = eigsh(operator, 1, which="LA", **options)
    except ArpackError:
        return None
    found: NDArray[np.float64] = vectors[:, 0]
    return found


def eigenpairs(
    multiply: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    size: int,
    k: int,
    which: str,
    tol: float,
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Give the eigenpairs of a real operator that converged, `k` or a few more if all did.

    Args:
        multiply: the operator.
        size: rows.
        k: how many are wanted, less than `size` - 3.
        which: "LM" (largest magnitude) or "LR" (rightmost).
        tol: relative residual.

    Returns:
        Values `(found,)` and vectors `(size, found)` of norm 1.
    """
    operator = LinearOperator((size, size), matvec=multiply, dtype=np.float64)
    sought = k + _SPARE
    options = _options(size, max(2 * sought + 2, _VECTORS), start_vector(size), tol)
    try:
        values, vectors = eigs(operator, sought, which=which, **options)
    except ArpackNoConvergence as error:
        values, vectors = error.eigenvalues, error.eigenvectors
    except ArpackError:  # such as no shift left to apply: nothing is known then
        values, vectors = np.empty(0), np.empty((size, 0))
    return values.astype(np.complex128), vectors.astype(np.complex128)


def _options(size: int, vectors: int, start: NDArray[np.float64], tol: float) -> dict[str, Any]:
    options = {"v0": start, "ncv": min(size, vectors), "maxiter": _RESTARTS, "tol": tol}
    # From SciPy 1.17 a restart after a breakdown draws from here, and anew each time without it.
    if "rng" in inspect.signature(eigs).parameters:
        options["rng"] = np.random.default_rng(0)
    return options
