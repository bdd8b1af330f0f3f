"""What was not recorded, and the command that would."""

from __future__ import annotations

import numpy as np

from resprobe_analyses.equivalence import recipes
from resprobe_analyses.equivalence.effects import Effect, Pairs
from resprobe_analyses.equivalence.networks import Network


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
    alone = [
        net.label
        for net in found.networks
        if net.own.states and net.partner is not None and not net.partner.states
    ]
    if alone:
        place = alone[0] if len(alone) == 1 else "RUN"
        lines.append(
            f"The weights of the partner of {', '.join(alone)} were not collected; `resprobe "
            f"collect {place}/partner --checkpoint all --quantity weight_mass` does it."
        )
    late = [net for net in found.networks if net.own.states and net.own.states[0].step > 0]
    if late:
        keeps = (
            " where they were kept, and `resprobe train … --set checkpoint.initial=true` keeps them"
        )
        kept = all(recipes.value_in(net.recipe, "checkpoint.initial") is True for net in late)
        lines.append(
            f"The starting weights of {_names(late)} were not collected; `resprobe collect RUN "
            f"--quantity weight_mass --checkpoint all` does it{'' if kept else keeps}."
        )
    compared = {one.first for one in found.separations}
    lines += [
        _uncompared(pairs, [one for one in found.pairs if not one.group.control])
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


def _uncompared(control: Pairs, others: list[Pairs]) -> str:
    """Say why a control has no equivalent pairs beside it, by those whose recipe is nearest."""
    start = (
        f"{control.group.label} is a negative control without the equivalent pairs of its recipe "
        "and seeds beside it"
    )
    if not others:
        return f"{start}; give those as well."
    recipe = control.group.networks[0].recipe
    keys, nearest = min(
        (
            (
                recipes.keys_apart(recipe, one.group.networks[0].recipe, ["pair.changes"]),
                one.group.label,
            )
            for one in others
        ),
        key=lambda one: (len(one[0]), one[1]),
    )
    if not keys:
        return f"{start}: {nearest} shares the recipe, but no seed or no step with it."
    return f"{start}: the recipe of {nearest} differs in {', '.join(keys)}."


def _costs(found: Effect) -> list[str]:
    """Name the networks whose penalty can't be told, together where the reason is one."""
    unknown: dict[tuple[str, int], list[str]] = {}
    for net in found.networks:
        for member, where in ((net.own, ""), (net.partner, "/partner")):
            if member is None or member.curve is None or not np.isnan(member.curve.cost):
                continue
            unknown.setdefault((where, member.curve.normed), []).append(net.label + where)
    return [
        f"{', '.join(places)}: the cost is not known, "
        f"{_why(step, places[0] if len(places) == 1 else f'RUN{where}')}."
        for (where, step), places in unknown.items()
    ]


def _why(step: int, place: str) -> str:
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
