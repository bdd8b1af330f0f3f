"""Who made each value of a recorded program, from what, and through which parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from resprobe.blocks.kinds import (
    CONVOLUTION,
    LINEAR,
    PRODUCTS,
    QUOTIENTS,
    SHAPE_ONLY,
    SUMS,
    UPSAMPLING,
)

if TYPE_CHECKING:
    from resprobe.blocks.operations import Operation, Program


class Ancestry:
    """The ancestors of every value, as bit masks over the values of a program.

    Attributes:
        program: the recorded pass.
        maker: value to the operation that made it.
        readers: value to the operations that read it.
        ancestors: value to the mask of all that it was computed from.
        learned: values made of parameters alone, such as a normalised or cast weight, with the
            names of these parameters.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.maker: dict[int, int] = {}
        self.readers: dict[int, list[int]] = {}
        self.ancestors: dict[int, int] = dict.fromkeys(program.inputs, 0)
        self.learned: dict[int, frozenset[str]] = {}
        self._inputs = _mask(program.inputs)
        # Value to the mask of those ancestors from which some path leads through an operation
        # with parameters, one that is not linear, one that refines the resolution.
        self._by_parameters: dict[int, int] = {}
        self._by_nonlinear: dict[int, int] = {}
        self._by_upsampling: dict[int, int] = {}
        self._names: dict[int, frozenset[str]] = {}
        self._taught: set[int] = set()
        for index, op in enumerate(program.operations):
            self._take(index, op)

    def _take(self, index: int, op: Operation) -> None:
        for value in op.reads:
            self.readers.setdefault(value, []).append(index)
        above, learned, nonlinear, upsampled = 0, 0, 0, 0
        if op.function not in SHAPE_ONLY:
            for value in (*op.reads, *(old for old, _ in op.renames)):
                above |= self.ancestors.get(value, 0) | (1 << value)
                learned |= self._by_parameters.get(value, 0)
                nonlinear |= self._by_nonlinear.get(value, 0)
                upsampled |= self._by_upsampling.get(value, 0)
        names = self._names_of(op)
        taught = bool(names) or any(value in self._taught for value in op.reads)
        if names:
            self._names[index] = names
            if op.function not in SUMS:  # a bias alone makes nothing of the features
                learned = above
        if not self._is_linear(op):
            nonlinear = above
        if _refines(op):
            upsampled = above
        for value in op.writes:
            self.maker[value] = index
            self.ancestors[value] = above
            if taught:
                self._taught.add(value)
            self._by_parameters[value] = learned
            self._by_nonlinear[value] = nonlinear
            self._by_upsampling[value] = upsampled
            if names and not above & self._inputs:
                self.learned[value] = names

    def _names_of(self, op: Operation) -> frozenset[str]:
        computed = [self.learned[value] for value in op.reads if value in self.learned]
        if not computed and not op.parameters:
            return frozenset()
        return frozenset(op.parameters).union(*computed)

    def _is_linear(self, op: Operation) -> bool:
        if op.function in PRODUCTS or op.function in QUOTIENTS:
            return sum(self.depends_on_input(value) for value in op.reads) < 2
        return op.function in LINEAR

    def is_ancestor(self, value: int, of: int) -> bool:
        """Whether `of` was computed from `value`."""
        return bool(self.ancestors.get(of, 0) >> value & 1)

    def is_made_of(self, value: int, source: int) -> bool:
        """Whether a value is `source` or was computed from it."""
        return value == source or self.is_ancestor(source, value)

    def learns(self, value: int, of: int) -> bool:
        """Whether a path from `value` to `of` leads through an operation with parameters."""
        return bool(self._by_parameters.get(of, 0) >> value & 1)

    def is_taught(self, value: int) -> bool:
        """Whether parameters had a part in a value."""
        return value in self._taught

    def bends(self, value: int, of: int) -> bool:
        """Whether a path from `value` to `of` leads through an operation that is not linear."""
        return bool(self._by_nonlinear.get(of, 0) >> value & 1)

    def refines(self, value: int, of: int) -> bool:
        """Whether a path from `value` to `of` leads through a finer resolution than before."""
        return bool(self._by_upsampling.get(of, 0) >> value & 1)

    def path(self, source: int, end: int) -> list[int]:
        """Give the operations through which `end` was computed from `source`, in order."""
        within = self.ancestors.get(end, 0) | (1 << end)
        first = self.maker.get(source, -1) + 1
        return [
            index
            for index in range(first, self.maker.get(end, -1) + 1)
            if any(
                within >> value & 1 and self.is_ancestor(source, value)
                for value in self.program.operations[index].writes
            )
        ]

    def names(self, index: int) -> frozenset[str]:
        """Give the parameters that an operation uses, directly or through computed weights."""
        return self._names.get(index, frozenset())

    def depends_on_input(self, value: int) -> bool:
        """Whether a value depends on the numbers in the model's arguments."""
        return bool((self.ancestors.get(value, 0) | 1 << value) & self._inputs)


def _refines(op: Operation) -> bool:
    """Whether an operation makes the resolution finer."""
    if op.function is CONVOLUTION:
        stride, transposed = op.args[3], op.args[6]
        return bool(transposed) and max(stride) > 1
    return op.function in UPSAMPLING


def _mask(values: Iterable[int]) -> int:
    mask = 0
    for value in values:
        mask |= 1 << value
    return mask
