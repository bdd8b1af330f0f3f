"""How a step is applied to many probes at once, and its transpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from resprobe.linalg.applied import Applied
from resprobe.linalg.chunks import chunk_length, in_chunks
from resprobe.linalg.steps import (
    Convolution,
    Diagonal,
    Maximum,
    Other,
    Rearrangement,
    Step,
    Sum,
)

Forward = Callable[..., Tensor]
Backward = Callable[[Tensor], tuple[Tensor, ...]]


class Kernel(NamedTuple):
    """What runs a step; tangents are `(probe, …)`.

    Attributes:
        forward: tangents of the inputs to that of the output.
        backward: the transpose.
        forward_over: likewise, overwriting the first tangent; None where that saves nothing.
        backward_over: likewise, of the transpose.
        fresh: whether forward and backward give memory of their own.
    """

    forward: Forward
    backward: Backward
    forward_over: Forward | None = None
    backward_over: Backward | None = None
    fresh: bool = True


def kernel(step: Step, shapes: dict[int, tuple[int, ...]]) -> Kernel:
    """Give what runs a step.

    Args:
        step: any.
        shapes: of the values, as the model has them.
    """
    if isinstance(step, Diagonal):
        return _diagonal(step.scale)
    if isinstance(step, Convolution):
        return _convolution(step, shapes[step.inputs[0]], shapes[step.output])
    if isinstance(step, Sum):
        return _sum(step.factors)
    if isinstance(step, Maximum):
        return _maximum(step, shapes[step.inputs[0]])
    assert isinstance(step, Rearrangement | Other)
    return _applied(step.apply, len(step.inputs))  # type: ignore[arg-type]  # see `Rules`


def _diagonal(scale: Tensor) -> Kernel:
    def forward(t: Tensor) -> Tensor:
        return t * scale

    def backward(u: Tensor) -> tuple[Tensor, ...]:
        return (u * scale,)

    def over(t: Tensor) -> Tensor:
        return t.mul_(scale)

    def backward_over(u: Tensor) -> tuple[Tensor, ...]:
        return (u.mul_(scale),)

    return Kernel(forward, backward, over, backward_over)


def _convolution(step: Convolution, into: tuple[int, ...], out: tuple[int, ...]) -> Kernel:
    weight, groups, transposed = step.weight, step.groups, step.transposed
    stride, padding, dilation = [*step.stride], [*step.padding], [*step.dilation]
    more, none = [*step.output_padding], [0] * len(stride)
    # The transpose of a strided convolution must say how large its input was.
    lost = [
        n - ((m - 1) * s - 2 * p + d * (k - 1) + 1)
        for n, m, s, p, d, k in zip(
            into[2:], out[2:], stride, padding, dilation, weight.shape[2:], strict=True
        )
    ]
    inputs, outputs = into[1:], out[1:]
    row = max(prod(inputs), prod(outputs)) * weight.element_size()
    length = chunk_length(row, weight.dtype, weight.device)

    def convolve(t: Tensor) -> Tensor:
        return torch.convolution(
            t, weight, None, stride, padding, dilation, transposed, more, groups
        )

    turned = cache(lambda: _turned(step))  # when it is first wanted

    def transpose(u: Tensor) -> Tensor:
        if (plain := turned()) is not None:
            around = [*plain.padding]
            return torch.convolution(
                u, plain.weight, None, stride, around, dilation, False, none, groups
            )
        given = none if transposed else lost
        y = torch.convolution(
            u, weight, None, stride, padding, dilation, not transposed, given, groups
        )
        if transposed:  # the rows that only the output padding made have read nothing
            for axis, size in enumerate(inputs[1:], 2):
                y = y.narrow(axis, 0, size)
        return y

    def forward(t: Tensor) -> Tensor:
        y = in_chunks(convolve, t.flatten(0, 1), length, outputs)
        return y.view(t.shape[0], t.shape[1], *outputs)

    def backward(u: Tensor) -> tuple[Tensor, ...]:
        y = in_chunks(transpose, u.flatten(0, 1), length, inputs)
        return (y.reshape(u.shape[0], u.shape[1], *inputs),)

    return Kernel(forward, backward)


def _turned(step: Convolution) -> Convolution | None:
    """Give the transpose of a convolution of stride 1 as a plain convolution, which is faster."""
    size = step.weight.shape[2:]
    if step.transposed or any(stride != 1 for stride in step.stride):
        return None
    padding = tuple(
        d * (k - 1) - p for d, k, p in zip(step.dilation, size, step.padding, strict=True)
    )
    if min(padding) < 0:
        return None
    rows, columns, groups = *step.weight.shape[:2], step.groups
    apart = step.weight.reshape(groups, rows // groups, columns, *size).transpose(1, 2)
    weight = apart.reshape(groups * columns, rows // groups, *size).flip([*range(2, 2 + len(size))])
    return replace(step, weight=weight.contiguous(), padding=padding)


def _sum(factors: tuple[float, ...]) -> Kernel:
    def forward(*tangents: Tensor) -> Tensor:
        first, rest = tangents[0], tangents[1:]
        total = first if factors[0] == 1 else first * factors[0]
        for tangent, factor in zip(rest, factors[1:], strict=True):
            total = torch.add(total, tangent, alpha=factor)
        return total

    def over(*tangents: Tensor) -> Tensor:
        total = tangents[0] if factors[0] == 1 else tangents[0].mul_(factors[0])
        for tangent, factor in zip(tangents[1:], factors[1:], strict=True):
            total.add_(tangent, alpha=factor)
        return total

    def backward(u: Tensor) -> tuple[Tensor, ...]:
        return tuple([u if factor == 1 else u * factor for factor in factors])

    # What it passes on in the transpose is not its own.
    return Kernel(forward, backward, over)


def _maximum(step: Maximum, into: tuple[int, ...]) -> Kernel:
    places, axes = step.places, len(step.kernel)
    outputs, spatial = tuple(places.shape[1:]), tuple(into[-axes:])
    size = prod(spatial)
    flat = places.flatten(-axes)

    def forward(t: Tensor) -> Tensor:
        source = t.flatten(-axes)
        index = flat.expand(*source.shape[:-1], flat.shape[-1])
        return source.gather(-1, index).view(*t.shape[:2], *outputs)

    def backward(u: Tensor) -> tuple[Tensor, ...]:
        source = u.flatten(-axes)
        index = flat.expand(*source.shape[:-1], flat.shape[-1])
        total = source.new_zeros(*source.shape[:-1], size).scatter_add_(-1, index, source)
        return (total.view(*total.shape[:-1], *spatial),)

    return Kernel(forward, backward)


def _applied(apply: Applied, inputs: int) -> Kernel:
    return Kernel(apply.forward, apply.backward, fresh=apply.fresh and inputs == 1)
