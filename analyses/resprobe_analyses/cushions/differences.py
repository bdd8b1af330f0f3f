"""Cushions of two groups of one architecture beside each other, as factors: arrays in, arrays out.

Cliff's δ says which of two groups lies above; how far, on the same images, is said here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from resprobe_analyses.cushions.networks import Group, Interlayer, Network
from resprobe_analyses.difference import (
    Compared,
    Difference,
    GroupValues,
    Items,
    NetworkValues,
    compare_groups,
)

Floats = npt.NDArray[np.float64]

KEPT = Compared(
    "layer_cushion",
    "the layer cushion (ID entries kept)",
    dim="layer",
    ratio=True,
    symbol="layer cushions, ID entries kept",
)
REMOVED = Compared(
    "layer_cushion_id_removed",
    "the layer cushion (ID entries removed)",
    dim="layer",
    ratio=True,
    symbol="layer cushions, ID entries removed",
)


def interlayer_quantity(inters: Sequence[Interlayer]) -> Compared:
    """Give what single blocks are compared by; the mode is told of where there is a BatchNorm."""
    unit = inters[0].unit
    mode = " (BatchNorm in evaluation mode)" if any(one.batch_norm for one in inters) else ""
    return Compared(
        "interlayer_cushion",
        f"the interlayer cushion of a single {unit}{mode}",
        ratio=True,
        symbol=f"interlayer cushions of single {unit}s",
        word=unit,
    )


def differences(groups: Sequence[Group]) -> tuple[Difference, ...]:
    """Compare two groups layer by layer and block by block, on the same images.

    Args:
        groups: one or two.

    Returns:
        The layer cushions with ID entries kept, and removed where a skip counts as a part of a
        layer (elsewhere these are nearly the same numbers), and the interlayer cushions of single
        blocks in evaluation mode; each where both groups have it. Nothing of a single group, of a
        plain beside a residual network, or where the layers have other names.
    """
    if len(groups) < 2 or not _one_architecture(groups):
        return ()
    found = compare_groups([_layers(group, lambda net: net.kept) for group in groups], KEPT)
    if any(group.networks[0].with_skip.any() for group in groups):
        removed = [_layers(group, lambda net: net.removed) for group in groups]
        found += compare_groups(removed, REMOVED)
    inters = [net.interlayer for group in groups for net in group.networks]
    known = [one for one in inters if one is not None]
    if len(known) == len(inters):
        found += compare_groups([_blocks(group) for group in groups], interlayer_quantity(known))
    return found


def _one_architecture(groups: Sequence[Group]) -> bool:
    """Tell whether all have the same layers with the same skips; none is the plain one of two."""
    nets = [group.networks[0] for group in groups]
    return all(
        net.layers == nets[0].layers
        and net.kinds == nets[0].kinds
        and net.plain == nets[0].plain
        and np.array_equal(net.with_skip, nets[0].with_skip)
        for net in nets
    )


def _layers(group: Group, of: Callable[[Network], Floats]) -> GroupValues:
    networks = [NetworkValues(net.seed, of(net)) for net in group.networks]
    return GroupValues(group.label, Items(group.layers), networks)


def _blocks(group: Group) -> GroupValues:
    inters = [(net.seed, net.interlayer) for net in group.networks]
    networks = [
        NetworkValues(seed, one.values["eval"][:, :, 0]) for seed, one in inters if one is not None
    ]
    first = group.networks[0].interlayer
    assert first is not None
    return GroupValues(group.label, Items(first.blocks, first.stage, first.transition), networks)
