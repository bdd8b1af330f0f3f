"""Linear functions of tensors whose coefficients are known, above all those that move numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from resprobe.linalg.applied import Applied, pull_one


class Gather(NamedTuple):
    """A function each of whose numbers is one number of its inputs, or zero.

    Attributes:
        sources: of each number of the output, its flat place among the inputs one after another.
        there: numbers of the output that are not zero; None where all are.
        inverse: of each number of the inputs, where it goes; None if one goes to several places.
        unused: numbers of the inputs that go nowhere; None where each goes somewhere.
    """

    sources: Tensor
    there: Tensor | None
    inverse: Tensor | None
    unused: Tensor | None


class Linear:
    """A linear function of one or more tensors, such as a view, padding or pooling.

    Where it only moves numbers, it is turned into one look-up of places when it is first applied.

    Args:
        function: tensors to a tensor.
        blanks: zeros like the tensors that it takes.
        shape: of what it gives.
    """

    fresh = False  # a mean that is repeated is a view

    def __init__(
        self, function: Callable[..., Tensor], blanks: Sequence[Tensor], shape: tuple[int, ...]
    ) -> None:
        self._function, self._blanks, self._shape = function, [*blanks], shape
        self._shapes = [tuple(blank.shape) for blank in blanks]
        self._gather: Gather | None = None
        self._looked = False

    def __call__(self, *tangents: Tensor) -> Tensor:
        """Give the tangent of the output from those of the inputs, of one probe."""
        return self._function(*tangents)

    def forward(self, *tangents: Tensor) -> Tensor:
        """Do so for probes along the first axis of each."""
        gather = self._found()
        probes = len(tangents[0])
        if gather is None:
            if probes == 1:
                return self._function(*(t[0] for t in tangents))[None]
            result: Tensor = torch.func.vmap(self._function)(*tangents)
            return result
        flat = [t.reshape(probes, -1) for t in tangents]
        source = flat[0] if len(flat) == 1 else torch.cat(flat, 1)
        moved = source.index_select(1, gather.sources)
        if gather.there is not None:
            moved = moved.mul_(gather.there)
        return moved.view(probes, *self._shape)

    def backward(self, u: Tensor) -> tuple[Tensor, ...]:
        """Give the transpose, for probes along the first axis."""
        gather = self._found()
        if gather is None:
            return self._pulled(u)
        probes = len(u)
        flat = u.reshape(probes, -1)
        sizes = [prod(shape) for shape in self._shapes]
        if gather.inverse is not None:
            total = flat.index_select(1, gather.inverse)
            if gather.unused is not None:
                total = total.mul_(gather.unused)
        else:
            if gather.there is not None:
                flat = flat * gather.there
            total = torch.zeros(probes, sum(sizes), dtype=u.dtype, device=u.device)
            total.scatter_add_(1, gather.sources.expand(probes, -1), flat)
        parts = total.split(sizes, 1)
        return tuple(p.reshape(probes, *s) for p, s in zip(parts, self._shapes, strict=True))

    def alone(self, index: int, samples: int) -> Applied | None:
        """Give it for one sample, where samples are along the first axis; None if unknown."""
        if any(shape[:1] != (samples,) for shape in (*self._shapes, self._shape)):
            return None
        blanks = [blank[:1] for blank in self._blanks]

        def one(*tangents: Tensor) -> Tensor:
            full = [_embed(t, index, samples) for t in tangents]
            return self._function(*full)[index : index + 1]

        found = Linear(one, blanks, (1, *self._shape[1:]))
        if self._looked and self._gather is None:
            found._looked = True
        return found

    def _pulled(self, u: Tensor) -> tuple[Tensor, ...]:
        if len(u) == 1:
            return pull_one(self._function, self._blanks, u)
        pull = torch.func.vjp(self._function, *self._blanks)[1]
        result: tuple[Tensor, ...] = torch.func.vmap(pull)(u)
        return result

    def _found(self) -> Gather | None:
        if not self._looked:
            self._looked = True
            self._gather = _gather(self._function, self._shapes, self._blanks[0].device)
        return self._gather


def _gather(
    function: Callable[..., Tensor], shapes: Sequence[tuple[int, ...]], device: torch.device
) -> Gather | None:
    """Find out whether a linear function only moves numbers, by what becomes of numbered places.

    What it makes of their squares must be the squares of what it makes of them: a sum of several,
    or a multiple of one, has another square.
    """
    sizes = [prod(shape) for shape in shapes]
    total = sum(sizes)
    labels = torch.arange(1, total + 1, dtype=torch.float64, device=device)

    def applied(numbers: Tensor) -> Tensor:
        parts = numbers.split(sizes)
        return function(*(p.reshape(s) for p, s in zip(parts, shapes, strict=True)))

    places, squares = applied(labels), applied(labels.square())
    if places.dtype != torch.float64 or not torch.equal(places.square(), squares):
        return None
    sources = places.reshape(-1).long() - 1
    there = sources >= 0
    used = sources[there]
    inverse = unused = None
    if len(used) == 0 or torch.bincount(used).max() <= 1:
        inverse = torch.zeros(total, dtype=torch.int64, device=device)
        inverse[used] = there.nonzero()[:, 0]
        free = torch.ones(total, dtype=torch.bool, device=device)
        free[used] = False
        unused = ~free if free.any() else None
    return Gather(sources.clamp(min=0), None if there.all() else there, inverse, unused)


def _embed(tangent: Tensor, index: int, samples: int) -> Tensor:
    """Give the tangents of all samples, zero but for one."""
    before = tangent.new_zeros(index, *tangent.shape[1:])
    after = tangent.new_zeros(samples - index - 1, *tangent.shape[1:])
    return torch.cat((before, tangent, after))
