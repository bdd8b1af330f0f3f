"""What two groups are compared by, block by block."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from resprobe_analyses.difference import (
    Compared,
    Difference,
    GroupValues,
    Items,
    NetworkValues,
    compare_groups,
)
from resprobe_analyses.spans.effects import Effect
from resprobe_analyses.spans.networks import Network, Turned

LESION = Compared(
    "single_lesion_error_increase",
    "the error increase by the lesion of one block",
    binary=True,
    symbol="the error increase by a lesion",
)
INFLUENCE = Compared("block_influence", "block influence")
DISTANCE = Compared("block_angular_distance", "the angular distance of a block")
_OF: tuple[tuple[Compared, Callable[[Network], Turned | None]], ...] = (
    (INFLUENCE, lambda net: net.influence_by_image),
    (DISTANCE, lambda net: net.distance_by_image),
)


def differences(found: Sequence[Effect]) -> tuple[Difference, ...]:
    """Compare two groups by the lesions of single blocks and by how far blocks turn their input.

    Args:
        found: the effects of one group or two.

    Returns:
        Nothing for one group, nor by what a network lacks. Lesions of uninterpretable networks
        are left out, as everywhere in the analysis; how far a block turns its input is not.
    """
    lesions = [_group(one, [_lesions(member.network) for member in one.used]) for one in found]
    compared = compare_groups(lesions, LESION) if all(one.used for one in found) else ()
    for quantity, of in _OF:
        turned = [_turned(one, of) for one in found]
        groups = [group for group in turned if group is not None]
        if len(groups) == len(found):
            compared += compare_groups(groups, quantity)
    return compared


def told(found: Sequence[Effect], compared: Sequence[Difference]) -> list[Difference]:
    """Choose what sentences say, nothing twice.

    Lesions of single blocks that were collected by themselves are compared by the analysis of
    lesions, and on single blocks both angles mostly say the same.
    """
    lesioned = all(net.lesioned for one in found for net in one.group.networks)
    names = [one.quantity for one in compared]
    left = {LESION} if lesioned else set()
    if INFLUENCE in names:
        left.add(DISTANCE)
    return [one for one in compared if one.quantity not in left]


def _group(one: Effect, networks: Sequence[NetworkValues]) -> GroupValues:
    return GroupValues(
        one.group.label, Items.of_blocks(one.group.networks[0].names, one.layout), networks
    )


def _lesions(net: Network) -> NetworkValues:
    change = net.span_wrong[:, :, 0].astype(np.float64) - net.whole_wrong[:, None]
    return NetworkValues(net.seed, change)


def _turned(one: Effect, of: Callable[[Network], Turned | None]) -> GroupValues | None:
    """Give a quantity of all networks, None where one of them lacks it."""
    networks = []
    for net in one.group.networks:
        turned = of(net)
        if turned is None:
            return None
        networks.append(NetworkValues(net.seed, turned.values, turned.images))
    return _group(one, networks)
