"""What steps without a form of their own do to tangents, one probe or many, and the transposes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from resprobe.linalg.forward_mode import jvp


class Applied(Protocol):
    """What a step without a form of its own does to tangents.

    Attributes:
        fresh: whether `forward` gives memory of its own, so that it may be overwritten.
    """

    fresh: bool

    def __call__(self, *tangents: Tensor) -> Tensor:
        """Give the tangent of the output from those of the inputs, of one probe."""
        ...

    def forward(self, *tangents: Tensor) -> Tensor:
        """Do so for probes along the first axis of each."""
        ...

    def backward(self, u: Tensor) -> tuple[Tensor, ...]:
        """Give the transpose, for probes along the first axis."""
        ...

    def alone(self, index: int, samples: int) -> Applied | None:
        """Give it for one sample, where samples are along the first axis; None if unknown."""
        ...


class Expanded:
    """Repeats an operand as broadcasting does.

    Args:
        shape: of the operand.
        target: of the result.
        dtype: of the result.
    """

    fresh = False

    def __init__(
        self, shape: tuple[int, ...], target: tuple[int, ...], source: torch.dtype,
        dtype: torch.dtype,
    ) -> None:  # fmt: skip
        self._shape, self._target, self._source, self._dtype = shape, target, source, dtype

    def __call__(self, *tangents: Tensor) -> Tensor:
        """Give the tangent of the output from that of the input, of one probe."""
        (tangent,) = tangents
        return tangent.expand(self._target)

    def forward(self, *tangents: Tensor) -> Tensor:
        """Do so for probes along the first axis."""
        (tangent,) = tangents
        probes = len(tangent)
        ones = [1] * (len(self._target) - len(self._shape))
        repeated = tangent.reshape(probes, *ones, *self._shape).expand(probes, *self._target)
        return repeated if self._source == self._dtype else repeated.to(self._dtype)

    def backward(self, u: Tensor) -> tuple[Tensor, ...]:
        """Give the transpose, a sum, for probes along the first axis."""
        ones = [1] * (len(self._target) - len(self._shape))
        summed = u.sum_to_size(len(u), *ones, *self._shape)
        return (summed.reshape(len(u), *self._shape).to(self._source),)

    def alone(self, index: int, samples: int) -> Applied | None:
        """Give it for one sample, where samples are along the first axis; None if unknown."""
        if self._shape[:1] != (samples,) or self._target[:1] != (samples,):
            return None
        shape, target = (1, *self._shape[1:]), (1, *self._target[1:])
        return Expanded(shape, target, self._source, self._dtype)


class Product:
    """A matrix product with a factor that is given.

    Args:
        other: `(…, row, column)`.
        left: whether it stands on the left.
        factor: of the product.
    """

    fresh = True

    def __init__(self, other: Tensor, left: bool, factor: float) -> None:
        self._other, self._left = (other if factor == 1 else other * factor), left

    def __call__(self, *tangents: Tensor) -> Tensor:
        """Give the tangent of the output from that of the input, of one probe."""
        (tangent,) = tangents
        return self._other @ tangent if self._left else tangent @ self._other

    def forward(self, *tangents: Tensor) -> Tensor:
        """Do so for probes along the first axis."""
        return self(*tangents)

    def backward(self, u: Tensor) -> tuple[Tensor, ...]:
        """Give the transpose, for probes along the first axis."""
        return (self._other.mT @ u if self._left else u @ self._other.mT,)

    def alone(self, index: int, samples: int) -> Applied | None:
        """Give it for one sample, where samples are along the first axis; None if unknown."""
        if self._other.dim() == 2:
            return None if self._left else self
        one = self._other[index : index + 1]
        return Product(one, self._left, 1) if len(self._other) == samples else None


class Tangent:
    """The derivative of a function at a point, by torch.func.

    Args:
        function: tensors to a tensor.
        points: where.
        shape: of what it gives.
    """

    fresh = False  # what it does to a view is a view

    def __init__(
        self, function: Callable[..., Tensor], points: Sequence[Tensor], shape: tuple[int, ...]
    ) -> None:
        self._function, self._points, self._shape = function, tuple(points), shape

    def __call__(self, *tangents: Tensor) -> Tensor:
        """Give the tangent of the output from those of the inputs, of one probe."""
        return jvp(self._function, self._points, tangents)

    def forward(self, *tangents: Tensor) -> Tensor:
        """Do so for probes along the first axis of each."""
        if len(tangents[0]) == 1:
            return self(*(t[0] for t in tangents))[None]
        result: Tensor = torch.func.vmap(self)(*tangents)
        return result

    def backward(self, u: Tensor) -> tuple[Tensor, ...]:
        """Give the transpose, for probes along the first axis."""
        if len(u) == 1:
            return pull_one(self._function, self._points, u)
        pull = torch.func.vjp(self._function, *self._points)[1]
        result: tuple[Tensor, ...] = torch.func.vmap(pull)(u)
        return result

    def alone(self, index: int, samples: int) -> Applied | None:
        """Give it for one sample, where samples are along the first axis; None if unknown."""
        shapes = [tuple(point.shape) for point in self._points]
        if any(shape[:1] != (samples,) for shape in (*shapes, self._shape)):
            return None
        points = self._points

        def one(*tensors: Tensor) -> Tensor:
            full = [
                torch.cat((p[:index], t, p[index + 1 :]))
                for p, t in zip(points, tensors, strict=True)
            ]
            return self._function(*full)[index : index + 1]

        own = [point[index : index + 1] for point in points]
        return Tangent(one, own, (1, *self._shape[1:]))


def pull_one(
    function: Callable[..., Tensor], points: Sequence[Tensor], u: Tensor
) -> tuple[Tensor, ...]:
    """Give the transposed derivative times one probe, which is quicker without torch.func."""
    with torch.enable_grad():
        inputs = [point.detach().requires_grad_() for point in points]
        y = function(*inputs)
    if not y.requires_grad:
        return tuple(torch.zeros_like(point)[None] for point in points)
    parts = torch.autograd.grad(y, inputs, u[0], allow_unused=True, materialize_grads=True)
    return tuple(part[None] for part in parts)
