"""The verdict: what was found, JSON-ready."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from resprobe_analyses.difference import Difference, differences_json
from resprobe_analyses.estimates import LEVEL, estimate_json, number_json
from resprobe_analyses.norm_vs_depth.curves import Curve
from resprobe_analyses.norm_vs_depth.networks import Network
from resprobe_analyses.norm_vs_depth.rule import CLAIMED, RULE
from resprobe_analyses.norm_vs_depth.scaling import ALL, Group, LossTrend, PowerLaw, Scaling


def verdict(
    networks: Sequence[Network],
    groups: Sequence[Group],
    curves: Sequence[Curve],
    compared: Sequence[Difference],
) -> dict[str, Any]:
    """Give the verdict.

    Args:
        networks: all that were read.
        groups: exponents by step size, that of the most networks first.
        curves: norms by block.
        compared: differences of two curves.

    Returns:
        `analysis`, `inputs`, `images`, `level`, `claim`, `claimed_exponent`, `rule`, `outcome`
        (of all blocks at the step size of the most networks), `failures` (conditions of the rule
        that do not hold there), `excluded` and `findings`. Numbers that do not exist are None.
    """
    first = groups[0].scalings[ALL]
    return {
        "analysis": "norm-vs-depth",
        "inputs": [net.label for net in networks],
        "images": int(networks[0].classes.size),
        "level": LEVEL,
        "claim": "γ, the mean of ‖G‖, is inversely proportional to the number of blocks d",
        "claimed_exponent": CLAIMED,
        "rule": RULE,
        "outcome": first.outcome,
        "failures": list(first.failures),
        "excluded": {net.label: net.excluded for net in networks if net.excluded},
        "findings": {
            "step_sizes": [_group(group) for group in groups],
            "networks": [_network(net) for net in networks],
            "curves": [_curve(curve) for curve in curves],
            "differences": differences_json(compared),
        },
    }


def _group(group: Group) -> dict[str, Any]:
    return {
        "h": group.h,
        "moment": group.moment,
        "versions": {version: _scaling(one) for version, one in group.scalings.items()},
        "train_loss": _losses(group.losses),
    }


def _scaling(one: Scaling) -> dict[str, Any]:
    return {
        "outcome": one.outcome,
        "failures": list(one.failures),
        "trained": _law(one.trained),
        "untrained": _law(one.untrained),
        "trained_minus_untrained": estimate_json(one.difference),
    }


def _law(law: PowerLaw | None) -> dict[str, Any] | None:
    if law is None:
        return None
    mean, totals = law.mean(), law.totals()
    return {
        "depths": list(law.depths),
        "seeds": list(law.seeds),
        "exponent": estimate_json(law.exponent),
        "slopes": [number_json(slope) for slope in law.slopes],
        "gamma": [number_json(value) for value in mean.value],
        "gamma_interval": _bounds(mean.low, mean.high),
        "total": [number_json(value) for value in totals.value],
        "total_interval": _bounds(totals.low, totals.high),
        "growth_of_total": estimate_json(law.growth),
    }


def _bounds(low: Any, high: Any) -> list[list[float | None]]:
    return [[number_json(a), number_json(b)] for a, b in zip(low, high, strict=True)]


def _losses(losses: LossTrend | None) -> dict[str, Any] | None:
    if losses is None:
        return None
    return {
        "depths": list(losses.depths),
        "mean": [number_json(value) for value in losses.losses.mean(axis=0)],
        "lowest": [number_json(value) for value in losses.losses.min(axis=0)],
        "highest": [number_json(value) for value in losses.losses.max(axis=0)],
        "exponent": estimate_json(losses.exponent),
    }


def _network(net: Network) -> dict[str, Any]:
    every = np.ones(net.blocks, dtype=np.bool_)
    after, before = (
        None if norms is None else number_json(norms.gamma(every))
        for norms in (net.trained, net.untrained)
    )
    return {
        "network": net.label,
        "blocks": net.blocks,
        "h": net.h,
        "seed": net.seed,
        "step": net.step,
        "train_loss": net.training.loss,
        "stop_train_loss": net.training.target,
        "gamma": after,
        "untrained_gamma": before,
        "untrained_initial_statistics": net.initial_statistics,
        "excluded": net.excluded,
    }


def _curve(curve: Curve) -> dict[str, Any]:
    return {
        "blocks": curve.blocks,
        "h": curve.h,
        "moment": curve.moment,
        "state": curve.state,
        "networks": list(curve.labels),
        "stage_first_excess": estimate_json(curve.first_excess),
    }
