"""Cushions from squared norms, and the ID entries of a kernel.

The cushion of a linear map A at an input x is how much of A's size the input meets,

    μ = ‖A x‖ / (‖A‖_F ‖x‖)

and the interlayer cushion is the same of a Jacobian J, times the root of the number of its inputs.
The ID entries of a kernel are those to which an identity skip adds 1: input channel c to output
channel c at the centre of the kernel.

Sources: Arora et al. 2018 (Stronger generalization bounds for deep nets via a compression
approach), arXiv:1802.05296; Yu & Tomasi 2019 (Identity connections in residual nets improve noise
stability), Sec. 3 and 5.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def layer_cushion(
    image_squared: Tensor, input_squared: Tensor, frobenius_norm: float | Tensor
) -> Tensor:
    """Give μ = ‖A x‖/(‖A‖_F ‖x‖) of each sample.

    Args:
        image_squared: ‖A x‖², float64 of any shape.
        input_squared: ‖x‖², likewise.
        frobenius_norm: ‖A‖_F, one number or of a shape that broadcasts.

    Returns:
        Float64 of that shape, NaN where A or x is zero.
    """
    size = frobenius_norm * input_squared.sqrt()
    cushion: Tensor = (image_squared.sqrt() / size).where(size > 0, float("nan"))
    return cushion


def interlayer_cushion(
    image_squared: Tensor, input_squared: Tensor, frobenius_norm: Tensor, inputs: int
) -> Tensor:
    """Give √n ‖J x‖/(‖J‖_F ‖x‖) of each sample.

    1 for a multiple of the identity and about 1 for a random matrix, at any size.

    Args:
        image_squared: ‖J x‖², float64 of any shape.
        input_squared: ‖x‖², likewise.
        frobenius_norm: ‖J‖_F, likewise.
        inputs: n, the number of elements of x.

    Returns:
        Float64 of that shape, NaN where J or x is zero.
    """
    return layer_cushion(image_squared, input_squared, frobenius_norm) * math.sqrt(inputs)


def cushion_stderr(
    cushion: Tensor, frobenius_norm: Tensor, frobenius_norm_stderr: Tensor
) -> Tensor:
    """Give the standard error of a cushion that ‖·‖_F brings in, by the delta method.

    Args:
        cushion: μ, of any shape; the norms of images and inputs are taken as exact.
        frobenius_norm: of the same shape.
        frobenius_norm_stderr: its standard error, likewise.

    Returns:
        μ · stderr(‖·‖_F)/‖·‖_F, NaN where μ is.
    """
    return cushion * frobenius_norm_stderr / frobenius_norm


def id_entries(
    weight: Tensor, *, transposed: bool = False, groups: int = 1, shift: int = 0
) -> Tensor:
    """Tell which entries of a kernel are ID entries.

    A kernel of even size has no centre and so none; nor are there any where input and output
    channel lie in different groups.

    Args:
        weight: `(out, in / groups, …)`, transposed `(in, out / groups, …)`; `(out, in)` of a linear
            layer counts as a kernel of one tap.
        transposed: whether it is of a transposed convolution.
        groups: of channels.
        shift: the output channel is this much more than the input channel, as where a skip pads
            channels on both sides.

    Returns:
        Bool, like `weight`.
    """
    found = torch.zeros(weight.shape, dtype=torch.bool, device=weight.device)
    taps = tuple(weight.shape[2:])
    if any(size % 2 == 0 for size in taps):
        return found
    # rows are the channels of the first axis, of which each group has its own share
    per_row, per_column = weight.shape[0] // groups, weight.shape[1]
    rows, columns = [], []
    for row in range(weight.shape[0]):
        other = row + shift if transposed else row - shift
        group, column = divmod(other, per_column)
        if group == row // per_row:
            rows.append(row)
            columns.append(column)
    centre = found
    for size in taps:
        centre = centre.select(2, size // 2)
    centre[rows, columns] = True
    return found


def without_id_entries(weight: Tensor, *, transposed: bool = False, groups: int = 1) -> Tensor:
    """Give a copy of a kernel with zeros for its ID entries; see `id_entries`."""
    return weight.masked_fill(id_entries(weight, transposed=transposed, groups=groups), 0)


def with_identity(
    weight: Tensor, *, transposed: bool = False, groups: int = 1, shift: int = 0
) -> Tensor:
    """Give a copy of a kernel with 1 added to its ID entries (Yu & Tomasi 2019, Eq. 1)."""
    entries = id_entries(weight, transposed=transposed, groups=groups, shift=shift)
    return weight + entries.to(weight.dtype)
