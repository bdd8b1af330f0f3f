"""Gaussian weights for convolutions without normalisation: Kaiming's and Hardt and Ma's.

A kernel of shape D×C×U×V (output channels, input channels, height, width) has the fan S = C·U·V,
what one output sums over, or S = D·U·V, what one input goes into. The weights are normal with mean
0 and standard deviation √(2/S) (`kwi`: He et al., 2015) or 1/S (`hmwi`: Hardt and Ma, 2017).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from torch import nn

from resprobe.errors import UnknownNameError

Scheme = Literal["kwi", "hmwi"]
Fan = Literal["in", "out"]
SCHEMES = ("kwi", "hmwi")
FANS = ("in", "out")


def deviation(scheme: Scheme, shape: Sequence[int], fan: Fan) -> float:
    """Give the standard deviation with which a kernel's weights are drawn.

    Source: Yu and Tomasi (2019), Eq. 3 (`"kwi"`) and Eq. 4 (`"hmwi"`), both with the fan `"in"`.
    Their Table 3 has for `"hmwi"` the sum of the weights' sizes that the fan `"out"` gives.

    Args:
        scheme: `"kwi"` for √(2/S), `"hmwi"` for 1/S.
        shape: of the kernel, `(D, C, U, V)`.
        fan: `"in"` for S = C·U·V, `"out"` for S = D·U·V.

    Raises:
        UnknownNameError: another scheme or fan.
    """
    for kind, given, known in (("initialisation", scheme, SCHEMES), ("fan", fan, FANS)):
        if given not in known:
            raise UnknownNameError(kind, given, known)
    size = shape[1 if fan == "in" else 0] * math.prod(shape[2:])
    return math.sqrt(2 / size) if scheme == "kwi" else 1 / size


def initialise_convolutions(network: nn.Module, scheme: Scheme, fan: Fan) -> None:
    """Draw the weights of every convolution anew from torch's global generator, and zero its bias.

    Args:
        network: changed in place.
        scheme: as for `deviation`.
        fan: likewise.

    Raises:
        UnknownNameError: another scheme or fan.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0.0, deviation(scheme, module.weight.shape, fan))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
