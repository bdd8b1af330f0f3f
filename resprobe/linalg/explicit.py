"""The explicit matrices of a linear map, from its images of the unit vectors."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

import torch

from resprobe.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from resprobe.linalg.linear_map import LinearMap

# Entries of the probes and images that exist at once: 32 MB in float32.
_ENTRIES = 2**23


def unit_images(linear_map: LinearMap) -> Iterator[Tensor]:
    """Give the images of all unit vectors, in order and in parts, `(unit, sample, *output)`."""
    inputs, outputs = prod(linear_map.input_shape), prod(linear_map.output_shape)
    samples, device = linear_map.samples, linear_map.device
    at_once = max(1, _ENTRIES // max(1, samples * max(inputs, outputs)))
    for first in range(0, inputs, at_once):
        count = min(at_once, inputs - first)
        units = torch.zeros((count, inputs), dtype=linear_map.dtype, device=device)
        units[:, first : first + count].fill_diagonal_(1)
        probes = units[:, None].expand(-1, samples, -1)
        yield linear_map.matvec(probes.reshape(count, samples, *linear_map.input_shape))


def matrices(linear_map: LinearMap) -> Tensor:
    """Give the matrices, `(sample, outputs, inputs)`, in float64.

    Raises:
        InputError: an entry is not finite.
    """
    parts = [images.flatten(2).double() for images in unit_images(linear_map)]
    outputs = torch.Size(linear_map.output_shape).numel()
    empty = torch.empty(
        (0, linear_map.samples, outputs), dtype=torch.float64, device=linear_map.device
    )
    whole = torch.cat([empty, *parts]).permute(1, 2, 0)
    if not bool(torch.isfinite(whole).all()):
        raise InputError(NOT_FINITE)
    return whole


NOT_FINITE = (
    "the Jacobian holds values that are not finite: look whether the network's weights and the "
    "block's input are finite"
)
