"""Work through a long first axis in pieces that stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Bytes of one tensor. A convolution's copies of its input and output (in float64 of every tap) then
# stay in the cache and need no new memory: measured 1.3 to 3.5 times as fast as the whole batch.
_CACHED = 2**20


def chunk_length(row_bytes: int, dtype: torch.dtype, device: torch.device) -> int | None:
    """Give how many rows to take at once; None for all.

    Args:
        row_bytes: of the largest tensor that is made of a row.
        dtype: of the tensors; convolutions of float64 copy every tap, so fewer fit.
        device: chunks are for processors alone.
    """
    if device.type != "cpu":
        return None
    room = _CACHED // 2 if dtype == torch.float64 else _CACHED
    return max(1, room // max(1, row_bytes))


def in_chunks(
    function: Callable[[Tensor], Tensor], rows: Tensor, length: int | None, shape: tuple[int, ...]
) -> Tensor:
    """Give `function(rows)`, made of rows a few at a time.

    Args:
        function: treats each row for itself.
        rows: `(row, …)`.
        length: how many rows to take at once; None for all.
        shape: of what a row gives.
    """
    if length is None or len(rows) <= 2 * length:
        return function(rows)
    result = rows.new_empty(len(rows), *shape)
    for start in range(0, len(rows), length):
        result[start : start + length] = function(rows[start : start + length])
    return result
