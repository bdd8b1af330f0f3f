"""The verdict: what was found, JSON-ready."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from resprobe_analyses.difference import Difference, differences_json
from resprobe_analyses.estimates import LEVEL, estimate_json, number_json
from resprobe_analyses.stability.conditions import CONDITIONS, EQ5, Tally, jacobian_share, tallies
from resprobe_analyses.stability.quality import quality
from resprobe_analyses.stability.records import Group, Network
from resprobe_analyses.stability.stages import MEASURES, Contrast, stage_estimate, stages_of


def verdict(
    groups: Sequence[Group], contrasts: Sequence[Contrast], by_block: Sequence[Difference]
) -> dict[str, Any]:
    """Give the verdict.

    Args:
        groups: all that were read.
        contrasts: of every two groups.
        by_block: the same block by block, of groups of one architecture.

    Returns:
        `analysis`, `inputs`, `images`, `level`, `outcome` and `findings`. `outcome` tells RA Eq. 5
        on the images and blocks of all inputs: "Eq. 5 holds", "Eq. 5 violated" (somewhere for
        certain), "undecided" or "not tested". Numbers that do not exist are None.
    """
    nets = [net for group in groups for net in group.networks]
    return {
        "analysis": "stability",
        "inputs": [net.label for net in nets],
        "images": int(nets[0].classes.size),
        "level": LEVEL,
        "outcome": outcome(nets),
        "findings": {
            "groups": [_group(group) for group in groups],
            "contrasts": [_contrast(one) for one in contrasts],
            "differences": differences_json(by_block),
        },
    }


def outcome(nets: Sequence[Network]) -> str:
    """Tell Eq. 5 on all images, blocks and networks in two words."""
    found = [tally for net in nets if (tally := tallies(net).get(EQ5)) is not None]
    if any(tally.violated.any() for tally in found):
        return "Eq. 5 violated"
    if not any(tally.tested.any() for tally in found):
        return "not tested"
    if any(tally.undecided.any() for tally in found):
        return "undecided"
    return "Eq. 5 holds"


def _group(group: Group) -> dict[str, Any]:
    found = quality(group)
    return {
        "group": group.label,
        "plain": group.first.plain,
        "stages": [
            {
                "stage": stage,
                "blocks": [
                    name
                    for name, inside in zip(
                        group.first.names, group.first.layout.stage == stage, strict=True
                    )
                    if inside
                ],
                **{
                    measure: estimate_json(stage_estimate(group, measure, stage))
                    for measure in MEASURES
                },
            }
            for stage in stages_of(group.first)
        ],
        "share_of_jacobians": {
            name: estimate_json(jacobian_share(group, name)) for name in CONDITIONS
        },
        "networks": [_network(net) for net in group.networks],
        "quality": {
            "unconverged": {
                name: {"count": bad, "of": total}
                for name, (bad, total) in found.unconverged.items()
            },
            "estimated": {"count": found.estimated[0], "of": found.estimated[1]},
            "relative_stderr": number_json(found.relative_stderr),
            "relative_error": number_json(found.relative_error),
            "unchecked": found.unchecked,
            "without_condition": found.without_condition,
            "missing": {"count": found.missing[0], "of": found.missing[1]},
            "not_square": list(found.not_square),
            "without_log_norm": list(found.without_log_norm),
        },
    }


def _network(net: Network) -> dict[str, Any]:
    counted = tallies(net)
    return {
        "network": net.label,
        "seed": net.seed,
        "step": net.step,
        "images_left_out": net.images_left_out,
        "conditions": {
            name: {"meaning": CONDITIONS[name], "blocks": _blocks(net, tally)}
            for name, tally in counted.items()
        },
        "training_steps": None
        if net.training is None
        else [int(net.training.steps[0]), int(net.training.steps[-1])],
    }


def _blocks(net: Network, tally: Tally) -> list[dict[str, Any]]:
    return [
        {
            "block": net.names[place],
            "holds": int(tally.holds[place]),
            "violated": int(tally.violated[place]),
            "undecided": int(tally.undecided[place]),
            "share": number_json(tally.share[place]),
            "interval": [number_json(tally.low[place]), number_json(tally.high[place])],
        }
        for place in np.flatnonzero(tally.tested)
    ]


def _contrast(one: Contrast) -> dict[str, Any]:
    return {
        "group": one.group,
        "base": one.base,
        "stage": one.stage,
        "measure": one.measure,
        "paired": one.paired or None,
        "difference": estimate_json(one.difference),
    }
