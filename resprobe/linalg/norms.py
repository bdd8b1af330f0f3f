"""Squared norms and inner products of each sample of a batch.

The partial results of short runs of neighbouring elements are formed in the tensor's own dtype by
a vectorised kernel; the runs are added in float64. So the result is good to a few 1e-7 at float32
prices, where a plain float32 sum of millions of squares loses 1e-4. The two halves can be called
apart, so that the runs of many tensors are added at once.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

# Long enough for the vector units, short enough for float32 partial sums to lose no digits.
_LONGEST, _SHORTEST = 512, 64
_HALVES = (torch.float16, torch.bfloat16)


def squared_norm(x: Tensor) -> Tensor:
    """Give the squared L2 norm of each sample.

    Args:
        x: `(sample, …)`, a floating dtype, any memory format.

    Returns:
        `(sample,)` float64.
    """
    return sum_of_squares(run_norms(x))


def inner(x: Tensor, y: Tensor) -> Tensor:
    """Give the inner product of each sample of `x` with the same sample of `y`.

    Args:
        x: `(sample, …)`, a floating dtype.
        y: like `x`.

    Returns:
        `(sample,)` float64.
    """
    return run_products(x, y).sum(dim=-1, dtype=torch.float64)


def run_norms(x: Tensor) -> Tensor:
    """Give the norms of the runs of each sample, `(sample, run)`, for `sum_of_squares`."""
    if x.dtype in _HALVES:
        x = x.float()
    norms: Tensor = torch.linalg.vector_norm(_runs(x), dim=2)
    return norms


def run_products(x: Tensor, y: Tensor) -> Tensor:
    """Give the inner products of the runs of each sample, `(sample, run)`."""
    if x.dtype in _HALVES:
        x, y = x.float(), y.float()
    if x.stride() != y.stride():  # the order of elements must be the same in both
        x, y = x.contiguous(), y.contiguous()
    return _runs(x * y).sum(dim=2)


def sum_of_squares(norms: Tensor) -> Tensor:
    """Add the squares of the runs' norms, `(…, run)`, in float64."""
    return norms.double().square_().sum(dim=-1)


def _runs(x: Tensor) -> Tensor:
    """View `(sample, …)` as `(sample, run, element)` in memory order, copying only if it must."""
    if x.dim() == 4 and not x.is_contiguous():
        x = x.permute(0, 2, 3, 1)  # channels_last lies in this order
    samples = x.shape[0]
    elements = x.numel() // samples if samples else 0
    run = _run_length(elements)
    if run == 0:  # no divisor of a useful length: let float64 take the whole sample
        return x.reshape(samples, 1, elements).double()
    return x.reshape(samples, elements // run, run)


@cache
def _run_length(elements: int) -> int:
    """Give the longest useful divisor, 0 if there is none."""
    if elements <= _LONGEST:
        return elements
    return next((n for n in range(_LONGEST, _SHORTEST - 1, -1) if elements % n == 0), 0)
