"""A Jacobian whose entries lie close together: for each probe, one entry for each output.

The seeded side is that of the probes (the inputs for jvp probes, the outputs for vjp probes), the
read side the other. Along the free axes of the seeded side each place has its own probe; along the
others, the bound axes, a table says which place an entry stands for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch

from resprobe.linalg.norms import squared_norm

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from torch import Tensor

# Numbers in the products of entries and vectors that exist at once.
_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Layout:
    """Which entry of the matrix each stored number is.

    Attributes:
        seeded: shape of the side of the probes.
        free: its axes along which each place has its own probe.
        read: shape of the other side.
        places: `(bound colour, *read)` int64: flat place within the bound axes, -1 where there is
            none; read axes that make no difference have size 1. The read axes may be longer
            than `read` says: what is past the end is zero in the store and -1 here.
        transposed: whether the probes are of the outputs (vjp).
    """

    seeded: tuple[int, ...]
    free: tuple[int, ...]
    read: tuple[int, ...]
    places: Tensor
    transposed: bool

    @property
    def bound(self) -> tuple[int, ...]:
        """The axes of the seeded side that share probes."""
        return tuple(axis for axis in range(len(self.seeded)) if axis not in self.free)

    @property
    def free_size(self) -> int:
        """Number of places along the free axes together."""
        return prod(self.seeded[axis] for axis in self.free)

    @property
    def bound_size(self) -> int:
        """Number of places along the bound axes together."""
        return prod(self.seeded[axis] for axis in self.bound)

    @property
    def probes(self) -> int:
        """Number of probes: of the free places times the bound colours."""
        return self.free_size * len(self.places)

    def split(self, v: Tensor) -> Tensor:
        """Bring vectors of the seeded side, `(…, flat)`, to `(…, free, bound)`."""
        lead = v.shape[:-1]
        shaped = v.reshape((*lead, *self.seeded))
        order = [len(lead) + axis for axis in (*self.free, *self.bound)]
        return shaped.permute((*range(len(lead)), *order)).reshape(
            *lead, self.free_size, self.bound_size
        )

    def joined(self, v: Tensor) -> Tensor:
        """Undo `split`."""
        lead = v.shape[:-2]
        order = (*self.free, *self.bound)
        shaped = v.reshape((*lead, *(self.seeded[axis] for axis in order)))
        back = [len(lead) + order.index(axis) for axis in range(len(order))]
        return shaped.permute((*range(len(lead)), *back)).reshape(*lead, prod(self.seeded))

    def gathered(self, v: Tensor) -> Tensor:
        """Give what entries are multiplied with: `(…, bound)` to `(…, bound colour, *read)`."""
        padded = torch.cat([v, v.new_zeros((*v.shape[:-1], 1))], -1)
        return padded[..., self.places]  # -1 is the last place: the zero

    def scattered(self, values: Tensor) -> Tensor:
        """Add `(free, bound colour, *read)` up in the places that they stand for: `(free, bound)`.

        Args:
            values: with size 1 along the read axes where `places` has it.
        """
        total = values.new_zeros((len(values), self.bound_size + 1))
        index = self.places.reshape(-1)
        index = torch.where(index < 0, self.bound_size, index)
        total.index_add_(1, index, values.reshape(len(values), -1))
        return total[:, :-1]

    def inner_axes(self) -> list[int]:
        """Give the read axes that make no difference to the place, counted from 0."""
        return [axis for axis, size in enumerate(self.places.shape[1:]) if size == 1]


class Compressed:
    """A matrix in compressed form.

    Args:
        layout: which entry each number is.
        entries: `(free, bound colour, *read)`, in any order in memory, the read axes as long as
            those of the layout's table where that tells them apart.
    """

    def __init__(self, layout: Layout, entries: Tensor) -> None:
        self.layout = layout
        self.entries = entries

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs, flat."""
        seeded, read = prod(self.layout.seeded), prod(self.layout.read)
        return (seeded, read) if self.layout.transposed else (read, seeded)

    def squared_norm(self) -> float:
        """Give the sum of the squares of all entries, accumulated in float64."""
        stored = self.entries.movedim(0, -1)
        flat = stored if stored.is_contiguous() else self.entries
        return float(squared_norm(flat.reshape(1, -1))[0])

    def matvec(self, v: Tensor) -> Tensor:
        """Give J v of flat vectors, `(…, inputs)` to `(…, outputs)`."""
        return self._each(v, self._push if self.layout.transposed else self._pull, self.shape[0])

    def rmatvec(self, u: Tensor) -> Tensor:
        """Give Jᵀ u of flat vectors, `(…, outputs)` to `(…, inputs)`."""
        return self._each(u, self._pull if self.layout.transposed else self._push, self.shape[1])

    def matvec_of_product(self, a: Tensor, b: Tensor) -> Tensor:
        """Give J v for v = a ⊗ b at the speed of reading the entries once.

        Args:
            a: along the free axes of the inputs, flat.
            b: along their bound axes, flat.

        Returns:
            The outputs, flat; only of layouts that are not transposed.
        """
        summed = contracted(self.entries, a)
        return self._cut((summed * self.layout.gathered(b)).sum(0))

    def to_dense(self) -> Tensor:
        """Give the matrix with all its zeros, `(outputs, inputs)`."""
        layout = self.layout
        read = torch.arange(prod(layout.read), device=self.entries.device)
        dense = self.entries.new_zeros(len(read), layout.free_size, layout.bound_size + 1)
        for colour in range(len(layout.places)):
            place = self._cut(self._places(colour))
            values = self._cut(self.entries[:, colour], lead=1)
            # Where there is none the place is -1, the spare last one.
            dense[read, :, place] = values.T
        matrix = layout.joined(dense[:, :, :-1])
        return matrix.T if layout.transposed else matrix

    def to_scipy(self) -> csr_matrix:
        """Give the matrix without its zeros, also those that only turned out to be zero."""
        from scipy.sparse import csr_matrix

        layout = self.layout
        rows, width = prod(layout.read), self.entries.shape[0] * self.entries.shape[1]
        places = self._cut(self._expanded(), lead=1)  # (bound colour, row)
        values = torch.where(places < 0, 0, self._cut(self.entries, lead=2)).permute(2, 1, 0)
        numbers = torch.arange(prod(layout.seeded), dtype=torch.int32, device=places.device)
        columns = layout.split(numbers).T[places.clamp_min(0).T]  # (row, bound colour, free)
        matrix = csr_matrix(
            (
                values.reshape(-1).cpu().numpy(),
                columns.reshape(-1).cpu().numpy(),
                np.arange(0, rows * width + 1, width, dtype=np.int64),
            ),
            shape=(rows, prod(layout.seeded)),
        )
        matrix.eliminate_zeros()
        matrix = matrix.T.tocsr() if layout.transposed else matrix
        matrix.sort_indices()
        return matrix

    # -- parts of the above --------------------------------------------------------------------

    def _expanded(self) -> Tensor:
        """Give the table with all read places: `(bound colour, *read)`."""
        return self.layout.places.expand(len(self.layout.places), *self.entries.shape[2:])

    def _places(self, colour: int) -> Tensor:
        return self.layout.places[colour].expand(self.entries.shape[2:])

    def _cut(self, values: Tensor, lead: int = 0) -> Tensor:
        """Cut the read axes to their length and make them flat."""
        for axis, size in enumerate(self.layout.read):
            values = values.narrow(lead + axis, 0, size)
        return values.flatten(lead) if self.layout.read else values[..., None]

    def _each(self, vectors: Tensor, product: object, size: int) -> Tensor:
        assert callable(product)
        flat = vectors.reshape(-1, vectors.shape[-1])
        results = [product(vector) for vector in flat]
        found = torch.stack(results) if results else vectors.new_zeros((0, size))
        return found.reshape(*vectors.shape[:-1], size)

    def _parts(self) -> Iterator[tuple[Layout, Tensor]]:
        """Give the bound colours in parts whose entries are few enough to be copied."""
        layout, colours = self.layout, len(self.layout.places)
        step = max(1, _AT_ONCE * colours // max(1, self.entries.numel()))
        for start in range(0, colours, step):
            part = slice(start, start + step)
            yield replace(layout, places=layout.places[part]), self.entries[:, part]

    def _pull(self, v: Tensor) -> Tensor:
        """Multiply with a vector of the seeded side."""
        split = self.layout.split(v)
        total = self.entries.new_zeros(self.entries.shape[2:])
        for layout, entries in self._parts():
            factors = layout.gathered(split)
            if _free_last(entries):  # so that both are read in the order of memory
                factors = factors.movedim(0, -1).contiguous()
                total += (entries.movedim(0, -1) * factors).sum(-1).sum(0)
            else:
                total += (entries * factors).sum((0, 1))
        return self._cut(total)

    def _push(self, u: Tensor) -> Tensor:
        """Multiply the transpose with a vector of the read side."""
        read = self.layout.read
        padded = self.entries.new_zeros(self.entries.shape[2:])
        padded[tuple(slice(0, size) for size in read)] = u.reshape(read)
        total = self.entries.new_zeros(self.layout.free_size, self.layout.bound_size)
        for layout, entries in self._parts():
            total += pushed(layout, entries, padded)
        return self.layout.joined(total)


def pushed(layout: Layout, entries: Tensor, u: Tensor) -> Tensor:
    """Give what entries give to the seeded side for a vector of the read side: `(free, bound)`."""
    inner = layout.inner_axes()
    if _free_last(entries):
        values = entries.movedim(0, -1) * u.unsqueeze(-1)
        values = values.sum([1 + axis for axis in inner], keepdim=True) if inner else values
        return layout.scattered(values.movedim(-1, 0))
    values = entries * u
    values = values.sum([2 + axis for axis in inner], keepdim=True) if inner else values
    return layout.scattered(values)


def _free_last(entries: Tensor) -> bool:
    """Whether the free places lie closest together in memory, as of stencils."""
    return entries.stride(0) == 1 and len(entries) > 1


def contracted(entries: Tensor, a: Tensor) -> Tensor:
    """Sum entries `(free, …)` with weights along the free axes, without copying them."""
    if _free_last(entries):
        last = entries.movedim(0, -1)
        return (last.reshape(-1, len(a)) @ a).reshape(last.shape[:-1])
    return (a @ entries.reshape(len(a), -1)).reshape(entries.shape[1:])
