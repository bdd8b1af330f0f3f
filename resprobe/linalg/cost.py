"""What a way to a Jacobian will take, roughly: operations over rates, and bytes over bandwidth.

The rates are those of one processor core with 512-bit vectors and of a data-centre accelerator,
as measured with torch on branches of ResNet-20. Only their ratios decide anything: matrix products
run at half the rate in float64, convolutions at a fifth and less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from resprobe.linalg.applied import Product
from resprobe.linalg.steps import Convolution, Other, Step

if TYPE_CHECKING:
    import torch

    from resprobe.linalg.linear_map import LinearMap
    from resprobe.linalg.stencil import Plan


class Rates(NamedTuple):
    """How fast a machine is.

    Attributes:
        convolution: operations a second in a batched convolution.
        product: operations a second in a matrix product.
        stream: bytes a second that an elementwise operation reads and writes.
        call: seconds that starting an operation takes.
    """

    convolution: float
    product: float
    stream: float
    call: float


_RATES = {
    ("cpu", 4): Rates(8e10, 5.5e10, 1.2e10, 1e-5),
    ("cpu", 8): Rates(1.6e10, 2.8e10, 1.2e10, 1e-5),
    ("cuda", 4): Rates(1.5e13, 2e13, 2e12, 1.5e-5),
    ("cuda", 8): Rates(5e12, 2e13, 2e12, 1.5e-5),
}
# Differentiating a function anew for each part of the probes, over running its linear steps.
_AUTODIFF = 1.6
_TRACING = 2e-3
# What one product in an iteration takes beside its steps, and a step that is differentiated anew in
# each, in seconds.
_ITERATION, _ANEW = 5e-5, 3e-4


def rates(device: torch.device, dtype: torch.dtype) -> Rates:
    """Give the rates of a device for a dtype."""
    kind = "cpu" if device.type == "cpu" else "cuda"
    return _RATES[kind, 8 if dtype.itemsize == 8 else 4]


def terms(steps: Sequence[Step], shapes: Mapping[int, tuple[int, ...]]) -> int:
    """Give how many numbers are added up on the way from an input to an output."""
    total = len(steps)
    for step in steps:
        if isinstance(step, Convolution):
            total += _fan_in(step)
        elif isinstance(step, Other):
            total += max(prod(shapes[value]) for value in step.inputs)
    return total


def of_probes(
    steps: Sequence[Step],
    shapes: Mapping[int, tuple[int, ...]],
    probes: int,
    rate: Rates,
    itemsize: int,
) -> float:
    """Give the seconds that probes take through the steps, or back through them."""
    seconds = 0.0
    for step in steps:
        numbers = prod(shapes[step.output])
        read = sum(prod(shapes[value]) for value in step.inputs)
        if isinstance(step, Convolution):
            places = prod(shapes[step.inputs[0]]) if step.transposed else numbers
            seconds += 2 * places * _fan_in(step) / rate.convolution
        elif isinstance(step, Other):
            # Unknown; a matrix product, a softmax or a norm are near to it.
            seconds += 2 * max(read, numbers) * 100 / rate.convolution
        else:
            seconds += (read + numbers) * itemsize / rate.stream
    return probes * seconds + len(steps) * rate.call


def of_autodiff(seconds: float) -> float:
    """Give the seconds of the same products by differentiating the function."""
    return _TRACING + _AUTODIFF * seconds


def of_stencil(plan: Plan, rate: Rates, itemsize: int) -> float:
    """Give the seconds that a composed stencil takes."""
    channels = plan.channels
    written = channels * (2 * plan.numbers + 4 * plan.written) * itemsize
    return channels * plan.products / rate.product + written / rate.stream + plan.calls * rate.call


def of_matrix(numbers: int) -> tuple[float, float]:
    """Give the seconds of a product with an explicit matrix, and of each further one with it."""
    rate = _RATES["cpu", 8]
    return _ITERATION + rate.call + 8 * numbers / rate.stream, 2 * numbers / rate.product


def of_map(linear_map: LinearMap) -> tuple[float, float]:
    """Give the seconds of a product with a map, and of each further one at once with it."""
    steps = getattr(linear_map, "steps", None)
    if steps is None:
        matrices = getattr(linear_map, "matrices", None)
        known = None if matrices is None else of_matrix(matrices.numel())
        return known or (_TRACING, _TRACING / 10)
    rate = rates(linear_map.device, linear_map.dtype)
    shapes, itemsize = linear_map.shapes, linear_map.dtype.itemsize  # type: ignore[attr-defined]
    once = of_probes(steps, shapes, 1, rate, itemsize)
    anew = sum(isinstance(step, Other) and not isinstance(step.apply, Product) for step in steps)
    return _ITERATION + anew * _ANEW + once, once - len(steps) * rate.call


def of_eigenvalues(rows: int) -> float:
    """Give the seconds of all eigenvalues of a matrix with their vectors, and of its norm."""
    return 1e-9 * rows**3


def _fan_in(step: Convolution) -> int:
    """Give how many numbers a convolution adds up for an output (for an input, if transposed)."""
    return prod(step.weight.shape[1:])
