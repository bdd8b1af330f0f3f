"""Two groups beside each other, paired over images and, where seeds are equal, over seeds."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resprobe_analyses import statistics
from resprobe_analyses.estimates import Estimate, estimate_change
from resprobe_analyses.lesion.effects import GroupEffect, changes
from resprobe_analyses.lesion.networks import Network

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Contrast:
    """The first group minus the second.

    Attributes:
        kind: "blocks" for two groups with the same blocks, "plain" for a plain group minus a
            residual one.
        first: a group with interpretable networks.
        second: another one.
        seeds: the equal seeds that were paired; empty where groups share none, and then all
            networks of each group are averaged.
        mean: for "blocks" the difference of the error increases by one within-stage lesion, for
            "plain" that of the test errors after it; None without within-stage blocks.
        increase: for "blocks" the difference of the error increases by block, else None.
        p_holm: of `increase`, adjusted over blocks, shape (block,).
    """

    kind: str
    first: GroupEffect
    second: GroupEffect
    seeds: tuple[int, ...]
    mean: Estimate | None
    increase: Estimate | None = None
    p_holm: Floats | None = None

    @property
    def label(self) -> str:
        """Both groups, as "first − second"."""
        return f"{self.first.group.label} − {self.second.group.label}"


def contrasts(groups: Sequence[GroupEffect]) -> tuple[Contrast, ...]:
    """Give every contrast between groups that have interpretable networks.

    Groups of one kind (both residual or both plain) are compared block by block; each plain
    group is compared with each residual one.
    """
    found = []
    able = [group for group in groups if group.used]
    for first, second in itertools.combinations(able, 2):
        if first.group.plain == second.group.plain:
            found.append(_by_block(first, second))
        elif first.group.plain:
            found.append(_plain(first, second))
        else:
            found.append(_plain(second, first))
    return tuple(found)


def matched(
    first: Sequence[Network], second: Sequence[Network]
) -> tuple[list[Network], list[Network], tuple[int, ...]]:
    """Pair networks of equal seeds.

    Args:
        first: networks of one group.
        second: networks of another.

    Returns:
        The networks of each group in the order of their common seeds, and those seeds; all
        networks and no seeds where none is common.
    """
    ours = {net.seed: net for net in first if net.seed is not None}
    theirs = {net.seed: net for net in second if net.seed is not None}
    seeds = tuple(sorted(ours.keys() & theirs.keys()))
    if not seeds:
        return list(first), list(second), ()
    return [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds], seeds


def _difference(
    first: Sequence[Floats], second: Sequence[Floats], seeds: tuple[int, ...]
) -> tuple[Floats, int]:
    """Give differences by pair of networks and the number of networks averaged in each."""
    if seeds:
        return np.stack(first) - np.stack(second), 1
    difference = np.mean(first, axis=0) - np.mean(second, axis=0)
    return difference[None], min(len(first), len(second))


def _networks(group: GroupEffect) -> list[Network]:
    return [member.network for member in group.used]


def _by_block(first: GroupEffect, second: GroupEffect) -> Contrast:
    ours, theirs, seeds = matched(_networks(first), _networks(second))
    difference, parts = _difference(
        [changes(net) for net in ours], [changes(net) for net in theirs], seeds
    )
    within = first.layout.within
    count = int(within.sum())
    mean = estimate_change(difference[:, :, within].mean(axis=2), parts * count) if count else None
    return Contrast(
        kind="blocks",
        first=first,
        second=second,
        seeds=seeds,
        mean=mean,
        increase=estimate_change(difference, parts),
        p_holm=statistics.holm(_p_values(difference, parts)),
    )


def _p_values(difference: Floats, parts: int) -> Floats:
    by_seed = statistics.student_p(difference.mean(axis=1))
    if by_seed is not None:
        return by_seed
    return statistics.mean_change_p(difference.mean(axis=0), parts * difference.shape[0])


def _plain(plain: GroupEffect, residual: GroupEffect) -> Contrast:
    within = plain.layout.within
    ours, theirs, seeds = matched(_networks(plain), _networks(residual))
    if not within.any():
        return Contrast("plain", plain, residual, seeds, None)
    difference, parts = _difference(
        [net.lesion_wrong[:, within].mean(axis=1) for net in ours],
        [net.lesion_wrong[:, within].mean(axis=1) for net in theirs],
        seeds,
    )
    mean = estimate_change(difference, parts * int(within.sum()))
    return Contrast("plain", plain, residual, seeds, mean)
