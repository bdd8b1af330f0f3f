"""What the tensors of a recorded pass are views of, through every write to shared memory."""

from __future__ import annotations

from typing import Any

import torch

from resprobe.blocks.operations import Operation, Program, refs
from resprobe.blocks.structure import Ref
from resprobe.errors import InputError

aten = torch.ops.aten

_UNSAFE_VIEWS = frozenset((aten.unsafe_split.Tensor, aten.unsafe_split_with_sizes.default))
# Change the layout of a tensor in place: what they leave in it is a view of what was there.
LAYOUTS = frozenset(
    (
        aten.transpose_.default,
        aten.t_.default,
        aten.squeeze_.default,
        aten.squeeze_.dim,
        aten.squeeze_.dims,
        aten.unsqueeze_.default,
        aten.swapaxes_.default,
        aten.swapdims_.default,
    )
)
# A view that leads from one tensor to another: the operation, and which of its results it is.
View = tuple[Operation, int]
# A value, and the views that lead from it.
Lineage = tuple[int, tuple[View, ...]]


class Lineages:
    """Finds what a value is a view of.

    Args:
        program: the recording.
        source: the value that is given: nothing is looked for behind it.

    Attributes:
        synthetic: values that the program does not have, because the tensor was gone when what it
            shared was written to: number to the value before and the operation that wrote.
    """

    def __init__(self, program: Program, source: int) -> None:
        self._program, self._source = program, source
        self._known: dict[int, Lineage] = {}
        self._numbers: dict[tuple[int, int], int] = {}
        self.synthetic: dict[int, tuple[int, int]] = {}

    def of(self, value: int) -> Lineage:
        """Give the value that a value is a view of, and the views that lead to it."""
        trail = []
        while value not in self._known:
            before = self._before(value)
            if before is None:
                self._known[value] = (value, ())
            else:
                trail.append((value, *before))
                value = before[0]
        for later, earlier, op in reversed(trail):
            self._known[later] = self._carried(later, earlier, op)
            value = later
        return self._known[value]

    def _before(self, value: int) -> tuple[int, Operation] | None:
        """Give the value that shares memory with a value and was there before, and what ran."""
        if value in self.synthetic:
            old, index = self.synthetic[value]
            return old, self._program.operations[index]
        made = None if value == self._source else self._program.maker(value)
        if made is None:
            return None
        op = self._program.operations[made]
        overwritten = renamed_from(op, value)
        if overwritten is not None:
            return overwritten, op
        if _is_view(op.function) and op.args and type(op.args[0]) is Ref:
            return op.args[0].value, op
        return None

    def _carried(self, value: int, before: int, op: Operation) -> Lineage:
        """Give the lineage of a value from that of the one before it."""
        root, views = self._known[before]
        if value not in self.synthetic and renamed_from(op, value) is None:
            return root, (*views, (op, list(refs(op.result)).index(value)))
        if op.function in LAYOUTS:
            target = self.target(op)
            if root == target:
                return value, ()  # another layout of what all are views of
            views = (*views, (op, 0)) if before == target else views
        own = self.synthetic.get(value)
        index = self._program.maker(value) if own is None else own[1]
        assert index is not None
        return self.renamed(root, index), views

    def renamed(self, value: int, index: int) -> int:
        """Give the value that a value becomes by an operation that writes in place."""
        for old, new in self._program.operations[index].renames:
            if old == value:
                return new
        key = (value, index)
        if key not in self._numbers:
            number = len(self._program.shapes) + len(self._numbers)
            self._numbers[key] = number
            self.synthetic[number] = key
        return self._numbers[key]

    def target(self, op: Operation) -> int:
        """Give the value, before the operation, of the tensor that it writes to."""
        written = [
            op.args[place].value
            for place, argument in enumerate(op.function._schema.arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
            if place < len(op.args) and type(op.args[place]) is Ref
        ]
        if len(written) != 1 or written[0] not in dict(op.renames):
            raise inexpressible(op, "writes to several tensors, or to one that is given as `out`")
        return int(written[0])


def renamed_from(op: Operation, value: int) -> int | None:
    """Give the value that a tensor had before an operation wrote to it; None if it was new."""
    return next((old for old, new in op.renames if new == value), None)


def _is_view(function: Any) -> bool:
    # The unsafe ones share memory, on the promise that only the parts are used.
    return function.is_view or function in _UNSAFE_VIEWS


def inexpressible(op: Operation, why: str) -> InputError:
    """Give the error for an operation that has no form without side effects."""
    return InputError(
        f"the operation {op.function} in {op.module or 'the root module'} {why}, which can't be "
        "expressed as a function; leave this block out or write it without that."
    )
