"""The verdict: what was found, JSON-ready."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from resprobe_analyses.lesion.contrasts import Contrast
from resprobe_analyses.lesion.effects import LEVEL, PREDICTORS, Estimate, GroupEffect, NetworkEffect

ALPHA = 1 - LEVEL


def verdict(groups: Sequence[GroupEffect], compared: Sequence[Contrast]) -> dict[str, Any]:
    """Give the verdict.

    Args:
        groups: effects by group.
        compared: contrasts between groups.

    Returns:
        `analysis`, `inputs`, `images`, `level`, `uninterpretable` (labels), `outcome` and
        `findings` with the lists `networks`, `groups` and `contrasts`. `outcome` is
        "uninterpretable" if no network can be interpreted, "difference seen" if the lesion of at
        least one block of one of them changes the test error (p < 0.05 after Holm over the
        network's blocks), else "no difference seen". Numbers that do not exist are None.
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
        "test_error": _estimate(member.test_error),
        "chance_error": member.chance_error,
        "interpretable": member.interpretable,
    }
    if not member.interpretable:  # no claims; its numbers stay in the dataset
        return base
    base["changed_blocks"] = [net.names[index] for index in changed_blocks(member)]
    base["blocks"] = [_block(member, index) for index in range(len(net.names))]
    base["rank_correlations"] = {name: _correlation(member, name) for name in PREDICTORS}
    return base


def _block(member: NetworkEffect, index: int) -> dict[str, Any]:
    net, increase = member.network, member.increase
    return {
        "block": net.names[index],
        "stage": int(net.layout.stage[index]),
        "transition": bool(net.layout.transition[index]),
        "error_increase": _number(increase.value[index]),
        "interval": [_number(increase.low[index]), _number(increase.high[index])],
        "p": _number(member.p_value[index]),
        "p_holm": _number(member.p_holm[index]),
        "branch_shortcut_ratio": _number(member.ratio.value[index]),
    }


def _correlation(member: NetworkEffect, name: str) -> dict[str, Any]:
    found = member.correlations[name]
    return {
        "value": _number(found.value),
        "interval": [_number(found.low), _number(found.high)],
        "over": "blocks",
        "p": _number(found.p_value),
        "p_exact": found.exact,
        "random": [_number(bound) for bound in found.random_range(LEVEL)],
        "blocks": found.items,
        "stages": found.strata,
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
        "test_error": _estimate(group.test_error),
        "within_stage_increase": _estimate(group.within),
        "transition_increase": _estimate(group.transition),
        "transition_minus_within_stage": _estimate(group.transition_excess),
        "within_stage_lesion_error": _estimate(group.lesion_error),
    }
    if group.p_holm is not None:
        names = group.group.networks[0].names
        found["changed_blocks"] = [names[i] for i in np.flatnonzero(group.p_holm < ALPHA)]
    if group.correlations:
        found["rank_correlations"] = {k: _estimate(v) for k, v in group.correlations.items()}
    return found


def _contrast(contrast: Contrast) -> dict[str, Any]:
    found: dict[str, Any] = {
        "kind": contrast.kind,
        "first": contrast.first.group.label,
        "second": contrast.second.group.label,
        "paired_seeds": list(contrast.seeds),
        "difference": _estimate(contrast.mean),
        "outcome": "no difference seen",
    }
    if contrast.mean is not None and contrast.mean.direction:
        found["outcome"] = "first larger" if contrast.mean.direction > 0 else "second larger"
    if contrast.p_holm is not None:
        names = contrast.first.group.networks[0].names
        found["blocks"] = [names[i] for i in np.flatnonzero(contrast.p_holm < ALPHA)]
    return found


def _estimate(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {
        "value": _number(estimate.value),
        "interval": [_number(estimate.low), _number(estimate.high)],
        "over": estimate.over,
        "networks": estimate.networks,
    }


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
