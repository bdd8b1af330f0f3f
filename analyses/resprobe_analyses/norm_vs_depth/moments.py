"""What tells networks of one depth and one step size apart: their step, or their training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from resprobe_analyses.norm_vs_depth.recipes import are_comparable, check_comparable
from resprobe_analyses.reading import group_label, layout_of

if TYPE_CHECKING:
    from resprobe.result import Input

FAMILY = "norms"


def moments_of(inputs: Sequence[Input]) -> list[str]:
    """Give for each input what tells it from others of its depth and step size.

    Args:
        inputs: with the family `norms`.

    Returns:
        "step 390" where a network is given at several steps of its training; the label of the
        group where networks of one depth were trained by recipes that differ in more than the
        step size, or by none; else "".

    Raises:
        InputError: inputs of several depths differ in more than depth, step size and seed.
    """
    if len(inputs) < 2:
        return [""] * len(inputs)
    if one_architecture(inputs) and not are_comparable(inputs):
        groups: dict[str, list[str]] = {}
        for given in inputs:
            groups.setdefault(given.group, []).append(given.label)
        return [group_label(groups[given.group]) for given in inputs]
    check_comparable(inputs)
    if any(len(steps) > 1 for steps in _steps(inputs).values()):
        return [f"step {step_of(given)}" for given in inputs]
    return [""] * len(inputs)


def one_architecture(inputs: Sequence[Input]) -> bool:
    """Tell whether all inputs have the same blocks."""
    first, *others = (given.families[FAMILY] for given in inputs)
    return all(
        np.array_equal(first["block"].values, other["block"].values)
        and layout_of(first).same_as(layout_of(other))
        for other in others
    )


def step_of(given: Input) -> int | None:
    """Give the step of the analyzed checkpoint, as a lone file of a run says it too."""
    step = given.tree.attrs.get("checkpoint_step") if given.step is None else given.step
    return None if step is None else int(step)


def _steps(inputs: Sequence[Input]) -> dict[tuple[object, ...], set[int | None]]:
    """Give the steps at which every network is given."""
    found: dict[tuple[object, ...], set[int | None]] = {}
    for given in inputs:
        data = given.families[FAMILY]
        network = (data.sizes["block"], tuple(data["scale"].values), given.seed)
        if given.seed is not None:
            found.setdefault(network, set()).add(step_of(given))
    return found
