"""The linear steps of a path at its point, and the products with the matrix that they are.

At a point BatchNorm is a scale and an activation a mask, so a branch is convolutions with products
between them: a product with its Jacobian costs what these do, without a graph or a dispatcher.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from resprobe.linalg.chunks import chunk_length, in_chunks
from resprobe.linalg.kernels import kernel
from resprobe.linalg.one_sample import (
    Embedded,
    alone,
    differ,
    random_tangents,
    require_apart,
)
from resprobe.linalg.precision import full_precision
from resprobe.linalg.rules import Rules
from resprobe.linalg.simplify import simplified
from resprobe.linalg.steps import (
    Convolution,
    Other,
    Step,
    Sum,
)

if TYPE_CHECKING:
    from resprobe.blocks.path import Path
    from resprobe.linalg.linear_map import LinearMap

# Bytes of the largest tensor that the probes make at once.
_ROOM = 1 << 28


def linearise(path: Path) -> Linearised:
    """Give the Jacobian of a path at its point as linear steps.

    Args:
        path: of a recorded pass, whose input was kept.

    Raises:
        InputError: an operation is not differentiable, or mixes the samples of the batch.
    """
    point = path.point()
    values = {**path.constants, path.input: point.movedim(0, path.axis)}
    rules = Rules(path.input, values[path.input], path.samples)
    with torch.no_grad(), full_precision(point.device):
        for call, freed in zip(path.calls, path.freed, strict=True):
            call.run(values)
            rules.add(call, values)
            for value in freed:
                values.pop(value, None)
    output = rules.total(path.output, path.calls[-1] if path.calls else None)
    shapes = {value: tuple(blank.shape) for value, blank in rules.blanks.items()}
    found = Linearised(
        simplified(rules.steps, output, rules.blanks), path.input, output, shapes,
        samples=path.samples, axis=path.axis, input_shape=path.input_shape,
        output_shape=path.output_shape, dtype=point.dtype, device=point.device,
    )  # fmt: skip
    require_apart(found)
    return found


class Linearised:
    """The Jacobians of the samples of a path, made of steps.

    The tangents inside have the probe first and then the axes that the model's tensors have.

    Args:
        steps: in order.
        input: the value whose tangent is given.
        output: the value whose tangent is wanted; None where it is zero.
        shapes: of the values, as the model has them.
        samples: how many the point has.
        axis: of the samples in the model's tensors.
        input_shape: of one sample.
        output_shape: likewise.
        dtype: of the point.
        device: likewise.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        input: int,  # noqa: A002  # the word of Path
        output: int | None,
        shapes: dict[int, tuple[int, ...]],
        *,
        samples: int,
        axis: int,
        input_shape: tuple[int, ...],
        output_shape: tuple[int, ...],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.steps, self.input, self.output = tuple(steps), input, output
        self.samples, self.axis = samples, axis
        self.input_shape, self.output_shape = input_shape, output_shape
        self.dtype, self.device = dtype, device
        self.shapes = shapes
        self._probes = self._chunk()
        self._is_apart: bool | None = None  # not looked at yet
        self._forward = _forward(self.steps, output, shapes)

    def __repr__(self) -> str:
        samples = "1 sample" if self.samples == 1 else f"{self.samples} samples"
        return (
            f"Linearised({self.input_shape} -> {self.output_shape}, {samples}, {len(self.steps)} "
            f"steps, {self.dtype})"
        )

    def matvec(self, v: Tensor) -> Tensor:
        """Give J v: `(probe, sample, *input_shape)` to `(probe, sample, *output_shape)`."""
        if self.output is None:
            return v.new_zeros(*v.shape[:2], *self.output_shape)
        with torch.no_grad(), full_precision(self.device):
            return in_chunks(self._pushed, v, self._probes, (self.samples, *self.output_shape))

    def rmatvec(self, u: Tensor) -> Tensor:
        """Give Jᵀ u: `(probe, sample, *output_shape)` to `(probe, sample, *input_shape)`."""
        if self.output is None:
            return u.new_zeros(*u.shape[:2], *self.input_shape)
        with torch.no_grad(), full_precision(self.device):
            return in_chunks(self._pulled, u, self._probes, (self.samples, *self.input_shape))

    def sample(self, index: int) -> LinearMap:
        """Give the map of one sample."""
        if self.samples == 1:
            return self
        found = [alone(step, index, self.samples, self.shapes) for step in self.steps]
        steps = [step for step in found if step is not None]
        if self.axis or len(steps) < len(found):
            return Embedded(self, index)
        one = self._of_one(steps)
        return one if self._apart(one, index) else Embedded(self, index)

    def _of_one(self, steps: Sequence[Step]) -> Linearised:
        """Give the map of one sample from its steps."""
        shapes = {value: (1, *shape[1:]) for value, shape in self.shapes.items()}
        return Linearised(
            steps, self.input, self.output, shapes, samples=1, axis=0,
            input_shape=self.input_shape, output_shape=self.output_shape, dtype=self.dtype,
            device=self.device,
        )  # fmt: skip

    def _apart(self, one: Linearised, index: int) -> bool:
        """Whether the map of one sample is right.

        Where a step's first axis only is as long as there are samples, such as tokens that were
        brought in front of as many samples, it is not.
        """
        if self._is_apart is None:
            v = random_tangents(self)
            whole, own = self.matvec(v)[:, index], one.matvec(v[:, index : index + 1])[:, 0]
            self._is_apart = not differ(own.flatten(1), whole.flatten(1))
        return self._is_apart

    def _pushed(self, v: Tensor) -> Tensor:
        if not self._forward:
            return v.clone()
        values = {self.input: self._inside(v)}
        for run, inputs, output, freed in self._forward:
            if len(inputs) == 1:
                values[output] = run(values[inputs[0]])
            else:
                values[output] = run(*[values[value] for value in inputs])
            for value in freed:
                del values[value]
        assert self.output is not None
        return self._outside(values[self.output])

    def _pulled(self, u: Tensor) -> Tensor:
        if not self._backward:
            return u.clone()
        assert self.output is not None
        values = {self.output: self._inside(u)}
        for run, inputs, output, _ in self._backward:
            for value, part in zip(inputs, run(values.pop(output)), strict=True):
                there = values.get(value)
                values[value] = part if there is None else there + part
        return self._outside(values[self.input])

    def _chunk(self) -> int | None:
        """Give how many probes to take at once.

        So many that convolutions find theirs in the cache, and no more than there is room for: the
        scores of attention are much larger than what the probes are of.
        """
        largest = max((prod(shape) for shape in self.shapes.values()), default=1)
        largest = max([largest, *(_scores(step, self.shapes) for step in self.steps)])
        room = max(1, _ROOM // max(1, largest * self.dtype.itemsize))
        convolutions = [step for step in self.steps if isinstance(step, Convolution)]
        if not convolutions:
            return room
        sizes = [prod(self.shapes[v]) for s in convolutions for v in (*s.inputs, s.output)]
        cached = chunk_length(max(sizes) * self.dtype.itemsize, self.dtype, self.device)
        return room if cached is None else min(room, cached)

    @cached_property
    def _backward(self) -> list[_Run]:
        return _backward(self.steps, self.shapes)

    def _inside(self, v: Tensor) -> Tensor:
        """Lay the axes out as the model has them."""
        return v.movedim(1, self.axis + 1) if self.axis else v

    def _outside(self, v: Tensor) -> Tensor:
        return v.movedim(self.axis + 1, 1) if self.axis else v


class _Run(NamedTuple):
    """One step as it is run.

    Attributes:
        run: tangents to tangent, or the transpose.
        inputs: values that the step reads.
        output: the value that it makes.
        freed: values that nothing reads afterwards.
    """

    run: Callable[..., Any]
    inputs: tuple[int, ...]
    output: int
    freed: tuple[int, ...]


def _scores(step: Step, shapes: dict[int, tuple[int, ...]]) -> int:
    """Give how many scores an attention that is one operation makes inside, 0 for other steps."""
    if not isinstance(step, Other) or "attention" not in str(step.operation.function):
        return 0
    # (…, head, token, feature): each token has a score with each
    return max(prod(shapes[value][:-1]) * shapes[value][-2] for value in step.inputs)


def _forward(
    steps: Sequence[Step], output: int | None, shapes: dict[int, tuple[int, ...]]
) -> list[_Run]:
    last = {value: place for place, step in enumerate(steps) for value in step.inputs}
    own: set[int] = set()
    runs = []
    for place, step in enumerate(steps):
        one = kernel(step, shapes)
        freed = {value for value in step.inputs if last[value] == place and value != output}
        first = step.inputs[0]
        over = first in own and first in freed and step.inputs.count(first) == 1
        run = one.forward_over if over and one.forward_over is not None else one.forward
        if one.fresh:
            own.add(step.output)
        else:
            own.difference_update(step.inputs)  # what it gives may be a view of them
        runs.append(_Run(run, step.inputs, step.output, tuple(freed)))
    return runs


def _backward(steps: Sequence[Step], shapes: dict[int, tuple[int, ...]]) -> list[_Run]:
    own: set[int] = set()
    met: set[int] = set()
    runs = []
    for step in reversed(steps):
        one = kernel(step, shapes)
        over = step.output in own and one.backward_over is not None
        run = one.backward_over if over else one.backward
        assert run is not None
        runs.append(_Run(run, step.inputs, step.output, ()))
        for value in step.inputs:
            # What comes from two sides is added up, which makes a tensor of its own.
            if value in met or (one.fresh and not isinstance(step, Sum)):
                own.add(value)
            met.add(value)
    return runs
