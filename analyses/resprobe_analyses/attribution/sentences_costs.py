"""Sentences on what it costs to trust a predictor, what measuring costs, and what is not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from resprobe_analyses import wording
from resprobe_analyses.attribution.costs import lesion_passes, predictor_passes
from resprobe_analyses.attribution.effects import Cost, GroupEffect
from resprobe_analyses.attribution.predictors import (
    ABSOLUTE,
    ANGLES,
    ANGULAR_DISTANCE,
    ATTRIBUTION,
    BLOCK_INFLUENCE,
    INFLUENCE,
    METHOD_LABELS,
)
from resprobe_analyses.attribution.standing import ERROR, STAGE

Labels = Mapping[str, str]

# what each family adds, and the quantity that `collect` is asked for
_OPTIONAL = {
    INFLUENCE: (BLOCK_INFLUENCE.name, BLOCK_INFLUENCE.label, "block_influence"),
    ANGLES: (ANGULAR_DISTANCE.name, ANGULAR_DISTANCE.label, "angular_distance"),
    ATTRIBUTION: ("", "attributions", "block_attribution"),
}


def choice_lines(group: GroupEffect, labels: Labels) -> list[str]:
    """Say what the blocks cost that the highest predictor calls least harmful."""
    one = group.standings[ERROR, STAGE]
    best = next((one.names[place] for place in one.ordered), None)
    return [
        _choice(group, cost, best, labels)
        for cost in group.costs[-1:]
        if best is not None and best in cost.hits
    ]


def _choice(group: GroupEffect, cost: Cost, best: str, labels: Labels) -> str:
    images = group.used[0].network.images.size
    networks = len(group.used)
    raised, less = cost.increase[best], cost.below_random[best]
    where = (
        f"over {raised.networks} seeds"
        if raised.over == "seeds"
        else f"over {wording.counted_images(images)}, {wording.these(networks)}"
    )
    quarter = group.costs[0]
    few = ""
    if quarter.count > 1:
        few = (
            f"; of its {quarter.count} least harmful, {_hits(quarter.hits[best])} are among the "
            f"lesion's {quarter.count} (by chance {_hits(quarter.random_hits)})"
        )
    return (
        f"{group.group.label}: of the {cost.count} of {cost.among} blocks that {labels[best]} "
        f"calls least harmful, whatever their stage (the correlation is within stages), "
        f"{_hits(cost.hits[best])} are among the {cost.count} that the lesion calls so (by chance "
        f"{_hits(cost.random_hits)}){few}; the lesion of one of the "
        f"{cost.count} raises the error by {wording.interval(raised, images, signed=True)}, of one "
        f"that the lesion chooses on other images by "
        f"{wording.interval(cost.best, images, signed=True)}, of any one by "
        f"{wording.interval(cost.random, images, signed=True)}, a difference of "
        f"{wording.interval(less, images, signed=True)} to any one ({where})."
    )


def _hits(count: float) -> str:
    return f"{count:.0f}" if float(count).is_integer() else f"{count:.1f}"


def pass_lines(groups: Sequence[GroupEffect], labels: Labels) -> list[str]:
    """Say what predictors cost beside the lesions, of the first network."""
    if not groups:
        return []
    net = groups[0].used[0].network
    by_passes: dict[float, list[str]] = {}
    for name, passes in sorted(predictor_passes(net).items(), key=lambda one: one[1]):
        if np.isfinite(passes) and not name.startswith(ABSOLUTE):
            by_passes.setdefault(passes, []).append(labels[name])
    lesions = lesion_passes(net)
    told = "; ".join(f"{', '.join(names)} {passes:g}" for passes, names in by_passes.items())
    dear = [name for passes, names in by_passes.items() if passes >= lesions for name in names]
    more = f"; an image costs no less than the lesions by {', '.join(dear)}" if dear else ""
    return [
        f"Forward passes of the network for one image (a backward pass counts as two): {told}; the "
        f"lesions of all {net.layout.stage.size} single blocks about {lesions:g}{more}."
    ]


def absent_line(groups: Sequence[GroupEffect], labels: Labels) -> str:
    """Say what was not measured, and the command for it; or who tells what is not told here."""
    nets = [member.network for group in groups for member in group.members]
    families = [{one.predictor.family for one in net.predictors} for net in nets]
    missing = {
        family: (label, quantity)
        for family, (_, label, quantity) in _OPTIONAL.items()
        if not all(family in known for known in families)
    }
    methods = [
        label
        for name, label in METHOD_LABELS.items()
        if ATTRIBUTION not in missing and not all(net.predictor(name) for net in nets)
    ]
    lost = f"; without a value for these networks: {', '.join(methods)}" if methods else ""
    if missing:
        asked = " ".join(f"--quantity +{quantity}" for _, quantity in missing.values())
        told = ", ".join(label for label, _ in missing.values())
        return f"Not measured: {told}{lost}; `resprobe collect RUN {asked}` adds it."
    if all(net.together for net in nets):
        return (
            "Not told here: what several blocks cost together, which single lesions do not tell"
            f"{lost}; `resprobe analyze lesion RUN` says it."
        )
    return (
        "Not measured: what several blocks cost together, which single lesions do not tell"
        f"{lost}; `resprobe collect RUN --quantity +greedy_lesion` measures it."
    )
