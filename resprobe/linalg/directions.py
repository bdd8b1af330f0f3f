"""The directions that a product of maps stretches most, without forming the product.

Vectors are brought to norm 1 between the maps and the logarithm of the norm is carried along, so
that hundreds of blocks neither overflow nor vanish in the dtype of the maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh

from resprobe.linalg.arpack import VectorMap, start_vector
from resprobe.linalg.explicit import matrices

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resprobe.linalg.linear_map import LinearMap

# Up to here all directions are found at once, from explicit matrices.
_DENSE, _SWEEPS = 64, 3
# Vectors that are sought beyond those that are wanted, and the relative residual aimed at: an
# exponent of L blocks is then good to 1e-5/L where the directions are stretched alike.
_SPARE, _TOLERANCE, _RESTARTS = 2, 1e-5, 40


@dataclass(frozen=True)
class Directions:
    """Leading right singular vectors of a product.

    Attributes:
        vectors: `(inputs, k)` float64, orthonormal, the most stretched first.
        residuals: `(k,)` float64, ln ‖(1 - V Vᵀ) JᵀJ v‖, V all of the vectors: how far from
            invariant their span is.
    """

    vectors: NDArray[np.float64]
    residuals: NDArray[np.float64]


def leading_directions(maps: Sequence[LinearMap], k: int) -> Directions:
    """Give the k directions that J_L … J_1 stretches most.

    Args:
        maps: J_1 … J_L of one sample, square and of one shape.
        k: how many.

    Raises:
        InputError: a map is not finite.
    """
    size = prod(maps[0].input_shape)
    if size <= _DENSE:
        vectors = _swept([matrices(one)[0].cpu().numpy() for one in maps])[:, :k]
    else:
        vectors = _found(_Product(maps), k)
    return Directions(vectors, _residuals(_Product(maps), vectors))


class _Product:
    """J_L … J_1 of flat float64 vectors, with the logarithm of what their norm becomes."""

    def __init__(self, maps: Sequence[LinearMap]) -> None:
        self._maps = [VectorMap(one) for one in maps]
        self.size, self.length = prod(maps[0].input_shape), len(maps)

    def gram(self, v: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """Give JᵀJ v as a vector of norm 1 (or 0) and the logarithm of its norm."""
        logarithm = 0.0
        products = [one.matvec for one in self._maps]
        for multiply in (*products, *(one.rmatvec for one in reversed(self._maps))):
            norm = float(np.linalg.norm(v))
            if norm == 0:
                return v, -np.inf
            logarithm += np.log(norm)
            v = multiply(v / norm)
        norm = float(np.linalg.norm(v))
        return (v / norm, logarithm + float(np.log(norm))) if norm else (v, -np.inf)


def _found(product: _Product, k: int) -> NDArray[np.float64]:
    """Give the leading vectors by ARPACK; where it finds fewer, any that are orthogonal to them."""
    # In units of what one random vector becomes: within these the numbers of ARPACK stay finite.
    _, unit = product.gram(start_vector(product.size))
    if unit == -np.inf:
        return _completed(np.empty((product.size, 0)), k)

    def multiply(v: NDArray[np.float64]) -> NDArray[np.float64]:
        image, logarithm = product.gram(v.ravel())
        return image * float(np.exp(logarithm - unit))

    operator = LinearOperator((product.size,) * 2, matvec=multiply, dtype=np.float64)
    sought = k + _SPARE
    options = {
        "v0": start_vector(product.size),
        "ncv": min(product.size, 3 * sought + 8),
        "maxiter": _RESTARTS,
        "tol": _TOLERANCE,
    }
    try:
        values, vectors = eigsh(operator, sought, which="LA", **options)
    except ArpackNoConvergence as error:
        values, vectors = error.eigenvalues, error.eigenvectors
    except ArpackError:
        values, vectors = np.empty(0), np.empty((product.size, 0))
    return _completed(vectors[:, np.argsort(values)[::-1]], k)


def _completed(vectors: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Give k orthonormal vectors that begin with these."""
    missing = max(0, k - vectors.shape[1])
    more = np.random.default_rng(0).standard_normal((len(vectors), missing))
    frame, triangle = np.linalg.qr(np.concatenate([vectors[:, :k], more], axis=1))
    orthonormal: NDArray[np.float64] = frame * np.where(np.diag(triangle) < 0, -1.0, 1.0)
    return orthonormal


def _swept(blocks: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Give all right singular vectors of a product of small matrices.

    Those of the product as floating numbers have it; where its singular values lie further apart
    than these can tell, QR sweeps to and fro converge at once.
    """
    product = np.eye(len(blocks[0]))
    for block in blocks:
        product = block @ product
        product /= np.linalg.norm(product) or 1.0
    frame: NDArray[np.float64] = np.linalg.svd(product)[2].T
    for _ in range(_SWEEPS):
        for block in (*blocks, *(one.T for one in reversed(blocks))):
            frame = np.linalg.qr(block @ frame)[0]
    return frame


def _residuals(product: _Product, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the logarithm of what of JᵀJ v lies outside of the span of the vectors."""
    residuals = []
    for v in vectors.T:
        image, logarithm = product.gram(v)
        outside = float(np.linalg.norm(image - vectors @ (vectors.T @ image)))
        residuals.append(logarithm + np.log(outside) if outside else -np.inf)
    return np.asarray(residuals)
