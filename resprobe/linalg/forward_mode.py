"""Forward-mode derivatives without the warning that torch gives about itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor


def jvp(
    function: Callable[..., Tensor], points: Sequence[Tensor], tangents: Sequence[Tensor]
) -> Tensor:
    """Give the derivative of a function at a point times tangents, by torch.func.

    Args:
        function: tensors to a tensor.
        points: its arguments.
        tangents: like the points.
    """
    _load()
    product: Tensor = torch.func.jvp(function, tuple(points), tuple(tangents))[1]
    return product


@cache
def _load() -> None:
    """Let torch load its rules, which it has scripted by what it calls deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        one = torch.ones(())
        torch.func.jvp(torch.sin, (one,), (one,))
