"""The verdict: what was found, JSON-ready."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from resprobe_analyses.difference import Difference, differences_json
from resprobe_analyses.estimates import LEVEL, correlation_json, estimate_json, number_json
from resprobe_analyses.lesion.contrasts import Contrast
from resprobe_analyses.lesion.curves import Curves
from resprobe_analyses.lesion.effects import PREDICTORS, GroupEffect, NetworkEffect
from resprobe_analyses.lesion.findings_curves import curves_json
from resprobe_analyses.lesion.findings_greedy import greedy_json
from resprobe_analyses.lesion.greedy import Greedy

ALPHA = 1 - LEVEL


def verdict(
    groups: Sequence[GroupEffect],
    compared: Sequence[Contrast],
    differences: Sequence[Difference],
    several: Curves,
    advised: Sequence[Greedy],
) -> dict[str, Any]:
    """Give the verdict.

    Args:
        groups: effects by group.
        compared: plain groups beside residual ones.
        differences: groups of one kind beside each other.
        several: curves over several blocks.
        advised: networks with blocks dropped one after the other.

    Returns:
        `analysis`, `inputs`, `images`, `level`, `uninterpretable` (labels), `outcome` and
        `findings` with the lists `networks`, `groups`, `contrasts`, `differences`, `multi`,
        `shuffle`, `greedy` and `greedy_recurrence`.
        `outcome` is "uninterpretable" if no network can be interpreted, "difference seen" if the
        lesion of at least one block of one of them changes the test error (p < 0.05 after Holm
        over the network's blocks), else "no difference seen". Numbers that do not exist are None.
    """
    members = [member for group in groups for member in group.members]
    return {
        "analysis": "lesion",
        "inputs": [member.network.label for member in members],
        "images": int(members[0].network.whole_wrong.size),
        "level": LEVEL,
        "outcome": _outcome(members),
        "uninterpretable": [m.network.label for m in members if not m.interpretable],
        "findings": {
            "networks": [_network(m, group) for group in groups for m in group.members],
            "groups": [_group(group) for group in groups],
            "contrasts": [_contrast(contrast) for contrast in compared],
            "differences": differences_json(differences),
            **curves_json(several),
            **greedy_json(advised),
        },
    }


def changed_blocks(member: NetworkEffect) -> list[int]:
    """Give the blocks whose lesion changes the test error after Holm, largest change first."""
    hits = np.flatnonzero(member.p_holm < ALPHA)
    return [int(hit) for hit in hits[np.argsort(-np.abs(member.increase.value[hits]))]]


def _outcome(members: Sequence[NetworkEffect]) -> str:
    able = [member for member in members if member.interpretable]
    if not able:
        return "uninterpretable"
    return "difference seen" if any(map(changed_blocks, able)) else "no difference seen"


def _network(member: NetworkEffect, group: GroupEffect) -> dict[str, Any]:
    net = member.network
    base: dict[str, Any] = {
        "network": net.label,
        "group": group.group.label,
        "seed": net.seed,
        "step": net.step,
        "images_left_out": net.images_left_out,
        "test_error": estimate_json(member.test_error),
        "chance_error": member.chance_error,
        "interpretable": member.interpretable,
    }
    if not member.interpretable:  # no claims; its numbers stay in the dataset
        return base
    base["changed_blocks"] = [net.names[index] for index in changed_blocks(member)]
    base["blocks"] = [_block(member, index) for index in range(len(net.names))]
    base["rank_correlations"] = {
        name: correlation_json(member.correlations[name]) for name in PREDICTORS
    }
    return base


def _block(member: NetworkEffect, index: int) -> dict[str, Any]:
    net, increase = member.network, member.increase
    return {
        "block": net.names[index],
        "stage": int(net.layout.stage[index]),
        "transition": bool(net.layout.transition[index]),
        "error_increase": number_json(increase.value[index]),
        "interval": [number_json(increase.low[index]), number_json(increase.high[index])],
        "p": number_json(member.p_value[index]),
        "p_holm": number_json(member.p_holm[index]),
        "branch_shortcut_ratio": number_json(member.ratio.value[index]),
    }


def _group(group: GroupEffect) -> dict[str, Any]:
    found: dict[str, Any] = {
        "group": group.group.label,
        "plain": group.group.plain,
        "networks": [member.network.label for member in group.used],
    }
    if not group.used:
        return found
    found |= {
        "test_error": estimate_json(group.test_error),
        "within_stage_increase": estimate_json(group.within),
        "transition_increase": estimate_json(group.transition),
        "transition_minus_within_stage": estimate_json(group.transition_excess),
        "within_stage_lesion_error": estimate_json(group.lesion_error),
    }
    if group.p_holm is not None:
        names = group.group.networks[0].names
        found["changed_blocks"] = [names[i] for i in np.flatnonzero(group.p_holm < ALPHA)]
    if group.correlations:
        found["rank_correlations"] = {k: estimate_json(v) for k, v in group.correlations.items()}
    return found


def _contrast(contrast: Contrast) -> dict[str, Any]:
    outcome = "no difference seen"
    if contrast.mean is not None and contrast.mean.direction:
        outcome = "first larger" if contrast.mean.direction > 0 else "second larger"
    return {
        "first": contrast.first.group.label,
        "second": contrast.second.group.label,
        "paired_seeds": list(contrast.seeds),
        "difference": estimate_json(contrast.mean),
        "outcome": outcome,
    }
