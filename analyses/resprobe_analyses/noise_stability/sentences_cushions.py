"""Whether cushions tell the response to noise, in plain sentences."""

from __future__ import annotations

import numpy as np

from resprobe_analyses import wording
from resprobe_analyses.estimates import Estimate
from resprobe_analyses.noise_stability.effects import Effect, GroupEffect
from resprobe_analyses.noise_stability.networks import NORMS
from resprobe_analyses.noise_stability.predictions import FEWEST_LAYERS, LOWEST, SCOPES, Between
from resprobe_analyses.noise_stability.words import listed, percent, signed
from resprobe_analyses.statistics import MINIMUM_SEEDS

LESSON = (
    "A cushion μ is arithmetic on one layer: noise of relative size ε in its weight changes the "
    "layer's own output by about ε/(√n·μ) of it (n the elements of its input); how much of that "
    "the later layers pass on it does not know, which, with n, can keep the correlation from −1."
)
WITHIN, EVERYWHERE = SCOPES


def predictions(found: Effect) -> list[str]:
    """Say whether the layers with the larger cushions have the smaller response."""
    lines = [_layers(found)]
    if found.contrast is None:
        lines.append(_images(found.groups[0]))
    elif found.contrast.between is not None:
        lines.append(_between(found, found.contrast.between))
    return [*lines, LESSON]


def _layers(found: Effect) -> str:
    level = percent(found.members[0].network.weight.level[LOWEST])
    start = f"Rank correlation of layer cushion and response to noise of {level} of ‖W‖_F"
    return f"{start}: {'; '.join(_of_group(group) for group in found.groups)}."


def _of_group(group: GroupEffect) -> str:
    counts = {scope: group.members[0].prediction.layers[scope][NORMS[0]].items for scope in SCOPES}
    if counts[EVERYWHERE] < FEWEST_LAYERS:
        return f"{group.label} has too few layers to rank, {counts[EVERYWHERE]}"
    whole = group.over_layers[EVERYWHERE]
    told = f"{_norms(whole)} over its {counts[EVERYWHERE]} layers"
    if counts[WITHIN] >= FEWEST_LAYERS:
        within = _norms(group.over_layers[WITHIN])
        told += f" and {within} over {counts[WITHIN]} within stages"
    return f"in {group.label} {told}, {conclusion(group, whole)}"


def _norms(each: dict[str, Estimate]) -> str:
    return listed([f"{signed(each[norm])} ({norm})" for norm in NORMS])


def conclusion(group: GroupEffect, each: dict[str, Estimate]) -> str:
    """Say in words whether cushions tell which layer is sensitive.

    Args:
        group: that it is said of.
        each: norm to the rank correlation over layers.
    """
    if not all(np.isfinite(each[norm].low) for norm in NORMS):
        count = len(group.members)
        return (
            f"means of {count} networks, no interval below {MINIMUM_SEEDS} seeds"
            if 1 < count < MINIMUM_SEEDS
            else "no interval"
        )
    telling = [norm for norm in NORMS if each[norm].direction < 0]
    if len(telling) == len(NORMS):
        return "so cushions tell which layers are sensitive"
    if telling:
        return f"so cushions tell which layers are sensitive with ID entries {telling[0]} only"
    if all(each[norm].direction > 0 for norm in NORMS):
        return "so the layers with the larger cushions are the sensitive ones"
    return "so cushions do not tell which layers are sensitive"


def _images(group: GroupEffect) -> str:
    parts = []
    for place, norm in enumerate(NORMS):
        samples = np.concatenate([m.prediction.samples[:, place] for m in group.members])
        samples = samples[np.isfinite(samples)]
        spread = (
            f", {wording.signed_number(samples.min())} to {wording.signed_number(samples.max())}"
            if samples.size
            else ""
        )
        parts.append(f"{signed(group.over_images[norm])} (ID entries {norm}{spread})")
    return (
        f"Over images within a layer the rank correlation of cushion and response is "
        f"{listed(parts)} in {group.label}, median of the layers."
    )


def _between(found: Effect, one: Between) -> str:
    first, second = (group.label for group in found.groups)
    parts = [
        f"{int(one.agree[place])} of {int(one.known[place])} layers ({norm})"
        for place, norm in enumerate(NORMS)
    ]
    return (
        f"Of {first} and {second} the one with the larger cushion has the smaller response in "
        f"{' and '.join(parts)}; a guess would be right in half of them."
    )
