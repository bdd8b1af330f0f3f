"""The ways to a Jacobian, what each would take, and why some can't be gone."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Literal

import torch

from resprobe.linalg import cost, stencil
from resprobe.linalg.colouring import colourings
from resprobe.linalg.linearise import Linearised
from resprobe.linalg.pattern import PatternDestroyedError, pattern
from resprobe.linalg.probing import coloured_layout, empty_layout, unit_layout

if TYPE_CHECKING:
    from resprobe.linalg.compressed import Layout
    from resprobe.linalg.linear_map import LinearMap

Name = Literal["linear", "stencil", "vmap", "dense"]
NAMES: tuple[Name, ...] = ("stencil", "linear", "vmap", "dense")

# Beside the result.
_EXTRA_BYTES = 60 << 20


@dataclass(frozen=True)
class Way:
    """One way to the Jacobians of a batch.

    Attributes:
        name: of the way.
        layout: of the result for one sample.
        seconds: predicted, for one sample.
        plan: of the stencil, where it is that.
        channels: of the input, whose part of the stencil is composed at once.
    """

    name: Name
    layout: Layout
    seconds: float
    plan: stencil.Plan | None = None
    channels: int = 0


@dataclass(frozen=True)
class Ways:
    """The ways that can be gone, the one predicted fastest first, and why the others can't.

    Attributes:
        open: ways.
        closed: name of a way to why it can't be gone.
        largest: numbers of the largest tensor that one probe of one sample meets.
        terms: numbers that are added up on the way from an input to an output.
    """

    open: list[Way]
    closed: dict[str, str] = field(default_factory=dict)
    largest: int = 1
    terms: int = 1


def ways(linear_map: LinearMap) -> Ways:
    """Say how the Jacobians of a linear map can be had.

    Args:
        linear_map: of one or more samples; what is not `Linearised` has no structure.
    """
    numbers = max(prod(linear_map.input_shape), prod(linear_map.output_shape))
    one = linear_map.sample(0)
    if not isinstance(linear_map, Linearised) or not isinstance(one, Linearised):
        why = "its linear steps are not known"
        closed = dict.fromkeys(("linear", "stencil", "vmap"), why)
        return Ways([Way("dense", _units(linear_map), 0.0)], closed, numbers, numbers)
    rate = cost.rates(one.device, one.dtype)

    def seconds(layout: Layout) -> float:
        return cost.of_probes(one.steps, one.shapes, layout.probes, rate, one.dtype.itemsize)

    found, closed = [], {}
    try:
        layout = min(_coloured(one), key=seconds)
        found.append(Way("linear", layout, seconds(layout)))
        found.append(Way("vmap", layout, cost.of_autodiff(seconds(layout))))
    except PatternDestroyedError as destroyed:
        closed = {"linear": str(destroyed), "vmap": str(destroyed)}
    try:
        found.append(_stencil(linear_map, rate))
    except stencil.NoStencilError as refused:
        closed["stencil"] = str(refused)
    found.append(Way("dense", _units(one), seconds(_units(one))))
    found.sort(key=lambda way: (way.seconds, NAMES.index(way.name)))
    largest = max(numbers, *(prod(shape) for shape in one.shapes.values()), 1)
    return Ways(found, closed, largest, cost.terms(one.steps, one.shapes))


def _units(linear_map: LinearMap) -> Layout:
    """Give the layout of one probe for each input or each output, whichever are fewer."""
    inputs, outputs = linear_map.input_shape, linear_map.output_shape
    if prod(outputs) < prod(inputs):
        return unit_layout(outputs, inputs, linear_map.device, transposed=True)
    return unit_layout(inputs, outputs, linear_map.device, transposed=False)


def _coloured(one: Linearised) -> list[Layout]:
    """Give the layouts of coloured probes of the inputs and of the outputs.

    Raises:
        PatternDestroyedError: everything depends on everything.
    """
    if one.output is None:
        return [empty_layout(one.input_shape, one.output_shape, one.device)]
    shape = (*one.input_shape[: one.axis], 1, *one.input_shape[one.axis :])
    example = torch.empty(0, dtype=one.dtype, device=one.device)
    found = pattern(one.steps, one.input, one.output, shape, example)
    by_input = found.without(one.axis, one.axis)
    by_output = by_input.transposed()
    return [
        coloured_layout(by_input, colourings(by_input), one.device, transposed=False),
        coloured_layout(by_output, colourings(by_output), one.device, transposed=True),
    ]


def _stencil(linear_map: Linearised, rate: cost.Rates) -> Way:
    """Give the way by a stencil.

    Raises:
        NoStencilError: there is none, or it takes too much memory.
    """
    if linear_map.output is None or linear_map.axis:
        raise stencil.NoStencilError("the result is zero or its samples are not in front")
    plan = stencil.plan(
        linear_map.steps, linear_map.input, linear_map.output, linear_map.input_shape
    )
    size, channels = linear_map.dtype.itemsize, plan.channels
    if plan.extra * channels * size > _EXTRA_BYTES:
        # Parts of the result are then composed for some channels at a time, and copied.
        channels = _EXTRA_BYTES // ((plan.extra + plan.numbers) * size)
    if channels == 0:
        raise stencil.NoStencilError(
            f"it would hold more than {_EXTRA_BYTES >> 20} MB beside the result"
        )
    seconds = cost.of_stencil(plan, rate, size)
    return Way("stencil", plan.layout(linear_map.device), seconds, plan, channels)
