"""Angles between the feature vectors of two states of a network, position by position.

A state is `(sample, …)` with its features along one axis; every other place (a token, a pixel) is a
position with a vector of its own. Near-parallel vectors are the rule in a residual network, and
1 - cos in float32 has no digits left there, so every sum is taken in float64, over pieces that fit
the processor's cache: a float64 copy of a whole state would cost more than the sums.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

# Numbers that are taken to float64 at once: two megabytes on a processor, since larger pieces leave
# its cache and smaller ones pay for more calls; an accelerator would idle at so little.
_PIECE = 1 << 18
_DEVICE_PIECE = 1 << 24


def mean_cosine_gap(x: Tensor, y: Tensor, axis: int) -> Tensor:
    """Give 1 - cos(x, y), the mean over positions, of each sample.

    Args:
        x: `(sample, …)`, a floating dtype.
        y: like `x`.
        axis: of the features, counted with the sample dimension.

    Returns:
        `(sample,)` float64 in [0, 2]. Positions at which `x` or `y` is the zero vector have no
        direction and are left out; NaN for a sample without any other.
    """
    xs, ys = _vectors(x, axis), _vectors(y, axis)
    # ‖x‖²‖y‖² and ⟨x, y⟩ of each position
    found = torch.empty((2, *xs.shape[:2]), dtype=torch.float64, device=x.device)
    for place in _pieces(xs.shape, 1, xs.device):
        a, b = xs[place].to(torch.float64, copy=True), ys[place].to(torch.float64, copy=True)
        found[1][place] = (a * b).sum(dim=-1)
        # in place: memory that is touched for the first time costs more than the arithmetic
        found[0][place] = a.square_().sum(dim=-1) * b.square_().sum(dim=-1)
    squares, products = found
    # NaN != 0 is true: what the network left as NaN or infinite stays visible
    directed = squares != 0
    # rounding takes the cosine of parallel vectors to a few 1e-16 above 1
    gap = (1 - products / squares.sqrt()).clamp(min=0, max=2)
    mean: Tensor = gap.where(directed, 0).sum(dim=1) / directed.sum(dim=1)
    return mean


def mean_angles(states: Sequence[Tensor], pairs: Sequence[tuple[int, int]], axis: int) -> Tensor:
    """Give the angular distance arccos(cos)/π of pairs of states, the mean over positions.

    All inner products of a position come from one matrix product, so many pairs of few states
    cost little more than the states themselves.

    Args:
        states: at least one, each `(sample, …)` of one shape and a floating dtype.
        pairs: which states to compare, as indices.
        axis: of the features, counted with the sample dimension.

    Returns:
        `(sample, pair)` float64 in [0, 1], exact to 1e-8. Positions at which either state is the
        zero vector are left out of a pair's mean; NaN for a sample without any other.
    """
    vectors = [_vectors(state, axis) for state in states]
    shape, device = vectors[0].shape, vectors[0].device
    first, second = torch.tensor(pairs, device=device).reshape(-1, 2).T
    total = torch.zeros(shape[0], len(pairs), dtype=torch.float64, device=device)
    counted = torch.zeros_like(total)
    for place in _pieces(shape, len(states), device):
        piece = torch.stack([one[place] for one in vectors], dim=2).double()
        products = piece @ piece.mT  # (sample, position, state, state)
        squares = products.diagonal(dim1=2, dim2=3)
        scale = squares[..., first] * squares[..., second]
        cosine = products[..., first, second] / scale.sqrt()
        directed = scale != 0
        angle = cosine.clamp(min=-1, max=1).acos() / math.pi
        total[place[0]] += angle.where(directed, 0).sum(dim=1)
        counted[place[0]] += directed.sum(dim=1)
    return total / counted


def _vectors(state: Tensor, axis: int) -> Tensor:
    """View `(sample, …)` as `(sample, position, feature)`."""
    if state.dtype in (torch.float16, torch.bfloat16):
        state = state.float()
    last = state.movedim(axis, -1)
    return last.unsqueeze(1) if last.dim() == 2 else last.flatten(1, -2)


def _pieces(shape: torch.Size, states: int, device: torch.device) -> Iterator[tuple[slice, slice]]:
    """Cut `(sample, position, feature)` into pieces; pieces of one sample come in order."""
    room = _PIECE if device.type == "cpu" else _DEVICE_PIECE
    samples, positions, features = shape
    vectors = max(1, room // max(1, states * features))
    width = max(1, min(positions, vectors))
    height = max(1, vectors // max(1, positions))
    for start in range(0, samples, height):
        for place in range(0, positions, width):
            yield slice(start, start + height), slice(place, place + width)
