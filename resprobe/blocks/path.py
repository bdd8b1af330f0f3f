"""The function from one value of a recorded pass to another: a branch, a block, a span."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from resprobe.blocks.functional import Functional, FunctionalCall
from resprobe.blocks.replacements import BATCH_NORMS, REPLACEMENTS, batch_norm_alone
from resprobe.blocks.structure import rebuild
from resprobe.errors import InputError

if TYPE_CHECKING:
    from resprobe.blocks.operations import Program

BatchNorm = Literal["recorded", "train"]


class Path:
    """A function of one value of a recorded pass, for torch.func and for `linearise`.

    It holds for as many samples as were recorded, because recorded views say how many. Everything
    that does not depend on the input is a constant; numbers that Python read, as by `.item()`,
    stay as they were. Neither the model nor a kept tensor is written to.

    Args:
        program: the recording, with what `needs` names kept.
        input: the value that the function takes.
        output: values with the factors by which their sum is the result.
        axis: of the samples in the recorded input and output; it is the first one outside.
        batch_norm: "recorded", or "train" for every BatchNorm on the statistics of each sample
            alone, as in training mode on a batch of one; no buffer is read or written.
        replacements: what stands for operations, see `Functional`.
        changing: values that need not be constants even where they don't depend on the input.

    Attributes:
        calls: what is run, in order: only what depends on the input.
        freed: for each call the values that nothing reads after it.
        constants: value to tensor of what else the calls read.
        input: the value that the function takes.
        output: values with their factors.
        axis: of the samples in the recorded input and output.
        samples: how many were recorded.
        input_shape: of one sample.
        output_shape: of one sample.

    Raises:
        InputError: a value that is needed was not kept, something draws random numbers, or writes
            in place in a way that can't be expressed as a function.
    """

    def __init__(
        self,
        program: Program,
        input: int,  # noqa: A002  # one word for it, here and in Program
        output: Sequence[tuple[int, float]],
        *,
        axis: int = 0,
        batch_norm: BatchNorm = "recorded",
        replacements: Mapping[str, Callable[..., Tensor]] = REPLACEMENTS,
        changing: Iterable[int] = (),
    ) -> None:
        self.input = input
        self.output = tuple((int(value), float(factor)) for value, factor in output)
        self.axis = axis
        shape = program.shapes[input]
        self.samples = shape[axis]
        self.input_shape = _without(shape, axis)
        self.output_shape = _without(program.shapes[self.output[0][0]], axis)
        self._program = program
        functional = Functional(program, input, replacements)
        wanted = [value for value, _ in self.output]
        calls = functional.calls(wanted)
        depends = _dependent(calls, {input, *changing})
        if batch_norm == "train":
            calls = [_alone(call) for call in calls]
        self.calls = [_detached(call) for call in calls if depends.intersection(call.makes)]
        self.constants = self._constants(functional, depends, wanted)
        self.freed = last_uses(self.calls, wanted, input)

    def __repr__(self) -> str:
        samples = "1 sample" if self.samples == 1 else f"{self.samples} samples"
        return (
            f"Path({self.input_shape} -> {self.output_shape}, {samples}, {len(self.calls)} "
            "operations)"
        )

    @classmethod
    def needs(
        cls,
        program: Program,
        input: int,  # noqa: A002  # as above
        output: Sequence[tuple[int, float]],
    ) -> set[int]:
        """Give the values that must be kept for the function to be made, its input among them.

        Args:
            program: a recording, which need not keep any tensor.
            input: as for the function itself.
            output: likewise.
        """
        wanted = [value for value, _ in output]
        calls = Functional(program, input).calls(wanted)
        made = {value for call in calls for value in call.makes}
        read = {value for call in calls for value in call.reads} | set(wanted)
        overwritten = {old for op in program.operations for old, _ in op.renames}
        given = {v for v in program.externals if v not in overwritten}
        return (read - made - given) | {input}

    def point(self) -> Tensor:
        """Give the recorded input, `(sample, *input_shape)`.

        Raises:
            InputError: it was not kept.
        """
        if self.input not in self._program.kept:
            raise _not_kept([self.input])
        return self._program.kept[self.input].movedim(self.axis, 0)

    def __call__(self, x: Tensor) -> Tensor:
        """Give the function's value.

        Args:
            x: `(sample, *input_shape)`, as many samples as were recorded.

        Returns:
            `(sample, *output_shape)`.

        Raises:
            InputError: `x` has another shape.
        """
        if tuple(x.shape) != (self.samples, *self.input_shape):
            raise InputError(
                f"the function takes {(self.samples, *self.input_shape)}, as recorded, not "
                f"{tuple(x.shape)}; record it with these samples."
            )
        values = {**self.constants, self.input: x.movedim(0, self.axis)}
        for call, freed in zip(self.calls, self.freed, strict=True):
            call.run(values)
            for value in freed:
                values.pop(value, None)
        return self.total(values).movedim(self.axis, 0)

    def total(self, values: dict[int, Tensor]) -> Tensor:
        """Give the sum of the outputs, each times its factor, as the model has them laid out."""
        parts = [values[v] if factor == 1 else values[v] * factor for v, factor in self.output]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def _constants(
        self, functional: Functional, depends: set[int], wanted: Sequence[int]
    ) -> dict[int, Tensor]:
        """Give what the calls read and does not depend on the input, made anew where not kept."""
        program = self._program
        read = {value for call in self.calls for value in call.reads} | set(wanted)
        read -= depends
        calls = functional.calls(read, given=program.kept.keys() - depends)
        made = {value for call in calls for value in call.makes}
        inner = {value for call in calls for value in call.reads} | read
        values: dict[int, Tensor] = {}
        missing = []
        for value in inner - made:
            tensor = program.kept.get(value, program.externals.get(value))
            if tensor is None:
                missing.append(value)
            else:
                values[value] = tensor.detach()
        if missing:
            raise _not_kept(missing)
        with torch.no_grad():
            for call in calls:
                call.run(values)
        return {value: values[value] for value in read}


def last_uses(
    calls: Sequence[FunctionalCall], wanted: Sequence[int], *more: int
) -> list[tuple[int, ...]]:
    """Give for each call the values that nothing reads after it."""
    last: dict[int, int] = dict.fromkeys(more, 0)
    for place, call in enumerate(calls):
        last.update(dict.fromkeys((*call.reads, *call.makes), place))
    freed: list[list[int]] = [[] for _ in calls]
    for value, place in last.items():
        if value not in wanted and freed:
            freed[place].append(value)
    return [tuple(values) for values in freed]


def _dependent(calls: Sequence[FunctionalCall], sources: set[int]) -> set[int]:
    """Give the values that depend on the input or on what changes, these included."""
    found = set(sources)
    for call in calls:
        if not found.isdisjoint(call.reads):
            found.update(call.makes)
    return found


def _detached(call: FunctionalCall) -> FunctionalCall:
    """Give a call whose parameters are constants, so that it builds no graph to them."""
    if not call.operation.parameters:
        return call
    args = tuple(_without_gradient(arg) for arg in call.args)
    kwargs = {name: _without_gradient(arg) for name, arg in call.kwargs.items()}
    return replace(call, args=args, kwargs=kwargs)


def _without_gradient(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return argument.detach()
    if isinstance(argument, list | tuple) and any(isinstance(a, Tensor) for a in argument):
        return rebuild(argument, _without_gradient)
    return argument


def _alone(call: FunctionalCall) -> FunctionalCall:
    """Give a BatchNorm that normalises by each sample's own statistics."""
    if call.name not in BATCH_NORMS:
        return call
    given = tuple(None if place in (3, 4) else arg for place, arg in enumerate(call.args))
    return replace(call, function=batch_norm_alone, args=given, name="batch_norm_alone")


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return tuple(size for place, size in enumerate(shape) if place != axis)


def _not_kept(values: Sequence[int]) -> InputError:
    numbers = ", ".join(map(str, sorted(values)))
    return InputError(
        f"the function needs tensors of the pass that were not kept (values {numbers}); record "
        "with keep= what Path.needs names."
    )
