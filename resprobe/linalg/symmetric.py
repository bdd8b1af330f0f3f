"""The symmetric operators whose largest eigenvalues are a map's spectral and logarithmic norms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from resprobe.linalg.norms import squared_norm

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from resprobe.linalg.arpack import VectorMap
    from resprobe.linalg.linear_map import LinearMap


class Symmetric(Protocol):
    """A symmetric operator for each sample, made of a linear map.

    Attributes:
        map: the linear map.
    """

    map: LinearMap

    def __call__(self, v: Tensor) -> Tensor:
        """Give the image of `(sample, *input_shape)`."""
        ...

    def of(self, matrix: Tensor) -> Tensor:
        """Give the matrices of the operator from those of the map, `(sample, …)`."""
        ...

    def of_sample(self, vectors: VectorMap, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the image of a flat vector, by the map of one sample."""
        ...

    def scale(self, largest: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give what residuals are relative to, `(sample,)`, from the largest eigenvalues found."""
        ...

    def shift(self) -> NDArray[np.float64]:
        """Give what, added to the eigenvalues, makes the largest one positive, `(sample,)`.

        And of the size of the scale, because ARPACK's goal is relative to the eigenvalue.
        """
        ...

    def value(self, eigenvalues: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the norms from the largest eigenvalues, `(sample,)`."""
        ...


class Gram:
    """JᵀJ."""

    def __init__(self, linear_map: LinearMap) -> None:
        self.map = linear_map

    def __call__(self, v: Tensor) -> Tensor:
        """Give JᵀJ v."""
        return self.map.rmatvec(self.map.matvec(v[None]))[0]

    def of(self, matrix: Tensor) -> Tensor:
        """Give the matrices JᵀJ."""
        return matrix.mT @ matrix

    def of_sample(self, vectors: VectorMap, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give JᵀJ v of one sample."""
        return vectors.rmatvec(vectors.matvec(v))

    def shift(self) -> NDArray[np.float64]:
        """Give 0: the largest eigenvalue is the scale itself."""
        return np.zeros(self.map.samples)

    def value(self, eigenvalues: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the singular values."""
        return np.sqrt(np.maximum(eigenvalues, 0))

    def scale(self, largest: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give ‖J‖²."""
        return largest


class SymmetricPart:
    """(J + Jᵀ)/2."""

    def __init__(self, linear_map: LinearMap, norms: NDArray[np.float64] | None) -> None:
        self.map = linear_map
        self._norms = norms
        self._met = torch.zeros(linear_map.samples, dtype=torch.float64, device=linear_map.device)

    def __call__(self, v: Tensor) -> Tensor:
        """Give (Jv + Jᵀv)/2."""
        image = self.map.matvec(v[None])[0].reshape(v.shape)
        if self._norms is None:
            self._met = torch.maximum(self._met, squared_norm(image))
        turned = v.reshape(-1, *self.map.output_shape)
        return (image + self.map.rmatvec(turned[None])[0]).mul_(0.5)

    def of(self, matrix: Tensor) -> Tensor:
        """Give the symmetric parts."""
        if self._norms is None:
            self._norms = torch.linalg.matrix_norm(matrix, 2).cpu().numpy()
        return (matrix + matrix.mT) / 2

    def of_sample(self, vectors: VectorMap, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give (Jv + Jᵀv)/2 of one sample."""
        return (vectors.matvec(v) + vectors.rmatvec(v)) / 2

    def shift(self) -> NDArray[np.float64]:
        """Give 2‖J‖."""
        return 2 * self.scale(np.zeros(self.map.samples))

    def value(self, eigenvalues: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the eigenvalues."""
        return eigenvalues

    def scale(self, largest: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give ‖J‖, or the largest lower bound of it that was met."""
        known = self._met.sqrt().cpu().numpy() if self._norms is None else self._norms
        return np.maximum(known, np.abs(largest))


def relative(residuals: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give residuals / scale, 0 where the scale is."""
    return np.divide(residuals, scale, out=np.zeros_like(residuals), where=scale > 0)
