"""The verdict: what was found, JSON-ready."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from resprobe_analyses.attribution.costs import lesion_passes, predictor_passes
from resprobe_analyses.attribution.effects import Cost, GroupEffect, NetworkEffect, Standings
from resprobe_analyses.attribution.standing import ERROR, STAGE, Standing
from resprobe_analyses.difference import Difference, differences_json
from resprobe_analyses.estimates import LEVEL, estimate_json, number_json


def verdict(groups: Sequence[GroupEffect], compared: Sequence[Difference]) -> dict[str, Any]:
    """Give the verdict.

    Args:
        groups: effects by group.
        compared: differences of groups by block.

    Returns:
        `analysis`, `inputs`, `images`, `level`, `uninterpretable` (labels), `outcome` and
        `findings` with the lists `networks`, `groups` and `differences`. `outcome` is
        "uninterpretable" if no network can be interpreted, "too few blocks" if in none of them
        any ranking could be told from a random one, "better than random" if in one of them a
        predictor ranks the error increase within stages better than at random (after Holm over
        the predictors), else "no better than random". Numbers that do not exist are None.
    """
    members = [member for group in groups for member in group.members]
    return {
        "analysis": "attribution",
        "inputs": [member.network.label for member in members],
        "images": int(members[0].network.images.size),
        "level": LEVEL,
        "outcome": _outcome(groups),
        "uninterpretable": [m.network.label for m in members if not m.interpretable],
        "findings": {
            "networks": [_network(m, group) for group in groups for m in group.members],
            "groups": [_group(group) for group in groups],
            "differences": differences_json(compared),
        },
    }


def _outcome(groups: Sequence[GroupEffect]) -> str:
    able = [group for group in groups if group.used]
    if not able:
        return "uninterpretable"
    found = [group.standings[ERROR, STAGE] for group in able]
    found += [member.standings[ERROR, STAGE] for group in able for member in group.used]
    if any(one.better_than_random for one in found):
        return "better than random"
    if not any(one.decidable for one in found):
        return "too few blocks"
    return "no better than random"


def _network(member: NetworkEffect, group: GroupEffect) -> dict[str, Any]:
    net = member.network
    found: dict[str, Any] = {
        "network": net.label,
        "group": group.group.label,
        "seed": net.lesion.seed,
        "step": net.lesion.step,
        "interpretable": member.interpretable,
    }
    if not member.interpretable:  # no claims; its numbers stay in the dataset
        return found
    ranked = [name for name, kept in zip(net.lesion.names, net.ranked, strict=True) if kept]
    return found | {
        "ranked_blocks": ranked,
        "kinds_told_apart": net.kinds is not None,
        "passes": {k: number_json(v) for k, v in predictor_passes(net).items()},
        "lesion_passes": lesion_passes(net),
        "rankings": _standings(member.standings),
    }


def _group(group: GroupEffect) -> dict[str, Any]:
    return {
        "group": group.group.label,
        "networks": [member.network.label for member in group.used],
        "rankings": _standings(group.standings),
        "choices": [_cost(one) for one in group.costs],
    }


def _standings(found: Standings) -> list[dict[str, Any]]:
    return [
        {"effect": effect, "within": within} | _standing(one)
        for (effect, within), one in found.items()
    ]


def _standing(one: Standing) -> dict[str, Any]:
    def named(places: Sequence[int]) -> list[str]:
        return [one.names[place] for place in places]

    adjusted = one.random_p_holm
    return {
        "over": one.over,
        "networks": one.networks,
        "blocks": one.blocks,
        "strata": one.strata,
        "decidable": one.decidable,
        "random": [number_json(bound) for bound in one.random],
        "lesion_reliability": number_json(one.reliability),
        "ceiling": number_json(one.ceiling),
        "best": named(one.ordered[:1]),
        "not_told_apart_from_best": named(one.not_told_apart),
        "worse_than_best": named(one.worse),
        "better_than_random": named(one.better_than_random),
        "against_the_lesion": named(one.against),
        "predictors": {
            name: {
                "value": number_json(one.value[place]),
                "interval": [number_json(one.low[place]), number_json(one.high[place])],
                "block_interval": _over_blocks(one, place),
                "random_p": number_json(one.random_p[place]),
                "random_p_holm": number_json(adjusted[place]),
                "reliability": number_json(one.predictor_reliability[place]),
            }
            for place, name in enumerate(one.names)
        },
        "differences": _pairs(one),
    }


def _over_blocks(one: Standing, place: int) -> list[float | None] | None:
    """Give the interval over blocks; of several networks there is none."""
    if not one.by_blocks:
        return None
    found = one.by_blocks[place]
    return [number_json(found.low), number_json(found.high)]


def _pairs(one: Standing) -> list[dict[str, Any]]:
    adjusted = one.difference_p_holm
    return [
        {
            "first": one.names[row],
            "second": one.names[column],
            "value": number_json(one.difference[row, column]),
            "interval": [
                number_json(one.difference_low[row, column]),
                number_json(one.difference_high[row, column]),
            ],
            "p_holm": number_json(adjusted[row, column]),
        }
        for row, column in zip(*np.triu_indices(len(one.names), 1), strict=True)
    ]


def _cost(one: Cost) -> dict[str, Any]:
    return {
        "share": one.share,
        "blocks": one.count,
        "among": one.among,
        "lesion_on_other_images": estimate_json(one.best),
        "random": {**(estimate_json(one.random) or {}), "hits": one.random_hits},
        "predictors": {
            name: {
                "hits": one.hits[name],
                "increase": estimate_json(one.increase[name]),
                "minus_random": estimate_json(one.below_random[name]),
            }
            for name in one.hits
        },
    }
