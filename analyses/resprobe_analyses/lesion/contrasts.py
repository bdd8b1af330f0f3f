"""Two groups beside each other, paired over images and, where seeds are equal, over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from resprobe_analyses.difference import (
    Compared,
    Difference,
    GroupValues,
    Items,
    NetworkValues,
    compare_groups,
    matched,
    paired_values,
)
from resprobe_analyses.estimates import Estimate, estimate_change
from resprobe_analyses.lesion.effects import GroupEffect, changes
from resprobe_analyses.lesion.networks import Network

ERROR_INCREASE = Compared(
    "lesion_error_increase",
    "the error increase by a lesion",
    binary=True,
    symbol="the error increases by a lesion",
)


@dataclass(frozen=True)
class Contrast:
    """A plain group minus a residual one.

    Attributes:
        first: the plain group, with interpretable networks.
        second: the residual one.
        seeds: the equal seeds that were paired; empty where groups share none, and then all
            networks of each group are averaged.
        mean: the difference of the test errors after one within-stage lesion; None without
            within-stage blocks.
    """

    first: GroupEffect
    second: GroupEffect
    seeds: tuple[int, ...]
    mean: Estimate | None

    @property
    def label(self) -> str:
        """Both groups, as "first − second"."""
        return f"{self.first.group.label} − {self.second.group.label}"


def contrasts(groups: Sequence[GroupEffect]) -> tuple[Contrast, ...]:
    """Compare each plain group with each residual one, where both have interpretable networks."""
    plain, residual = ([g for g in groups if g.used and g.group.plain is kind] for kind in _KINDS)
    return tuple(_contrast(first, second) for first in plain for second in residual)


def differences(groups: Sequence[GroupEffect]) -> tuple[Difference, ...]:
    """Compare every two groups of one kind, both residual or both plain, block by block."""
    found: tuple[Difference, ...] = ()
    for kind in _KINDS[::-1]:
        able = [_values(group) for group in groups if group.used and group.group.plain is kind]
        found += compare_groups(able, ERROR_INCREASE)
    return found


_KINDS = (True, False)


def _networks(group: GroupEffect) -> list[Network]:
    return [member.network for member in group.used]


def _values(group: GroupEffect) -> GroupValues:
    nets = _networks(group)
    items = Items.of_blocks(nets[0].names, group.layout)
    return GroupValues(
        group.group.label, items, [NetworkValues(net.seed, changes(net)) for net in nets]
    )


def _contrast(plain: GroupEffect, residual: GroupEffect) -> Contrast:
    within = plain.layout.within
    ours, theirs, seeds = matched(_networks(plain), _networks(residual))
    if not within.any():
        return Contrast(plain, residual, seeds, None)
    difference, parts = paired_values(
        [net.lesion_wrong[:, within].mean(axis=1) for net in ours],
        [net.lesion_wrong[:, within].mean(axis=1) for net in theirs],
        seeds,
    )
    mean = estimate_change(difference, parts * int(within.sum()))
    return Contrast(plain, residual, seeds, mean)
