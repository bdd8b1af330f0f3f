"""What the Jacobian of a chain of convolutions looks like as one stencil, before it is computed.

A stencil holds, for each offset d and each output place p, the matrix of output channels by input
channels between p and the input place q = stride * p + d: one panel for each offset. A convolution
after it adds, for each of its taps and each panel, one matrix product to the panel of the summed
offset. Of two 3x3 convolutions that are nine products for each tap of the first: 162 operations for
each place and triple of channels, where 25 probes through both take 900.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import NamedTuple

import torch

from resprobe.linalg.compressed import Layout
from resprobe.linalg.pattern import convolved_shape, described
from resprobe.linalg.steps import Convolution, Diagonal, Step, Sum

Offset = tuple[int, ...]


class NoStencilError(Exception):
    """The steps are no sum or chain of plain convolutions; the message says which is not."""


@dataclass(frozen=True)
class Outline:
    """What is known of the stencil of a value.

    Attributes:
        shape: of one sample of the value, `(channel, …)`.
        offsets: of its panels.
        stride: from its places to those of the input, for each spatial axis.
        extents: spatial axes with the spare places that its panels have at their ends.
        convolutions: 0 of the input, 1 of what is written down directly, 2 of what was composed.
    """

    shape: tuple[int, ...]
    offsets: tuple[Offset, ...]
    stride: Offset
    extents: tuple[int, ...]
    convolutions: int

    @property
    def grid(self) -> tuple[int, ...]:
        """The spatial axes."""
        return self.shape[1:]

    @property
    def numbers(self) -> int:
        """How many numbers its panels hold for one input channel."""
        return len(self.offsets) * self.shape[0] * prod(self.extents)


@dataclass(frozen=True)
class Tap:
    """One tap of a convolution.

    Attributes:
        index: its place in the kernel.
        offset: from `stride * p` to the place that output p reads by it.
        phase: that place modulo the stride.
        shift: that place in steps of the stride, less p.
    """

    index: Offset
    offset: Offset
    phase: Offset
    shift: Offset


def taps(step: Convolution) -> Iterator[Tap]:
    """Give the taps of a convolution."""
    for index in product(*(range(size) for size in step.weight.shape[2:])):
        geometry = zip(index, step.dilation, step.padding, strict=True)
        offset = tuple(t * dilation - padding for t, dilation, padding in geometry)
        phase = tuple(u % s for u, s in zip(offset, step.stride, strict=True))
        shift = tuple(u // s for u, s in zip(offset, step.stride, strict=True))
        yield Tap(index, offset, phase, shift)


def reached(before: Outline, offset: Offset, tap: Tap) -> Offset:
    """Give the offset to which a tap after a stencil brings one of its panels."""
    return tuple(s * u + d for s, u, d in zip(before.stride, tap.offset, offset, strict=True))


@dataclass(frozen=True)
class Plan:
    """How the stencil of a function is made.

    Attributes:
        steps: in the order in which they run.
        source: value that the function takes.
        target: value that it gives.
        outlines: of each value.
        products: operations of the matrix products for one input channel.
        calls: number of the matrix products.
        written: numbers of the panels that they read, for one input channel.
        extra: numbers held beside the result at once, at most, for one input channel.
    """

    steps: tuple[Step, ...]
    source: int
    target: int
    outlines: Mapping[int, Outline]
    products: float
    calls: int
    written: int
    extra: int

    @property
    def channels(self) -> int:
        """Channels of the input."""
        return self.outlines[self.source].shape[0]

    @property
    def numbers(self) -> int:
        """Numbers of the result for one input channel."""
        return self.outlines[self.target].numbers

    def layout(self, device: torch.device, channels: int | None = None) -> Layout:
        """Give the layout of the result, of all input channels or of so many of them."""
        found, grid = self.outlines[self.target], self.outlines[self.source].grid
        ones = (1,) * len(grid)
        places = torch.zeros((1, *ones), dtype=torch.int64, device=device)
        inside = torch.ones_like(places, dtype=torch.bool)
        for axis, size in enumerate(grid):
            along = (*ones[:axis], -1, *ones[axis + 1 :])
            p = torch.arange(found.extents[axis], device=device).view(along)
            offsets = torch.tensor([offset[axis] for offset in found.offsets], device=device)
            q = p * found.stride[axis] + offsets.view(-1, *ones)
            inside = inside & (q >= 0) & (q < size) & (p < found.grid[axis])
            places = places * size + q
        table = torch.where(inside, places, -1).unsqueeze(1)
        seeded = (self.channels if channels is None else channels, *grid)
        return Layout(seeded, (0,), found.shape, table, transposed=False)


def plan(steps: Sequence[Step], source: int, target: int, input_shape: tuple[int, ...]) -> Plan:
    """Say how the stencil of a function is made.

    Args:
        steps: in the order in which they run.
        source: value that the function takes.
        target: value that it gives.
        input_shape: of one sample.

    Raises:
        NoStencilError: a step is not a product with numbers of its input's shape, a convolution
            of one group with zeros around or a sum; or the operands of a sum differ in stride.
    """
    rank = len(input_shape) - 1
    if rank < 1:
        raise NoStencilError("the input has no axis of places")
    if not any(isinstance(step, Convolution) for step in steps):
        raise NoStencilError("there is no convolution")
    known = {source: Outline(input_shape, ((0,) * rank,), (1,) * rank, input_shape[1:], 0)}
    work = [_after(step, known) for step in steps]
    composed = {step.output for step in steps if known[step.output].convolutions == 2}
    held = sum(known[value].numbers for value in composed - {target})
    return Plan(
        tuple(steps), source, target, known,
        products=sum(each.operations for each in work), calls=sum(each.calls for each in work),
        written=sum(each.calls and each.written for each in work),
        extra=held + max(each.buffer for each in work),
    )  # fmt: skip


class _Work(NamedTuple):
    """What a step costs for one input channel.

    Attributes:
        operations: of its matrix products.
        calls: their number.
        written: numbers of the panels that it writes down to read them.
        buffer: numbers of the buffer for one of them.
    """

    operations: float = 0.0
    calls: int = 0
    written: int = 0
    buffer: int = 0


def _after(step: Step, known: dict[int, Outline]) -> _Work:
    """Add the outline of a step's output to those that are known; give what it costs."""
    before = [known[value] for value in step.inputs]
    if isinstance(step, Diagonal):
        known[step.output] = before[0]
        return _Work()
    if isinstance(step, Sum):
        known[step.output] = _summed(step, before)
        return _Work()
    if not isinstance(step, Convolution):
        raise NoStencilError(f"{described(step)} is no convolution, product or sum")
    if step.transposed or step.groups != 1 or len(step.stride) != len(before[0].grid):
        kind = "transposed" if step.transposed else "of several groups of channels"
        raise NoStencilError(f"{described(step)} is {kind}")
    known[step.output] = _convolved(step, before[0])
    return _work(step, before[0], known[step.output])


