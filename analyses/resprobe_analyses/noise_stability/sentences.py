"""The findings in plain sentences."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from resprobe_analyses import wording
from resprobe_analyses.noise_stability.effects import Effect, GroupEffect
from resprobe_analyses.noise_stability.families import ADDS
from resprobe_analyses.noise_stability.networks import NORMS
from resprobe_analyses.noise_stability.predictions import LOWEST, SCOPES
from resprobe_analyses.noise_stability.responses import GroupResponse
from resprobe_analyses.noise_stability.sentences_bound import bounds, modes
from resprobe_analyses.noise_stability.sentences_groups import side_by_side
from resprobe_analyses.noise_stability.words import (
    at,
    basis,
    listed,
    percent,
    ratio,
    signed,
    unsigned,
)
from resprobe_analyses.statistics import MINIMUM_SEEDS

LESSON = (
    "What a cushion says is arithmetic on one layer: Gaussian noise of relative size ε in its "
    "weight changes the layer's own output by about ε/(√n·μ) of it (μ the cushion in the norm in "
    "which ε is measured, n the elements of its input), so another norm moves cushion and noise "
    "alike; what it does not know is how much of that change the layers behind pass on: this, and "
    "over all layers n, which differs, keep the correlations with the logits from −1."
)
Floats = npt.NDArray[np.float64]

_MEAN = "geometric mean over images"


def summary(found: Effect) -> str:
    """Say what was found, one sentence a line, the most important first.

    Args:
        found: the effect of one group or two.

    Returns:
        The sentences.
    """
    lines = [*_uninterpretable(found), *side_by_side(found)]
    for group in found.groups:
        lines += [_response(found, group), *_slopes(found, group), _prediction(found, group)]
    lines.append(LESSON)
    lines += _input(found)
    lines += bounds(found)
    lines += modes(found)
    return "\n".join([*lines, *_absent(found)])


def _uninterpretable(found: Effect) -> list[str]:
    """Name the networks that have learned too little for their response to say much."""
    names = [member.network.label for member in found.members if not member.network.interpretable]
    if not names:
        return []
    which = f"{listed(names)} {'err' if len(names) > 1 else 'errs'}"
    return [
        f"{which} on more than half as many images as chance does: what is said here of a group "
        "with such networks is not of trained ones only."
    ]


def _response(found: Effect, group: GroupEffect) -> str:
    level = group.members[0].network.weight.level
    averages = np.exp(group.weight.log_change.value[..., LOWEST])
    layers = group.members[0].network.layers
    told = []
    for place, norm in enumerate(NORMS):
        own = averages[:, place]
        if not np.isfinite(own).any():
            told.append(f"no number with ID entries {norm}")
            continue
        low, high = int(np.nanargmin(own)), int(np.nanargmax(own))
        told.append(
            f"{100 * own[low]:.2g} % ({layers[low]}) to {100 * own[high]:.2g} % "
            f"({layers[high]}) with ID entries {norm}"
        )
    added = group.weight.error_added.value[..., -1]
    worst = np.unravel_index(int(np.nanargmax(added)), added.shape)
    error = at(group.weight.error_added, int(worst[0]), int(worst[1]), -1)
    return (
        f"{group.label}: noise of {percent(level[LOWEST])} in the weight of one layer changes the "
        f"logits ({_MEAN}) by {listed(told)}; at {percent(level[-1])} it adds most error, "
        f"{signed(error, 3)}, in {layers[int(worst[0])]} with ID entries {NORMS[int(worst[1])]} "
        f"({basis(error, found.images)})."
    )


def _slopes(found: Effect, group: GroupEffect) -> list[str]:
    first, every = group.weight.first_slope, group.weight.slope
    if first is None or every is None:
        return []
    level = group.members[0].network.weight.level
    return [
        f"{group.label}: ln of that change on ln of the level has, with ID entries kept, a slope "
        f"of {unsigned(at(first, 0))} between {percent(level[0])} and {percent(level[1])} and "
        f"of {unsigned(at(every, 0))} over all levels up to {percent(level[-1])} (1 is a linear "
        f"response, less is saturation; {basis(first, found.images)})."
    ]


def _prediction(found: Effect, group: GroupEffect) -> str:
    parts = []
    for place, norm in enumerate(NORMS):
        within, everywhere = (group.over_layers[scope][norm] for scope in SCOPES)
        counts = [group.members[0].prediction.layers[scope][norm].items for scope in SCOPES]
        samples = np.concatenate([m.prediction.samples[:, place] for m in group.members])
        samples = samples[np.isfinite(samples)]
        spread = (
            f" ({wording.signed_number(samples.min())} to {wording.signed_number(samples.max())})"
            if samples.size
            else ""
        )
        parts.append(
            f"with ID entries {norm} {signed(within)} over {counts[0]} layers within stages, "
            f"{signed(everywhere)} over all {counts[1]} layers, and "
            f"{signed(group.over_images[norm])} over "
            f"images within a layer, median of the layers{spread}"
        )
    count = len(group.members)
    told = (
        "intervals over layers, this network"
        if count == 1
        else f"means of {count} networks, no interval below {MINIMUM_SEEDS} seeds"
        if count < MINIMUM_SEEDS
        else f"intervals over {count} seeds, none where all agree"
    )
    return (
        f"{group.label}: rank correlation of layer cushion and response at "
        f"{percent(group.members[0].network.weight.level[LOWEST])}, the noise measured in the same "
        f"norm, {'; '.join(parts)} ({told}); −1 is what the cushion promises."
    )


def _input(found: Effect) -> list[str]:
    lines = []
    for group in found.groups:
        if group.input is not None:
            lines.append(_one_input(found, group, group.input))
    contrast = found.contrast
    if contrast is not None and contrast.input is not None:
        first, second = found.groups
        level = _input_level(first)
        one = contrast.input
        ratios = [
            f"{ratio(at(one.log_ratio, place))} at {percent(level[place])}" for place in (0, -1)
        ]
        over = at(one.log_ratio, 0)
        lines.append(
            f"{first.label} beside {second.label}, noise of the input: the logits change "
            f"{' and '.join(ratios)} times as much, and the error that it adds differs by "
            f"{signed(at(one.error_added, -1), 3)} at {percent(level[-1])} "
            f"({basis(over, _input_images(first), 'pair')})."
        )
    return lines


def _one_input(found: Effect, group: GroupEffect, one: GroupResponse) -> str:
    level = _input_level(group)
    change = ratio(at(one.log_change, LOWEST))
    power = "" if one.slope is None else unsigned(one.slope)
    grows = f", growing with the level to the power {power}" if power else ""
    error = at(one.error_added, -1)
    return (
        f"{group.label}: noise of {percent(level[LOWEST])} of the norm of the input changes the "
        f"logits by {change} of theirs ({_MEAN}){grows}; at {percent(level[-1])} it adds "
        f"{signed(error, 3)} to the error ({basis(error, _input_images(group))})."
    )


def _input_level(group: GroupEffect) -> Floats:
    response = group.members[0].network.input
    assert response is not None
    return response.level


def _input_images(group: GroupEffect) -> int:
    response = group.members[0].network.input
    assert response is not None
    return len(response.log_change)


def _absent(found: Effect) -> list[str]:
    """Say what was not measured, and the command for it."""
    missing = [
        family
        for family in ADDS
        if any(
            family in member.parts.missing
            or (family == "input-noise" and member.network.input is None)
            for member in found.members
        )
    ]
    if not missing:
        return []
    options = " ".join(f"--quantity +{ADDS[family][0]}" for family in missing)
    told = listed([ADDS[family][1] for family in missing])
    return [
        f"Not measured at this checkpoint of all networks: {told}; `resprobe collect RUN "
        f"{options}` adds {'it' if len(missing) == 1 else 'them'}."
    ]
