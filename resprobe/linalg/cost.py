"""What a way to a Jacobian will take, roughly: operations over rates, and bytes over bandwidth.

The rates are those of one processor core with 512-bit vectors and of a data-centre accelerator,
as measured with torch on branches of ResNet-20. Only their ratios decide anything: matrix products
run at half the rate in float64, convolutions at a fifth and less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from resprobe.linalg.steps import Convolution, Other, Step

if TYPE_CHECKING:
    import torch

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


def _fan_in(step: Convolution) -> int:
    """Give how many numbers a convolution adds up for an output (for an input, if transposed)."""
    return prod(step.weight.shape[1:])
