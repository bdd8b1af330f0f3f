"""Eigenvalues of linear maps: all of a matrix that fits, the leading ones of one that does not.

Block Jacobians are not normal, so an eigenvalue comes with its residual ‖Jv - λv‖/‖J‖ (v of norm 1)
and, where left vectors w were computed, its condition number 1/|wᴴv|: to first order it moves by
at most condition × residual × ‖J‖.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.linalg

from resprobe.errors import InputError, UnknownNameError
from resprobe.linalg import cost
from resprobe.linalg.arpack import tolerance
from resprobe.linalg.eigenpairs import WHICH, Found, dense, leading
from resprobe.linalg.explicit import NOT_FINITE
from resprobe.linalg.lanczos import spectral_norms
from resprobe.linalg.matrix_map import MatrixMap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resprobe.linalg.linear_map import LinearMap

# Up to here all eigenvalues of a matrix take half a minute; up to the second, with vectors too.
LARGEST, _LARGEST_WITH_VECTORS = 4096, 2048
# Of one matrix, all eigenvalues are computed where they take no longer than so many products, as
# ARPACK makes for k = 6 for both kinds of vectors and the norm; from the second on they never are.
_PRODUCTS, _LARGEST_INSTEAD = 250, 1024


@dataclass(frozen=True)
class Eigenvalues:
    """The leading eigenvalues of the map of each sample of a batch; NaN where fewer were found.

    Attributes:
        values: `(sample, k)` complex128, in the order of `which`; within rounding of each other
            conjugates are neighbours, the one with the positive imaginary part first. Where only
            one of a pair has a place, it is that one.
        residuals: `(sample, k)` float64, ‖Jv - λv‖/‖J‖ with v of norm 1.
        conditions: `(sample, k)` float64, 1/|wᴴv|; NaN where no left vector was found.
        converged: `(sample, k)` bool, whether the residual is at most 1e-5 (float64 maps: 1e-10).
        complete: `(sample,)` bool, whether all eigenvalues were computed, so that none was missed;
            an iteration finds eigenvalues, but cannot prove that no other one leads.
        products: `(sample,)` int, products with J and Jᵀ that were made.
        which: what was asked for.
    """

    values: NDArray[np.complex128]
    residuals: NDArray[np.float64]
    conditions: NDArray[np.float64]
    converged: NDArray[np.bool_]
    complete: NDArray[np.bool_]
    products: NDArray[np.int64]
    which: str


def leading_eigenvalues(
    linear_map: LinearMap,
    k: int,
    which: str,
    *,
    left: bool = False,
    norms: NDArray[np.float64] | None = None,
) -> Eigenvalues:
    """Give the k eigenvalues of largest magnitude or furthest to the right, for every sample.

    By ARPACK; up to 200 rows from the explicit matrix, and up to 1,024 where ARPACK finds fewer.

    Args:
        linear_map: the maps of a batch of samples, square.
        k: how many.
        which: "largest_magnitude" or "rightmost".
        left: whether to find left vectors too, for the condition numbers: twice the work.
        norms: ‖J‖_2 of each sample, where known; otherwise computed by Lanczos iterations.

    Returns:
        The eigenvalues.

    Raises:
        InputError: the map is not square or not finite, or `k` or `which` cannot be.
    """
    _rows(linear_map.input_shape, linear_map.output_shape)
    _check(k, which)
    if norms is None:
        norms = spectral_norms(linear_map).values
    goal = tolerance(linear_map.dtype)
    found = [
        leading(linear_map.sample(sample), k, which, left=left, norm=float(norms[sample]))
        for sample in range(linear_map.samples)
    ]
    table = np.full((3, linear_map.samples, k), complex(np.nan, np.nan))
    for sample, rows in enumerate(found):
        table[:, sample, : min(k, len(rows.values))] = rows.table()[:, :k]
    residuals = table[1].real
    return Eigenvalues(
        values=table[0],
        residuals=residuals,
        conditions=table[2].real,
        converged=residuals <= goal,  # False for NaN
        complete=np.array([rows.complete for rows in found], dtype=bool),
        products=np.array([rows.products for rows in found], dtype=np.int64),
        which=which,
    )


def spectral_radii(found: Eigenvalues) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Give max |λ| of every sample and whether it converged; `found` by largest magnitude."""
    return _leading_of(found, "largest_magnitude", np.abs(found.values))


def spectral_abscissas(found: Eigenvalues) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Give max Re λ of every sample and whether it converged; `found` by "rightmost"."""
    return _leading_of(found, "rightmost", found.values.real)


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of one matrix.

    Attributes:
        values: `(k,)` complex128, in the order of `which`, as in `Eigenvalues`.
        residuals: `(k,)` float64, ‖Jv - λv‖/‖J‖; NaN where no vectors were computed.
        conditions: `(k,)` float64, 1/|wᴴv|; NaN where no left vector was computed.
        converged: `(k,)` bool; of all eigenvalues of a matrix: that the QR algorithm ended.
        k: how many were asked for; None: all.
        which: what was asked for.
        method: "dense" (LAPACK in float64) or "ARPACK".
    """

    values: NDArray[np.complex128]
    residuals: NDArray[np.float64]
    conditions: NDArray[np.float64]
    converged: NDArray[np.bool_]
    k: int | None
    which: str
    method: str


