"""What the lesion measures and what branches contribute in two groups, block by block."""

from __future__ import annotations

from collections.abc import Sequence

from resprobe_analyses.attribution.effects import GroupEffect
from resprobe_analyses.attribution.predictors import METHOD_LABELS, Measured
from resprobe_analyses.difference import (
    Compared,
    Difference,
    GroupValues,
    Items,
    NetworkValues,
    compare_groups,
)
from resprobe_analyses.lesion.effects import changes

LESION = Compared("lesion_error_increase", "the error increase by a lesion", binary=True)


def differences(groups: Sequence[GroupEffect]) -> tuple[Difference, ...]:
    """Compare every two groups of one architecture on the same images.

    Args:
        groups: of which those with interpretable networks are compared, and in these only such.

    Returns:
        The error increase by the lesion of each block, then what each method attributes to its
        branch, in units of the logit, where all networks have it.
    """
    able = [group for group in groups if group.used]
    found = list(compare_groups([_lesions(group) for group in able], LESION))
    for name, label in METHOD_LABELS.items():
        measured = [_measured(group, name) for group in able]
        known = [values for values in measured if values is not None]
        if len(known) == len(able):
            found += compare_groups(known, Compared(name, f"the attribution by {label}"))
    return tuple(found)


def _lesions(group: GroupEffect) -> GroupValues:
    networks = [
        NetworkValues(net.lesion.seed, changes(net.lesion), net.images)
        for net in (member.network for member in group.used)
    ]
    return GroupValues(group.group.label, _items(group), networks)


def _measured(group: GroupEffect, name: str) -> GroupValues | None:
    found: list[Measured] = []
    for member in group.used:
        one = member.network.predictor(name)
        if one is None:
            return None
        found.append(one)
    networks = [
        NetworkValues(member.network.lesion.seed, one.values, one.images)
        for member, one in zip(group.used, found, strict=True)
    ]
    return GroupValues(group.group.label, _items(group), networks)


def _items(group: GroupEffect) -> Items:
    return Items.of_blocks(group.group.networks[0].lesion.names, group.layout)
