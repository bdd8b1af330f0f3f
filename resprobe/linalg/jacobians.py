"""Exact Jacobians of functions on one sample: all entries, and a check that they are right."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from resprobe.blocks.path import Path
from resprobe.errors import InputError
from resprobe.linalg import attempts
from resprobe.linalg.attempts import Attempt, Problem, Take, attempt
from resprobe.linalg.compressed import Compressed
from resprobe.linalg.given import (
    as_module,
    require_sample,
    require_samples,
    restored,
    returned,
    written,
)
from resprobe.linalg.linearise import linearise
from resprobe.linalg.norms import squared_norm
from resprobe.linalg.precision import full_precision
from resprobe.linalg.probing import Part
from resprobe.linalg.recurrent import recorded
from resprobe.linalg.second_look import explain, notes_on_values
from resprobe.linalg.ways import Way

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from resprobe.linalg.linear_map import LinearMap


class Jacobian:
    """The Jacobian of a function at one sample, in compressed form.

    Args:
        compressed: the entries.
        found: how they were had.
        linear_map: of all samples.
        index: of the sample.

    Attributes:
        shape: outputs and inputs, both flattened.
        dtype: of the entries, that of x.
        device: of the entries.
        linear_map: the same matrix as a map of one sample, whose products may be faster; None
            where it did not agree with the function.
        method: the way to it: "stencil", "linear", "vmap" or "dense".
        reasons: each other way to why it was not gone.
        relative_error: of J v by its entries against J v by forward differentiation of the
            function, for a random v: ‖difference‖/‖J v‖.
        notes: what else there is to say, such as that memory ran out once, or that J v is not the
            derivative of the values of the function.
    """

    def __init__(
        self, compressed: Compressed, found: Attempt, linear_map: LinearMap, index: int
    ) -> None:
        self.compressed = compressed
        self.shape = compressed.shape
        self.dtype, self.device = compressed.entries.dtype, compressed.entries.device
        self.linear_map = linear_map.sample(index) if found.trusted else None
        self.method = found.way.name
        self.reasons = found.reasons
        self.notes = found.notes
        self.relative_error = float(found.errors[index])

    def __repr__(self) -> str:
        layout = self.compressed.layout
        side = "rows" if layout.transposed else "columns"
        notes = f", {len(self.notes)} note{'s' * (len(self.notes) > 1)}" if self.notes else ""
        return (
            f"Jacobian(shape={self.shape}, method={self.method!r}, {layout.probes} probes for "
            f"{self.shape[0 if layout.transposed else 1]} {side}, "
            f"{self.dtype}, relative_error={self.relative_error:.1e}{notes})"
        )

    def frobenius_norm(self) -> float:
        """Give ‖J‖_F, its squares added in float64."""
        return math.sqrt(self.compressed.squared_norm())

    def matvec(self, v: Tensor) -> Tensor:
        """Give J v, `(…, inputs)` to `(…, outputs)`."""
        return self.compressed.matvec(self._fitting(v, 1, "matvec"))

    def rmatvec(self, u: Tensor) -> Tensor:
        """Give Jᵀ u, `(…, outputs)` to `(…, inputs)`."""
        return self.compressed.rmatvec(self._fitting(u, 0, "rmatvec"))

    def to_dense(self) -> Tensor:
        """Give the whole matrix, `(outputs, inputs)`, of the dtype of x."""
        return self.compressed.to_dense()

    def to_scipy(self) -> csr_matrix:
        """Give the matrix in CSR form; entries that are exactly zero are left out."""
        return self.compressed.to_scipy()

    def _fitting(self, vector: Tensor, side: int, name: str) -> Tensor:
        if vector.shape[-1:] != (self.shape[side],):
            raise InputError(
                f"{name} takes flat vectors of length {self.shape[side]}, not a tensor of shape "
                f"{tuple(vector.shape)}; flatten it."
            )
        return vector.to(self.compressed.entries)


def jacobian(
    f: nn.Module | Callable[[Tensor], Tensor], x: Tensor, *, method: str = "auto"
) -> Jacobian:
    """Give the Jacobian of a function at one sample.

    The function is run as it is, its modules in the mode they are in; running statistics that
    this changed are set back. TF32 is off meanwhile. J v is compared with the function's own
    derivative and, looser, with a central difference of its values; what disagrees only with the
    latter is given with a note.

    Args:
        f: `(1, …)` to `(1, …)`, deterministic.
        x: one sample, `(1, …)`, floating.
        method: "auto" for the way that is predicted to be fastest, or its name: "stencil" (chains
            of convolutions composed by matrix products), "linear" (coloured probes through the
            function's linear steps), "vmap" (the same by `torch.func`), "dense" (all columns or
            rows). What can't be used raises an error that says why.

    Raises:
        InputError: x is not one floating sample, f does not give a finite `(1, …)` tensor, draws
            random numbers or is not differentiable, its derivative is not that of its values, or
            the Jacobian is not finite.
    """
    require_sample(x)
    module = as_module(f)
    # In inference mode a convolution is not made of what can be differentiated.
    with torch.inference_mode(False), torch.no_grad(), full_precision(x.device):
        x = x.detach().clone()
        with recorded(module, x) as program, restored(program):
            output = returned(program)
            path = Path(program, program.inputs[0], [(output, 1.0)])
            # What writes to its buffers would do so once more; its recording does not.
            own = None if written(program) else module
            problem = Problem(linearise(path), path, (own, path) if own else (path,), x)
            try:
                found, (one,) = _of_each(problem, method)
            except attempts.DisagreementError as error:
                better = explain(error.looked, program, module, x)
                raise better or error from None
            one.notes.extend(notes_on_values(found.looked, program, module, x, own is not None))
            return one


def jacobians(
    linear_map: LinearMap,
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    independent: Callable[[Tensor], Tensor] | None = None,
    method: str = "auto",
) -> list[Jacobian]:
    """Give the Jacobian of each sample of a batch.

    Args:
        linear_map: of f at x; as `linearise` gives it for its structure to be used.
        f: `(sample, …)` to `(sample, …)`, each sample for itself, for `torch.func`.
        x: the point, `(sample, …)`.
        independent: the same function by other code, for the check; f where it is not given, or
            can't be differentiated forward.
        method: as of `jacobian`.

    Raises:
        InputError: there are no samples, the way can't be gone, none agrees with the function's
            own derivative, or a Jacobian is not finite.
    """
    require_samples(x)
    problem = Problem(linear_map, f, (independent, f) if independent else (f,), x.detach())
    with torch.no_grad(), full_precision(x.device):
        return _of_each(problem, method)[1]


def _of_each(problem: Problem, method: str) -> tuple[Attempt, list[Jacobian]]:
    kept: dict[int, Tensor] = {}
    found = attempt(problem, method, lambda way: _keep(way, problem, kept), whole=True)
    return found, [
        Jacobian(Compressed(found.way.layout, kept[index]), found, problem.linear_map, index)
        for index in range(len(problem.x))
    ]


@dataclass(frozen=True)
class Norms:
    """Frobenius norms of Jacobians.

    Attributes:
        norms: `(sample,)` float64.
        relative_errors: of J v, as of `Jacobian`, `(sample,)` float64.
        method: the way to them.
        reasons: each other way to why it was not gone.
        notes: what else there is to say.
    """

    norms: Tensor
    relative_errors: Tensor
    method: str
    reasons: dict[str, str]
    notes: list[str]


def frobenius_norms(
    linear_map: LinearMap,
    f: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    independent: Callable[[Tensor], Tensor] | None = None,
    method: str = "auto",
) -> Norms:
    """Give ‖J‖_F of each sample of a batch, exactly, without holding a whole Jacobian.

    Args:
        linear_map: as of `jacobians`.
        f: likewise.
        x: likewise.
        independent: likewise.
        method: likewise.

    Raises:
        InputError: as `jacobians`.
    """
    require_samples(x)
    problem = Problem(linear_map, f, (independent, f) if independent else (f,), x.detach())
    squares = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    with torch.no_grad(), full_precision(x.device):
        found = attempt(problem, method, lambda _: _add_squares(squares), whole=False)
    way = found.way.name
    return Norms(squares.sqrt(), found.errors, way, found.reasons, found.notes)


# -- taking entries ----------------------------------------------------------------------------


def _keep(way: Way, problem: Problem, kept: dict[int, Tensor]) -> Take:
    """Give what keeps the entries of each sample, `(free, bound colour, *read)`."""
    kept.clear()
    layout, samples = way.layout, problem.linear_map.samples
    numbers = samples * layout.probes * prod(layout.read)
    if numbers * problem.x.element_size() > _memory(problem.x.device):
        raise InputError(attempts.too_large(way, samples, problem.x))
    if way.plan is not None:

        def take_channels(sample: int, part: Part) -> None:
            entries = part.entries.squeeze(2)
            if len(entries) == layout.free_size:
                kept[sample] = entries
                return
            if sample not in kept:
                shape = (*entries.shape[1:], layout.free_size)
                kept[sample] = entries.new_empty(shape).movedim(-1, 0)
            kept[sample][part.free] = entries

        return take_channels
    shape = (layout.free_size, len(layout.places), *layout.read)

    def take(first: int, part: Part) -> None:
        for sample in range(samples):
            if sample not in kept:
                kept[sample] = part.entries.new_empty(shape)
            kept[sample][part.free, part.bound] = part.entries[:, :, sample]

    return take


def _memory(device: torch.device) -> float:
    """Give the bytes of memory that a device has; more than any where that is not known."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[1])
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return math.inf


def _add_squares(squares: Tensor) -> Take:
    squares.zero_()

    def take(first: int, part: Part) -> None:
        entries = part.entries.movedim(2, 0)
        if part.entries.stride(0) == 1:  # the free axis is the last in memory
            entries = entries.movedim(1, -1)
        squares[first : first + len(entries)] += squared_norm(entries)

    return take
