"""A second look at a Jacobian that differentiates nothing: differences of the function's values.

What is recorded of a function and what it is differentiated by may both leave something out, such
as numbers that left torch and came back; then two derivatives agree and are both wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from resprobe.blocks.structure import Ref
from resprobe.errors import InputError
from resprobe.linalg.given import once_more

if TYPE_CHECKING:
    from torch import nn

    from resprobe.blocks.operations import Program
    from resprobe.linalg.attempts import Looked

# ‖difference - J v‖ over the larger of the two that rounding and the step's own error explain: with
# steps of ε^(1/3) both are near ε^(2/3) = 2e-5 and 4e-11, and the rest leaves room for large third
# derivatives and cancellation.
_EXPLAINED = {torch.float32: 1e-2, torch.float64: 1e-5}
# Where the first step disagrees, a shorter one may meet no kink and less curvature.
_STEPS = (1.0, 1 / 32)


@dataclass(frozen=True)
class Differences:
    """Differences of the values of a function on both sides of a point.

    Attributes:
        central: (f(x + hv) - f(x - hv)) / 2h, flat float64.
        bend: the difference of the two one-sided ones, which holds any kink, jump or curvature
            within the step, and rounding. A derivative at a kink lies between the two.
        rounding: of f(x) over h.
    """

    central: Tensor
    bend: Tensor
    rounding: float

    def off(self, product: Tensor, explained: float) -> float:
        """Give ‖central - J v‖ over the larger of the two; 0 where it is explained."""
        error = float((self.central - product).norm())
        size = max(float(self.central.norm()), float(product.norm()))
        known = explained * size + float(self.bend.norm()) + self.rounding
        return 0.0 if error <= known else error / size


class SecondLook:
    """Compares vectors with differences of values, which are taken when they are first needed.

    Args:
        f: the function, `(1, …)` to `(1, …)`, called twice for a step.
        x: the point.
        value: f(x).
        v: direction, flat.
    """

    def __init__(self, f: Callable[[Tensor], Tensor], x: Tensor, value: Tensor, v: Tensor) -> None:
        self._f, self._x, self._value, self._v = f, x, value.detach(), v
        self._taken: dict[float, Differences] = {}

    def off(self, product: Tensor) -> float:
        """Say by how much J v is off the differences, relative.

        0 where they agree at one of the steps, or where the steps themselves do not agree: what
        the function does between them then says nothing of its derivative.

        Args:
            product: J v, `output` numbers of any shape.
        """
        flat, explained = product.flatten().double(), _EXPLAINED[self._x.dtype]
        found = 0.0
        for step in _STEPS:
            found = self._differences(step).off(flat, explained)
            if found == 0:
                return 0.0
        long, short = map(self._differences, _STEPS)
        return found if long.off(short.central, explained) == 0 else 0.0

    def _differences(self, step: float) -> Differences:
        if step not in self._taken:
            self._taken[step] = _differences(self._f, self._x, self._value, self._v, step)
        return self._taken[step]


def _differences(
    f: Callable[[Tensor], Tensor], x: Tensor, value: Tensor, v: Tensor, step: float
) -> Differences:
    size = float(x.double().square().mean().sqrt()) or 1.0
    v = v.reshape(x.shape)
    h = step * torch.finfo(x.dtype).eps ** (1 / 3) * size / float(v.double().square().mean().sqrt())
    before, there, after = (t.detach().double() for t in (f(x - h * v), value, f(x + h * v)))
    central, bend = (after - before) / (2 * h), (after - 2 * there + before) / h
    # Beside the point the function may not be defined.
    known = torch.isfinite(central) & torch.isfinite(bend)
    central, bend, there = (torch.where(known, t, 0.0).flatten() for t in (central, bend, there))
    return Differences(central, bend, 4 * torch.finfo(x.dtype).eps * float(there.norm()) / h)


def backward_off(f: Callable[[Tensor], Tensor], x: Tensor, v: Tensor, product: Tensor) -> float:
    """Say by how much the function's own backward pass disagrees with J v, relative to it.

    Args:
        f: the function, differentiated backward once.
        x: the point.
        v: direction, flat.
        product: J v by the entries.

    Returns:
        |(Jᵀu)·v - u·(J v)| over ‖J v‖ for a u of about norm 1; 0 where rounding explains it.
    """
    product = product.flatten().double()
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(product.shape, generator=generator, dtype=torch.float64).to(product.device)
    size = float(product.norm())
    u = u / u.norm() + (product / size if size > 0 else 0.0)
    with torch.enable_grad():
        point = x.clone().requires_grad_()
        y = f(point)
        given = u.to(y.dtype).reshape(y.shape)
        found = torch.zeros_like(x)
        if y.requires_grad:
            (gradient,) = torch.autograd.grad(y, point, given, allow_unused=True)
            found = found if gradient is None else gradient
    own = float(found.flatten().double() @ v.double())
    error = abs(own - float(given.flatten().double() @ product))
    scale = max(size, float(found.double().norm()) * float(v.double().norm()) / len(v) ** 0.5)
    return 0.0 if error <= _EXPLAINED[x.dtype] * scale else error / (size or scale)


# -- of a recorded function ---------------------------------------------------------------------


def notes_on_values(
    looked: Looked, program: Program, module: nn.Module, x: Tensor, has_own: bool
) -> list[str]:
    """Compare a Jacobian with the values of its function; give notes of what disagrees.

    Args:
        looked: J v.
        program: the recording of the function at x.
        module: the function.
        x: the point.
        has_own: whether the first function that J v was compared with is the module itself.

    Raises:
        InputError: the values depend on x, but what was recorded does not.
    """
    function, notes = once_more(program, module), list[str]()
    off = 0.0
    try:
        off = SecondLook(function, x, program.result, looked.vector).off(looked.product)
        if off:
            notes.append(values_note(off))
        if not has_own or looked.source > 0:  # no forward derivative of its own: backward then
            backward = backward_off(function, x, looked.vector, looked.product)
            notes += [backward_note(backward)] if backward else []
    except Exception as error:  # a function may refuse what lies beside x
        notes.append(f"not compared with the values of f, which failed beside x: {_line(error)}")
    if off and not bool(looked.product.any()) and _is_constant(program):
        raise numbers_leave()
    return notes


def explain(looked: Looked, program: Program, module: nn.Module, x: Tensor) -> InputError | None:
    """Say more of a disagreement where J v by the entries is the derivative of the values."""
    look = SecondLook(once_more(program, module), x, program.result, looked.vector)
    try:
        if look.off(looked.product) or not look.off(looked.expected):
            return None
    except Exception:  # a function may refuse what lies beside x
        return None
    return stops_gradients(detaches=any("detach" in str(op.function) for op in program.operations))


def _is_constant(program: Program) -> bool:
    """Whether no operation leads from the input to the result."""
    known = {program.inputs[0]}
    for op in program.operations:
        if not known.isdisjoint(op.reads):
            known.update(op.writes)
    return not isinstance(program.output, Ref) or program.output.value not in known


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


# -- what to say -------------------------------------------------------------------------------


def values_note(off: float) -> str:
    """Say that J v is not the derivative of the values."""
    return (
        f"J v is off by {off:.1g} from a central difference of the values of f: part of f may be "
        "detached, have a backward of its own, or leave torch as numbers (.item(), numpy)"
    )


def backward_note(off: float) -> str:
    """Say that the function's own backward pass gives something else."""
    return (
        f"the backward pass of f is off by about {off:.1g} from J v: f may have a backward of its "
        "own (torch.autograd.Function) or detach part of its input; J is the derivative of its "
        "values"
    )


def numbers_leave() -> InputError:
    """Say that what was recorded does not depend on x, though the values do."""
    return InputError(
        "f changes with x, but by no operation of torch that was seen: its numbers leave torch, as "
        "by .numpy(), .item() or .tolist(); compute f from x with torch alone."
    )


def stops_gradients(*, detaches: bool) -> InputError:
    """Say that the function's derivative is not that of its values."""
    how = (
        "detaches part of its input"
        if detaches
        else "has a derivative of its own (torch.autograd.Function)"
    )
    return InputError(
        f"f {how}, so its derivative is not that of its values; take this out, or make that part "
        "outside of f where it is meant as a constant."
    )
