"""Two groups of one architecture under the same noise, layer by layer: arrays in, arrays out.

The noise is of one part of each network's own ‖W‖_F: at the level at which cushions are asked for
the change of the logits, at the highest for the error. Its directions are those of the layer, the
trial and `--trial-seed`, whatever the weights are. Files do not tell that seed, so the intervals,
over images, are for the draws at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from resprobe_analyses.difference import (
    Compared,
    Difference,
    GroupValues,
    Items,
    NetworkValues,
    compare_groups,
)
from resprobe_analyses.noise_stability.networks import NORMS, Network
from resprobe_analyses.noise_stability.predictions import LOWEST
from resprobe_analyses.noise_stability.words import percent

if TYPE_CHECKING:
    from resprobe_analyses.noise_stability.effects import GroupEffect

Floats = npt.NDArray[np.float64]


def differences(groups: Sequence[GroupEffect]) -> tuple[Difference, ...]:
    """Compare the responses of two groups to noise in the weight of each layer.

    Args:
        groups: one or two.

    Returns:
        The change of the logits as a factor, relative to the norm with ID entries kept, and
        removed where a skip counts as a part of a layer (elsewhere these are nearly the same
        numbers); and the error that the noise adds. Nothing of a single group, of a residual
        beside a plain one, or where the layers have other names.
    """
    if len(groups) < 2 or not _one_architecture(groups):
        return ()
    level = groups[0].members[0].network.weight.level
    skips = any(group.members[0].cushions.network.with_skip.any() for group in groups)
    found: tuple[Difference, ...] = ()
    for place, norm in enumerate(NORMS[: 1 + skips]):
        quantity = _change(norm, float(level[LOWEST]))
        found += compare_groups([_values(group, _changes(place)) for group in groups], quantity)
    quantity = _error(float(level[-1]))
    return found + compare_groups([_values(group, _errors) for group in groups], quantity)


def _change(norm: str, level: float) -> Compared:
    return Compared(
        "weight_noise_output_change" + ("" if norm == NORMS[0] else "_id_removed"),
        f"the change of the logits by noise of {percent(level)} of a layer's ‖W‖_F (ID entries "
        f"{norm})",
        dim="layer",
        ratio=True,
        symbol=f"changes of the logits, noise of {_unbroken(level)}, ID entries {norm}",
    )


def _error(level: float) -> Compared:
    return Compared(
        "weight_noise_error",
        f"the error added by noise of {percent(level)} of a layer's ‖W‖_F (ID entries kept)",
        dim="layer",
        binary=True,  # of a mean over trials, which makes its intervals wider than need be
        symbol=f"error added, noise of {_unbroken(level)}",
    )


def _unbroken(level: float) -> str:
    """Write a relative norm so that no line of a figure ends within it."""
    return percent(level).replace(" ", "\u00a0")


def _changes(place: int) -> Callable[[Network], Floats]:
    """Give the geometric mean over trials, shape (image, layer)."""
    return lambda net: np.exp(net.weight.log_change[:, :, place, LOWEST])


def _errors(net: Network) -> Floats:
    return net.weight.error_added[:, :, 0, -1]


def _values(group: GroupEffect, of: Callable[[Network], Floats]) -> GroupValues:
    nets = [member.network for member in group.members]
    values = [NetworkValues(net.seed, of(net)) for net in nets]
    return GroupValues(group.label, Items(nets[0].layers), values)


def _one_architecture(groups: Sequence[GroupEffect]) -> bool:
    """Tell whether all have the same layers with the same skips; none is the plain one of two."""
    cushions = [group.members[0].cushions.network for group in groups]
    return all(
        own.layers == cushions[0].layers
        and own.kinds == cushions[0].kinds
        and np.array_equal(own.with_skip, cushions[0].with_skip)
        and group.residual == groups[0].residual
        for group, own in zip(groups, cushions, strict=True)
    )
