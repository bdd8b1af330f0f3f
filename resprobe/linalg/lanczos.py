"""Logarithmic norms and spectral norms of many samples at once, by Lanczos iterations.

Both are the largest eigenvalue of a symmetric operator: (J + Jᵀ)/2, and JᵀJ. All samples of a
batch take their steps together, in the dtype of the map and without reorthogonalisation, which
changes an extreme eigenvalue by rounding only (it comes in copies). The iteration ends once every
sample's tridiagonal matrix promises the accuracy, or all but a few; then the eigenvector is put
together and the residual is *computed*, by applying the operator to it. Samples that fall short are
repeated one by one by ARPACK with float64 vectors, from the vector reached.

The steps' vectors are kept while they take at most 256 MB (60 steps, 32 samples of 16×32×32 in
float32: 126 MB); beyond that all are computed a second time instead.

Source: Paige 1972 (Computational variants of the Lanczos method), doi:10.1093/imamat/10.3.373.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal

from resprobe.errors import InputError
from resprobe.linalg.arpack import VectorMap, start_vector, symmetric_largest, tolerance
from resprobe.linalg.explicit import NOT_FINITE, matrices
from resprobe.linalg.norms import inner, squared_norm
from resprobe.linalg.symmetric import Gram, SymmetricPart, relative

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from resprobe.linalg.linear_map import LinearMap
    from resprobe.linalg.symmetric import Symmetric

# Most need 20 to 70 steps in float32. To repeat two samples costs less than eight more steps of
# 32, so a few stragglers among many are left to that.
_STEPS, _FIRST_LOOK, _LOOK_EVERY, _STRAGGLERS = 120, 16, 8, 1 / 16
_KEPT_BYTES = 2**28
# So small that explicit matrices cost no more than the steps.
_SMALL = 64


@dataclass(frozen=True)
class Extremes:
    """An extreme eigenvalue or singular value of each sample's map.

    Attributes:
        values: `(sample,)` float64.
        residuals: `(sample,)` float64, ‖A v - λ v‖ relative to the norm of the map (to its square
            for JᵀJ), v of norm 1; 0 for a map that is zero.
        converged: `(sample,)` bool, whether the residual is at most 1e-5 (float64 maps: 1e-10).
    """

    values: NDArray[np.float64]
    residuals: NDArray[np.float64]
    converged: NDArray[np.bool_]


def spectral_norms(linear_map: LinearMap) -> Extremes:
    """Give ‖J‖_2, the largest singular value, of every sample.

    Args:
        linear_map: the maps of a batch of samples.

    Returns:
        The norms; the residual is that of the singular vectors, ‖Jᵀu - σv‖/σ with u = Jv/σ.

    Raises:
        InputError: a product is not finite.
    """
    return _extremes(Gram(linear_map))


def log_norms(linear_map: LinearMap, norms: NDArray[np.float64] | None = None) -> Extremes:
    """Give the logarithmic norm, the largest eigenvalue of (J + Jᵀ)/2, of every sample.

    Args:
        linear_map: the maps of a batch of samples, square.
        norms: ‖J‖_2 of each, where known; otherwise residuals are relative to the largest ‖Jv‖
            that was met, a lower bound of it.

    Returns:
        The logarithmic norms; each may be small against ‖J‖, which its residual is relative to.

    Raises:
        InputError: the map is not square, or a product is not finite.
    """
    if prod(linear_map.input_shape) != prod(linear_map.output_shape):
        raise InputError(
            f"a map from {linear_map.input_shape} to {linear_map.output_shape} has no logarithmic "
            "norm: expected as many outputs as inputs"
        )
    return _extremes(SymmetricPart(linear_map, norms))


def _extremes(operator: Symmetric) -> Extremes:
    linear_map = operator.map
    goal = tolerance(linear_map.dtype)
    if prod(linear_map.input_shape) <= _SMALL:
        values, residuals = _dense(operator)
        return Extremes(operator.value(values), residuals, residuals <= goal)
    vectors = _ritz_vectors(operator, goal)
    values, residuals = _residuals(operator, vectors)
    for sample in np.flatnonzero(residuals > goal):
        again = _again(operator, int(sample), vectors[sample], goal)
        if again is not None and again[1] < residuals[sample]:
            values[sample], residuals[sample] = again
    return Extremes(operator.value(values), residuals, residuals <= goal)


def _dense(operator: Symmetric) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the largest eigenvalues and their residuals from the explicit matrices, in float64."""
    matrix = operator.of(matrices(operator.map))
    eigenvalues, vectors = torch.linalg.eigh(matrix)
    values, vector = eigenvalues[:, -1], vectors[:, :, -1:]
    left = (matrix @ vector - values[:, None, None] * vector).flatten(1).norm(dim=1)
    largest = values.cpu().numpy()
    return largest, relative(left.cpu().numpy(), operator.scale(largest))


