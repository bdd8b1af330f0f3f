"""Norms of two step sizes or of two moments beside each other, block by block."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from resprobe_analyses.difference import (
    Compared,
    Difference,
    GroupValues,
    Items,
    NetworkValues,
    compare_groups,
)
from resprobe_analyses.norm_vs_depth.curves import kinds_of, norms_of
from resprobe_analyses.norm_vs_depth.networks import Floats, Network, Norms
from resprobe_analyses.reading import group_label, unique

RATIO = Compared(
    "branch_shortcut_ratio",
    "‖G‖/‖s‖",
    ratio=True,
    symbol=r"$\Vert G\Vert/\Vert s\Vert$",
)
BRANCH = Compared("branch_norm", "‖G‖", ratio=True, symbol=r"$\Vert G\Vert$")
INPUT = Compared("input_norm", "‖x‖", ratio=True, symbol=r"$\Vert x\Vert$")
_OF: tuple[tuple[Compared, Callable[[Norms], Floats | None]], ...] = (
    (RATIO, lambda norms: norms.ratio),
    (BRANCH, lambda norms: norms.branch),
    (INPUT, lambda norms: norms.input),
)


def differences(networks: Sequence[Network]) -> tuple[Difference, ...]:
    """Compare every two step sizes or moments of one architecture.

    Args:
        networks: all that were read.

    Returns:
        Ratios of norms by block, in order of appearance; depths have no blocks in common, so they
        are not compared.
    """
    kinds = kinds_of(networks)
    labels = unique([group_label([net.label for net in members]) for _, members in kinds])
    found: list[Difference] = []
    for quantity, of in _OF:
        groups = []
        for label, (state, members) in zip(labels, kinds, strict=True):
            norms = [(net.seed, norms_of(net, state)) for net in members]
            arrays = [(seed, of(one)) for seed, one in norms if one is not None]
            values = [NetworkValues(seed, array) for seed, array in arrays if array is not None]
            if values:
                items = Items.of_blocks(members[0].names, members[0].layout)
                groups.append(GroupValues(label, items, values))
        found += compare_groups(groups, quantity)
    return tuple(found)


def told_of(compared: Sequence[Difference]) -> list[Difference]:
    """Choose what sentences say: the norm of the input follows from the other two."""
    return [one for one in compared if one.quantity != INPUT]
