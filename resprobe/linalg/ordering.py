"""The order in which eigenvalues are given: the same on every machine, conjugates together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def ordered(values: NDArray[np.complex128], which: str, tie: float = 0.0) -> NDArray[np.int64]:
    """Give the order by |λ| or, for "rightmost", by Re λ, the largest first.

    Among neighbours that differ by no more than rounding it is that of Re λ (for "rightmost" of
    |λ|), which two conjugates share exactly; of the two the one with Im λ > 0 comes first.

    Args:
        values: `(n,)`.
        which: "largest_magnitude" or "rightmost".
        tie: up to which difference neighbours count as equal.

    Returns:
        `(n,)` int, such that `values[order]` is in order.
    """
    sizes, real = np.abs(values), values.real
    first, second = (sizes, real) if which == "largest_magnitude" else (real, sizes)
    order = np.lexsort((-values.imag, -second, -first))
    steps = -np.diff(first[order], prepend=first[order][:1])
    group = np.empty(len(values), dtype=np.int64)
    group[order] = np.cumsum(steps > tie)
    return np.lexsort((-values.imag, -second, group))


def whole_pairs(
    values: NDArray[np.complex128], vectors: NDArray[Any]
) -> tuple[NDArray[np.complex128], NDArray[Any]]:
    """Put the conjugate with Im λ > 0 in the place of one whose pair was cut.

    Args:
        values: eigenvalues of a real matrix, `(n,)`.
        vectors: their vectors, `(size, n)`.

    Returns:
        Values and vectors.
    """
    values, vectors = values.copy(), vectors.copy()
    alone = (values.imag < 0) & ~np.isin(values, values.conj())
    values[alone], vectors[:, alone] = values[alone].conj(), vectors[:, alone].conj()
    return values, vectors