def _ritz_vectors(operator: Symmetric, goal: float) -> Tensor:
    """Give the vector reached for the largest eigenvalue, `(sample, …)`, of norm 1."""
    linear_map = operator.map
    steps = _Steps(operator)
    found: list[NDArray[np.float64] | None] = [None] * linear_map.samples
    for count in range(1, _STEPS + 1):
        if not steps.advance():
            break
        if count >= _FIRST_LOOK and (count - _FIRST_LOOK) % _LOOK_EVERY == 0:
            _look(steps, found, goal)
            if sum(weights is None for weights in found) <= _STRAGGLERS * len(found):
                break
    _look(steps, found, np.inf)
    table = np.zeros((steps.count, linear_map.samples))
    for sample, weights in enumerate(found):
        if weights is not None:
            table[: len(weights), sample] = weights
    return steps.combined(table)


def _look(steps: _Steps, found: list[NDArray[np.float64] | None], goal: float) -> None:
    """Keep the weights of the eigenvector of each sample whose tridiagonal matrix promises `goal`.

    From the step at which it does, not a later one: copies of the eigenvalue, which appear after
    it has converged, would share the weights between them.
    """
    diagonals, sides = steps.tridiagonals()
    missing = [sample for sample, weights in enumerate(found) if weights is None]
    largest, promised = np.zeros(len(found)), np.zeros(len(found))
    vectors = {}
    for sample in missing:
        diagonal, side = diagonals[:, sample], sides[:, sample]
        ended = np.flatnonzero(side == 0)  # an invariant subspace: its matrix is all there is
        size = int(ended[0]) + 1 if len(ended) else len(diagonal)
        value, vector = eigh_tridiagonal(
            diagonal[:size], side[: size - 1], select="i", select_range=(size - 1, size - 1)
        )
        largest[sample], vectors[sample] = value[0], vector[:, 0]
        promised[sample] = side[size - 1] * abs(vector[-1, 0])
    promised = relative(promised, steps.operator.scale(largest))
    for sample in missing:
        if promised[sample] <= goal / 2:  # the promise is that of exact arithmetic
            found[sample] = vectors[sample]


