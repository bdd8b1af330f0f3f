"""The findings in plain sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from resprobe_analyses.noise_stability.effects import Effect, GroupEffect
from resprobe_analyses.noise_stability.families import ADDS
from resprobe_analyses.noise_stability.networks import NORMS, Response
from resprobe_analyses.noise_stability.predictions import LOWEST
from resprobe_analyses.noise_stability.responses import ResponseContrast
from resprobe_analyses.noise_stability.sentences_bound import bounds
from resprobe_analyses.noise_stability.sentences_cushions import predictions
from resprobe_analyses.noise_stability.sentences_groups import side_by_side
from resprobe_analyses.noise_stability.sentences_learning import untrained
from resprobe_analyses.noise_stability.sentences_modes import modes
from resprobe_analyses.noise_stability.words import (
    at,
    basis,
    change,
    listed,
    percent,
    ratio,
    signed,
    unsigned,
)

REMOVED = (
    "ID entries are the weights at (c, c, centre): kept, the norm has the 1s of a skip that counts "
    "as a part of the layer; removed, it lacks these 1s, as in Yu & Tomasi 2019, and, which the "
    "paper does not do, the whole ID entries of layers without a skip."
)
Floats = npt.NDArray[np.float64]


def summary(found: Effect) -> str:
    """Say what was found, one sentence a line, the most important first.

    Args:
        found: the effect of one group or two.

    Returns:
        The sentences.
    """
    lines = [*untrained(found), *side_by_side(found)]
    if found.contrast is None:
        group = found.groups[0]
        lines += [_response(found, group), *_slopes(group)]
    lines += [*_left_out(found), REMOVED, *predictions(found), *_input(found)]
    return "\n".join([*lines, *bounds(found), *modes(found), *_absent(found)])


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
            f"{percent(own[low], 2)} ({layers[low]}) to {percent(own[high], 2)} ({layers[high]}) "
            f"with ID entries {norm}"
        )
    added = group.weight.error_added.value[..., -1]
    worst = np.unravel_index(int(np.nanargmax(added)), added.shape)
    error = at(group.weight.error_added, int(worst[0]), int(worst[1]), -1)
    most = (
        f"; at {percent(level[-1])} it adds most error, {signed(error, 3)}, in "
        f"{layers[int(worst[0])]} with ID entries {NORMS[int(worst[1])]}"
        if any(member.network.interpretable for member in group.members)
        else ""
    )
    return (
        f"{group.label}: noise of {percent(level[LOWEST])} in the weight of one layer changes the "
        f"logits by {listed(told)} of their norm, the geometric mean over images{most}; "
        f"intervals here and below are {basis(error, found.images)}."
    )


def _slopes(group: GroupEffect) -> list[str]:
    first, every = group.weight.first_slope, group.weight.slope
    if first is None or every is None:
        return []
    level = group.members[0].network.weight.level
    return [
        f"{group.label}: ln of that change on ln of the level has, with ID entries kept, a slope "
        f"of {unsigned(at(first, 0))} between {percent(level[0])} and {percent(level[1])} and "
        f"of {unsigned(at(every, 0))} over all levels up to {percent(level[-1])} (1 is a linear "
        "response, less is saturation)."
    ]


def _left_out(found: Effect) -> list[str]:
    """Say where a mean over networks is not over all of them."""
    lines = []
    for group in found.groups:
        count = len(group.members)
        short = int((group.weight.counts[..., LOWEST] < count).any(axis=-1).sum())
        if short:
            lines.append(
                f"{group.label}: {short} of {len(group.weight.counts)} layers "
                f"{'has' if short == 1 else 'have'} no number in "
                f"some of {count} networks, whose logits the noise leaves as they are or makes no "
                "number; means are over the others."
                if count > 1
                else f"{group.label}: noise in {short} of {len(group.weight.counts)} layers leaves "
                "the logits as they are or makes them no number; means are over the others."
            )
    return lines


def _input(found: Effect) -> list[str]:
    """Say how the networks answer noise of the input."""
    parts = []
    level = None
    for group in found.groups:
        response = group.members[0].network.input
        if group.input is None or response is None:
            continue
        level = response.level
        power = "" if group.input.slope is None else unsigned(group.input.slope)
        grows = f", growing with the level to the power {power}" if power else ""
        error = signed(at(group.input.error_added, -1), 3)
        parts.append(
            f"{change(at(group.input.log_change, LOWEST))} of their norm in {group.label}{grows}, "
            f"with {error} of error added at {percent(level[-1])}"
        )
    if level is None:
        return []
    contrast = found.contrast
    if contrast is not None and contrast.input is not None:
        return [_input_contrast(found, contrast.input, level)]
    return [
        f"Noise of the input, {percent(level[LOWEST])} of its norm, changes the logits by "
        f"{listed(parts)} (over {_images(found)} images)."
    ]


def _input_contrast(found: Effect, one: ResponseContrast, level: Floats) -> str:
    first, second = (group.label for group in found.groups)
    places = dict.fromkeys((0, len(level) - 1))
    ratios = [f"{ratio(at(one.log_ratio, i))} times at {percent(level[i])}" for i in places]
    return (
        f"Noise of the input changes the logits of {first} {listed(ratios)} as much as those of "
        f"{second}, and the error that it adds at {percent(level[-1])} differs by "
        f"{signed(at(one.error_added, -1), 3)} (over {_images(found)} images)."
    )


def _images(found: Effect) -> int:
    responses: Sequence[Response | None] = [member.network.input for member in found.members]
    return next(len(one.log_change) for one in responses if one is not None)


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
        f"Not measured in every network at this checkpoint: {told}; `resprobe collect RUN "
        f"{options}` adds {'it' if len(missing) == 1 else 'them'}."
    ]
