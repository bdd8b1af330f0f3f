"""The Frobenius norm of a convolution as a linear map from one image to the next, in closed form.

The matrix is never formed. Its entry from the place i to the place o holds the kernel's tap that
reads i for o, or the sum of the taps where the padding lets several read the same place. So

    ‖A‖_F² = Σ_uv Σ_c W_cu W_cv Π_axis N_axis(u, v)

where N(u, v) counts the places o of the output at which the taps u and v read the same place. With
zeros around, no two taps do: N is diagonal and holds how often each tap lies inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from resprobe.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

PADDING_MODES = ("zeros", "circular", "reflect", "replicate")


def convolution_frobenius_norm(
    weight: Tensor,
    input_size: Sequence[int],
    *,
    stride: Sequence[int],
    padding: Sequence[int | tuple[int, int]],
    dilation: Sequence[int],
    padding_mode: str = "zeros",
    transposed: bool = False,
    output_padding: Sequence[int] | None = None,
) -> float:
    """Give ‖A‖_F of the convolution that takes one sample, without its bias.

    Groups need no word: every weight of a grouped kernel is used equally often, and those outside
    of the groups are zero.

    Args:
        weight: `(out, in / groups, …)`, transposed `(in, out / groups, …)`; any floating dtype.
        input_size: of the input, one number for each spatial axis.
        stride: one number for each spatial axis; likewise the following.
        padding: zeros (or what the mode takes) on both sides, or a pair (before, after).
        dilation: distance of the taps.
        padding_mode: as `torch.nn.Conv2d` names it.
        transposed: whether it is a transposed convolution (with zeros around).
        output_padding: of a transposed convolution; None: 0.

    Returns:
        The norm, computed in float64.

    Raises:
        InputError: an unknown padding mode, a number of axes that differs, or an empty output.
    """
    kernel = tuple(weight.shape[2:])
    extra = tuple(output_padding) if output_padding is not None else (0,) * len(kernel)
    given = (input_size, stride, padding, dilation, extra)
    if any(len(numbers) != len(kernel) for numbers in given):
        raise InputError(
            f"the kernel has {len(kernel)} spatial axes, but input size, stride, padding and "
            f"dilation have {', '.join(str(len(n)) for n in given[:4])}: give one number for each"
        )
    if padding_mode not in PADDING_MODES or (transposed and padding_mode != "zeros"):
        raise InputError(
            f"padding mode {padding_mode!r} is not known here"
            f"{' for a transposed convolution' if transposed else ''}: expected "
            f"{'zeros' if transposed else ', '.join(PADDING_MODES)}"
        )
    product = weighted = weight.detach().double()
    for axis, taps in enumerate(kernel):
        pad = padding[axis]
        along = _Axis(
            size=int(input_size[axis]),
            taps=taps,
            stride=int(stride[axis]),
            padding=pad if isinstance(pad, tuple) else (pad, pad),
            dilation=int(dilation[axis]),
        )
        counts = (
            _counts_transposed(along, extra[axis]) if transposed else _counts(along, padding_mode)
        )
        # The new axis comes last, so the next spatial axis is the third again.
        weighted = torch.tensordot(weighted, counts.to(weighted), dims=([2], [0]))
    return float((product * weighted).sum().clamp(min=0).sqrt())


def linear_frobenius_norm(weight: Tensor, positions: int = 1) -> float:
    """Give ‖A‖_F of a linear layer that is applied to each of `positions` places of one sample.

    Args:
        weight: `(out, in)`, any floating dtype.
        positions: how many rows of one sample it multiplies (tokens; 1 for a classifier).

    Returns:
        √positions · ‖W‖_F, computed in float64.
    """
    return float(weight.detach().double().square().sum().mul(positions).sqrt())


@dataclass(frozen=True)
class _Axis:
    """A convolution along one spatial axis."""

    size: int
    taps: int
    stride: int
    padding: tuple[int, int]
    dilation: int

    def places(self, steps: int) -> Tensor:
        """Give the place of each tap at each step of the kernel, `(step, tap)`."""
        start = torch.arange(steps)[:, None] * self.stride - self.padding[0]
        return start + torch.arange(self.taps) * self.dilation

    @property
    def reach(self) -> int:
        """Give over how many places the kernel reaches."""
        return self.dilation * (self.taps - 1) + 1


def _counts(axis: _Axis, mode: str) -> Tensor:
    """Count the outputs at which two taps read the same place of the input, `(tap, tap)`."""
    outputs = _some((axis.size + sum(axis.padding) - axis.reach) // axis.stride + 1, axis)
    place, size = axis.places(outputs), axis.size
    if mode == "circular":
        place = place % size
    elif mode == "replicate":
        place = place.clamp(0, size - 1)
    elif mode == "reflect":
        place = place.abs()
        place = torch.where(place < size, place, 2 * (size - 1) - place)
    inside = (place >= 0) & (place < size)
    same = (place[:, :, None] == place[:, None, :]) & inside[:, :, None]
    return same.sum(dim=0)


def _counts_transposed(axis: _Axis, extra: int) -> Tensor:
    """Count the inputs whose tap lands inside the output, `(tap, tap)`, diagonal."""
    outputs = _some((axis.size - 1) * axis.stride - sum(axis.padding) + axis.reach + extra, axis)
    place = axis.places(axis.size)
    return torch.diag(((place >= 0) & (place < outputs)).sum(dim=0))


def _some(outputs: int, axis: _Axis) -> int:
    if outputs < 1:
        raise InputError(
            f"a kernel that reaches over {axis.reach} places has no output on {axis.size} padded "
            f"by {axis.padding}: give the size of the input that the layer really had"
        )
    return outputs
