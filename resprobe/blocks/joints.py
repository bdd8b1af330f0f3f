"""Judge every addition of a recorded pass: where a branch joins its skip, and where none does.

An addition joins a skip and a branch where one operand leads back, through a short path, to an
ancestor of the others, which went through parameters on their way. Names and library classes play
no part; values are never looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from resprobe.blocks.ancestry import Ancestry
from resprobe.blocks.axes import feature_axis
from resprobe.blocks.block import Operand, Refusal
from resprobe.blocks.kinds import (
    ADDITIONS,
    CONVOLUTION,
    DIFFERENCES,
    ELEMENTWISE,
    FUSED_SUMS,
    MATRIX_PRODUCTS,
    MIXERS,
    PRODUCTS,
    REARRANGEMENTS,
    REVERSED_DIFFERENCES,
    STACK,
    STACKED_SUM,
    STEPS,
)
from resprobe.blocks.operations import Operation, Program, refs
from resprobe.blocks.skips import Skip, walk_back
from resprobe.blocks.structure import Ref


@dataclass(frozen=True)
class Joint:
    """Where a branch joins its skip.

    Attributes:
        operation: the last addition of the sum.
        source: the value that skip and branch both come from.
        input: the value of x: the source, or the part of its features that the skip carries.
        kind: of the skip.
        carried, branch: as in `Block`.
        total: the value of s + G.
    """

    operation: int
    source: int
    input: int
    kind: str
    carried: tuple[Operand, ...]
    branch: tuple[Operand, ...]
    total: int


class _Addition(NamedTuple):
    operation: int
    operands: tuple[Operand, ...]
    total: int


def find_joints(known: Ancestry) -> tuple[list[Joint], list[Refusal]]:
    """Give every joint of a pass, and every other addition with the reason why it is none.

    Both are in the order of execution. `x + a + b`, with both branches from x, is one joint; so is
    the skip that joins a sum of several branches.
    """
    joints: dict[int, Joint] = {}
    refused: dict[int, str] = {}
    for index, op in enumerate(known.program.operations):
        if op.function in FUSED_SUMS and _adds_features(known, op):
            refused[index] = (
                "a fused multiply-add: write its sum as an addition to have it measured"
            )
        if op.function not in ADDITIONS:
            continue
        addition = _read(known.program, index, op)
        if addition is None:
            continue
        outcome = _judged(known, addition, joints)
        if isinstance(outcome, str):
            refused[index] = outcome
            continue
        for inner in _parts(known, outcome, joints):
            del joints[inner.total]
            if inner.total in (operand.value for operand in outcome.branch):
                refused[inner.operation] = "a sum of branches, which the skip joins later"
        joints[outcome.total] = outcome
    listed = [
        Refusal(f"{known.program.operations[index].module or 'model'} (operation {index})", reason)
        for index, reason in sorted(refused.items())
    ]
    return sorted(joints.values(), key=lambda joint: joint.operation), listed


def _adds_features(known: Ancestry, op: Operation) -> bool:
    return isinstance(op.args[0], Ref) and known.depends_on_input(op.args[0].value)


def _read(program: Program, index: int, op: Operation) -> _Addition | None:
    """Read what an operation adds, None if it adds up the elements of one tensor."""
    if not isinstance(op.result, Ref):
        return None

    def operand(place: int, arg: object, factor: float) -> Operand | None:
        if not isinstance(arg, Ref):
            return None
        return Operand(arg.value, factor, index, place, op.call)

    if op.function is STACKED_SUM:
        stack = _stack(program, op)
        if stack is None:
            return None
        # Python adds nothing here: there is no call that could be met while training.
        found = [
            item._replace(call=None) if (item := operand(place, arg, 1.0)) else None
            for place, arg in enumerate(stack)
        ]
    else:
        alpha = op.kwargs.get("alpha", op.args[2] if len(op.args) > 2 else 1)
        first, second = 1.0, float(alpha)
        if op.function in DIFFERENCES:
            second = -second
        elif op.function in REVERSED_DIFFERENCES:
            first, second = -second, 1.0
        found = [operand(0, op.args[0], first), operand(1, op.args[1], second)]
    operands = tuple(item for item in found if item is not None)
    if len(operands) < len(found):
        operands = operands[:1]  # a constant is added
    return _Addition(index, operands, op.result.value)


def _stack(program: Program, op: Operation) -> list[object] | None:
    """Give what a sum over the stacking dimension of a stack adds, None for any other sum."""
    argument, dims = op.args[0], op.args[1]
    made = program.maker(argument.value) if isinstance(argument, Ref) else None
    if made is None or program.operations[made].function is not STACK:
        return None
    stacked = program.operations[made].args
    dim = stacked[1] if len(stacked) > 1 else 0
    ndim = len(program.shapes[argument.value])
    return list(stacked[0]) if [d % ndim for d in dims or ()] == [dim % ndim] else None


def _judged(known: Ancestry, addition: _Addition, joints: dict[int, Joint]) -> Joint | str:
    reason = _no_sum_of_features(known, addition)
    if reason is not None:
        return reason
    outcome = _joined(known, addition, joints)
    if isinstance(outcome, str):
        return _continued(known, addition, joints) or outcome
    return outcome


def _no_sum_of_features(known: Ancestry, addition: _Addition) -> str | None:
    """Say why an addition does not add features of the samples, None if it does."""
    shapes, dtypes = known.program.shapes, known.program.dtypes
    values = [operand.value for operand in addition.operands]
    if len(values) < 2:
        return "an operand is a number, a parameter or a constant: a bias or an embedding"
    if len({shapes[value] for value in values}) > 1:
        return "operands of different shapes: a bias, a mask or a gate"
    if any(not dtypes[v].is_floating_point or len(shapes[v]) < 2 for v in values):
        return "not an addition of features of samples"
    if not all(known.depends_on_input(value) for value in values) and not _is_query(known, values):
        return "an operand does not depend on the input: a positional embedding or a constant"
    if _is_gated(known, addition):
        return "a part of a gate: the sum is multiplied by features"
    return None


def _is_query(known: Ancestry, values: list[int]) -> bool:
    """Whether one operand is a learned start, as a class token, that the other was made from."""
    free = [value for value in values if not known.depends_on_input(value)]
    others = [value for value in values if value not in free]
    return (
        len(free) == 1
        and all(known.learns(free[0], other) for other in others)
        and not _is_only_added(known, free[0], others)
    )


def _is_gated(known: Ancestry, addition: _Addition) -> bool:
    """Whether a sum is only used to be multiplied by features of its own shape."""
    readers = known.readers.get(addition.total, [])
    if len(readers) != 1:
        return False
    op = known.program.operations[readers[0]]
    others = [value for value in op.reads if value != addition.total]
    shapes = known.program.shapes
    return op.function in PRODUCTS and any(
        known.depends_on_input(v) and known.is_taught(v) and shapes[v] == shapes[addition.total]
        for v in others
    )


def _joined(known: Ancestry, addition: _Addition, joints: dict[int, Joint]) -> Joint | str:
    """Give the joint that an addition makes by itself, or the reason why it makes none."""
    candidates: list[tuple[Operand, Skip]] = []
    reasons = []
    for operand in addition.operands:
        others = [o.value for o in addition.operands if o is not operand]
        skip = walk_back(known, operand.value, others)
        if skip is None:
            continue
        reason = _unfit(known, addition, operand, skip, joints)
        if reason is None:
            candidates.append((operand, skip))
        else:
            reasons.append(reason)
    if not candidates:
        return reasons[0] if reasons else _unrelated(known, addition)
    simplest = [one for one in candidates if one[1].kind != "projection"] or candidates
    if len(simplest) > 1:
        return "both operands reach a common ancestor by a short path: an average of branches"
    operand, skip = simplest[0]
    joint = Joint(
        addition.operation,
        skip.source,
        skip.source,
        skip.kind,
        (operand,),
        tuple(o for o in addition.operands if o is not operand),
        addition.total,
    )
    if skip.parts and set(skip.steps) <= {"pooled", "identity"}:
        # A coupling of two halves: the skip carries its half as it is.
        axis = feature_axis(known, skip.source, joint.branch[0].value)
        ndim = len(known.program.shapes[skip.source])
        if all(part % ndim == axis % ndim for part in skip.parts):
            if not all(_matrix_depth(known, skip.source, o.value) for o in joint.branch):
                return "parts of one input, neither of which is mapped: a gate"
            return replace(joint, input=operand.value, kind="identity")
    return joint


def _unrelated(known: Ancestry, addition: _Addition) -> str:
    values = [operand.value for operand in addition.operands]
    if any(
        known.is_ancestor(a, b) and not known.learns(a, b) for a in values for b in values if a != b
    ):
        return "one operand is made of the other without parameters, as in an activation by hand"
    return "neither operand is the other's ancestor through a short path"


def _unfit(
    known: Ancestry,
    addition: _Addition,
    operand: Operand,
    skip: Skip,
    joints: dict[int, Joint],
) -> str | None:
    """Say why a short path makes no skip after all, None if it does."""
    source, total = skip.source, addition.total
    others = [o.value for o in addition.operands if o is not operand]
    reasons: tuple[tuple[Callable[[], bool], str], ...] = (
        (
            lambda: operand.factor != 1,
            "the skip would be scaled or subtracted by the addition itself: a difference",
        ),
        (
            lambda: _is_refined(known, source, others, total),
            "one side was upsampled: a sum over several resolutions, as in a feature pyramid",
        ),
        (
            lambda: not any(_mixes(known, source, other) for other in others),
            "nothing mixes the features on the way to the other operand: an average or a gate",
        ),
        (
            lambda: any(_is_gate(known, other, {source, operand.value}) for other in others),
            "one operand is the other times a gate",
        ),
        (
            lambda: not known.is_taught(source) and _is_only_added(known, source, others),
            "an operand made without parameters that is only ever added: a mask",
        ),
    )
    reason = next((words for holds, words in reasons if holds()), None)
    if reason is None and skip.kind == "projection":
        return _unfit_projection(known, source, others, total, joints)
    return reason


def _unfit_projection(
    known: Ancestry, source: int, others: list[int], total: int, joints: dict[int, Joint]
) -> str | None:
    """Say why a linear map of x makes no skip; it needs a branch that is more than that."""
    if not all(known.bends(source, other) for other in others):
        return "two linear maps of one input: an average of branches or an adapter"
    if any(
        known.is_ancestor(source, inner) and (inner == other or known.is_ancestor(inner, other))
        for inner in joints
        for other in others
    ):
        return "linear maps of the features before and after other blocks: a sum of outputs"
    shapes = known.program.shapes
    deepest = max(_matrix_depth(known, source, other) for other in others)
    if shapes[source] == shapes[total] and deepest < 2:
        return "two maps of one input that are alike: an average of branches or a gate"
    return None


def _mixes(known: Ancestry, source: int, end: int) -> bool:
    """Whether more than a gain or a bias works on the features between two values."""
    for index in known.path(source, end):
        function = known.program.operations[index].function
        if function in MIXERS or (known.names(index) and function not in ELEMENTWISE):
            return True
    return False


def _is_refined(known: Ancestry, source: int, others: list[int], total: int) -> bool:
    """Whether an operand was coarser than the sum on its way from the source."""
    refined = any(known.refines(source, other) for other in others)
    return refined and _positions(known, source) >= _positions(known, total)


def _is_gate(known: Ancestry, value: int, features: set[int]) -> bool:
    """Whether a value is a product with one of these features, rescaled and shifted at most."""
    while value in known.maker:
        op = known.program.operations[known.maker[value]]
        sources = [v for v in op.reads if known.depends_on_input(v)]
        if op.function in PRODUCTS and len(sources) == 2:
            return any(_is_made_of(known, source, features) for source in sources)
        rescales = op.function in FUSED_SUMS or STEPS.get(op.function) in ("identity", "scaled")
        if len(sources) != 1 or not rescales:
            return False
        value = sources[0]
    return False


def _is_made_of(known: Ancestry, value: int, features: set[int], depth: int = 8) -> bool:
    """Whether a value is some features, rescaled, shifted or subtracted from others at most."""
    if value in features:
        return True
    if depth == 0 or value not in known.maker:
        return False
    op = known.program.operations[known.maker[value]]
    if op.function not in REARRANGEMENTS:
        return False
    sources = [v for v in op.reads if known.depends_on_input(v)]
    if op.function in PRODUCTS and len(sources) > 1:
        return False
    return any(_is_made_of(known, source, features, depth - 1) for source in sources)


def _is_only_added(known: Ancestry, source: int, others: list[int]) -> bool:
    """Whether all that leads from a value to the others begins with an addition to features."""
    for index in known.readers.get(source, []):
        op = known.program.operations[index]
        leads = any(
            made == other or known.is_ancestor(made, other)
            for made in op.writes
            for other in others
        )
        added = op.function in ADDITIONS and len(op.reads) > 1
        if leads and not (added and any(map(known.depends_on_input, op.reads))):
            return False
    return True


def _matrix_depth(known: Ancestry, source: int, end: int) -> int:
    """Give the most convolutions and matrix products on one way from a value to another."""
    depth = {source: 0}
    for index in known.path(source, end):
        op = known.program.operations[index]
        before = max((depth[value] for value in op.reads if value in depth), default=0)
        deeper = op.function is CONVOLUTION or op.function in MATRIX_PRODUCTS
        depth.update(dict.fromkeys(op.writes, before + deeper))
    return depth.get(end, 0)


def _continued(known: Ancestry, addition: _Addition, joints: dict[int, Joint]) -> Joint | None:
    """Give the joint of `x + a + b`, where `x + a` was one already and b comes from x as well."""
    for operand in addition.operands:
        before = joints.get(operand.value)
        others = tuple(o for o in addition.operands if o is not operand)
        if (
            before is not None
            and operand.factor == 1
            and _read_once(known, operand.value, addition.operation)
            and all(known.learns(before.source, other.value) for other in others)
            and not _is_refined(known, before.source, [o.value for o in others], addition.total)
        ):
            return Joint(
                addition.operation,
                before.source,
                before.input,
                before.kind,
                (*before.carried, operand),
                (*before.branch, *others),
                addition.total,
            )
    return None


def _parts(known: Ancestry, joint: Joint, joints: dict[int, Joint]) -> list[Joint]:
    """Give the joints that are but parts of another one: sums so far, and sums of its branches."""
    parts = []
    for operand in (*joint.carried[1:], *joint.branch):
        inner = joints.get(operand.value)
        if (
            inner is not None
            and inner.source == joint.source
            and _read_once(known, operand.value, operand.operation)
        ):
            parts.append(inner)
    return parts


def _read_once(known: Ancestry, value: int, by: int) -> bool:
    return known.readers.get(value) == [by] and value not in set(refs(known.program.output))


def _positions(known: Ancestry, value: int) -> int:
    """Give the number of places of a feature map, `(sample, channel, …)`."""
    return math.prod(known.program.shapes[value][2:])