def _summed(step: Step, before: list[Outline]) -> Outline:
    first = before[0]
    if any(other.stride != first.stride or other.shape != first.shape for other in before):
        raise NoStencilError(f"{described(step)} adds maps of different strides")
    largest = max(before, key=lambda outline: len(outline.offsets))
    offsets = dict.fromkeys(largest.offsets)
    for outline in before:
        offsets |= dict.fromkeys(outline.offsets)
    return Outline(first.shape, tuple(offsets), first.stride, largest.extents, 2)


def _convolved(step: Convolution, before: Outline) -> Outline:
    shape = convolved_shape(step, before.shape)
    stride = tuple(s * t for s, t in zip(before.stride, step.stride, strict=True))
    every = list(taps(step))
    offsets = dict.fromkeys(reached(before, d, tap) for d in before.offsets for tap in every)
    if before.convolutions == 0:
        return Outline(shape, tuple(offsets), stride, shape[1:], 1)
    return Outline(shape, tuple(offsets), stride, spared(step, before.grid, shape[1:]), 2)


def _work(step: Convolution, before: Outline, after: Outline) -> _Work:
    if before.convolutions == 0:
        return _Work()
    calls = len(before.offsets) * prod(step.weight.shape[2:])
    operations = 2.0 * calls * after.shape[0] * before.shape[0] * prod(after.extents)
    written = len(before.offsets) * prod(before.shape)
    return _Work(operations, calls, written, prod(phased(step, before, after.extents)))


def spared(step: Convolution, before: Offset, after: Offset) -> Offset:
    """Give the spatial axes of the panels after a convolution with their spare places.

    A tap is a shift of the flat places of all axes together. It must not run from one row into
    the next, so each axis but the first has spare places of zeros at its end.
    """
    extents = [after[0]]
    shifts = [tap.shift for tap in taps(step)]
    for axis in range(1, len(after)):
        low = min(shift[axis] for shift in shifts)
        high = max(shift[axis] for shift in shifts)
        places = -(-before[axis] // step.stride[axis])
        extents.append(max(places + max(0, -low), after[axis] + max(0, high)))
    return tuple(extents)


def phased(step: Convolution, before: Outline, extents: Offset) -> Offset:
    """Give the shape of the buffer that a convolution reads: (*phases, channel, *places)."""
    first = -(-before.grid[0] // step.stride[0])
    return (*step.stride, before.shape[0], first, *extents[1:])
