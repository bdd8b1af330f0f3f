"""Is a Jacobian right: J v by its entries against J v by forward differentiation of the function.

The vector is random, so an entry that is wrong, or in the wrong place, shows; along the free axes
of the inputs and along the others it is a product, which lets the entries be read only once and
hides nothing (an error E ≠ 0 has E (a ⊗ b) ≠ 0 for almost all a and b).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

import torch

from resprobe.blocks.program import unfused
from resprobe.linalg.compressed import contracted, pushed
from resprobe.linalg.forward_mode import jvp
from resprobe.linalg.precision import full_precision

if TYPE_CHECKING:
    from torch import Tensor

    from resprobe.linalg.compressed import Layout
    from resprobe.linalg.linear_map import LinearMap
    from resprobe.linalg.probing import Part

# Of the random vector: any number will do, and a fixed one gives the same error every time.
_SEED = 5


def tolerance(dtype: torch.dtype, terms: int) -> float:
    """Give the relative error of J v that rounding explains.

    A sum of n numbers that are each off by half a unit in the last place is off by some √n units,
    and both sides are; 16 leaves room for cancellation. Of a matrix of a million entries of one
    size, a single wrong one gives 1e-3; in float32 the bound is 1e-5 to 1e-4.

    Args:
        dtype: of the numbers.
        terms: numbers that are added up on the way from an input to an output.
    """
    return float(16 * torch.finfo(dtype).eps * max(1, terms) ** 0.5)


class Agreement:
    """Adds up J v as entries come in, and compares it.

    Args:
        layout: of the entries.
        samples: how many matrices come in at once.
        example: any tensor of the dtype and on the device of the entries.
    """

    def __init__(self, layout: Layout, samples: int, example: Tensor) -> None:
        self._layout = layout
        generator = torch.Generator(example.device).manual_seed(_SEED)

        def drawn(*shape: int) -> Tensor:
            return torch.randn(
                shape, generator=generator, dtype=example.dtype, device=example.device
            )

        if layout.transposed:
            self._read = drawn(*layout.read)
            self.vector = self._read.flatten()
            self._total = example.new_zeros(samples, layout.free_size, layout.bound_size)
        else:
            self._free, self._bound = drawn(layout.free_size), drawn(layout.bound_size)
            self.vector = layout.joined(self._free[:, None] * self._bound)
            self._gathered = layout.gathered(self._bound).unsqueeze(1)
            self._sums: Tensor | None = None

    def add(self, part: Part) -> None:
        """Take entries in."""
        layout, entries = self._layout, part.entries
        if layout.transposed:
            piece = replace(layout, places=layout.places[part.bound])
            for sample in range(entries.shape[2]):
                found = pushed(piece, entries[:, :, sample], self._read)
                self._total[sample, part.free] += found
            return
        if self._sums is None:
            self._sums = entries.new_zeros(len(layout.places), *entries.shape[2:])
        self._sums[part.bound] += contracted(entries, self._free[part.free])

    def product(self) -> Tensor:
        """Give J v, `(sample, output)`."""
        if self._layout.transposed:
            return self._layout.joined(self._total)
        if self._sums is None:
            return self._gathered.new_zeros(0, prod(self._layout.read))
        product = (self._sums * self._gathered).sum(0)
        for axis, size in enumerate(self._layout.read, 1):
            product = product.narrow(axis, 0, size)
        return product.flatten(1) if self._layout.read else product[:, None]


def relative_errors(found: Tensor, expected: Tensor) -> Tensor:
    """Give the relative error of each sample, `(sample,)` float64; 0 where both are zero."""
    found = found.reshape(len(found), -1).double()
    expected = expected.reshape(len(expected), -1).double()
    error, size = (found - expected).norm(dim=1), expected.norm(dim=1)
    return torch.where(error == 0, 0.0, error / size)


def map_errors(linear_map: LinearMap, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Give the relative error of J v of each sample by a map whose entries nobody asks for.

    Args:
        linear_map: of the function at x.
        function: `(sample, …)` to `(sample, …)`.
        x: the point.

    Returns:
        `(sample,)` float64, for one random v.
    """
    generator = torch.Generator().manual_seed(_SEED)
    v = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
    found = linear_map.matvec(v[None])[0]
    with torch.no_grad(), full_precision(x.device):
        return relative_errors(found, tangent((function,), x.detach(), v)[0])


def tangent(
    functions: Sequence[Callable[[Tensor], Tensor]], x: Tensor, v: Tensor
) -> tuple[Tensor, int]:
    """Give J v by forward differentiation of a function itself.

    Args:
        functions: `(sample, …)` to `(sample, …)`, the same one by different code: the first is
            taken that can be differentiated forward, or else the last one backward twice.
        x: the point.
        v: a vector for each sample, flat.

    Returns:
        J v, and which of the functions it is by.
    """
    v = v.reshape(x.shape)
    for place, function in enumerate(functions):
        try:
            with unfused():
                return jvp(function, (x.clone(),), (v,)).detach(), place
        except (NotImplementedError, RuntimeError):
            continue  # an operation without a rule
    with torch.enable_grad():
        product: Tensor = torch.autograd.functional.jvp(functions[-1], x.clone(), v)[1]
    return product.detach(), len(functions) - 1
