"""Who made each value of a recorded program, from what, and through which parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resprobe.blocks.operations import Program


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
        inputs = _mask(program.inputs)
        for index, op in enumerate(program.operations):
            above = 0
            sources = (*op.reads, *(old for old, _ in op.renames))
            for value in sources:
                above |= self.ancestors.get(value, 0) | (1 << value)
            for value in op.reads:
                self.readers.setdefault(value, []).append(index)
            for value in op.writes:
                self.maker[value] = index
                self.ancestors[value] = above
                names = self.names(index)
                if names and not above & inputs:
                    self.learned[value] = names

    def is_ancestor(self, value: int, of: int) -> bool:
        """Whether `of` was computed from `value`."""
        return bool(self.ancestors.get(of, 0) >> value & 1)

    def path(self, source: int, end: int) -> list[int]:
        """Give the operations through which `end` was computed from `source`."""
        above = self.ancestors.get(end, 0) | (1 << end)
        return sorted(
            {
                index
                for value, index in self.maker.items()
                if above >> value & 1 and self.is_ancestor(source, value)
            }
        )

    def learns(self, index: int) -> bool:
        """Whether an operation uses parameters, directly or computed ones."""
        return bool(self.names(index))

    def names(self, index: int) -> frozenset[str]:
        """Give the parameters that an operation uses, directly or through computed weights."""
        op = self.program.operations[index]
        computed = (self.learned[value] for value in op.reads if value in self.learned)
        return frozenset(op.parameters).union(*computed)

    def depends_on_input(self, value: int) -> bool:
        """Whether a value depends on the model's arguments."""
        return value in self.program.inputs or any(
            self.is_ancestor(source, value) for source in self.program.inputs
        )


def _mask(values: Iterable[int]) -> int:
    mask = 0
    for value in values:
        mask |= 1 << value
    return mask