class _Steps:
    """The vectors of a Lanczos iteration, and its tridiagonal matrices.

    Attributes:
        operator: what the vectors are multiplied with.
        count: steps taken.
    """

    def __init__(self, operator: Symmetric) -> None:
        self.count = 0
        self.operator = operator
        self._kept: list[Tensor] | None = []
        self._diagonal: list[Tensor] = []
        self._side: list[Tensor] = []
        self._now, self._before = self._start()

    def _start(self) -> tuple[Tensor, Tensor]:
        """Give the same vector for every sample, so that no result depends on its neighbours."""
        linear_map = self.operator.map
        drawn = torch.from_numpy(start_vector(prod(linear_map.input_shape)))
        drawn = (drawn / drawn.norm()).to(linear_map.device, linear_map.dtype)
        shape = (linear_map.samples, *linear_map.input_shape)
        start = drawn.reshape(1, *linear_map.input_shape).expand(shape).contiguous()
        return start, torch.zeros_like(start)

    def advance(self) -> bool:
        """Take a step; False if no sample had one left."""
        v = self._now
        if self._kept is not None:
            self._kept.append(v)
            if self._kept[0].nbytes * len(self._kept) > _KEPT_BYTES:
                self._kept = None
        image = self.operator(v)
        diagonal = inner(image, v)
        image = self._less(image, v, self._before, diagonal, self._side[-1:])
        side = squared_norm(image).sqrt()
        if not bool(torch.isfinite(side).all()):
            raise InputError(NOT_FINITE)
        self._diagonal.append(diagonal)
        self._side.append(side)
        self._now, self._before = _times(image, _inverse(side)), v
        self.count += 1
        return bool((side > 0).any())

    def tridiagonals(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give the diagonals and, below them, the sides, each `(step, sample)`."""
        return torch.stack(self._diagonal).cpu().numpy(), torch.stack(self._side).cpu().numpy()

    def combined(self, weights: NDArray[np.float64]) -> Tensor:
        """Give the sum of the vectors, each times its weight `(step, sample)`, of norm 1."""
        table = torch.from_numpy(weights).to(self._now.device, self._now.dtype)
        total = torch.zeros_like(self._now)
        for weight, v in zip(table, self._vectors(), strict=True):
            total.addcmul_(_shaped(weight, v), v)
        return _times(total, _inverse(squared_norm(total).sqrt()))

    def _vectors(self) -> Iterator[Tensor]:
        """Give the vectors as they were, or compute them again in the same way."""
        if self._kept is not None:
            yield from self._kept
            return
        v, before = self._start()
        for count in range(self.count):
            yield v
            if count + 1 < self.count:
                image = self.operator(v)
                sides = self._side[max(0, count - 1) : count]
                image = self._less(image, v, before, self._diagonal[count], sides)
                v, before = _times(image, _inverse(self._side[count])), v

    @staticmethod
    def _less(
        image: Tensor, v: Tensor, before: Tensor, diagonal: Tensor, side: list[Tensor]
    ) -> Tensor:
        """Take out of the image what lies along the last two vectors."""
        image = torch.addcmul(image, _shaped(diagonal, v), v, value=-1)
        return image.addcmul_(_shaped(side[0], v), before, value=-1) if side else image


def _residuals(
    operator: Symmetric, vectors: Tensor
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the Rayleigh quotients and the relative residuals of vectors of norm 1."""
    image = operator(vectors)
    quotient = inner(image, vectors)
    image = torch.addcmul(image, _shaped(quotient, vectors), vectors, value=-1)
    values = quotient.cpu().numpy()
    return values, relative(squared_norm(image).sqrt().cpu().numpy(), operator.scale(values))


def _again(
    operator: Symmetric, sample: int, vector: Tensor, goal: float
) -> tuple[float, float] | None:
    """Give the eigenvalue and its residual of one sample by ARPACK, None if it found none."""
    vectors = VectorMap(operator.map.sample(sample))
    shift = float(operator.shift()[sample])
    found = symmetric_largest(
        lambda v: operator.of_sample(vectors, v) + shift * v,
        vector.flatten().double().cpu().numpy(),
        goal / 10,
    )
    if found is None:
        return None
    image = operator.of_sample(vectors, found)
    value = float(image @ found)
    everything = np.zeros(operator.map.samples)
    everything[sample] = value
    scale = operator.scale(everything)[sample : sample + 1]
    residual = np.array([float(np.linalg.norm(image - value * found))])
    return value, float(relative(residual, scale)[0])


def _times(x: Tensor, factor: Tensor) -> Tensor:
    """Multiply each sample by its factor."""
    return x * _shaped(factor, x)


def _shaped(factor: Tensor, x: Tensor) -> Tensor:
    return factor.to(x.dtype).reshape(-1, *(1,) * (x.dim() - 1))


def _inverse(norm: Tensor) -> Tensor:
    """Give 1/norm, 0 for 0."""
    return torch.where(norm > 0, 1 / norm, 0.0)
