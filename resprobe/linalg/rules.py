"""What each operation is, linearised at a point: the rules that `linearise` goes by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from resprobe.blocks.operations import substitute
from resprobe.blocks.replacements import BATCH_NORMS, same
from resprobe.blocks.structure import Ref
from resprobe.errors import InputError
from resprobe.linalg.applied import Expanded, Product, Tangent
from resprobe.linalg.moved import Linear
from resprobe.linalg.rule_names import POINTWISE, REARRANGEMENTS, WORDS
from resprobe.linalg.steps import (
    Convolution,
    Diagonal,
    Maximum,
    Other,
    Rearrangement,
    Step,
    Sum,
)

if TYPE_CHECKING:
    from resprobe.blocks.functional import FunctionalCall


class Rules:
    """Turns calls into steps, one after another.

    Args:
        source: the value whose tangent is given.
        point: its tensor.
        samples: how many it has.

    Attributes:
        steps: what was made so far.
        blanks: zeros like the tangents that they take and make, which hold no memory.
    """

    def __init__(self, source: int, point: Tensor, samples: int) -> None:
        self.steps: list[Step] = []
        self.blanks = {source: _blank(point)}
        self._samples = samples
        # A value that is the same as another has no tangent of its own.
        self._same: dict[int, int] = {source: source}
        self._new = 0

    def tangent(self, value: int) -> int | None:
        """Give the value whose tangent is that of this one; None if that is zero."""
        return self._same.get(value)

    def add(self, call: FunctionalCall, values: Mapping[int, Tensor]) -> None:
        """Add the steps of a call.

        Args:
            call: that has been run.
            values: what it read and made.

        Raises:
            InputError: it is not differentiable, or mixes samples.
        """
        active = [v for v in dict.fromkeys(call.reads) if v in self._same]
        active = [v for v in active if _varies(values[v])]
        made = [v for v in call.makes if v in values and _varies(values[v])]
        if not active or not made:
            return
        if self._is_same(call, active, made, values):
            self._same[made[0]] = self._same[active[0]]
        elif not self._structured(call, active, made, values):
            for value in made:
                self._generic(call, active, value, values)

    def total(self, terms: Sequence[tuple[int, float]], last: FunctionalCall | None) -> int | None:
        """Add the sum of those terms that have a tangent; give its value, None if none has.

        Args:
            terms: values with their factors.
            last: the call that the sum is said to be of.
        """
        there = [(self._same[value], factor) for value, factor in terms if value in self._same]
        if not there or last is None:
            return there[0][0] if there else None
        if len(there) == 1 and there[0][1] == 1:
            return there[0][0]
        return self._sum(there, self._fresh(), last)

    # -- kinds ---------------------------------------------------------------------------------

    def _is_same(
        self,
        call: FunctionalCall,
        active: Sequence[int],
        made: Sequence[int],
        values: Mapping[int, Tensor],
    ) -> bool:
        x, y = values[active[0]], values[made[0]]
        if len(active) > 1 or len(made) > 1 or x.shape != y.shape or x.dtype != y.dtype:
            return False
        names = ("view", "_unsafe_view", "reshape", "_reshape_alias", "expand", "_to_copy")
        return call.function is same or call.name in names

    def _structured(
        self,
        call: FunctionalCall,
        active: Sequence[int],
        made: Sequence[int],
        values: Mapping[int, Tensor],
    ) -> bool:
        """Add the steps of a call of one result whose structure is known, if it is one."""
        name, x, out = call.name, values[active[0]], made[0]
        if any(values[value].is_complex() for value in (*active, *made)):
            return False
        only_first = len(active) == 1 and call.args[0] == Ref(active[0])
        only_first = only_first and call.reads.count(active[0]) == 1
        if name == "convolution" and only_first:
            self._convolution(call, values)
        elif name in BATCH_NORMS and only_first and call.args[3] is not None and not call.args[5]:
            self._diagonal(active[0], out, _batch_norm_scale(call, values), call)
        elif name == "relu":
            self._diagonal(active[0], out, (x > 0).to(x.dtype), call)
        elif name in ("max_pool2d_with_indices", "max_pool3d_with_indices"):
            return self._maximum(call, active[0], out, values)
        elif name in ("add", "sub", "rsub") and self._addition(call, out, values):
            return True
        elif name in POINTWISE or torch.Tag.pointwise in getattr(call.function, "tags", ()):
            self._pointwise(call, active, out, values)
        else:
            return False
        return True

    def _convolution(self, call: FunctionalCall, values: Mapping[int, Tensor]) -> None:
        args = substitute(call.args, values)
        axes = args[1].dim() - 2

        def each(numbers: Sequence[int]) -> tuple[int, ...]:
            return tuple(numbers) if len(numbers) == axes else tuple(numbers) * axes

        value = call.args[0].value
        self._append(
            Convolution(
                (self._same[value],), call.makes[0], call.operation.module, call.operation,
                weight=args[1].detach(), stride=each(args[3]), padding=each(args[4]),
                dilation=each(args[5]), transposed=args[6], output_padding=each(args[7]),
                groups=args[8],
            ),
            values[call.makes[0]],
        )  # fmt: skip

    def _maximum(
        self, call: FunctionalCall, value: int, out: int, values: Mapping[int, Tensor]
    ) -> bool:
        x = values[value]
        axes = int(call.name[8])
        if x.dim() != axes + 2:
            return False
        kernel, stride, padding, dilation = _pooling(call.args, axes)
        self._append(
            Maximum(
                (self._same[value],), out, call.operation.module, call.operation,
                places=values[call.makes[1]], kernel=kernel, stride=stride, padding=padding,
                dilation=dilation,
            ),
            values[out],
        )  # fmt: skip
        return True

    def _addition(self, call: FunctionalCall, out: int, values: Mapping[int, Tensor]) -> bool:
        alpha = call.kwargs.get("alpha", call.args[2] if len(call.args) > 2 else 1)
        signs = {"add": (1, alpha), "sub": (1, -alpha), "rsub": (-alpha, 1)}[call.name]
        if len(call.reads) != sum(type(arg) is Ref for arg in call.args[:2]):
            return False
        terms = [
            (self._expanded(arg.value, values[out], values, call), float(factor))
            for arg, factor in zip(call.args[:2], signs, strict=True)
            if type(arg) is Ref and arg.value in self._same
        ]
        if len(terms) == 1 and terms[0][1] == 1:
            self._same[out] = terms[0][0]
        elif len(terms) == 1:
            y = values[out]
            scale = torch.full([1] * y.dim(), terms[0][1], dtype=y.dtype, device=y.device)
            self._append(Diagonal((terms[0][0],), out, *_origin(call), scale), y)
        else:
            self._sum(terms, out, call)
        return True

    def _pointwise(
        self, call: FunctionalCall, active: Sequence[int], out: int, values: Mapping[int, Tensor]
    ) -> None:
        """Add one product for each operand, with its derivative by autograd, and their sum."""
        y = values[out]
        terms = []
        for value in active:
            tangent = self._expanded(value, y, values, call)
            scale = self._derivative(call, value, y, values)
            target = out if len(active) == 1 else self._fresh()
            self._append(Diagonal((tangent,), target, *_origin(call), scale), y)
            terms.append((target, 1.0))
        if len(terms) > 1:
            self._sum(terms, out, call)

    def _derivative(
        self, call: FunctionalCall, value: int, y: Tensor, values: Mapping[int, Tensor]
    ) -> Tensor:
        """Give the derivative of each number of the result by the operand's number there."""
        if call.name == "mul" and call.reads.count(value) == 1:
            other = substitute(call.args[:2], values)[1 if call.args[0] == Ref(value) else 0]
            if not isinstance(other, Tensor):
                other = torch.tensor(other, dtype=y.dtype)
            scale = other.detach().to(dtype=y.dtype, device=y.device)
            # A copy: what it is a view of, or a buffer, may change afterwards.
            return scale.reshape([1] * (y.dim() - scale.dim()) + [*scale.shape]).clone()
        with torch.enable_grad():
            x = values[value].detach().expand(y.shape).requires_grad_()
            result = _first(_function(call, [value], values)(x))
            gradient = torch.autograd.grad(result, x, torch.ones_like(result))[0]
        return gradient.to(y.dtype)

    def _generic(
        self, call: FunctionalCall, active: Sequence[int], out: int, values: Mapping[int, Tensor]
    ) -> None:
        inputs = tuple(self._same[value] for value in active)
        item = None if type(call.result) is Ref else call.result.index(Ref(out))
        if call.name in REARRANGEMENTS:
            function = _function(
                _without_additions(call), active, _zeroed(call, active, values), item
            )
            y = values[out]
            linear = Linear(function, [_blank(values[v]) for v in active], tuple(y.shape))
            self._append(Rearrangement(inputs, out, *_origin(call), linear), y)
            return
        alone = (
            self._samples == 1 or values[active[0]].shape[0] == 1
        )  # InstanceNorm makes one of all
        if call.name in BATCH_NORMS and not alone:
            raise InputError(
                f"the BatchNorm {call.operation.module} is in training mode and mixes the samples "
                "of a batch; measure in evaluation mode, or with batch_norm='train'."
            )
        words = f"{WORDS.get(call.name, call.name.strip('_'))} ({call.operation.function})"
        apply: Product | Tangent | None = _product(call, active, values)
        if apply is None:
            points = [values[v].detach() for v in active]
            function = _function(call, active, values, item)
            apply = Tangent(function, points, tuple(values[out].shape))
        self._append(Other(inputs, out, *_origin(call), apply, words), values[out])

    # -- making steps --------------------------------------------------------------------------

    def _append(self, step: Step, y: Tensor) -> None:
        self.steps.append(step)
        self.blanks[step.output] = _blank(y)
        self._same[step.output] = step.output

    def _fresh(self) -> int:
        """Give a number for a value that the program does not have."""
        self._new -= 1
        return self._new

    def _diagonal(self, value: int, out: int, scale: Tensor, call: FunctionalCall) -> None:
        value = self._same[value]
        self._append(Diagonal((value,), out, *_origin(call), scale), self.blanks[value])

    def _sum(self, terms: Sequence[tuple[int, float]], out: int, call: FunctionalCall) -> int:
        inputs, factors = zip(*terms, strict=True)
        self._append(Sum(inputs, out, *_origin(call), factors), self.blanks[inputs[0]])
        return out

    def _expanded(
        self, value: int, y: Tensor, values: Mapping[int, Tensor], call: FunctionalCall
    ) -> int:
        """Give the tangent of an operand as broadcasting repeats it."""
        x = values[value]
        if x.shape == y.shape and x.dtype == y.dtype:
            return self._same[value]
        out = self._fresh()
        apply = Expanded(tuple(x.shape), tuple(y.shape), x.dtype, y.dtype)
        self._append(Rearrangement((self._same[value],), out, *_origin(call), apply), y)
        return out


