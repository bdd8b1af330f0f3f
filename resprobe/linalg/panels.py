"""The numbers of a stencil: its panels, composed by matrix products.

A panel is laid out as (output channel, place, input channel). A tap of a convolution is then a
shift of the flat (place, input channel), and its product with a panel one matrix product that adds
to a part of another.
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import TYPE_CHECKING, Protocol

import torch

from resprobe.errors import ViolationError
from resprobe.linalg.stencil import Outline, Plan, phased, reached, taps
from resprobe.linalg.steps import Convolution, Diagonal, Sum

if TYPE_CHECKING:
    from torch import Tensor


class _Stencil(Protocol):
    """A stencil whose panels can be written down one by one."""

    outline: Outline

    def fill(self, index: int, out: Tensor) -> None:
        """Write a panel to `out`, `(output channel, *grid, input channel)`."""
        ...

    def scaled(self, scale: Tensor) -> _Stencil:
        """Give the stencil times `scale`, which broadcasts to `(output channel, *grid)`."""
        ...


class _Placed:
    """The stencil of at most one convolution: its taps between two scales.

    Args:
        outline: of the value.
        weight: `(panel, output channel, input channel)`.
        source: the scale before it, with zeros around: `(*grid, input channel)`.
        starts: where in `source` the first place of each panel lies, for each axis.
        scale: after it; None for 1.
    """

    def __init__(
        self,
        outline: Outline,
        weight: Tensor,
        source: Tensor,
        starts: list[tuple[int, ...]],
        scale: Tensor | None = None,
    ) -> None:
        self.outline = outline
        self.scale = scale
        self._weight, self._source, self._starts = weight, source, starts

    @property
    def width(self) -> int:
        """Number of input channels."""
        return self._weight.shape[-1]

    def zeros(self, *shape: int) -> Tensor:
        """Give zeros of this shape for each input channel, `(*shape, input channel)`."""
        return self._weight.new_zeros((*shape, self.width))

    def fill(self, index: int, out: Tensor) -> None:
        """Write a panel to `out`, `(output channel, *grid, input channel)`."""
        outline = self.outline
        read = self._source
        for axis, start in enumerate(self._starts[index]):
            stop = start + outline.stride[axis] * (outline.grid[axis] - 1) + 1
            every: tuple[slice, ...] = (slice(None),) * axis
            read = read[(*every, slice(start, stop, outline.stride[axis]))]
        weight = self._weight[index]
        torch.mul(weight.reshape(len(weight), *(1 for _ in outline.grid), -1), read, out=out)
        if self.scale is not None:
            out.mul_(self.scale.unsqueeze(-1))

    def scaled(self, scale: Tensor) -> _Stencil:
        """Give the stencil times `scale`, which broadcasts to `(output channel, *grid)`."""
        after = scale if self.scale is None else self.scale * scale
        return _Placed(self.outline, self._weight, self._source, self._starts, after)


class _Composed:
    """Panels that were computed.

    Args:
        outline: of the value.
        panels: `(panel, output channel, *extents, input channel)`; spare places hold anything.
        scale: by which they are yet to be multiplied; None for 1.
    """

    def __init__(self, outline: Outline, panels: Tensor, scale: Tensor | None = None) -> None:
        self.outline = outline
        self.panels, self.scale = panels, scale

    def real(self, index: int) -> Tensor:
        """Give a panel without its spare places."""
        return _beginning(self.panels[index], self.outline.grid)

    def fill(self, index: int, out: Tensor) -> None:
        """Write a panel to `out`, `(output channel, *grid, input channel)`."""
        if self.scale is None:
            out.copy_(self.real(index))
        else:
            torch.mul(self.real(index), self.scale.unsqueeze(-1), out=out)

    def scaled(self, scale: Tensor) -> _Stencil:
        """Give the stencil times `scale`, which broadcasts to `(output channel, *grid)`."""
        after = scale if self.scale is None else self.scale * scale
        return _Composed(self.outline, self.panels, after)


def entries(plan: Plan, sample: int, channels: slice, example: Tensor) -> Tensor:
    """Give the entries of the Jacobian of one sample.

    Args:
        plan: of the function.
        sample: which one.
        channels: of the input.
        example: any tensor of the dtype and on the device of the result.

    Returns:
        `(input channel, panel, output channel, *extents)`, the input channel last in memory: as
        `plan.layout` describes it.
    """
    identity = _identity(plan, channels, example)
    known: dict[int, _Stencil] = {plan.source: identity}
    for step in plan.steps:
        outline = plan.outlines[step.output]
        before = [known[value] for value in step.inputs]
        first = before[0]
        if isinstance(step, Diagonal):
            known[step.output] = first.scaled(_of_sample(step, sample, outline))
        elif isinstance(step, Sum):
            known[step.output] = _summed(step, before, outline, identity)
        elif not isinstance(step, Convolution):
            raise ViolationError(f"{type(step).__name__} in a stencil")  # the plan refuses it
        elif isinstance(first, _Placed) and first.outline.convolutions == 0:
            known[step.output] = _placed(step, first, outline, channels)
        else:
            known[step.output] = _convolved(step, first, outline, identity)
    return _finished(known[plan.target], identity).movedim(-1, 0)


def _beginning(panel: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Give the first places along each spatial axis of a panel."""
    for axis, size in enumerate(grid, 1):
        panel = panel.narrow(axis, 0, size)
    return panel


