"""What a rearrangement of numbers does to places, found by applying it to hyperplanes of ones.

Ones at place i of an axis reach an output place if and only if that depends on any input at i:
the coefficients are not negative, so nothing cancels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from resprobe.linalg.steps import Rearrangement

Matrix = NDArray[np.bool_]
Matrices = dict[tuple[int, int], Matrix]

# An axis longer than this counts as dense: its matrices would not fit.
LONGEST = 8192
# Numbers in one application.
_PROBED = 1 << 24


def probed(
    step: Rearrangement, operand: int, shapes: list[tuple[int, ...]], example: Tensor
) -> tuple[Matrices, tuple[int, ...]]:
    """Give the matrices of a rearrangement's output by the axes of one of its operands.

    Args:
        step: the rearrangement.
        operand: which of its inputs.
        shapes: of all its inputs, as the steps have them.
        example: any tensor of the dtype and on the device of the tangents.

    Returns:
        `(axis of the operand, axis of the output)` to a boolean matrix (output place, operand
        place), and the shape of the output.
    """
    shape = shapes[operand]
    out = tuple(_applied(step, shapes, operand, example.new_ones((1, *shape))).shape[1:])
    at_once = max(1, _PROBED // max(1, math.prod(out), *(math.prod(each) for each in shapes)))
    matrices: Matrices = {}
    for axis, size in enumerate(shape):
        if size > min(LONGEST, 16 * at_once):
            continue
        places = torch.arange(size, device=example.device)
        parts = [
            _projections(_applied(step, shapes, operand, _planes(chunk, shape, axis, example)))
            for chunk in places.split(at_once)
        ]
        for b in range(len(out)):
            if size * out[b] <= LONGEST**2:
                matrices[axis, b] = np.concatenate([part[b] for part in parts]).T
    return matrices, out


def _planes(places: Tensor, shape: tuple[int, ...], axis: int, example: Tensor) -> Tensor:
    """Give tensors of zeros with ones at one place of an axis each: (place, *shape)."""
    planes = example.new_zeros((len(places), *shape))
    index = places.view(-1, *(1 for _ in shape)).expand(
        -1, *(1 if a == axis else n for a, n in enumerate(shape))
    )
    return planes.scatter_(1 + axis, index, 1.0)


def _applied(
    step: Rearrangement, shapes: list[tuple[int, ...]], operand: int, given: Tensor
) -> Tensor:
    """Apply a rearrangement to tensors for one operand, `(probe, …)`, and zeros for the others."""
    operands = [
        given if place == operand else given.new_zeros((len(given), *shape))
        for place, shape in enumerate(shapes)
    ]
    found: Tensor = step.apply.forward(*operands)  # type: ignore[attr-defined]  # see `Rules`
    return found


def _projections(values: Tensor) -> list[Matrix]:
    """Give for each axis of a batch of tensors where any number is positive: (tensor, place)."""
    positive = values > 0
    found = []
    for axis in range(1, positive.ndim):
        others = [other for other in range(1, positive.ndim) if other != axis]
        found.append((positive.any(dim=others) if others else positive).cpu().numpy())
    return found
