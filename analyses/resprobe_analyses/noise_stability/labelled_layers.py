"""What is known of the layers, with names, dimensions, units and meaning."""

from __future__ import annotations

import numpy as np

from resprobe_analyses.cushions.labelled import filled, layer_names
from resprobe_analyses.labelling import Variables, attributes, number
from resprobe_analyses.noise_stability.effects import NetworkEffect


def layer_variables(members: list[NetworkEffect]) -> Variables:
    """Give names, places and norms of the layers; networks with fewer are filled up."""
    nets = [member.network for member in members]
    flag = {"flag_values": np.array([0, 1], np.int8), "flag_meanings": "no yes"}
    cell = ("network", "layer")
    return {
        **layer_names([member.cushions for member in members]),
        "layer_stage": (
            cell,
            filled([net.stage for net in nets], np.int64(-1)),
            attributes("stage of the block that the layer runs in, -1 for none"),
        ),
        "layer_within": (
            cell,
            filled([net.within.astype(np.int8) for net in nets], np.int8(0)),
            {**attributes("whether the layer runs in a block that keeps its shape"), **flag},
        ),
        "layer_weight_norm": number(
            (*cell, "norm"),
            filled([net.weight_norm for net in nets]),
            "Frobenius norm of the weight that the noise is relative to",
        ),
        "noise_ratio": number(
            cell,
            filled([net.noise_ratio for net in nets]),
            "norm of the weight without ID entries beside that with them",
        ),
    }
