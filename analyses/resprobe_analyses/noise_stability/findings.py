"""The verdict: what was found, JSON-ready."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from resprobe_analyses.cushions.findings import blind_blocks
from resprobe_analyses.difference import differences_json
from resprobe_analyses.estimates import LEVEL, Estimate, correlation_json, number_json
from resprobe_analyses.noise_stability.bound import DEPARTURES, FACTORS, Bound, Smoothness
from resprobe_analyses.noise_stability.effects import (
    Contrast,
    Effect,
    GroupEffect,
    NetworkEffect,
)
from resprobe_analyses.noise_stability.equal_noise import EqualNoise
from resprobe_analyses.noise_stability.networks import NORMS
from resprobe_analyses.noise_stability.predictions import LOWEST, SCOPES
from resprobe_analyses.noise_stability.responses import GroupResponse, ResponseContrast
from resprobe_analyses.noise_stability.words import at

EQUAL, NEITHER = "equal", "not told apart"
DEPENDS = "depends on what equal noise means"


def verdict(found: Effect) -> dict[str, Any]:
    """Give the verdict.

    Args:
        found: the effect of one group or two.

    Returns:
        `analysis`, `inputs`, `images`, `level`, `levels`, `outcome` (see `outcome`), `answers` (see
        `answers`; None of one group), `departures` of the bound from the theorem, and `findings`.
        Numbers that do not exist are None.
    """
    return {
        "analysis": "noise-stability",
        "inputs": [member.network.label for member in found.members],
        "images": found.images,
        "level": LEVEL,
        "levels": _numbers(found.members[0].network.weight.level),
        "outcome": outcome(found),
        "answers": answers(found) or None,
        "departures": list(DEPARTURES),
        "findings": {
            "groups": [_group(group) for group in found.groups],
            "contrast": None if found.contrast is None else _contrast(found.contrast),
            "differences": differences_json(found.differences),
        },
    }


def outcome(found: Effect) -> str:
    """Say which group answers noise of the weights less, over all layers.

    Returns:
        "described" for one group; for two "less in every reading" or "more in every reading" of the
        first group where all readings of equal noise that have a number say so (see `answers`),
        "undecided" where none tells the groups apart, `DEPENDS` where they differ, "not comparable"
        where the layers do not correspond.
    """
    if found.contrast is None:
        return "described"
    if found.contrast.weight is None:
        return "not comparable"
    told = {answer for answer in answers(found).values() if answer is not None}
    if len(told) != 1:
        return DEPENDS
    (answer,) = told
    return "undecided" if answer == NEITHER else f"{answer} in every reading"


def answers(found: Effect) -> dict[str, str | None]:
    """Say for each reading of equal noise how the first group answers beside the second.

    Returns:
        `EQUAL` (noise of equal ‖ΔW‖_F) and each norm (noise of equal parts of it, at the lowest
        level) to "less" or "more" where the interval over all layers leaves out no difference, to
        `NEITHER` where it does not, to None where there is no number. Nothing where there are no
        two groups whose layers correspond.
    """
    contrast = found.contrast
    if contrast is None or contrast.weight is None or contrast.equal is None:
        return {}
    readings = {EQUAL: contrast.equal.over_layers} | {
        norm: at(contrast.weight.over_layers, place, LOWEST) for place, norm in enumerate(NORMS)
    }
    words = {-1: "less", 1: "more", 0: NEITHER}
    return {
        name: words[one.direction] if np.isfinite(one.value) else None
        for name, one in readings.items()
    }


def layers_apart(one: ResponseContrast) -> npt.NDArray[np.int64]:
    """Give where the first group answers less (-1) or more (1), shape (layer, norm).

    At the lowest level, by the interval of each layer taken alone; 0 where it holds 0.
    """
    low, high = one.log_ratio.low[..., LOWEST], one.log_ratio.high[..., LOWEST]
    return np.asarray((low > 0).astype(np.int64) - (high < 0))


def _group(group: GroupEffect) -> dict[str, Any]:
    return {
        "group": group.label,
        "residual": group.residual,
        "weight_noise": _response(group.weight),
        "input_noise": None if group.input is None else _response(group.input),
        "correlation_over_layers": {
            scope: {norm: _estimate(group.over_layers[scope][norm]) for norm in NORMS}
            for scope in SCOPES
        },
        "correlation_over_images": {norm: _estimate(group.over_images[norm]) for norm in NORMS},
        "gap": None if group.gap is None else _estimate(group.gap),
        "log10_bound": None if group.log10_bound is None else _estimate(group.log10_bound),
        "networks": [_network(member) for member in group.members],
    }


def _response(found: GroupResponse) -> dict[str, Any]:
    return {
        "log_change": _estimate(found.log_change) | {"networks": found.counts.tolist()},
        "error_added": _estimate(found.error_added),
        "slope": None if found.slope is None else _estimate(found.slope),
        "first_slope": None if found.first_slope is None else _estimate(found.first_slope),
    }


def _network(member: NetworkEffect) -> dict[str, Any]:
    net, inter = member.network, member.cushions.network.interlayer
    told: dict[str, Any] = {
        "network": net.label,
        "seed": net.seed,
        "step": member.cushions.network.step,
        "layers": list(net.layers),
        "error": net.error,
        "chance_error": net.chance_error,
        "interpretable": net.interpretable,
        "changes_left_out": net.weight.left_out,
        "noise_ratio": _numbers(net.noise_ratio),
        "correlation_over_layers": {
            scope: {norm: correlation_json(one) | {"over": "layers"} for norm, one in each.items()}
            for scope, each in member.prediction.layers.items()
        },
        "correlation_over_images": _numbers(member.prediction.over_images),
        "gap": number_json(member.gap),
        "loss_gap": number_json(member.loss_gap),
        "bound": None if member.parts.bound is None else _bound(member.parts.bound),
        "smoothness": None
        if member.parts.smoothness is None
        else _smoothness(member.parts.smoothness),
        "not_measured": list(member.parts.missing) + (["input-noise"] if not net.input else []),
    }
    if inter is not None and inter.batch_norm:
        told["blind_in_training_mode"] = blind_blocks(member.cushions)
    return told


def _bound(one: Bound) -> dict[str, Any]:
    return {
        "value": dict(zip(NORMS, _numbers(one.value), strict=True)),
        "void": {
            norm: None if np.isnan(value) else bool(value >= 1)
            for norm, value in zip(NORMS, one.value, strict=True)
        },
        "log10_factors": {
            name: dict(zip(NORMS, _numbers(factors), strict=True))
            for name, factors in zip(FACTORS, one.log10_factors, strict=True)
        },
        "contraction": number_json(one.contraction),
        "layers": one.layers,
        "largest_output_norm": number_json(one.output_norm),
        "margin": number_json(one.margin),
        "margin_loss": number_json(one.margin_loss),
        "training_images": number_json(one.training_images),
    }


def _smoothness(one: Smoothness) -> dict[str, Any]:
    return {
        "least": number_json(one.least),
        "median": number_json(one.median),
        "needed": one.needed,
        "share": one.share,
        "holds": one.holds,
        "noise_level": number_json(one.noise_level),
    }


def _contrast(one: Contrast) -> dict[str, Any]:
    return {
        "paired_by_seed": one.paired,
        "weight_noise": None if one.weight is None else _response_contrast(one.weight),
        "equal_noise": None if one.equal is None else _equal_noise(one.equal),
        "input_noise": None if one.input is None else _response_contrast(one.input),
        "larger_cushion_smaller_response": None
        if one.between is None
        else {
            norm: {
                "layers": int(one.between.agree[place]),
                "of": int(one.between.known[place]),
                "correlation": _estimate(one.between.correlation[norm]),
            }
            for place, norm in enumerate(NORMS)
        },
        "gap": _estimate(one.mean_gap),
        "log10_bound": _estimate(one.mean_log10_bound),
        "pairs_ordered_alike": [int(count) for count in one.ordered_alike],
        "pairs_ordered": [int(count) for count in one.ordered],
    }


def _response_contrast(one: ResponseContrast) -> dict[str, Any]:
    return {
        "log_ratio": _estimate(one.log_ratio) | {"networks": one.counts.tolist()},
        "over_layers": _estimate(one.over_layers),
        "error_added": _estimate(one.error_added),
    }


def _equal_noise(one: EqualNoise) -> dict[str, Any]:
    return {
        "log_size": _numbers(one.log_size),
        "log_ratio": _estimate(one.log_ratio) | {"networks": one.counts.tolist()},
        "over_layers": _estimate(one.over_layers),
        "layers": one.compared,
        "of": one.pairs.shape[1],
    }


def _estimate(one: Estimate) -> dict[str, Any]:
    """Give an estimate of any shape."""
    return {
        "value": _numbers(one.value),
        "low": _numbers(one.low),
        "high": _numbers(one.high),
        "over": one.over,
        "networks": one.networks,
    }


def _numbers(values: npt.ArrayLike) -> Any:
    """Give numbers as nested lists, None where one is not finite."""
    array = np.asarray(values, np.float64)
    return [_numbers(one) for one in array] if array.ndim else number_json(array)
