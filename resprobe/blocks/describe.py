"""What a joint says of its block: where the block ends, and its step size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from resprobe.blocks.ancestry import Ancestry
from resprobe.blocks.joints import Joint
from resprobe.blocks.kinds import (
    ACTIVATIONS,
    NORMS,
    PARTS,
    PRODUCTS,
    QUOTIENTS,
    SUMS,
    VIEWS,
    aten,
)
from resprobe.blocks.operations import Operation
from resprobe.blocks.structure import Ref

# -- where the block ends ----------------------------------------------------------------------


class _End(NamedTuple):
    """What follows a sum, as far as norms and activations follow it alone.

    Attributes:
        chain: the values: the sum, then those after it.
        own: whether the first step runs in the block's own module.
        alone: whether no other sum runs in that module's call.
        used: which of the values the next blocks start from, None if they start from none.
    """

    chain: tuple[int, ...]
    own: bool
    alone: bool
    used: int | None


def activations(known: Ancestry, joints: Sequence[Joint]) -> list[tuple[str, int]]:
    """Give, for each joint, whether I is an activation or norm ("post", else "pre") and I(s + G).

    A block in a module of its own ends where that module's norms and activations end. Where many
    blocks are written into one module, those that start from a value show what a block's output
    is: the sum itself in a pre-activation network, what an activation makes of it in a
    post-activation one; where none starts from it, as after the last one, the others decide.
    """
    starts = {joint.input: joint for joint in joints}
    scopes = Counter(known.program.operations[joint.operation].scope for joint in joints)
    ends = [_end(known, joint, starts, scopes) for joint in joints]
    votes = Counter(end.used for end in ends if end.used is not None)
    ranked = votes.most_common(2)
    decided = ranked[0][0] if ranked and (len(ranked) == 1 or ranked[0][1] > ranked[1][1]) else None
    outcomes = []
    for end in ends:
        place = _place(end, decided)
        outcomes.append(("post" if place else "pre", end.chain[place]))
    return outcomes


def _end(
    known: Ancestry, joint: Joint, starts: Mapping[int, Joint], scopes: Mapping[int, int]
) -> _End:
    operations = known.program.operations
    addition = operations[joint.operation]
    chain = [joint.total]
    steps: list[Operation] = []
    while len(readers := known.readers.get(_written_back(known, chain[-1]), [])) == 1:
        after = operations[readers[0]]
        if after.function not in ACTIVATIONS | NORMS:
            break
        chain.append(after.writes[0])
        steps.append(after)
    used = next((place for place, value in enumerate(chain) if value in starts), None)
    if used:
        # A step that the next block takes in its own module is a part of that block.
        following = operations[starts[chain[used]].operation]
        theirs = [
            _runs_inside(step, following) and not _runs_inside(step, addition)
            for step in steps[:used]
        ]
        used = theirs.index(True) if any(theirs) else used
    own = bool(steps) and _runs_inside(steps[0], addition)
    return _End(tuple(chain), own, scopes[addition.scope] == 1, used)


def _written_back(known: Ancestry, value: int) -> int:
    """Give the tensor into which a view of it is copied back, as in `out[:] += x`."""
    readers = known.readers.get(value, [])
    if len(readers) != 1:
        return value
    op = known.program.operations[readers[0]]
    if op.function is not aten.copy_.default:
        return value
    shape = known.program.shapes[value]
    read = [v for v in op.writes if v in known.readers and known.program.shapes[v] == shape]
    return read[0] if len(read) == 1 else value


def _place(end: _End, decided: int | None) -> int:
    """Say which value of the chain is the block's output."""
    if end.alone:
        return (end.used or 1) if end.own else 0
    if decided is None:
        return end.used if end.used is not None else int(end.own)
    if decided == 0:
        return 0
    return min(end.used if end.used is not None else decided, len(end.chain) - 1)


def _runs_inside(after: Operation, addition: Operation) -> bool:
    return after.scope == addition.scope or (
        addition.module != "" and after.module.startswith(addition.module + ".")
    )


# -- the step size -----------------------------------------------------------------------------


def scale(known: Ancestry, joint: Joint) -> float:
    """Give the number that the branch was multiplied by last, 1.0 if none.

    Of a layer scale, a parameter or buffer of one number or of one for each feature, it is the
    mean. Several branches of one block have a scale if they agree.
    """
    scales = {operand.factor * _scale_of(known, operand.value) for operand in joint.branch}
    return scales.pop() if len(scales) == 1 else 1.0


def _scale_of(known: Ancestry, value: int) -> float:
    product = 1.0
    while value in known.maker:
        op = known.program.operations[known.maker[value]]
        sources = [v for v in op.reads if known.depends_on_input(v)]
        if len(sources) != 1:
            break
        factor = _factor(known, op, sources[0])
        if factor is None:
            break
        product *= factor
        value = sources[0]
    return product


def _factor(known: Ancestry, op: Operation, source: int) -> float | None:
    """Give the number that an operation multiplies by, None if it does something else."""
    if _keeps(known, op, source):
        return 1.0
    if op.function in (aten.neg.default, aten.neg_.default):
        return -1.0
    if op.function not in PRODUCTS | QUOTIENTS:
        return None
    others = [arg for arg in op.args[:2] if not (isinstance(arg, Ref) and arg.value == source)]
    number = _number(known, others[0], known.program.shapes[source]) if others else None
    if number is None or (not isinstance(others[0], int | float) and _is_norm(known, source)):
        return None
    if op.function in PRODUCTS:
        return number
    divides = isinstance(op.args[0], Ref) and op.args[0].value == source
    return 1 / number if divides and number else None


def _keeps(known: Ancestry, op: Operation, source: int) -> bool:
    """Whether an operation keeps the numbers: a view, the whole of a tensor, Python's 0 + x."""
    if op.function in SUMS:
        return any(isinstance(arg, int | float) and arg == 0 for arg in op.args[:2])
    shapes = known.program.shapes
    whole = op.function in PARTS and shapes[op.writes[0]] == shapes[source]
    return whole or op.function in VIEWS


def _is_norm(known: Ancestry, value: int) -> bool:
    """Whether a value is features times something made of them, as in a norm by hand.

    What such a value is multiplied by is the gain of the norm, not a layer scale.
    """
    while value in known.maker:
        op = known.program.operations[known.maker[value]]
        sources = [v for v in op.reads if known.depends_on_input(v)]
        if op.function in PRODUCTS | QUOTIENTS and len(sources) == 2:
            return True
        if op.function not in VIEWS or len(sources) != 1:
            return False
        value = sources[0]
    return False


def _number(known: Ancestry, factor: object, shape: tuple[int, ...]) -> float | None:
    """Give a constant factor as one number: itself, or the mean of a layer scale."""
    while isinstance(factor, Ref):
        if factor.value in known.program.externals:
            factor = known.program.externals[factor.value]
            break
        op = known.program.operations[known.maker[factor.value]]
        if op.function not in VIEWS or known.depends_on_input(factor.value):
            return None
        factor = op.args[0]
    if isinstance(factor, torch.Tensor):
        if factor.numel() != 1 and factor.numel() not in shape[1:]:
            return None
        return float(factor.detach().double().mean())
    return float(factor) if isinstance(factor, int | float) else None
