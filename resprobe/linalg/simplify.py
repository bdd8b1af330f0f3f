"""Fewer steps for the same map: what nothing reads goes, neighbours of one kind become one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from resprobe.linalg.moved import Linear
from resprobe.linalg.steps import Diagonal, Rearrangement, Step


def simplified(
    steps: Sequence[Step], output: int | None, blanks: Mapping[int, Tensor]
) -> list[Step]:
    """Give steps that make the same output.

    Args:
        steps: in order.
        output: the value that is wanted.
        blanks: zeros like the values, as the model has them.
    """
    used = _needed(steps, output)
    return _joined(_multiplied(used, output), output, blanks)


def _needed(steps: Sequence[Step], output: int | None) -> list[Step]:
    """Leave out what the output is not made of."""
    needed = {output}
    found = []
    for step in reversed(steps):
        if step.output in needed:
            needed.update(step.inputs)
            found.append(step)
    return found[::-1]


def _uses(steps: Sequence[Step], output: int | None) -> dict[int, int]:
    """Give how often each value is read; the output once more."""
    uses: dict[int, int] = {} if output is None else {output: 1}
    for step in steps:
        for value in step.inputs:
            uses[value] = uses.get(value, 0) + 1
    return uses


def _multiplied(steps: Sequence[Step], output: int | None) -> list[Step]:
    """Make one product of products that follow each other, as of BatchNorm and ReLU."""
    uses = _uses(steps, output)
    made: dict[int, Step] = {}
    for step in steps:
        before = made.get(step.inputs[0]) if isinstance(step, Diagonal) else None
        if isinstance(step, Diagonal) and isinstance(before, Diagonal) and uses[before.output] == 1:
            del made[before.output]
            scale = before.scale * step.scale
            made[step.output] = replace(step, inputs=before.inputs, scale=scale)
        else:
            made[step.output] = step
    return list(made.values())


def _joined(steps: Sequence[Step], output: int | None, blanks: Mapping[int, Tensor]) -> list[Step]:
    """Make one rearrangement of those that lead only to it, as of circular padding's slices."""
    groups: dict[int, list[Rearrangement]] = {}
    group_of: dict[int, set[int]] = {}  # value -> groups that read it; -1 for anything else
    if output is not None:
        group_of[output] = {-1}
    for place in range(len(steps) - 1, -1, -1):
        step = steps[place]
        readers = group_of.get(step.output, set())
        key = -1
        if isinstance(step, Rearrangement):
            alone = len(readers) == 1 and -1 not in readers
            key = next(iter(readers)) if alone else place
            groups.setdefault(key, []).append(step)
        for value in step.inputs:
            group_of.setdefault(value, set()).add(key)
    inner = {id(one) for group in groups.values() for one in group[1:]}
    found: list[Step] = []
    for place, step in enumerate(steps):
        group = groups.get(place)
        if group is not None and len(group) > 1:
            found.append(_one(group[::-1], blanks))
        elif id(step) not in inner:
            found.append(step)
    return found


def _one(group: Sequence[Rearrangement], blanks: Mapping[int, Tensor]) -> Rearrangement:
    """Give one rearrangement that does what several do after each other."""
    made = {step.output for step in group}
    inputs = tuple(dict.fromkeys(v for step in group for v in step.inputs if v not in made))
    last = group[-1]

    def apply(*tangents: Tensor) -> Tensor:
        values = dict(zip(inputs, tangents, strict=True))
        for step in group:
            values[step.output] = step.apply(*(values[v] for v in step.inputs))
        return values[last.output]

    taken = [blanks[value] for value in inputs]
    joined = Linear(apply, taken, tuple(blanks[last.output].shape))
    return replace(last, inputs=inputs, apply=joined)
