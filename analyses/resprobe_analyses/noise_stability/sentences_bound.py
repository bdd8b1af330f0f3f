"""What the bound of Arora et al. 2018 says, and how loose it is, in plain sentences."""

from __future__ import annotations

import numpy as np

from resprobe_analyses.noise_stability.bound import FACTORS, Bound
from resprobe_analyses.noise_stability.effects import Contrast, Effect, GroupEffect, NetworkEffect
from resprobe_analyses.noise_stability.networks import NORMS
from resprobe_analyses.noise_stability.words import listed, number, percent, signed

DEPART = "verdict.json lists how what is measured departs from the theorem."


def bounds(found: Effect) -> list[str]:
    """Say how the bound compares with the measured gap, and whether its condition is met."""
    measured = [group for group in found.groups if group.log10_bound is not None]
    lines = [_bounds(measured)] if any(_known(group) for group in measured) else []
    lines += [_no_number(group) for group in measured if not all(map(_has_number, group.members))]
    if lines and len(found.groups) == 1:
        lines += _factors(found.groups[0])
    if found.contrast is not None:
        lines += _ordering(found.contrast)
    lines += _condition(found)
    if lines:
        lines[-1] = f"{lines[-1].removesuffix('.')}; {DEPART}"
    return lines


def _has_number(member: NetworkEffect) -> bool:
    return member.parts.bound is not None and member.parts.bound.exists


def _known(group: GroupEffect) -> list[Bound]:
    """Give the bounds that have a number."""
    bounds = [member.parts.bound for member in group.members if _has_number(member)]
    return [one for one in bounds if one is not None]


def _bounds(groups: list[GroupEffect]) -> str:
    told = [group for group in groups if _known(group)]
    altered = (
        " on altered images" if any(m.parts.augmented for g in told for m in g.members) else ""
    )
    several = any(len(_known(group)) > 1 for group in told)
    return (
        "The bound of Arora et al. 2018, Theorem 4.1 but for the logarithms and constants that it "
        f"hides, comes to {listed([_value(group) for group in told])}"
        f"{' (geometric means over networks)' if several else ''}; {_void(told)} (a gap is test "
        f"error minus training error, the latter the mean over an epoch of learning{altered})."
    )


def _value(group: GroupEffect) -> str:
    assert group.log10_bound is not None
    values = 10.0**group.log10_bound.value
    each = listed([f"{number(value)} ({norm})" for value, norm in zip(values, NORMS, strict=True)])
    return f"{each} in {group.label}, whose gap is {_gap(group, float(values[0]))}"


def _gap(group: GroupEffect, bound: float) -> str:
    """Write the gap, and how many times as large the bound is."""
    if group.gap is None:
        return "not known"
    gap = float(group.gap.value)
    loose = f" ({number(bound / gap)} times smaller)" if gap > 0 and np.isfinite(bound) else ""
    return f"{signed(group.gap, 3)}{loose}"


def _void(groups: list[GroupEffect]) -> str:
    known = [one for group in groups for one in _known(group)]
    void = sum(one.void for one in known)
    if void:
        which = f"{void} of {len(known)} networks" if void < len(known) else "any of these networks"
        which = "this network" if len(known) == 1 else which
        return f"above 1 an error bound is void, so it says nothing about {which}"
    which = "" if len(known) == 1 else f" in all {len(known)} networks"
    return f"it lies below 1{which}, so it is not void"


def _no_number(group: GroupEffect) -> str:
    """Say of how many networks the bound is no number, and why."""
    without = [m.parts.bound for m in group.members if not _has_number(m)]
    wrong = sum(one is not None and not np.isfinite(one.margin) for one in without)
    why = (
        "no image is classified rightly, so that there is no margin"
        if wrong == len(without)
        else "a part of it is no number"
    )
    return (
        f"{group.label}: there is no bound of {len(without)} of {len(group.members)} networks, for "
        f"{why}."
    )


def _factors(group: GroupEffect) -> list[str]:
    known = _known(group)
    with np.errstate(invalid="ignore"):  # where one factor of two is infinite
        factors = np.array([one.log10_factors[:, 0] for one in known]).sum(axis=0) / len(known)
    if not np.isfinite(factors).all():
        return []
    parts = [
        f"{FACTORS[place]} {factors[place]:+.1f}".replace("-", "−")
        for place in np.argsort(-factors)
    ]
    return [
        f"{group.label}: of log10 of the bound with ID entries kept, {factors.sum():.1f}, come "
        f"from {', '.join(parts)}."
    ]


def _ordering(one: Contrast) -> list[str]:
    if not one.ordered.any():
        return []
    parts = [
        f"{one.ordered_alike[place]} of {one.ordered[place]} ({norm})"
        for place, norm in enumerate(NORMS)
    ]
    return [
        "Of each pair of networks, the one with the larger bound has the larger gap in "
        f"{listed(parts)}."
    ]


def _condition(found: Effect) -> list[str]:
    parts: list[str] = []
    needed: dict[str, None] = {}
    level = float("nan")
    for group in found.groups:
        known = [m.parts.smoothness for m in group.members if m.parts.smoothness is not None]
        if not known:
            continue
        level = known[0].noise_level
        needed[f"{known[0].needed:.0f}"] = None
        least, median = min(one.least for one in known), np.median([one.median for one in known])
        share = float(np.mean([one.share for one in known]))
        holding = sum(one.holds for one in known)
        met = (
            "is met"
            if holding == len(known)
            else "is not met"
            if not holding
            else f"is met in {holding} of {len(known)} networks"
        )
        parts.append(
            f"{met} in {group.label} (least {number(least)}, median {number(float(median))}, "
            f"reached by {100 * share:.2g} % of images, spans and draws)"
        )
    if not parts:
        return []
    noise = f", here at noise of {percent(level)} of x," if np.isfinite(level) else ""
    return [
        f"Its condition, an interlayer smoothness of at least 3d = {' or '.join(needed)}{noise} "
        f"{listed(parts)}."
    ]
