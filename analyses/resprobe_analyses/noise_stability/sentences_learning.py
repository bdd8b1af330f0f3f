"""Which networks have learnt nothing or little, in plain sentences."""

from __future__ import annotations

from collections.abc import Callable

from resprobe_analyses import wording
from resprobe_analyses.noise_stability.effects import Effect, GroupEffect
from resprobe_analyses.noise_stability.networks import Network
from resprobe_analyses.noise_stability.words import listed

MIXED = "what is said below of a group with such networks is not about trained ones only"


def untrained(found: Effect) -> list[str]:
    """Name the networks that are at chance, and those that have learnt too little to say much."""
    networks = [member.network for member in found.members]
    lines = []
    at_chance = [net for net in networks if net.at_chance]
    if at_chance:
        (first, *more), whole = at_chance, len(at_chance) == len(networks)
        told = (
            f"{_told(found, lambda net: net.at_chance)} are at chance{_chance(found, first)}"
            if more
            else f"{first.label} is at chance (error {first.error:.2f})"
        )
        lines.append(f"{told}: {'nothing below is about a trained network' if whole else MIXED}.")
    little = [net for net in networks if _little(net)]
    if little:
        verb = "have" if len(little) > 1 else "has"
        which = "a hardly trained network" if len(networks) == 1 else "hardly trained networks"
        whole = len(at_chance) + len(little) == len(networks)
        lines.append(
            f"{_told(found, _little)} {verb} learnt little{_chance(found, little[0])}: "
            f"{f'what follows is of {which}' if whole else MIXED}."
        )
    return lines


def _little(net: Network) -> bool:
    return not net.interpretable and not net.at_chance


def _chance(found: Effect, net: Network) -> str:
    return f" (chance {net.chance_error:.2f}, on {wording.counted_images(found.images)})"


def _told(found: Effect, which: Callable[[Network], bool]) -> str:
    """Name the networks, several of a group by their range."""
    return listed([told for group in found.groups if (told := _of_group(group, which))])


def _of_group(group: GroupEffect, which: Callable[[Network], bool]) -> str:
    meant = [member.network for member in group.members if which(member.network)]
    if not meant:
        return ""
    if len(meant) == 1:
        return f"{meant[0].label} (error {meant[0].error:.2f})"
    errors = dict.fromkeys(f"{error:.2f}" for error in sorted(net.error for net in meant))
    low, high = next(iter(errors)), next(reversed(errors))
    told = f"errors {low} to {high}" if len(errors) > 1 else f"error {low}"
    whole = len(group.members)
    count = f"{whole}" if len(meant) == whole else f"{len(meant)} of {whole}"
    return f"{group.label} ({count} networks, {told})"
