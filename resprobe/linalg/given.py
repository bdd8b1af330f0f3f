"""What the Jacobian of a function is asked of: one sample, and a pass that gives one tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from resprobe.blocks.program import unfused
from resprobe.blocks.randomness import random_states, set_random_states
from resprobe.blocks.structure import Ref
from resprobe.errors import InputError

if TYPE_CHECKING:
    from resprobe.blocks.operations import Program


class Called(nn.Module):
    """A callable as a module, so that it can be recorded."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, x: Tensor) -> Tensor:
        """Call it."""
        return self._function(x)


def require_sample(x: Tensor) -> None:
    """Raise `InputError` if this is not one floating sample."""
    expected = "jacobian takes one sample, a tensor of shape (1, …), not"
    if not isinstance(x, Tensor):
        advice = "torch.as_tensor(x), with the axis of the samples in front"
        raise InputError(f"{expected} {type(x).__name__}; give {advice}.")
    if x.dim() == 0:
        raise InputError(f"{expected} a single number; give x.reshape(1, 1).")
    if x.numel() == 0:
        raise InputError(f"{expected} shape {tuple(x.shape)}; give at least one sample.")
    if len(x) != 1:
        raise InputError(
            f"{expected} shape {tuple(x.shape)}; give x[None] if this is one sample without its "
            "axis in front, or x[:1] for the first of several."
        )
    _require_floating(x)


def as_module(f: object) -> nn.Module:
    """Give a module or a callable as a module.

    Raises:
        InputError: it is neither.
    """
    if isinstance(f, nn.Module):
        return f
    if not callable(f):
        raise InputError(
            f"jacobian takes a module or a function of a tensor, not {type(f).__name__}; give the "
            "function itself."
        )
    return Called(f)


def require_samples(x: Tensor) -> None:
    """Raise `InputError` if these are not one floating sample or more."""
    if x.dim() == 0 or x.numel() == 0:
        raise InputError(
            f"Jacobians are taken at one sample or more, not at a tensor of shape {tuple(x.shape)}."
        )
    _require_floating(x)


def _require_floating(x: Tensor) -> None:
    if x.dtype in (torch.float32, torch.float64):
        return
    advice = "give the embeddings of ids, or x.float() where these are no ids"
    if x.is_floating_point():
        advice = "give x.float() and the model in float32"
    elif x.is_complex():
        advice = "give real and imaginary parts as two channels"
    raise InputError(
        f"a Jacobian needs float32 or float64, in which it can be checked, not {x.dtype}; {advice}."
    )


def returned(program: Program) -> int:
    """Give the value that a function returned.

    Args:
        program: its recording at one sample.

    Raises:
        InputError: it is not one finite floating tensor of one sample.
    """
    result = program.result
    if not isinstance(result, Tensor) or not isinstance(program.output, Ref):
        kind = type(result).__name__
        raise InputError(f"f gives {kind}, not a tensor; wrap it to give the one that is meant.")
    if result.dim() == 0 or len(result) != 1 or result.numel() == 0:
        raise InputError(
            f"f gives shape {tuple(result.shape)} for one sample, not (1, …) with something in it; "
            "keep the axis of the samples in front."
        )
    if not result.is_floating_point():
        raise InputError(f"f gives {result.dtype}, which has no derivative; give its scores.")
    if not bool(torch.isfinite(result).all()):
        raise InputError(f"f(x) is not finite{_first_not_finite(program)}; measure another input.")
    return program.output.value


def _first_not_finite(program: Program) -> str:
    for op in program.operations:
        for value in op.writes:
            tensor = program.kept.get(value)
            if tensor is None or not tensor.is_floating_point():
                continue
            if not bool(torch.isfinite(tensor).all()):
                return f": first so in {op.module or 'the function itself'} ({op.function})"
    return ""


def written(program: Program) -> list[tuple[int, Tensor]]:
    """Give what the function wrote to and had not made: value before, tensor."""
    return [
        (old, program.externals[old])
        for op in program.operations
        for old, _ in op.renames
        if old in program.externals
    ]


@contextmanager
def restored(program: Program) -> Iterator[None]:
    """Set back what the recorded pass wrote to, such as running statistics."""
    try:
        yield
    finally:
        set_back(program)


def set_back(program: Program) -> None:
    """Set back what the recorded pass wrote to, such as running statistics."""
    for value, tensor in written(program):
        tensor.detach().copy_(program.kept[value])


def once_more(program: Program, module: nn.Module) -> Callable[[Tensor], Tensor]:
    """Give a function that runs a module as it was recorded.

    What the pass wrote to is set back before each call, and so are the random generators, which
    are left as they were.
    """

    def run(x: Tensor) -> Tensor:
        set_back(program)
        if not program.random_states:
            with unfused():
                result: Tensor = module(x)
            return result
        states = random_states(module)
        set_random_states(module, program.random_states)
        try:
            with unfused():
                result = module(x)
        finally:
            set_random_states(module, states)
        return result

    return run