def _origin(call: FunctionalCall) -> tuple[str, Any]:
    return call.operation.module, call.operation


def _first(result: Any) -> Tensor:
    first: Tensor = result if isinstance(result, Tensor) else result[0]
    return first


def _function(
    call: FunctionalCall, active: Sequence[int], values: Mapping[int, Tensor], item: int | None = 0
) -> Callable[..., Tensor]:
    """Give a call as a function of some of the values that it reads; the others are held."""
    held = {value: values[value].detach() for value in call.reads if value not in active}

    def run(*tensors: Tensor) -> Tensor:
        result = call.apply({**held, **dict(zip(active, tensors, strict=True))})
        return result if isinstance(result, Tensor) else result[item or 0]

    return run


def _zeroed(
    call: FunctionalCall, active: Sequence[int], values: Mapping[int, Tensor]
) -> dict[int, Tensor]:
    """Give what a rearrangement reads, with the numbers that it sets replaced by zeros."""
    return {
        value: values[value]
        if value in active or not _varies(values[value])
        else torch.zeros_like(values[value])
        for value in call.reads
    }


def _without_additions(call: FunctionalCall) -> FunctionalCall:
    """Give a rearrangement whose padding is zero."""
    if call.name != "constant_pad_nd":
        return call
    return replace(call, args=call.args[:2], kwargs={})