def _of_sample(step: Diagonal, sample: int, outline: Outline) -> Tensor:
    """Give the scale of one sample with all axes of `(channel, *grid)`."""
    scale = step.scale[sample if len(step.scale) > 1 else 0]
    return scale.reshape(*(1 for _ in range(len(outline.shape) - scale.ndim)), *scale.shape)


def _identity(plan: Plan, channels: slice, example: Tensor) -> _Placed:
    """Give the stencil of the input itself."""
    outline = plan.outlines[plan.source]
    weight = torch.eye(outline.shape[0], dtype=example.dtype, device=example.device)
    ones = example.new_ones((*outline.grid, 1))
    return _Placed(outline, weight[None, :, channels], ones, [(0,) * len(outline.grid)])


def _placed(step: Convolution, before: _Placed, outline: Outline, channels: slice) -> _Placed:
    """Give the stencil of the first convolution: its taps, where they read inside."""
    grid = before.outline.grid
    every = {tap.offset: tap.index for tap in taps(step)}
    low = [max(0, -min(offset[axis] for offset in every)) for axis in range(len(grid))]
    extents = []
    for axis, size in enumerate(grid):
        last = step.stride[axis] * (outline.grid[axis] - 1)
        highest = last + max(offset[axis] for offset in every)
        extents.append(low[axis] + max(size, highest + 1))
    weight = step.weight.detach()
    scale = weight.new_ones((1, *(1 for _ in grid))) if before.scale is None else before.scale
    scale = scale.expand(before.outline.shape)[channels].movedim(0, -1)
    source = weight.new_zeros((*extents, scale.shape[-1]))
    source[tuple(slice(a, a + size) for a, size in zip(low, grid, strict=True))] = scale
    flat = weight[:, channels].movedim((0, 1), (-2, -1))
    ordered = torch.stack([flat[every[offset]] for offset in outline.offsets])
    starts = [tuple(map(sum, zip(low, offset, strict=True))) for offset in outline.offsets]
    return _Placed(outline, ordered, source, starts)


def _convolved(
    step: Convolution, before: _Stencil, outline: Outline, identity: _Placed
) -> _Composed:
    """Give the stencil after a convolution that is not the first.

    Each panel of the stencil before it is written down once, by the phases of the stride, in
    places as far apart as those of the result; each tap then is one matrix product.
    """
    inner, outer = before.outline, outline
    strides = [
        prod(outer.extents[1 + axis :]) * identity.width for axis in range(len(outer.extents))
    ]
    found = identity.zeros(len(outer.offsets), outer.shape[0], *outer.extents)
    buffer = identity.zeros(*phased(step, inner, outer.extents))
    number = {offset: place for place, offset in enumerate(outer.offsets)}
    flat = step.weight.detach().movedim((0, 1), (-2, -1)).flatten(0, -3).contiguous()
    weights = list(zip(taps(step), flat, strict=True))
    for index, offset in enumerate(inner.offsets):
        _fill_phases(before, index, buffer, step.stride)
        for tap, weight in weights:
            source = buffer[tap.phase].flatten(1)
            target = found[number[reached(inner, offset, tap)]].flatten(1)
            shift = sum(k * stride for k, stride in zip(tap.shift, strides, strict=True))
            start, stop = max(0, -shift), min(target.shape[1], source.shape[1] - shift)
            if stop > start:
                target[:, start:stop].addmm_(weight, source[:, start + shift : stop + shift])
    return _Composed(outer, found)


def _fill_phases(before: _Stencil, index: int, buffer: Tensor, stride: tuple[int, ...]) -> None:
    """Write a panel to `(*phase, channel, *places, input channel)`."""
    grid = before.outline.grid
    if prod(stride) == 1:
        before.fill(index, _beginning(buffer[(0,) * len(grid)], grid))
        return
    panel = buffer.new_empty((before.outline.shape[0], *grid, buffer.shape[-1]))
    before.fill(index, panel)
    for phase in product(*(range(s) for s in stride)):
        part = panel
        for axis, (start, step) in enumerate(zip(phase, stride, strict=True), 1):
            part = part.movedim(axis, 0)[start::step].movedim(0, axis)
        _beginning(buffer[phase], tuple(part.shape[1:-1])).copy_(part)


def _summed(step: Sum, before: list[_Stencil], outline: Outline, identity: _Placed) -> _Composed:
    """Give the sum of stencils, each times its factor."""
    found = identity.zeros(len(outline.offsets), outline.shape[0], *outline.extents)
    total = _Composed(outline, found)
    number = {offset: place for place, offset in enumerate(outline.offsets)}
    for stencil, factor in zip(before, step.factors, strict=True):
        panel = identity.zeros(*outline.shape)
        for index, offset in enumerate(stencil.outline.offsets):
            stencil.fill(index, panel)
            total.real(number[offset]).add_(panel, alpha=factor)
    return total


def _finished(stencil: _Stencil, identity: _Placed) -> Tensor:
    """Give the panels of a stencil with zeros in their spare places."""
    outline = stencil.outline
    if not isinstance(stencil, _Composed):
        placed = _Composed(outline, identity.zeros(len(outline.offsets), *outline.shape))
        for index in range(len(outline.offsets)):
            stencil.fill(index, placed.real(index))
        return placed.panels
    panels = stencil.panels
    for axis, size in enumerate(outline.grid):
        panels.narrow(2 + axis, size, outline.extents[axis] - size).zero_()
    if stencil.scale is not None:
        for index in range(len(outline.offsets)):
            stencil.real(index).mul_(stencil.scale.unsqueeze(-1))
    return panels
