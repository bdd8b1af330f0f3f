"""Jacobians of two groups of one architecture beside each other, block by block."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from resprobe_analyses.difference import (
    Compared,
    Difference,
    GroupValues,
    Items,
    NetworkValues,
    compare,
)
from resprobe_analyses.stability import words
from resprobe_analyses.stability.families import BRANCH, SYMBOLS
from resprobe_analyses.stability.records import Group
from resprobe_analyses.stability.spread import cells
from resprobe_analyses.stability.stages import meaning

RATIOS = {"log_norm": False, "spectral_norm": True, "spectral_abscissa": False}


def differences(groups: Sequence[Group]) -> tuple[Difference, ...]:
    """Compare every two groups of one architecture, on the same images.

    Args:
        groups: all that were read.

    Returns:
        The log norm and the spectral norm (a factor) of the branch and, where both groups have
        eigenvalues, its rightmost one, by block; the earlier given group minus the other. Nothing
        of a plain beside a residual network, or where the blocks have other names or places.
    """
    found = []
    for first, second in itertools.combinations(groups, 2):
        if first.first.plain != second.first.plain:
            continue
        for name in RATIOS:
            one, other = (_values(group, name) for group in (first, second))
            if one is not None and other is not None:
                found.append(compare(one, other, _quantity(name, second)))
    return tuple(one for one in found if one is not None)


def _quantity(name: str, group: Group) -> Compared:
    branch = words.branch_of([group])
    return Compared(
        f"jacobian_{name}",
        f"the {meaning(name, words.unit_of([group]))}",
        ratio=RATIOS[name],
        symbol=f"{SYMBOLS[name]} of the {branch}",
        word=words.unit_of([group]),
    )


def _values(group: Group, name: str) -> GroupValues | None:
    """Give a quantity of all networks, None where one of them lacks it."""
    found = [(net.seed, cells(net, name)) for net in group.networks]
    values = [NetworkValues(seed, one[..., BRANCH]) for seed, one in found if one is not None]
    if len(values) < len(found):
        return None
    return GroupValues(group.label, Items.of_blocks(group.first.names, group.first.layout), values)