def _product(
    call: FunctionalCall, active: Sequence[int], values: Mapping[int, Tensor]
) -> Product | None:
    """Give the matrix product with a given factor that a call is, None if it is none."""
    if call.name not in ("mm", "bmm", "addmm", "baddbmm") or len(active) > 1:
        return None
    added = call.name in ("addmm", "baddbmm")
    factors = call.args[1:3] if added else call.args[:2]
    sides = [factor == Ref(active[0]) for factor in factors]
    if sum(sides) != 1 or call.reads.count(active[0]) > 1:
        return None
    other = substitute(factors[0 if sides[1] else 1], values)
    return Product(other.detach(), sides[1], call.kwargs.get("alpha", 1) if added else 1)


def _batch_norm_scale(call: FunctionalCall, values: Mapping[int, Tensor]) -> Tensor:
    """Give what BatchNorm multiplies each channel by, `(1, channel, 1, …)`."""
    x, weight, _, _, variance, _, _, eps = substitute(call.args[:8], values)
    scale = torch.rsqrt(variance + eps)
    scale = scale if weight is None else scale * weight.detach()
    return scale.to(x.dtype).reshape(1, -1, *[1] * (x.dim() - 2))


def _pooling(args: Sequence[Any], axes: int) -> tuple[tuple[int, ...], ...]:
    """Give kernel, stride, padding and dilation of a pooling, one number for each axis."""
    given = [*args[1:5], *[()] * (4 - len(args[1:5]))]
    defaults: tuple[Any, ...] = (None, given[0], (0,), (1,))
    return tuple(
        tuple(numbers) if len(numbers) == axes else tuple(numbers) * axes
        for numbers in (one or default for one, default in zip(given, defaults, strict=True))
    )


def _blank(tensor: Tensor) -> Tensor:
    return tensor.new_zeros(()).expand(tensor.shape)


def _varies(tensor: Tensor) -> bool:
    """Whether a tensor can have a tangent."""
    return tensor.is_floating_point() or tensor.is_complex()
