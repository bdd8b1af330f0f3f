"""Finite-time Lyapunov exponents along a sequence of maps, and the growth of a finite disturbance.

The exponents are the mean logarithms of the diagonal of R, where each block's Jacobian times the
orthonormal vectors so far is decomposed as QR and Q goes on to the next block. For a disturbance
that is not infinitesimal the growth is measured on the blocks themselves.

Sources: Benettin, Galgani, Giorgilli, Strelcyn 1980, doi:10.1007/BF02128236; for finite times
Goldhirsch, Sulem, Orszag 1987, doi:10.1016/0167-2789(87)90034-0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch

from resprobe.errors import InputError
from resprobe.linalg.directions import leading_directions
from resprobe.linalg.norms import squared_norm
from resprobe.linalg.precision import full_precision

if TYPE_CHECKING:
    from torch import Tensor

    from resprobe.linalg.linear_map import LinearMap


@dataclass(frozen=True)
class Exponents:
    """Finite-time Lyapunov exponents along a sequence of maps.

    Attributes:
        values: `(sample, L, k)` float64: of the whole sequence the finite-time exponents
            1/L ln σ_i(J_L … J_1), largest first; before its end the mean growth up to there along
            the same directions; -inf from where a map gives zero on.
        errors: `(sample, k)` float64, to what distance of the exponent of the whole sequence there
            is one: ‖(1 - V Vᵀ) JᵀJ v‖/(2 L σ²), V the k directions.
    """

    values: Tensor
    errors: Tensor


def lyapunov_exponents(maps: Sequence[LinearMap], k: int) -> Exponents:
    """Give the k leading finite-time exponents of J_L … J_1, and how they arise block by block.

    The directions that the whole sequence stretches most are found first (its leading right
    singular vectors, by ARPACK); from there the images are decomposed as QR after every block. A
    frame that starts at random, as is usual for long sequences, would not turn into them within the
    few blocks of a stage: its exponents are those of a random direction.

    The vectors are kept in float64 and multiplied in the dtype of the maps: an exponent that lies
    by more than ln(1/ε) below the first within one block is rounding, not a property of the map.

    Args:
        maps: J_1 … J_L of one batch of samples, all square and of one shape.
        k: how many.

    Returns:
        The exponents.

    Raises:
        InputError: no maps, maps of other shapes, more exponents than inputs, or a map that is
            not finite.
    """
    first = _checked(maps, k)
    _require_finite(maps)
    found = [leading_directions([one.sample(i) for one in maps], k) for i in range(first.samples)]
    vectors = torch.from_numpy(np.stack([one.vectors for one in found])).to(first.device)
    logarithms = []
    for linear_map in maps:
        probes = vectors.permute(2, 0, 1).reshape(k, first.samples, *first.input_shape)
        images = linear_map.matvec(probes.to(linear_map.dtype)).double()
        vectors, triangle = torch.linalg.qr(images.flatten(2).permute(1, 2, 0))
        logarithms.append(triangle.diagonal(dim1=1, dim2=2).abs().log())
    blocks = torch.arange(1, len(maps) + 1, dtype=torch.float64, device=first.device)
    values = torch.stack(logarithms, dim=1).cumsum(dim=1) / blocks[:, None]
    residuals = torch.from_numpy(np.stack([one.residuals for one in found])).to(first.device)
    twice = 2 * len(maps)
    errors = (residuals - twice * values[:, -1]).exp() / twice
    return Exponents(values, errors.where(values[:, -1] > -torch.inf, 0.0))


def finite_growth(
    functions: Sequence[Callable[[Tensor], Tensor]],
    x: Tensor,
    *,
    relative_size: float,
    v: Tensor,
) -> Tensor:
    """Give how fast a finite disturbance grows through the blocks, per block.

    Args:
        functions: the blocks in order, each of `(sample, …)`.
        x: input of the first, `(sample, …)`.
        relative_size: ε‖v‖/‖x‖, norm of the disturbance over that of its sample.
        v: directions, like `x`, such as independent normal entries.

    Returns:
        `(sample, L)` float64, 1/l ln(‖Φ_l(x + εv) - Φ_l(x)‖/(ε‖v‖)), Φ_l the first l blocks; -inf
        where the difference is zero, NaN where x is.
    """
    if relative_size <= 0:
        raise InputError(f"a disturbance of relative size {relative_size:g}: expected more than 0")
    v = v.to(x.device, torch.float64)
    per_sample = (-1, *(1,) * (x.dim() - 1))
    factor = relative_size * (squared_norm(x) / squared_norm(v)).sqrt()
    disturbed = (x.double() + factor.reshape(per_sample) * v).to(x.dtype)
    before = _distance(disturbed, x)  # as it is after rounding
    growths = []
    for number, function in enumerate(functions, start=1):
        with full_precision(x.device):  # the difference is not much above the rounding of TF32
            x, disturbed = function(x), function(disturbed)
        growths.append((_distance(disturbed, x) / before).log() / number)
    return torch.stack(growths, dim=1)


def _require_finite(maps: Sequence[LinearMap]) -> None:
    for number, one in enumerate(maps, start=1):
        ones = torch.ones((1, one.samples, *one.input_shape), dtype=one.dtype, device=one.device)
        if not bool(torch.isfinite(one.matvec(ones)).all()):
            raise InputError(
                f"the Jacobian of block {number} of {len(maps)} holds values that are not finite: "
                "look whether the network's weights and the block's input are finite"
            )


def _distance(a: Tensor, b: Tensor) -> Tensor:
    return squared_norm(a.double() - b.double()).sqrt()


def _checked(maps: Sequence[LinearMap], k: int) -> LinearMap:
    """Give the first of the maps, all of which are of its shape."""
    if not maps:
        raise InputError("no block, no exponent: expected at least one map")
    first = maps[0]
    shape = first.input_shape
    for number, linear_map in enumerate(maps, start=1):
        given = (linear_map.input_shape, linear_map.output_shape)
        if given != (shape, shape) or linear_map.samples != first.samples:
            raise InputError(
                f"block {number} maps {given[0]} to {given[1]} for {linear_map.samples} samples: "
                f"expected {shape} to {shape} for {first.samples}, as exponents run through blocks "
                "of one shape"
            )
    if not 1 <= k <= prod(shape):
        raise InputError(
            f"{k} exponents of blocks of {prod(shape)} inputs: expected 1 to {prod(shape)}"
        )
    return first
