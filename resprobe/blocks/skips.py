"""Walk back from an operand of an addition, through what a skip may do to its input."""

from __future__ import annotations

import math
from typing import NamedTuple

from resprobe.blocks.ancestry import Ancestry
from resprobe.blocks.kinds import (
    CONCATENATION,
    CONVOLUTION,
    DIFFERENCES,
    MATRIX_PRODUCTS,
    PARTS,
    SKIP_KINDS,
    STEPS,
    SUMS,
    UPSAMPLING,
    aten,
)
from resprobe.blocks.operations import Operation
from resprobe.blocks.structure import Ref


class Skip(NamedTuple):
    """A short path that was walked back.

    Attributes:
        source: where it led to.
        steps: the kinds of its steps, from the operand on.
        parts: dimensions along which some steps kept only a part.
    """

    source: int
    steps: tuple[str, ...]
    parts: tuple[int, ...] = ()

    @property
    def kind(self) -> str:
        """What the skip is called, one of `SKIPS` but for `none`."""
        return next((kind for kind in SKIP_KINDS if kind in self.steps), "identity")


def walk_back(known: Ancestry, value: int, others: list[int], depth: int = 0) -> Skip | None:
    """Walk back from one operand through short steps to the nearest ancestor of all others."""
    steps: list[str] = []
    parts: list[int] = []
    while True:
        if value in others:
            return None
        if any(known.is_ancestor(value, other) for other in others):
            # From further back, all that the operands have in common is the way to here.
            if not all(known.learns(value, other) for other in others):
                return None
            floating = known.program.dtypes[value].is_floating_point
            return Skip(value, tuple(steps), tuple(parts)) if floating else None
        index = known.maker.get(value)
        if index is None:
            return None
        op = known.program.operations[index]
        sources = [v for v in op.reads if known.depends_on_input(v)]
        if len(sources) == 2 and depth < 2:
            return _combined(known, op, sources, others, depth)
        step = _short_step(known, op, value, sources)
        if step is None:
            return None
        if op.function in PARTS:
            parts.append(_part_of(op))
        value = sources[0]
        steps.append(step)


def _combined(
    known: Ancestry, op: Operation, sources: list[int], others: list[int], depth: int
) -> Skip | None:
    """Take two short paths as one skip.

    They are a combination of two earlier states, as 2·x - x_before of the leapfrog, or two
    subsampled projections side by side, as in shake-shake nets.
    """
    beside = op.function is CONCATENATION
    if not beside and op.function not in SUMS | DIFFERENCES:
        return None
    found = [walk_back(known, value, others, depth + 1) for value in sources]
    skips = [skip for skip in found if skip is not None]
    if len(skips) < len(sources) or (not beside and any(s.kind == "projection" for s in skips)):
        return None
    steps = {step for skip in skips for step in skip.steps} | {"scaled"}
    return Skip(max(skip.source for skip in skips), tuple(sorted(steps)))


def _short_step(known: Ancestry, op: Operation, value: int, sources: list[int]) -> str | None:
    """Name the kind of a step that a skip may take, None for any other operation."""
    kind = "pooled" if op.function in UPSAMPLING else STEPS.get(op.function)
    if kind is None or len(sources) != 1:
        return None
    if op.writes[0] != value and op.function not in PARTS:
        return None  # the saved statistics of a norm, the places of a maximum
    if op.function in SUMS and any(isinstance(a, int | float) and a == 0 for a in op.args[:2]):
        return "identity"  # Python's sum begins with zero
    if op.function is CONVOLUTION:
        return _convolution_step(known, op)
    shape, before = known.program.shapes[value], known.program.shapes[sources[0]]
    if op.function in MATRIX_PRODUCTS:
        return kind if shape[:-1] == before[:-1] else None
    grows = math.prod(shape) > math.prod(before)
    return None if grows and kind in ("identity", "scaled") else kind


def _part_of(op: Operation) -> int:
    """Give the dimension along which a part was kept; 0, the samples', where it is strided."""
    if op.function is aten.slice.Tensor:
        stride = op.args[4] if len(op.args) > 4 else 1
        return (op.args[1] if len(op.args) > 1 else 0) if stride == 1 else 0
    return op.args[2] if len(op.args) > 2 else 0


def _convolution_step(known: Ancestry, op: Operation) -> str | None:
    weight, transposed = op.args[1], op.args[6]
    shape = known.program.shapes[weight.value] if isinstance(weight, Ref) else weight.shape
    if transposed:
        return None
    if math.prod(shape[2:]) == 1:
        return "projection"
    fixed = not op.parameters and not (isinstance(weight, Ref) and weight.value in known.learned)
    return "pooled" if fixed else None
