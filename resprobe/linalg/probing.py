"""Products of a linear map with coloured probes, in parts of bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from resprobe.linalg.colouring import AxisColours, places_of_colours
from resprobe.linalg.compressed import Layout
from resprobe.linalg.pattern import Pattern
from resprobe.memory import is_out_of_memory

if TYPE_CHECKING:
    from torch import Tensor

    from resprobe.linalg.linear_map import LinearMap

# Bytes of the probes that run at once. On a processor what fits its cache runs fastest; on an
# accelerator many at once do. A handful of tensors of this size live at a time, within 64 MB.
_AT_ONCE = {"cpu": 3 << 19}
_AT_ONCE_ELSEWHERE = 8 << 20


@dataclass(frozen=True)
class Part:
    """The entries that some of the probes give.

    Attributes:
        free: places along the free axes.
        bound: bound colours.
        entries: `(free, bound colour, sample, *read)`.
    """

    free: slice
    bound: slice
    entries: Tensor


def coloured_layout(
    pattern: Pattern, axes: list[AxisColours], device: torch.device, *, transposed: bool
) -> Layout:
    """Give the layout of probes of one colour each.

    Args:
        pattern: with the seeded side as its input.
        axes: the colouring of the seeded axes.
        device: of the result.
        transposed: whether the seeded side is that of the outputs.
    """
    free = tuple(axis for axis, found in enumerate(axes) if found.free)
    places = torch.from_numpy(places_of_colours(pattern, axes)).to(device)
    return Layout(pattern.input_shape, free, pattern.output_shape, places, transposed)


def unit_layout(
    seeded: tuple[int, ...], read: tuple[int, ...], device: torch.device, *, transposed: bool
) -> Layout:
    """Give the layout of one probe for each place."""
    places = torch.zeros((1, *(1 for _ in read)), dtype=torch.int64, device=device)
    return Layout(seeded, tuple(range(len(seeded))), read, places, transposed)


def empty_layout(seeded: tuple[int, ...], read: tuple[int, ...], device: torch.device) -> Layout:
    """Give the layout of a matrix that is zero: one probe that stands for nothing."""
    places = torch.full((1, *(1 for _ in read)), -1, dtype=torch.int64, device=device)
    return Layout(seeded, (), read, places, transposed=False)


def parts(
    linear_map: LinearMap, layout: Layout, largest: int, note: Callable[[str], None]
) -> Iterator[Part]:
    """Give the entries of a map probed by a layout, in parts.

    Args:
        linear_map: of one or more samples, which all get the same probes.
        layout: of the probes.
        largest: numbers of the largest tensor that one probe of one sample meets.
        note: is told when memory ran out and parts were made smaller.
    """
    members = _members(layout, linear_map.dtype)
    product = linear_map.rmatvec if layout.transposed else linear_map.matvec
    size = largest * linear_map.samples * linear_map.dtype.itemsize
    at_once = max(1, _AT_ONCE.get(linear_map.device.type, _AT_ONCE_ELSEWHERE) // max(1, size))
    colours, free, start = len(layout.places), layout.free_size, 0
    while start < free * colours:
        first, colour = divmod(start, colours)
        if at_once >= colours and colour == 0:
            frees, bounds = slice(first, min(free, first + at_once // colours)), slice(0, colours)
        else:
            frees = slice(first, first + 1)
            bounds = slice(colour, min(colours, colour + at_once))
        count = (frees.stop - frees.start) * (bounds.stop - bounds.start)
        try:
            probes = _probes(layout, members, frees, bounds)
            probes = probes.unsqueeze(1).expand(-1, linear_map.samples, *layout.seeded)
            images = product(probes)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or count == 1:
                raise
            at_once = count // 2
            note(f"memory ran out with {count} probes at once; went on with {at_once}")
            continue
        shape = (frees.stop - frees.start, bounds.stop - bounds.start, linear_map.samples)
        yield Part(frees, bounds, images.reshape(*shape, *layout.read))
        start += count


def _members(layout: Layout, dtype: torch.dtype) -> Tensor:
    """Give the places that each bound colour stands for: (bound colour, bound place) of 0 and 1."""
    index = layout.places.flatten(1)
    index = torch.where(index < 0, layout.bound_size, index)
    members = torch.zeros(
        len(index), layout.bound_size + 1, dtype=dtype, device=layout.places.device
    )
    return members.scatter_(1, index, 1.0)[:, :-1]


def _probes(layout: Layout, members: Tensor, frees: slice, bounds: slice) -> Tensor:
    """Give probes, `(probe, *seeded)`, the bound colours fastest."""
    own = torch.arange(frees.start, frees.stop, device=members.device)
    member = members[bounds]
    probes = member.new_zeros(len(own), len(member), layout.free_size, layout.bound_size)
    probes[own - frees.start, :, own] = member
    shape = (len(own) * len(member), layout.free_size, layout.bound_size)
    return layout.joined(probes.reshape(shape)).reshape(shape[0], *layout.seeded)
