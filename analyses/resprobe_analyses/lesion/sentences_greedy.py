"""What can be dropped within a stated loss of accuracy, in plain sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from resprobe_analyses import wording
from resprobe_analyses.estimates import Estimate
from resprobe_analyses.lesion.greedy import (
    ALLOWED_LOSSES,
    BROKEN,
    KEPT,
    OPEN,
    Advice,
    Greedy,
    recurrence,
)

MOST_NETWORKS = 3  # that are told one by one
MOST_NAMED = 8  # blocks named in one sentence
TOLD = ALLOWED_LOSSES.index(0.01)  # the loss that is told at length
_PROMISES = {
    KEPT: "so the promise is kept there",
    OPEN: "so whether the promise is kept there is open",
    BROKEN: "so the promise is broken there",
}


def greedy_lines(found: Sequence[Greedy]) -> list[str]:
    """Say what can be dropped, what it costs and what it saves.

    Args:
        found: networks with dropped blocks.

    Returns:
        Two sentences for each of the first three networks, one for each group of several.
    """
    lines = [line for one in found[:MOST_NETWORKS] for line in _network(one)]
    groups = list(dict.fromkeys(one.group for one in found))
    return lines + [line for group in groups for line in _recurring(found, group)]


def _network(one: Greedy) -> list[str]:
    every = one.advice
    others = [a for place, a in enumerate(every) if place != TOLD and a.drops]
    lines = [_at_length(one, every[TOLD])]
    if others:
        told = "; ".join(_briefly(one, advice, every[TOLD]) for advice in others)
        lines.append(f"{one.label}: {told}.")
    return lines


def _at_length(one: Greedy, advice: Advice) -> str:
    if not advice.drops:
        first = ""
        if one.order.size:
            first = (
                f"; the first, {one.names[0]}, raises the error on the "
                f"{one.validation_images:,} images that chose it by "
                f"{_size(one, 1)} points from {_from(one)}"
            )
        return (
            f"{one.label}: no block can be dropped within {_points(advice.allowed)} of accuracy"
            f"{_coarse(one, advice)}{first}."
        )
    blocks = len(one.network.network.names)
    kind = "unit" if one.network.network.plain else "block"
    words = f"{kind}s" if blocks > 1 else kind
    return (
        f"{one.label}: {advice.drops} of {blocks} {words} can be dropped within "
        f"{_points(advice.allowed)} of accuracy ({_named(one.names[: advice.drops])})"
        f"{_coarse(one, advice)}: the error {_moves(one, advice.drops)} {_from(one)} on the "
        f"{one.validation_images:,} images that chose "
        f"{'it' if advice.drops == 1 else 'them'}, which is optimistic, and changes by "
        f"{_tested(one, advice)} on {one.test_images:,} others, {_PROMISES[advice.promise]}; it "
        f"saves {_saved(one, advice)}; {_least_harmful(advice)}."
    )


def _least_harmful(advice: Advice) -> str:
    if advice.drops == 1:
        known = "" if advice.least_harmful else "not "
        return f"it is {known}the one whose single lesion harms least"
    verb = "is" if advice.least_harmful == 1 else "are"
    return (
        f"of the {advice.drops} whose single lesions harm least {advice.least_harmful} {verb} "
        "among them"
    )


def _briefly(one: Greedy, advice: Advice, other: Advice) -> str:
    if advice.drops == other.drops:
        same = "one" if advice.drops == 1 else f"{advice.drops}"
        return f"within {_points(advice.allowed)} the same {same} ({advice.promise})"
    return (
        f"within {_points(advice.allowed)} {advice.drops} (test images {_tested(one, advice)}, "
        f"{advice.promise}; {_percent(one.flops[advice.drops], one.model_flops)} of the FLOPs)"
    )


def _recurring(found: Sequence[Greedy], group: str) -> list[str]:
    own = [one for one in found if one.group == group]
    if len(own) < 2:
        return []
    counts = recurrence(found, group)[TOLD]
    names = own[0].network.network.names
    sizes = ", ".join(str(one.advice[TOLD].drops) for one in own)
    every = [names[block] for block in np.flatnonzero(counts == len(own))]
    never = int((counts == 0).sum())
    common = _named(every) if every else "none"
    return [
        f"{group}: within {_points(ALLOWED_LOSSES[TOLD])} of accuracy {sizes} blocks can be "
        f"dropped in these {len(own)} networks; in all of them: {common}; in none: {never} of "
        f"{len(names)}."
    ]


def _coarse(one: Greedy, advice: Advice) -> str:
    """Say where the allowed loss is less than a single image."""
    if advice.allowed * one.validation_images >= 1:
        return ""
    images = one.validation_images
    return f", which is less than one of the {images} images that chose ({100 / images:.1f} points)"


def _moves(one: Greedy, drops: int) -> str:
    """Say which way the error goes on the images that chose, up to where it started."""
    increase = one.validation_increase[drops]
    if not increase:
        return "stays at"
    return f"{'rises' if increase > 0 else 'falls'} by {_size(one, drops)} points from"


def _size(one: Greedy, drops: int) -> str:
    decimals = _decimals(one.validation_images)
    return f"{100 * abs(float(one.validation_increase[drops])):.{decimals}f}"


def _from(one: Greedy) -> str:
    return f"{100 * float(one.validation_error[0]):.{_decimals(one.validation_images)}f} %"


def _tested(one: Greedy, advice: Advice) -> str:
    found, images = advice.test_increase, one.test_images
    value, low, high = (100 * bound for bound in (found.value, found.low, found.high))
    points = Estimate(value, low, high, found.over, found.networks)
    decimals = _decimals(images)
    return f"{wording.interval(points, images, signed=True, decimals=decimals)} points"


def _decimals(images: int) -> int:
    return 1 if images < 2000 else 2


def _saved(one: Greedy, advice: Advice) -> str:
    parameters, flops = one.parameters[advice.drops], one.flops[advice.drops]
    return (
        f"{parameters:,} parameters ({_percent(parameters, one.model_parameters)}) and "
        f"{flops:,} FLOPs an image ({_percent(flops, one.model_flops)}; a multiply-add counts 2)"
    )


def _percent(part: np.integer, whole: int) -> str:
    return f"{100 * int(part) / whole:.1f} %" if whole else "0 %"


def _points(loss: float) -> str:
    return f"{100 * loss:g} point{'s' if loss != 0.01 else ''}"


def _named(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
