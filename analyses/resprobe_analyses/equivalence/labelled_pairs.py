"""Pairs in lockstep with names, dimensions, units and meaning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from resprobe_analyses.equivalence.effects import WHATS, Effect, PairEffect
from resprobe_analyses.equivalence.labelled_parts import estimated, placed
from resprobe_analyses.equivalence.networks import PAIR_VALUES
from resprobe_analyses.labelling import Variables, attributes, number, strings

Floats = npt.NDArray[np.float64]

_EACH: dict[str, tuple[Callable[[PairEffect], float], str]] = {
    "initial_output_multiple": (
        lambda one: one.pair.initial("output"),
        "difference of the outputs at the starting weights in units of rounding",
    ),
    "initial_gradient_multiple": (
        lambda one: one.pair.initial("gradient"),
        "difference of the gradients at the starting weights in units of rounding",
    ),
    "lockstep_output_multiple": (
        lambda one: one.after("output"),
        "difference of the outputs at lockstep_step in units of rounding",
    ),
    "lockstep_gradient_multiple": (
        lambda one: one.after("gradient"),
        "difference of the gradients at lockstep_step in units of rounding",
    ),
    "rounding_multiple": (
        lambda one: one.after("weight"),
        "difference of the weights after lockstep_step in units of rounding",
    ),
    "first_log10_loss_distance": (
        lambda one: one.divergence.first,
        "log10 of the first difference of the losses that is not 0",
    ),
    "log10_loss_slope": (
        lambda one: one.divergence.slope,
        "slope per step of the least-squares line through log10_loss_distance",
    ),
    "log10_loss_start": (lambda one: one.divergence.start, "that line at step 1"),
}
_COUNTS: dict[str, tuple[Callable[[PairEffect], int], str]] = {
    "lockstep_step": (lambda one: one.lockstep, "step 50, or the last one before it"),
    "first_loss_step": (
        lambda one: one.divergence.first_step,
        "step of first_log10_loss_distance",
    ),
    "loss_distance_zeros": (
        lambda one: one.divergence.zeros,
        "steps at which the losses are equal, left out of the line",
    ),
    "loss_distance_not_finite": (
        lambda one: one.divergence.not_finite,
        "steps at which the losses' difference is not finite, left out of the line",
    ),
}


def pair_variables(found: Effect) -> tuple[Variables, dict[str, Any]]:
    """Give distances and their growth, with their coordinates; nothing without any pair."""
    if not found.pairs:
        return {}, {}
    members = [found.pair_of(net.label) for net in found.networks]
    steps = np.unique(np.concatenate([one.pair.step for one in members if one is not None]))

    def over_steps(get: Callable[[PairEffect], Floats]) -> Floats:
        return placed(steps, [None if m is None else (m.pair.step, get(m)) for m in members])

    dims = ("network", "training_step")
    # mypy does not infer a lambda with a default, which binds the loop's name
    variables: Variables = {
        name: number(dims, over_steps(lambda m, n=name: getattr(m.pair, n)), _pair_name(name))  # type: ignore[misc]
        for name in ("loss", *PAIR_VALUES)
    }
    for what in WHATS:
        variables[f"{what}_multiple"] = number(
            dims,
            over_steps(lambda m, w=what: m.multiples[w]),  # type: ignore[misc]
            f"{what}_distance in units of rounding, distance/(u·scale)",
        )
    variables["log10_loss_distance"] = number(
        dims, over_steps(lambda m: m.divergence.logarithm), "log10 of |loss_distance|"
    )
    for name, (real, long_name) in _EACH.items():
        values = [np.nan if m is None else real(m) for m in members]
        variables[name] = number(("network",), values, long_name)
    for name, (whole, long_name) in _COUNTS.items():
        counts = [-1 if m is None else whole(m) for m in members]
        variables[name] = number(("network",), np.array(counts, np.int64), long_name)
    groups, own = _group_variables(found)
    step = ("training_step", steps, attributes("optimizer steps taken"))
    return variables | groups, {"training_step": step, **own}


def _pair_name(name: str) -> str:
    if name == "loss":
        return "loss of the batch before the step"
    if name == "loss_distance":
        return "loss of the run minus that of its partner, before the step"
    what, _, kind = name.partition("_")
    when = "after" if what == "weight" else "before"
    whole = "largest difference of the two networks'" if kind == "distance" else "largest of the"
    return f"{whole} {what}s, {when} the step"


def _group_variables(found: Effect) -> tuple[Variables, dict[str, Any]]:
    variables: Variables = {}
    for name, estimates in (
        ("mean_log10_loss_slope", [one.slope for one in found.pairs]),
        ("mean_log10_loss_start", [one.start for one in found.pairs]),
        ("mean_first_log10_loss_distance", [one.first for one in found.pairs]),
    ):
        variables |= estimated("pair_group", name, estimates, "mean over seeds")
    coordinates: dict[str, Any] = {
        "pair_group": ("pair_group", strings([one.group.label for one in found.pairs]))
    }
    for dim, contrasts in (("separation", found.separations), ("rounding", found.roundings)):
        if contrasts:
            labels = [f"{one.first} / {one.second}" for one in contrasts]
            coordinates[dim] = (dim, strings(labels))
            ratios = [one.ratio for one in contrasts]
            variables |= estimated(dim, f"{dim}_ratio", ratios, "geometric mean over seeds")
    return variables, coordinates
