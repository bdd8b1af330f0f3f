"""Linear maps of the samples of a batch, given by what they do to vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import torch

from resprobe.linalg.forward_mode import jvp
from resprobe.linalg.precision import full_precision

if TYPE_CHECKING:
    from torch import Tensor


class LinearMap(Protocol):
    """One matrix for each sample, known by its products with vectors.

    Attributes:
        samples: how many matrices.
        input_shape: of the vectors that it takes, for one sample.
        output_shape: of those that it gives.
        dtype: of both.
        device: of both.
    """

    samples: int
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def matvec(self, v: Tensor) -> Tensor:
        """Give A v: `(probe, sample, *input_shape)` to `(probe, sample, *output_shape)`."""
        ...

    def rmatvec(self, u: Tensor) -> Tensor:
        """Give Aᵀ u: `(probe, sample, *output_shape)` to `(probe, sample, *input_shape)`."""
        ...

    def sample(self, index: int) -> LinearMap:
        """Give the map of one sample."""
        ...


class Dense:
    """Matrices that are there, for tests and small problems.

    Args:
        matrices: `(sample, outputs, inputs)`.
        input_shape: of one sample; flat where it is not given.
        output_shape: likewise.
    """

    def __init__(
        self,
        matrices: Tensor,
        input_shape: tuple[int, ...] | None = None,
        output_shape: tuple[int, ...] | None = None,
    ) -> None:
        self.matrices = matrices
        self.samples, outputs, inputs = matrices.shape
        self.input_shape = (inputs,) if input_shape is None else input_shape
        self.output_shape = (outputs,) if output_shape is None else output_shape
        self.dtype, self.device = matrices.dtype, matrices.device

    def matvec(self, v: Tensor) -> Tensor:
        """Give A v: `(probe, sample, *input_shape)` to `(probe, sample, *output_shape)`."""
        return self._product(self.matrices, v, self.output_shape)

    def rmatvec(self, u: Tensor) -> Tensor:
        """Give Aᵀ u: `(probe, sample, *output_shape)` to `(probe, sample, *input_shape)`."""
        return self._product(self.matrices.mT, u, self.input_shape)

    def sample(self, index: int) -> Dense:
        """Give the map of one sample."""
        one = self.matrices[index : index + 1]
        return Dense(one, self.input_shape, self.output_shape)

    def _product(self, matrices: Tensor, v: Tensor, shape: tuple[int, ...]) -> Tensor:
        # (sample, rows, columns) @ (sample, columns, probe), so each matrix is read once.
        columns = v.reshape(len(v), self.samples, matrices.shape[-1]).permute(1, 2, 0)
        return (matrices @ columns).permute(2, 0, 1).reshape(len(v), self.samples, *shape)


class Autodiff:
    """The Jacobians of a function at a point, by torch.func: slow, and a second opinion.

    Args:
        function: `(sample, …)` to `(sample, …)`, each sample for itself.
        x: the point.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], x: Tensor) -> None:
        self._function = function
        self._x = x.detach()
        with torch.no_grad():
            y = function(self._x)
        self.samples = len(x)
        self.input_shape, self.output_shape = tuple(x.shape[1:]), tuple(y.shape[1:])
        self.dtype, self.device = x.dtype, x.device

    def matvec(self, v: Tensor) -> Tensor:
        """Give J v: `(probe, sample, *input_shape)` to `(probe, sample, *output_shape)`."""

        def one(tangent: Tensor) -> Tensor:
            return jvp(self._function, (self._x,), (tangent,))

        with full_precision(self.device):
            result: Tensor = torch.func.vmap(one)(v)
        return result.detach()

    def rmatvec(self, u: Tensor) -> Tensor:
        """Give Jᵀ u: `(probe, sample, *output_shape)` to `(probe, sample, *input_shape)`."""
        with full_precision(self.device):
            pull = torch.func.vjp(self._function, self._x)[1]
            (result,) = torch.func.vmap(pull)(u)
        product: Tensor = result.detach()
        return product

    def sample(self, index: int) -> Autodiff:
        """Give the map of one sample; the others stay where they are."""
        before, own, after = self._x.tensor_split((index, index + 1))

        def one(x: Tensor) -> Tensor:
            return self._function(torch.cat((before, x, after)))[index : index + 1]

        return Autodiff(one, own)
