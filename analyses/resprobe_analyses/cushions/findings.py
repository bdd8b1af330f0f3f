"""The verdict: what was found, JSON-ready."""

from __future__ import annotations

from typing import Any

import numpy as np

from resprobe_analyses.cushions.effects import (
    BLIND,
    MEDIAN,
    NORMS,
    Comparison,
    Effect,
    NetworkEffect,
)
from resprobe_analyses.cushions.networks import MODES
from resprobe_analyses.difference import differences_json
from resprobe_analyses.estimates import LEVEL, number_json


def verdict(found: Effect) -> dict[str, Any]:
    """Give the verdict.

    Args:
        found: the effect of one group or two.

    Returns:
        `analysis`, `inputs`, `images`, `level`, `outcome` and `findings`. `outcome` is "described"
        for one group; for two "depends on the norm" if the layers where one group lies above the
        other are not the same with ID entries kept and removed, "the same with both norms" if
        they are, and "not comparable" if the layers do not correspond. Numbers that do not exist
        are None.
    """
    return {
        "analysis": "cushions",
        "inputs": [member.network.label for member in found.all_members],
        "images": found.images,
        "level": LEVEL,
        "outcome": outcome(found),
        "findings": {
            "groups": [
                {
                    "group": group.label,
                    "networks": [_network(member) for member in members],
                }
                for group, members in zip(found.groups, found.members, strict=True)
            ],
            "layers": {norm: _comparison(one) for norm, one in found.layers.items()},
            "interlayer": {mode: _comparison(one) for mode, one in found.spans.items()},
            "differences": differences_json(found.differences),
        },
    }


def outcome(found: Effect) -> str:
    """Give the outcome; see `verdict`."""
    if len(found.groups) == 1:
        return "described"
    if not found.layers:
        return "not comparable"
    kept, removed = (found.layers[norm].signs for norm in NORMS)
    same = np.array_equal(kept, removed)
    return "the same with both norms" if same else "depends on the norm"


def blind_blocks(member: NetworkEffect) -> list[str]:
    """Name the blocks whose median cushion in training mode is BatchNorm's blindness to scale."""
    inter = member.network.interlayer
    if inter is None:
        return []
    medians = member.interlayer["train"][:, 0, MEDIAN]
    return [name for name, value in zip(inter.blocks, medians, strict=True) if value < BLIND]


def _network(member: NetworkEffect) -> dict[str, Any]:
    net = member.network
    told: dict[str, Any] = {
        "network": net.label,
        "seed": net.seed,
        "step": net.step,
        "images_left_out": net.images_left_out,
        "layers": [
            {
                "layer": name,
                "kind": net.kinds[place],
                "with_skip": bool(net.with_skip[place]),
                "minimum": number_json(member.kept[place, 0]),
                "median": number_json(member.kept[place, MEDIAN]),
                "minimum_id_removed": number_json(member.removed[place, 0]),
                "median_id_removed": number_json(member.removed[place, MEDIAN]),
                "median_by_weight_norm": number_json(member.by_weight()[place]),
            }
            for place, name in enumerate(net.layers)
        ],
    }
    if net.interlayer is not None:
        told["interlayer"] = [
            {
                "block": name,
                **{f"median_{m}": number_json(member.interlayer[m][i, 0, MEDIAN]) for m in MODES},
            }
            for i, name in enumerate(net.interlayer.blocks)
        ]
        told["interlayer_relative_error"] = number_json(member.relative_error)
        told["interlayer_not_converged"] = net.interlayer.open
        told["blind_in_training_mode"] = blind_blocks(member)
    return told


def _comparison(one: Comparison) -> dict[str, Any]:
    return {
        "pairs": [[number_json(value) for value in pair] for pair in one.pairs],
        "paired_by_seed": one.paired,
        "mean": [number_json(value) for value in one.mean.value],
        "interval": [
            [number_json(low), number_json(high)]
            for low, high in zip(one.mean.low, one.mean.high, strict=True)
        ],
        "sign": [int(sign) for sign in one.signs],
    }
