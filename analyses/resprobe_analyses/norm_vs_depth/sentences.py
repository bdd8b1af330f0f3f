"""The findings in plain sentences, made from the intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from resprobe_analyses import wording
from resprobe_analyses.difference import Difference, difference_lines
from resprobe_analyses.norm_vs_depth import words
from resprobe_analyses.norm_vs_depth.curves import UNTRAINED, Curve
from resprobe_analyses.norm_vs_depth.differences import told_of
from resprobe_analyses.norm_vs_depth.networks import Network, Norms
from resprobe_analyses.norm_vs_depth.rule import CLAIMED
from resprobe_analyses.norm_vs_depth.scaling import (
    ALL,
    LATER,
    Group,
    LossTrend,
    PowerLaw,
    Scaling,
)
from resprobe_analyses.studies.criteria import NOT_ATTEMPTED

COLLECT = "`resprobe collect RUN --checkpoint all`"
EXPECTED = wording.signed_number(CLAIMED, 0)


def summary(
    name: str,
    networks: Sequence[Network],
    groups: Sequence[Group],
    curves: Sequence[Curve],
    compared: Sequence[Difference],
) -> str:
    """Say what was found, one sentence a line, the most important first.

    Args:
        name: of what was measured.
        networks: all that were read.
        groups: exponents by step size, that of the most networks first.
        curves: norms by block.
        compared: differences of two curves.

    Returns:
        Square brackets hold 95 % intervals, over seeds where nothing else is said. The last line
        says what was not measured and the command for it.
    """
    images = wording.counted_images(int(networks[0].classes.size))
    lines = []
    told = [group for group in groups if group.scalings[ALL].trained or group is groups[0]]
    differences = difference_lines(told_of(compared))
    if groups[0].scalings[ALL].trained is None:  # then that is what there is to compare
        lines, differences = differences, []
    for group in told:
        lines += _exponents(name, group, groups, images)
    lines += differences
    lines += [f"{net.label} does not count: {net.excluded}." for net in networks if net.excluded]
    lines += _incomplete(groups)
    lines += _first_blocks(curves)
    lines += _time(curves)
    lines.append(_not_measured(networks, groups[0]))
    return "\n".join(lines)


def _exponents(name: str, group: Group, groups: Sequence[Group], images: str) -> list[str]:
    whole = group.scalings[ALL]
    if whole.trained is None:
        return [*_alone(name, group, groups, images), *_untrained_alone(name, group, whole)]
    lines = [_claim(name, group, whole, whole.trained, images)]
    lines += _later(group.scalings[LATER], whole)
    lines.append(_total(whole.trained))
    lines += _beginning(whole, whole.trained, group)
    if group.losses is not None:
        lines.append(_losses(group, group.losses))
    return lines


def _alone(name: str, group: Group, groups: Sequence[Group], images: str) -> list[str]:
    """Give γ of the networks at hand, of which no two of one seed differ in depth."""
    same = [net for one in groups if one.h == group.h for net in one.networks]
    told = [_gamma(net, net.trained) for net in same if net.trained is not None]
    if not told:
        return []
    return [
        f"{name}: γ, the mean ‖G‖ over blocks and {images}, is {_few(told)}; {words.claim()} is "
        f"{NOT_ATTEMPTED}: {'; '.join(group.scalings[ALL].failures)}."
    ]


def _gamma(net: Network, norms: Norms) -> str:
    every = np.ones(net.blocks, dtype=np.bool_)
    before = "" if net.untrained is None else f", untrained {net.untrained.gamma(every):.3g}"
    return f"{norms.gamma(every):.3g} in {net.label} ({net.blocks} blocks{before})"


def _untrained_alone(name: str, group: Group, whole: Scaling) -> list[str]:
    if whole.untrained is None:
        return []
    return [
        f"{name}: the untrained networks of "
        f"{words.extent(whole.untrained, group.h, group.moment)} have the "
        f"exponent {words.over_seeds(whole.untrained.exponent)}."
    ]


def _claim(name: str, group: Group, whole: Scaling, law: PowerLaw, images: str) -> str:
    start = (
        f"{name}, {words.extent(law, group.h, group.moment)}: γ, the mean ‖G‖ over blocks and "
        f"{images}, goes with the number of blocks d as d^p, p = {words.over_seeds(law.exponent)}"
    )
    if whole.outcome == NOT_ATTEMPTED:
        return f"{start}; {words.claim()} is {NOT_ATTEMPTED}: {'; '.join(whole.failures)}."
    return f"{start}; {words.claim()}: {whole.outcome}."


def _later(later: Scaling, whole: Scaling) -> list[str]:
    law = later.trained
    if law is None or whole.trained is None:
        return ["Without each stage's first block no seed has two depths to compare."]
    same = law.depths == whole.trained.depths and law.seeds == whole.trained.seeds
    where = "" if same else f", over {words.extent(law, None)},"
    end = later.outcome
    if later.failures and later.failures != whole.failures:
        end = f"{end} ({'; '.join(later.failures)})"
    return [f"Without each stage's first block{where} p = {words.over_seeds(law.exponent)}: {end}."]


def _total(law: PowerLaw) -> str:
    totals = law.totals().value
    return (
        f"The sum of ‖G‖ over blocks, γ·d, goes from {totals[0]:.3g} at {law.depths[0]} blocks to "
        f"{totals[-1]:.3g} at {law.depths[-1]}, by a factor of "
        f"{words.over_seeds(law.growth, signed=False)}; an exponent of {EXPECTED} would leave it "
        "as it is."
    )


def _beginning(whole: Scaling, law: PowerLaw, group: Group) -> list[str]:
    if whole.untrained is None or whole.difference is None:
        return []
    same = whole.untrained.depths == law.depths and whole.untrained.seeds == law.seeds
    where = "" if same else f", over {words.extent(whole.untrained, None)},"
    change = words.over_seeds(whole.difference)
    start = (
        f"Before training the same networks have{where} p = "
        f"{words.over_seeds(whole.untrained.exponent)}"
    )
    if any(net.initial_statistics for net in group.used):
        return [
            f"{start}; after it p differs by {change}, of which training is only a part: at step 0 "
            "BatchNorm, measured in evaluation mode, still takes mean 0 and variance 1 and "
            "normalises nothing. `resprobe collect RUN --checkpoint 0 --quantity "
            "+reestimated_branch_norm` measures them normalised."
        ]
    if not np.isfinite(whole.difference.low):
        return [f"{start}; training changes it by {change}."]
    if whole.difference.direction == 0:
        return [f"{start}; no difference seen between before and after: {change}."]
    how = "less steep" if whole.difference.direction > 0 else "steeper"
    return [f"{start}; training makes it {how}, by {change}."]


def _losses(group: Group, losses: LossTrend) -> str:
    mean = losses.losses.mean(axis=0)
    by_depth = ", ".join(
        f"{loss:.3g} at {depth}" for depth, loss in zip(losses.depths, mean, strict=True)
    )
    targets = {net.training.target for net in group.used}
    target = targets.pop() if len(targets) == 1 else None
    aim = "" if target is None else f" (target {target:g}, met to within an epoch)"
    start = (
        f"The training losses reached{aim} lie between {losses.losses.min():.3g} and "
        f"{losses.losses.max():.3g}, mean by number of blocks {by_depth}"
    )
    trend = losses.exponent
    if trend is None:
        return f"{start}."
    number = words.over_seeds(trend)
    if not np.isfinite(trend.low):
        return f"{start}; they go as d^p, p = {number}."
    if trend.direction == 0:
        return f"{start}; no trend with depth seen: they go as d^p, p = {number}."
    lower = "lower" if trend.direction < 0 else "higher"
    return (
        f"{start}; deeper networks ended at {lower} losses, as d^p, p = {number}, so depths differ "
        "in more than depth."
    )


def _incomplete(groups: Sequence[Group]) -> list[str]:
    """Name networks that could count but whose depth or seed is not complete."""
    lines = []
    for group in groups:
        law = group.scalings[ALL].trained
        if law is None:
            continue
        left = [
            net.label
            for net in group.used
            if net.blocks not in law.depths or net.seed not in law.seeds
        ]
        if left:
            kept = f"{len(law.depths)} depths × {len(law.seeds)} seeds"
            lines.append(
                f"{', '.join(left)} {'do' if len(left) > 1 else 'does'} not count: each seed must "
                f"have every depth, and {kept} have."
            )
    return lines


def _first_blocks(curves: Sequence[Curve]) -> list[str]:
    told = [curve for curve in curves if curve.first_excess is not None]
    if not told:
        return []
    deepest = max(told, key=lambda curve: curve.blocks)
    assert deepest.first_excess is not None
    state = "untrained " if deepest.state == UNTRAINED else ""
    size = words.at(deepest.h, deepest.moment)
    return [
        f"In the {state}network{'s' * (len(deepest.labels) > 1)} of {deepest.blocks} blocks{size}, "
        "‖G‖ of a stage's first block is on average "
        f"{words.over_networks(deepest.first_excess)} times that of the later ones."
    ]


def _time(curves: Sequence[Curve]) -> list[str]:
    known = [curve for curve in curves if curve.h is not None]
    sizes = {curve.h for curve in known}
    if not known or sizes == {1.0}:
        return []
    told = ", ".join(dict.fromkeys(f"({curve.blocks}, {curve.h:g})" for curve in known))
    return [
        "‖F‖ = ‖G‖/h is drawn against t = j·h, where j = 0, 1, … counts the blocks, for (d, h) = "
        f"{told}."
    ]


def _not_measured(networks: Sequence[Network], group: Group) -> str:
    parts = _untrained_missing(networks)
    missing, settings = [], []
    if group.scalings[ALL].outcome == NOT_ATTEMPTED:
        missing.append("at least five depths × five seeds trained to one loss")
        settings += ["train.stop_train_loss=…", "model.depth=…", "train.seed=…"]
    if len({net.h for net in networks}) == 1:
        missing.append("whether deeper networks of smaller steps have the same ‖F‖ over t")
        settings += [key for key in ("model.depth=…", "model.h=…") if key not in settings]
    if missing:
        chosen = " ".join(f"--set {setting}" for setting in settings)
        parts.append(
            f"{'; '.join(missing)}: `resprobe train RECIPE {chosen} -o RUN`, then {COLLECT}"
        )
    return f"not measured: {'; '.join(parts) or 'nothing that this analysis reads'}."


def _untrained_missing(networks: Sequence[Network]) -> list[str]:
    """Say how to get the untrained networks: kept ones need no new training."""
    # whoever lays two moments of a network beside each other has chosen what to compare
    missing = [net for net in networks if net.untrained is None and not net.moment]
    kept = [net.label for net in missing if net.training.kept_initial]
    lost = [net.label for net in missing if not net.training.kept_initial]
    found = []
    if kept:
        which = words.plural("network", len(kept))
        found.append(f"the untrained {which} of {_few(kept)}: {COLLECT}")
    if lost:
        which = words.plural("network", len(lost))
        found.append(
            f"the untrained {which} of {_few(lost)}: `--set checkpoint.initial=true` of `resprobe "
            f"train`, then {COLLECT}"
        )
    return found


def _few(labels: Sequence[str]) -> str:
    more = len(labels) - words.MOST_TOLD
    return ", ".join(labels[: words.MOST_TOLD]) + (f" and {more} more" if more > 0 else "")
