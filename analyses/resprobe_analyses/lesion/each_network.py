"""What was measured of each network by itself, whether or not its error can be interpreted.

The curves over several blocks are means over the interpretable networks of a group; a comparison
seed by seed needs the numbers of every one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import xarray as xr

from resprobe_analyses.labelling import Variables, attributes, number
from resprobe_analyses.lesion.sweeps import AS_TRAINED, Sweep, read_shuffle
from resprobe_analyses.reading import shared_images, values

if TYPE_CHECKING:
    from resprobe.result import Input
    from resprobe_analyses.lesion.networks import Group

Floats = npt.NDArray[np.float64]

SHUFFLES = ("network", "swap_count", "swapped_stage")


def with_each_network(
    data: xr.Dataset, inputs: Mapping[str, Input], groups: Sequence[Group]
) -> xr.Dataset:
    """Add norms and the error by swaps of each network to the dataset of the analysis.

    Args:
        data: of the single lesions.
        inputs: by the label of their network.
        groups: all that were read.

    Returns:
        The dataset with `branch_norm` and `input_norm` (network, block), NaN where they were not
        collected, and, where `lesion-shuffle` was, `network_shuffle_error_increase` with the
        dimensions `swap_count` and `swapped_stage` (-1 for all stages); what a network lacks is
        NaN.
    """
    found = data.assign(_norms(inputs, groups))
    shuffled = {
        label: increase
        for group in groups
        for sweep in read_shuffle(inputs, group)
        if sweep.batch_norm == AS_TRAINED
        for label, increase in _increases(sweep).items()
    }
    return _with_shuffles(found, shuffled) if shuffled else found


def _norms(inputs: Mapping[str, Input], groups: Sequence[Group]) -> Variables:
    images = shared_images(list(inputs.values()), ["lesion", "norms"])
    networks = [net for group in groups for net in group.networks]
    found: Variables = {}
    for name, symbol in (("branch_norm", "||G||"), ("input_norm", "||x||")):
        rows = []
        for net in networks:
            norms = inputs[net.label].families["norms"]
            row = np.full(len(net.names), np.nan)
            if name in norms:
                chosen = norms.sel(sample=images, block=list(net.names))
                row = values(chosen, name, "sample", "block").astype(np.float64).mean(axis=0)
            rows.append(row)
        found[name] = number(
            ("network", "block"), np.stack(rows), f"mean of {symbol} over images, NaN if not known"
        )
    return found


def _increases(sweep: Sweep) -> dict[str, dict[tuple[int, int], float]]:
    """Give the error increase of each network by the number of swaps and the stage."""
    by_trial = sweep.changes().mean(axis=1)
    keys = list(
        zip(sweep.said["swaps"].tolist(), sweep.said["shuffled_stage"].tolist(), strict=True)
    )
    return {
        label: {
            key: float(rates[level, sweep.exists[level]].mean())
            for level, key in enumerate(keys)
            if sweep.exists[level].any()
        }
        for label, rates in zip(sweep.labels, by_trial, strict=True)
    }


def _with_shuffles(
    data: xr.Dataset, shuffled: Mapping[str, Mapping[tuple[int, int], float]]
) -> xr.Dataset:
    keys = {key for increases in shuffled.values() for key in increases}
    swaps, stages = (sorted({key[place] for key in keys}) for place in (0, 1))
    table = [
        [
            [shuffled.get(str(label), {}).get((count, stage), np.nan) for stage in stages]
            for count in swaps
        ]
        for label in data["network"].values
    ]
    told = "test error with the blocks in another order minus in their own, mean over the orders"
    return data.assign(network_shuffle_error_increase=number(SHUFFLES, table, told)).assign_coords(
        swap_count=("swap_count", swaps, attributes("swaps of two blocks, one after the other")),
        swapped_stage=(
            "swapped_stage",
            stages,
            attributes("stage whose blocks are moved, -1 for all"),
        ),
    )
