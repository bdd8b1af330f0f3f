"""One sample of a batch: its own map, and whether it has one, which samples that mix have not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from resprobe.errors import InputError
from resprobe.linalg.steps import Diagonal, Maximum, Other, Rearrangement, Step

if TYPE_CHECKING:
    from resprobe.linalg.linearise import Linearised

# Of 2, so that samples up to so many places apart have different factors.
_POWERS = 13


def require_apart(found: Linearised) -> None:
    """Raise if samples depend on each other: their probes go in together and would add up.

    Tangents of the samples times different powers of 2 must give images times the same powers:
    where samples stand alone this holds to the last bit, so rounding is not taken for mixing.

    Raises:
        InputError: they do, or an operation has no derivative.
    """
    if found.samples == 1 or found.output is None:
        return  # nothing to mix
    v = random_tangents(found)
    powers = torch.arange(found.samples, device=found.device) % _POWERS
    factors = torch.exp2(powers.to(found.dtype))
    try:
        once = found.matvec(v)[0].flatten(1) * factors[:, None]
        scaled = v * factors.reshape(-1, *(1,) * len(found.input_shape))
        at_once = found.matvec(scaled)[0].flatten(1)
    except NotImplementedError as error:
        raise InputError(
            "an operation of the function has no derivative forwards: "
            f"{str(error).splitlines()[0]}; leave this block out."
        ) from error
    if differ(at_once, once):
        raise InputError(
            "the function mixes the samples of the batch, so that no sample has a Jacobian of its "
            "own; give one sample at a time, or leave this block out."
        )


def random_tangents(found: Linearised) -> Tensor:
    """Give a random tangent of each sample, always the same, `(1, sample, *input_shape)`."""
    shape = (1, found.samples, *found.input_shape)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator, dtype=found.dtype).to(found.device)


def differ(a: Tensor, b: Tensor) -> bool:
    """Whether a row `(row, number)` differs by more than √ε; False where it is not finite."""
    error, size = (a - b).double().norm(dim=1), b.double().norm(dim=1)
    return bool((error > torch.finfo(a.dtype).eps ** 0.5 * size).any())


class Embedded:
    """The map of one sample among others whose tangents are zero, where they can't be told apart.

    Args:
        whole: of all samples.
        index: of the sample.
    """

    def __init__(self, whole: Linearised, index: int) -> None:
        self._whole, self._index, self.samples = whole, index, 1
        self.input_shape, self.output_shape = whole.input_shape, whole.output_shape
        self.dtype, self.device = whole.dtype, whole.device

    def matvec(self, v: Tensor) -> Tensor:
        """Give J v: `(probe, 1, *input_shape)` to `(probe, 1, *output_shape)`."""
        return self._own(self._whole.matvec(self._among(v)))

    def rmatvec(self, u: Tensor) -> Tensor:
        """Give Jᵀ u: `(probe, 1, *output_shape)` to `(probe, 1, *input_shape)`."""
        return self._own(self._whole.rmatvec(self._among(u)))

    def sample(self, index: int) -> Embedded:
        """Give the map of one sample, which it is."""
        return self

    def _among(self, v: Tensor) -> Tensor:
        full = v.new_zeros(v.shape[0], self._whole.samples, *v.shape[2:])
        full[:, self._index] = v[:, 0]
        return full

    def _own(self, v: Tensor) -> Tensor:
        return v[:, self._index : self._index + 1]


def alone(step: Step, index: int, samples: int, shapes: dict[int, tuple[int, ...]]) -> Step | None:
    """Give a step for one sample, None where its samples are not along the first axis."""
    if any(shapes[value][:1] != (samples,) for value in (*step.inputs, step.output)):
        return None
    if isinstance(step, Diagonal):
        scale = step.scale
        return replace(step, scale=scale[index : index + 1]) if len(scale) > 1 else step
    if isinstance(step, Maximum):
        return replace(step, places=step.places[index : index + 1])
    if isinstance(step, Rearrangement | Other):
        apply = step.apply.alone(index, samples)  # type: ignore[attr-defined]  # see `Rules`
        return None if apply is None else replace(step, apply=apply)
    return step
