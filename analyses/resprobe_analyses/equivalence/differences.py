"""The weights of two groups of one architecture beside each other, layer by layer.

No image is behind a weight: two networks differ by a number without an interval, and over five
seeds and more that number has one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from resprobe_analyses.difference import (
    Compared,
    Difference,
    GroupValues,
    Items,
    NetworkValues,
    compare,
)
from resprobe_analyses.equivalence.networks import Group
from resprobe_analyses.equivalence.weights import State

Floats = npt.NDArray[np.float64]

MASS = Compared(
    "weight_mass",
    "the mass Σ|w| of a layer's weights",
    dim="layer",
    ratio=True,
    symbol=r"masses $\sum |w|$ of weights",
)
ID_ENTRIES = Compared(
    "id_entry_mean",
    "the mean of a layer's ID entries",
    dim="layer",
    symbol="means of ID entries",
)
_OF: tuple[tuple[Compared, Callable[[State], Floats]], ...] = (
    (MASS, lambda state: state.mass),
    (ID_ENTRIES, lambda state: state.id_mean),
)


def differences(groups: Sequence[Group]) -> tuple[Difference, ...]:
    """Compare the last weights of every two groups, layer by layer.

    Args:
        groups: all that were read; of negative controls nothing is compared beside others, for
            their own weights are those of the pairs that they stand beside.

    Returns:
        The mass of the weights as a factor and the mean of the ID entries; the group whose inputs
        were given first against the other. Nothing of a residual beside a plain network, where
        layers have other names or sizes, or of groups without weights.
    """
    told = [group for group in groups if not group.control] or groups
    known = sorted((group for group in told if _last(group)), key=lambda one: one.place)
    found = []
    for one, other in itertools.combinations(known, 2):
        if _one_architecture(one, other):
            found += [
                compare(_values(one, of), _values(other, of), quantity) for quantity, of in _OF
            ]
    return tuple(one for one in found if one is not None and np.isfinite(one.change.value).any())


def _last(group: Group) -> list[tuple[int | None, State]]:
    """Give the seed and the last weights of each network that has any."""
    return [(net.seed, net.own.states[-1]) for net in group.networks if net.own.states]


def _one_architecture(one: Group, other: Group) -> bool:
    """Tell whether both are residual, or both not, with layers of the same names and sizes."""
    states = [state for group in (one, other) for _, state in _last(group)]
    return one.networks[0].own.residual == other.networks[0].own.residual and all(
        state.layers == states[0].layers and np.array_equal(state.count, states[0].count)
        for state in states
    )


def _values(group: Group, of: Callable[[State], Floats]) -> GroupValues:
    last = _last(group)
    networks = [NetworkValues(seed, of(state)) for seed, state in last]
    return GroupValues(group.label, Items(last[0][1].layers), networks)
