"""Colours for the places of an axis: places of one colour share no output, so one probe serves all.

The product of the axes' colourings is a colouring of all inputs: two inputs of one colour differ
along some axis, and along that axis no output reaches both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resprobe.errors import ViolationError
from resprobe.linalg.hyperplanes import Matrix
from resprobe.linalg.pattern import Pattern, boolean_product

Places = NDArray[np.int64]


@dataclass(frozen=True)
class AxisColours:
    """The colouring of one input axis.

    Attributes:
        colours: colour of each place.
        count: number of colours.
        free: whether each place has a colour of its own, so that the output need not be asked
            which place a colour stands for.
    """

    colours: Places
    count: int
    free: bool


def colourings(pattern: Pattern) -> list[AxisColours]:
    """Give the colouring of each input axis of a pattern."""
    return [_axis(pattern, axis) for axis in range(len(pattern.input_shape))]


def _axis(pattern: Pattern, axis: int) -> AxisColours:
    size = pattern.input_shape[axis]
    clash = conflicts(pattern, axis)
    colours = np.arange(size) if clash is None else colour(clash)
    count = int(colours.max(initial=-1)) + 1
    return AxisColours(colours, count, count == size)


def conflicts(pattern: Pattern, axis: int) -> Matrix | None:
    """Give which two places of an input axis some output may depend on; None for any two.

    Args:
        pattern: with several matrices for the axis, an output must satisfy all of them.
        axis: of the input.
    """
    found: Matrix | None = None
    for matrix in pattern.constraints(axis).values():
        both = boolean_product(matrix.T, matrix)
        found = both if found is None else found & both
    return None if found is None or found.all() else found


def colour(conflicts: Matrix) -> Places:
    """Colour a graph with few colours: 0, 1, … for each vertex.

    In order, each vertex takes the first colour that no earlier neighbour has, which is optimal
    where neighbours lie together (interval graphs: windows along an axis). Around a circle it need
    not be, so every period that gives fewer colours is tried as well.

    Args:
        conflicts: symmetric, which two vertices may not share a colour.

    Raises:
        ViolationError: the colouring found is wrong, which would be a mistake here.
    """
    best = _in_order(conflicts)
    places = np.arange(len(conflicts))
    one, other = np.nonzero(conflicts)
    one, other = one[one < other], other[one < other]

    def valid(colours: Places) -> bool:
        return not bool((colours[one] == colours[other]).any())

    for period in range(1, int(best.max(initial=0)) + 1):
        if valid(places % period):
            best = places % period
            break
    if not valid(best):
        raise ViolationError("two places that share an output got the same colour.")
    return best


def _in_order(conflicts: Matrix) -> Places:
    colours = np.full(len(conflicts), -1)
    for place, row in enumerate(conflicts):
        taken = np.zeros(place + 1, dtype=np.bool_)
        taken[colours[:place][row[:place]]] = True
        colours[place] = int(np.argmin(taken))
    return colours


def places_of_colours(pattern: Pattern, axes: list[AxisColours]) -> Places:
    """Give the input that each output depends on of those of each colour, along the bound axes.

    Args:
        pattern: of the function.
        axes: colouring of each input axis; the bound ones are those that are not `free`.

    Returns:
        (colour, *output places): the flat place within the bound axes, -1 where there is none;
        output axes that make no difference have size 1.
    """
    bound = [axis for axis, found in enumerate(axes) if not found.free]
    rank = len(pattern.output_shape)
    counts = [axes[axis].count for axis in bound]
    total = np.zeros((*(1 for _ in bound), *(1 for _ in range(rank))), dtype=np.int64)
    missing = np.zeros_like(total, dtype=np.bool_)
    for order, axis in enumerate(bound):
        table = _table(pattern, axis, axes[axis])
        lead = [1] * len(bound)
        lead[order] = counts[order]
        table = table.reshape(*lead, *table.shape[1:])
        total = total * pattern.input_shape[axis] + np.maximum(table, 0)
        missing = missing | (table < 0)
    found = np.where(missing, -1, total)
    return found.reshape(-1, *found.shape[len(bound) :])


def _table(pattern: Pattern, axis: int, found: AxisColours) -> Places:
    """Give the place along one axis: (colour, *output places), size 1 where it is all the same."""
    rank = len(pattern.output_shape)
    allowed = np.ones((*(1 for _ in range(rank)), pattern.input_shape[axis]), dtype=np.bool_)
    for b, matrix in pattern.constraints(axis).items():
        shape = [1] * rank + [matrix.shape[1]]
        shape[b] = matrix.shape[0]
        allowed = allowed & matrix.reshape(shape)
    table = np.full((found.count, *allowed.shape[:-1]), -1)
    *outputs, inputs = np.nonzero(allowed)
    table[(found.colours[inputs], *outputs)] = inputs
    return table
