"""What the bound says, how loose it is, and what BatchNorm's mode does to interlayer cushions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from resprobe_analyses.cushions.effects import MEDIAN
from resprobe_analyses.cushions.findings import blind_blocks
from resprobe_analyses.cushions.sentences import size
from resprobe_analyses.estimates import Estimate
from resprobe_analyses.noise_stability.bound import FACTORS
from resprobe_analyses.noise_stability.effects import Contrast, Effect, GroupEffect
from resprobe_analyses.noise_stability.networks import NORMS
from resprobe_analyses.noise_stability.words import at, listed, number, ratio, signed

SCALE = (
    "The bound is Theorem 4.1 of Arora et al. 2018 without the logarithms and constants that it "
    "hides, so a scale and no bound; convolutions as matrices, biases, skips as parts of layers, "
    "test images in the place of training images and minima over few of them are further "
    "departures, listed in verdict.json."
)


def bounds(found: Effect) -> list[str]:
    """Say how the bound compares with the measured gap, group by group and between groups."""
    lines = []
    for group in found.groups:
        lines += [*_bound(group), *_condition(group)]
    if not any(group.log10_bound for group in found.groups):
        return lines
    if found.contrast is not None:
        lines += _ordering(found, found.contrast)
    return [*lines, SCALE]


def _bound(group: GroupEffect) -> list[str]:
    known = [member.parts.bound for member in group.members if member.parts.bound is not None]
    if group.log10_bound is None or not known:
        return []
    values = 10.0**group.log10_bound.value
    mean = "" if len(known) == 1 else f" (geometric mean of {len(known)} networks)"
    void = [one.value.min() >= 1 for one in known]
    told = (
        "above 1 an error bound is void, so it says nothing about "
        f"{'this network' if len(known) == 1 else 'any of these networks'}"
        if all(void)
        else f"it lies below 1 in {len(void) - sum(void)} of {len(void)} networks"
    )
    with np.errstate(invalid="ignore"):  # where one factor of two is infinite
        factors = np.mean([one.log10_factors[:, 0] for one in known], axis=0)
    losses = np.mean([one.margin_loss for one in known])
    lines = [
        f"{group.label}: the bound of Arora et al. 2018 is {number(values[0])} with ID entries "
        f"kept and {number(values[1])} removed{mean}, beside a gap between test and training error "
        f"of {_gap(group)}: {told}; at the margin that it takes the loss is {losses:.2f}."
    ]
    if np.isfinite(factors).all():
        order = np.argsort(-factors)
        parts = [f"{FACTORS[place]} {factors[place]:+.1f}".replace("-", "−") for place in order]
        lines.append(
            f"{group.label}: of log10 of the bound with ID entries kept, "
            f"{factors.sum():.1f}, come from {', '.join(parts)}."
        )
    return lines


def _gap(group: GroupEffect) -> str:
    if group.gap is None:
        return "unknown size"
    told = signed(group.gap, 3)
    if group.gap.value > 0:
        return told
    return f"{told} (the trainer's training error is over a whole epoch of learning, augmented)"


def _condition(group: GroupEffect) -> list[str]:
    known = [m.parts.smoothness for m in group.members if m.parts.smoothness is not None]
    if not known:
        return []
    holding = sum(one.holds for one in known)
    least = min(one.least for one in known)
    share = float(np.mean([one.share for one in known]))
    median = float(np.median([one.median for one in known]))
    met = (
        "is met"
        if holding == len(known)
        else "is not met, so the theorem would not apply even with its constants"
        if not holding
        else f"is met in {holding} of {len(known)} networks only"
    )
    return [
        f"{group.label}: its condition, an interlayer smoothness of 3d = {known[0].needed:.0f} "
        f"and more, {met}: the smallest is {number(least)}, the median {number(median)}, and "
        f"{100 * share:.2g} % of images, spans and draws reach it."
    ]


def _ordering(found: Effect, one: Contrast) -> list[str]:
    first, second = (group.label for group in found.groups)
    if not one.ordered.any():
        return []
    parts = [
        f"{one.ordered_alike[place]} of {one.ordered[place]} with ID entries {norm}"
        for place, norm in enumerate(NORMS)
    ]
    factors = [
        f"{ratio(_natural(one, place))} times with ID entries {norm}"
        for place, norm in enumerate(NORMS)
    ]
    return [
        f"{first} beside {second}: the bound is {listed(factors)}, and the gap differs by "
        f"{signed(one.mean_gap, 3)}; the group with the larger bound has the larger gap "
        f"in {listed(parts)} (pairs of networks)."
    ]


def _natural(one: Contrast, place: int) -> Estimate:
    """Give a difference of decimal logarithms as one of natural ones."""
    found, unit = at(one.mean_log10_bound, place), np.log(10)
    return replace(found, value=found.value * unit, low=found.low * unit, high=found.high * unit)


def modes(found: Effect) -> list[str]:
    """Say what of the interlayer cushions is an artefact of BatchNorm's mode."""
    known = [member.cushions.network.interlayer for member in found.members]
    inters = [inter for inter in known if inter is not None]
    if not inters:
        return []
    if not any(inter.batch_norm for inter in inters):
        return ["No block here has BatchNorm, so no interlayer cushion depends on its mode."]
    return [line for group in found.groups for line in _modes(group)]


def _modes(group: GroupEffect) -> list[str]:
    member = next((m for m in group.members if m.cushions.interlayer), None)
    inter = None if member is None else member.cushions.network.interlayer
    if member is None or inter is None or not inter.batch_norm:
        return []
    spans = {mode: member.cushions.interlayer[mode][:, 0, MEDIAN] for mode in ("eval", "train")}
    ranges = [
        f"{size(float(np.nanmin(one)))} to {size(float(np.nanmax(one)))}" for one in spans.values()
    ]
    blind = blind_blocks(member.cushions)
    why = (
        f"; in {len(blind)} of {len(inter.blocks)} the latter is near 0 because BatchNorm on a "
        "batch of one takes the scale of its input away, so that J x is 0 but for its ε and "
        "rounding: a contrast of the size of the 0.20 and 2.7e−07 that Yu & Tomasi 2019 print is "
        "an artefact of the mode and no property of the network"
        if blind
        else "; none is near 0 in training mode, since a skip carries the scale of the input past "
        "BatchNorm: in training mode it looks more stable beside a plain network than it is"
    )
    return [
        f"{member.network.label}: the median interlayer cushion of single {inter.unit}s goes from "
        f"{ranges[0]} with BatchNorm in evaluation mode and from {ranges[1]} in training mode on a "
        f"batch of one{why}."
    ]
