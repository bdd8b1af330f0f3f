"""What was not recorded, and the command that would."""

from __future__ import annotations

import numpy as np

from resprobe_analyses.equivalence.effects import Effect
from resprobe_analyses.equivalence.networks import Member, Network


def absent(found: Effect) -> list[str]:
    """Say what was not there and which command records it; nothing where all is there."""
    lines = []
    unpaired = _names([net for net in found.networks if net.pair is None])
    if unpaired:
        lines.append(
            f"No pair was recorded in {unpaired}; `resprobe train … --set pair.network=equivalent` "
            "trains and compares one."
        )
    bare = _names([net for net in found.networks if not net.own.states])
    if bare:
        lines.append(
            f"The weights of {bare} were not collected; `resprobe collect RUN --quantity "
            "weight_mass --checkpoint all` does it."
        )
    late = _names([net for net in found.networks if net.own.states and net.own.states[0].step > 0])
    if late:
        lines.append(
            f"The starting weights of {late} were not collected; `resprobe collect RUN --quantity "
            "weight_mass --checkpoint all` does it where they were kept, and `resprobe train … "
            "--set checkpoint.initial=true` keeps them."
        )
    compared = {one.first for one in found.separations}
    lines += [
        f"{pairs.group.label} is a negative control without the equivalent pairs of its seeds and "
        "arithmetic beside it; give those as well."
        for pairs in found.pairs
        if pairs.group.control and pairs.group.label not in compared
    ]
    lines += _costs(found)
    if not any(couple.curves for side in found.sides for couple in side.couples):
        lines.append(
            "There are no epochs of a residual and a plain network of one seed, so errors are not "
            "compared; give a pair, or runs of both kinds with the same seeds."
        )
    return lines


def _costs(found: Effect) -> list[str]:
    """Name the networks whose penalty can't be told."""
    lines = []
    for net in found.networks:
        for member, place in ((net.own, net.label), (net.partner, f"{net.label}/partner")):
            if member is None or member.curve is None or not np.isnan(member.curve.cost):
                continue
            lines.append(f"{place}: its cost is not known, {_why(member, place)}.")
    return lines


def _why(member: Member, place: str) -> str:
    step = -1 if member.curve is None else member.curve.normed
    if step >= 0:
        return (
            "since the penalty pulls ID entries to 1 and their sum is not known at "
            f"step {step}, where the norms of the parameters were last recorded; `resprobe collect "
            f"{place} --quantity weight_mass --checkpoint {step}` collects it where a checkpoint "
            "was kept"
        )
    return (
        "since no norms of parameters were recorded; `resprobe train … --set record.every=1` "
        "records them"
    )


def _names(networks: list[Network]) -> str:
    return ", ".join(net.label for net in networks)
