"""Simplified residual networks and the plain ones that equal them, in float64: what studies share.

A pair shares its parameters' names; those of the plain network are T(r), those of the residual one
T⁻¹(p).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from resprobe import registry
from resprobe_analyses.studies.exact import ROUNDOFF
from resprobe_analyses.studies.exact_networks import seeded

if TYPE_CHECKING:
    from torch import Tensor, nn

# Takes the arguments of the factory `simplified-resnet` by name.
Make = Callable[..., "nn.Module"]
Start = Literal["residual", "plain"]
TAPS = 9  # of a 3×3 kernel


def simplified(**arguments: object) -> nn.Module:
    """Build a bundled simplified network."""
    network: nn.Module = registry.load("models", "simplified-resnet")(**arguments)
    return network


@dataclass(frozen=True)
class Weights:
    """How the weights of a random network are drawn.

    Attributes:
        name: in words.
        initialisation: of the factory.
        factor: multiplies the kernels.
    """

    name: str
    initialisation: Literal["kwi", "hmwi"]
    factor: float = 1.0


HMWI, KWI = Weights("HMWI", "hmwi"), Weights("KWI", "kwi")
LARGE = Weights("thrice KWI", "kwi", 3.0)


@dataclass(frozen=True)
class EquivalentPair:
    """A residual and a plain network in float64, one drawn and the other made from it.

    Attributes:
        residual: with the parameters r.
        plain: with the parameters T(r), or those that were drawn.
        id_entries: name of a weight to the mask of its ID entries.
    """

    residual: nn.Module
    plain: nn.Module
    id_entries: Mapping[str, Tensor]


def equivalent_pair(
    make: Make,
    weights: Weights,
    start: Start,
    seed: int,
    *,
    biases: float = 0.0,
    **arguments: object,
) -> EquivalentPair:
    """Draw one network and transfer its parameters to the other.

    Args:
        make: gives a network by the arguments of `simplified-resnet`.
        weights: how kernels are drawn.
        start: which network is drawn; the other gets T of its parameters, or T⁻¹.
        seed: of the draw.
        biases: their standard deviation; 0 as in the paper.
        arguments: further ones of `make`, such as `depth`.
    """
    import torch

    from resprobe.linalg.transfer import to_plain, to_residual

    with seeded(seed):
        drawn = make(
            residual=start == "residual", initialisation=weights.initialisation, **arguments
        ).double()
        with torch.no_grad():
            for parameter in drawn.parameters():
                if parameter.ndim == 1:
                    parameter.normal_(0, biases)
                elif parameter.ndim == 4:
                    parameter.mul_(weights.factor)
        other = make(residual=start != "residual", **arguments).double()
    entries = id_entries_of(drawn)
    transfer = to_plain if start == "residual" else to_residual
    other.load_state_dict(transfer(drawn.state_dict(), entries))
    residual, plain = (drawn, other) if start == "residual" else (other, drawn)
    return EquivalentPair(residual, plain, entries)


def id_entries_of(network: nn.Module) -> dict[str, Tensor]:
    """Give the ID entries of a simplified network: name of a weight to a mask of its shape."""
    return cast("Callable[[], dict[str, Tensor]]", network.id_entries)()


def doubles(entries: Tensor) -> bool:
    """Tell from the mask of its ID entries whether a kernel has more outputs than inputs."""
    return entries.shape[0] > entries.shape[1]


def rounding_bound(layers: int, terms: int) -> float:
    """Give how far rounding may set two equal computations apart, relative to the largest result.

    A sum of n products of random signs rounds at every addition by u of a partial sum, which
    amounts to √(n/2)·u of its result, and so in both networks to √n·u. Layers neither amplify nor
    damp a relative difference of their inputs by much, so that their roundings add up, at worst
    linearly. A factor of 4 is left for products that cancel, which random signs hide, and for the
    roundings of 1 + r and of x + A x themselves. It is no strict bound: that of Higham, through
    sums of magnitudes, grows exponentially with the depth.

    Args:
        layers: that follow one another.
        terms: n, products in the longest sum.
    """
    return 4 * math.sqrt(terms) * layers * ROUNDOFF
