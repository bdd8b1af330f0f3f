"""The verdict: what was found, JSON-ready."""

from __future__ import annotations

from typing import Any

from resprobe_analyses.difference import differences_json
from resprobe_analyses.equivalence.effects import WHATS, Contrast, Effect, Pairs, group_table
from resprobe_analyses.equivalence.networks import Group, Network
from resprobe_analyses.equivalence.sides import ENDS, Side
from resprobe_analyses.estimates import LEVEL, estimate_json, number_json


def verdict(found: Effect) -> dict[str, Any]:
    """Give the verdict.

    Args:
        found: what was computed.

    Returns:
        `analysis`, `inputs`, `level` and `findings` with `pairs` (one entry a group), `separations`
        (weight distance of controls beside that of equivalent pairs), `roundings` (first |ΔL| in
        float32 beside float64), `weights` (Table 3 of each group at the start and at the end),
        `sides` (residual beside plain) and `differences` (weights of groups of one architecture by
        layer). Numbers that do not exist are None.
    """
    return {
        "analysis": "equivalence",
        "inputs": [net.label for net in found.networks],
        "level": LEVEL,
        "findings": {
            "pairs": [_pairs(one) for one in found.pairs],
            "separations": [_contrast(one) for one in found.separations],
            "roundings": [_contrast(one) for one in found.roundings],
            "weights": [
                _weights(group)
                for group in found.groups
                if any(net.own.states for net in group.networks)
            ],
            "sides": [_side(one) for one in found.sides],
            "differences": differences_json(found.differences),
        },
    }


def _pairs(pairs: Pairs) -> dict[str, Any]:
    nets = {net.label: net for net in pairs.group.networks}
    return {
        "group": pairs.group.label,
        "dtype": pairs.dtype,
        "control": pairs.group.control,
        "changes": list(pairs.group.networks[0].changes),
        "log10_loss_slope": estimate_json(pairs.slope),
        "log10_loss_start": estimate_json(pairs.start),
        "first_log10_loss_distance": estimate_json(pairs.first),
        "networks": [
            {
                **_named(nets[one.label]),
                "steps": int(one.pair.step[-1]),
                "initial_output_multiple": number_json(one.pair.initial("output")),
                "initial_gradient_multiple": number_json(one.pair.initial("gradient")),
                "lockstep_step": one.lockstep,
                **{f"{what}_multiple": number_json(one.after(what)) for what in WHATS},
                "log10_loss_slope": number_json(one.divergence.slope),
                "log10_loss_start": number_json(one.divergence.start),
                "loss_distance_zeros": one.divergence.zeros,
                "loss_distance_not_finite": one.divergence.not_finite,
            }
            for one in pairs.members
        ],
    }


def _named(net: Network) -> dict[str, Any]:
    return {"network": net.label, "seed": net.seed}


def _contrast(one: Contrast) -> dict[str, Any]:
    return {
        "first": one.first,
        "second": one.second,
        "step": one.step,
        "seeds": list(one.seeds),
        "seeds_left_out": one.left_out,
        "each": [number_json(ratio) for ratio in one.each],
        "ratio": estimate_json(one.ratio),
    }


def _weights(group: Group) -> dict[str, Any]:
    return {
        "group": group.label,
        "residual": group.networks[0].own.residual,
        "states": [
            {
                "when": when,
                "steps": [state.step for state in group.states(when)],
                **{
                    statistic.replace(" ", "_"): estimate_json(estimate)
                    for statistic, estimate in group_table(group, when).items()
                },
            }
            for when in ("start", "end")
            if group.states(when)
        ],
    }


def _side(side: Side) -> dict[str, Any]:
    return {
        "side": side.label,
        "started_equal": side.paired,
        "control": side.control,
        "differs": list(side.differs),
        "one_penalty": side.one_penalty,
        "couples": [{"couple": one.label, "seed": one.seed} for one in side.couples],
        "residual_minus_plain": {name: estimate_json(side.last.get(name)) for name in ENDS},
        "matched_losses": [[number_json(level) for level in own] for own in side.levels],
        "matched_error": estimate_json(side.matched),
        "matched_error_each": [number_json(value) for value in side.matched_each],
    }