def spectrum(J: Any, k: int | None = None, which: str = "largest_magnitude") -> Spectrum:
    """Give eigenvalues of a Jacobian: all, or the k leading ones.

    Args:
        J: a Jacobian (`resprobe.linalg.jacobian`), a linear map of one sample, or a matrix: a
            tensor, an array or one of SciPy's sparse ones.
        k: how many; None gives all, of at most 4,096 rows.
        which: "largest_magnitude" or "rightmost": which k, and the order.

    Returns:
        The spectrum.

    Raises:
        InputError: J is not square, not real, not finite or too large for k=None, or `k` or
            `which` cannot be.
    """
    linear_map = MatrixMap.of(J)
    size = _rows(linear_map.input_shape, linear_map.output_shape)
    if k is None:
        _small(size)
        return full_spectrum(linear_map.matrix(), which)
    _check(k, which)
    if k > size:
        raise InputError(f"a matrix of {size:,} rows has no {k:,} eigenvalues: ask for fewer")
    if _all_are_cheaper(linear_map, size):
        return _first(full_spectrum(linear_map.matrix(), which), k, tolerance(linear_map.dtype))
    found = leading_eigenvalues(linear_map, k, which, left=True)
    return Spectrum(
        found.values[0],
        found.residuals[0],
        found.conditions[0],
        found.converged[0],
        k,
        which,
        "dense" if found.complete[0] else "ARPACK",
    )


def _all_are_cheaper(linear_map: MatrixMap, size: int) -> bool:
    """Whether all eigenvalues are predicted to take less time than an iteration for some."""
    if size > _LARGEST_INSTEAD:
        return False
    every = cost.of_eigenvalues(size) + linear_map.seconds_for_matrix()
    return every <= linear_map.seconds(_PRODUCTS)


def _first(every: Spectrum, k: int, goal: float) -> Spectrum:
    """Give the first k eigenvalues of all."""
    residuals = every.residuals[:k]
    return Spectrum(
        every.values[:k],
        residuals,
        every.conditions[:k],
        residuals <= goal,
        k,
        every.which,
        every.method,
    )


def full_spectrum(matrix: NDArray[Any], which: str = "largest_magnitude") -> Spectrum:
    """Give all eigenvalues of a matrix, computed in float64.

    Up to 2,048 rows with residuals and condition numbers.

    Args:
        matrix: `(n, n)`, n at most 4,096.
        which: the order of the eigenvalues.

    Returns:
        The spectrum.

    Raises:
        InputError: the matrix is not square, not real, not finite or too large.
    """
    _check(1, which)
    if np.iscomplexobj(matrix):
        raise InputError("a complex matrix is no Jacobian of real tensors: expected a real matrix")
    size = _rows(matrix.shape[1:], matrix.shape[:1])
    _small(size)
    wide = np.asarray(matrix, dtype=np.float64)
    if not np.isfinite(wide).all():
        raise InputError(NOT_FINITE)
    if size > _LARGEST_WITH_VECTORS:
        values = scipy.linalg.eigvals(wide).astype(np.complex128)
        unknown = np.full(size, np.nan)
        rows = Found(values, unknown, unknown, size)
        scale = float(np.abs(values).max())
    else:
        scale = float(np.linalg.norm(wide, 2)) if size else 0.0
        rows = dense(wide, scale, left=True)
    rows = rows.by(which, size * np.finfo(np.float64).eps * scale)
    done = np.ones(size, dtype=bool)
    return Spectrum(rows.values, rows.residuals, rows.conditions, done, None, which, "dense")


def _leading_of(
    found: Eigenvalues, which: str, sizes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    if found.which != which:
        raise InputError(f"the eigenvalues were asked for by {found.which!r}: expected {which!r}")
    missing = np.isnan(sizes)
    first = np.where(missing, -np.inf, sizes).argmax(axis=1)
    rows = np.arange(len(sizes))
    # One that was not found could have been the leading one.
    size = found.values.shape[1]
    enough = ~missing.any(axis=1) if size else np.zeros(len(sizes), dtype=bool)
    return sizes[rows, first], found.converged[rows, first] & enough


def _rows(input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
    if prod(input_shape) != prod(output_shape):
        raise InputError(
            f"a map from {tuple(input_shape)} to {tuple(output_shape)} has no eigenvalues: "
            "expected as many outputs as inputs"
        )
    return prod(input_shape)


def _small(size: int) -> None:
    if size > LARGEST:
        raise InputError(
            f"all eigenvalues of a matrix of {size:,} rows would take too long: expected at most "
            f"{LARGEST:,} rows; ask for the leading ones, such as k=6"
        )


def _check(k: int, which: str) -> None:
    if which not in WHICH:
        raise UnknownNameError("part of the spectrum", which, WHICH)
    if isinstance(k, bool) or not isinstance(k, Integral):
        raise InputError(f"k={k!r} is no number of eigenvalues: expected an integer of at least 1")
    if k < 1:
        raise InputError(f"{k} eigenvalues cannot be computed: expected k of at least 1")
