"""The verdict: what was found, JSON-ready."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from resprobe_analyses.difference import Difference, differences_json
from resprobe_analyses.estimates import LEVEL, correlation_json, estimate_json, number_json
from resprobe_analyses.spans.effects import TOLERANCE, Choice, Effect, NetworkEffect


def verdict(found: Sequence[Effect], compared: Sequence[Difference]) -> dict[str, Any]:
    """Give the verdict.

    Args:
        found: the effects of one group or two.
        compared: the differences of two.

    Returns:
        `analysis`, `inputs`, `images`, `choosing_images`, `measuring_images`, `level`,
        `tolerance`, `uninterpretable` (labels), `outcome` and `findings`. `outcome` is that of
        the first group: "uninterpretable" if no network can be interpreted; "dispensable span
        seen" if the longest span that costs at most the tolerance on the images that choose has,
        on the others, an interval that does not reach above it; else "no dispensable span seen".
        Findings are those of the first group; of two also `second`, with its `outcome`, and
        `differences`. Numbers that do not exist are None.
    """
    first = found[0]
    members = [member for one in found for member in one.members]
    findings = _findings(first)
    for other in found[1:]:
        findings["second"] = {**_findings(other), "outcome": _outcome(other)}
        findings["differences"] = differences_json(compared)
    return {
        "analysis": "spans",
        "inputs": [member.network.label for member in members],
        "images": first.choosing_images + first.measuring_images,
        "choosing_images": first.choosing_images,
        "measuring_images": first.measuring_images,
        "level": LEVEL,
        "tolerance": TOLERANCE,
        "outcome": _outcome(first),
        "uninterpretable": [m.network.label for m in members if not m.interpretable],
        "findings": findings,
    }


def _findings(found: Effect) -> dict[str, Any]:
    return {
        "group": found.group.label,
        "test_error": estimate_json(found.test_error),
        "networks": [_network(member) for member in found.members],
        "choices": [_choice(found, choice) for choice in found.choices],
        "angle_excess": estimate_json(found.angle_excess),
    }


def _outcome(found: Effect) -> str:
    if not found.choices:
        return "uninterpretable"
    length = found.choices[0].affordable()
    if length and float(found.choices[0].at(length).high) <= TOLERANCE:
        return "dispensable span seen"
    return "no dispensable span seen"


def _network(member: NetworkEffect) -> dict[str, Any]:
    net = member.network
    told: dict[str, Any] = {
        "network": net.label,
        "seed": net.seed,
        "step": net.step,
        "images_left_out": net.images_left_out,
        "test_error": estimate_json(member.test_error),
        "chance_error": member.chance_error,
        "interpretable": member.interpretable,
    }
    if not member.interpretable:  # no claims; its numbers stay in the dataset
        return told
    told["rank_correlations"] = {
        name: correlation_json(one) for name, one in member.correlations.items()
    }
    told["span_rank_correlations"] = {
        str(place + 1): number_json(value)
        for place, value in enumerate(member.span_correlations)
        if np.isfinite(value)
    }
    return told


def _choice(found: Effect, choice: Choice) -> dict[str, Any]:
    names = found.group.networks[0].names
    return {
        "choice": choice.name,
        "affordable_length": choice.affordable(),
        "spans": [
            {
                "length": length,
                "first": names[choice.first[length - 1]],
                "last": names[choice.first[length - 1] + length - 1],
                "transition": bool(found.transition[choice.first[length - 1], length - 1]),
                "chosen_on": number_json(choice.chosen_on[length - 1]),
                "measured_on": estimate_json(choice.at(length)),
            }
            for length in choice.lengths
        ],
    }
