"""The weights of a whole network: Table 3 and the histograms of Fig. 7.

Counted are all convolutions, the stem too, and not the linear layer: the reading that gives the
printed sums of Table 3. Of a residual network these are the transferred weights t = T(r).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

LAYER_VALUES = (
    "weight_count",
    "weight_mean",
    "weight_std",
    "weight_mass",
    "large_weight_mass",
    "large_weight_count",
    "id_entry_count",
    "id_entry_mean",
    "id_entry_std",
    "id_entry_mass",
    "large_id_entry_mass",
)
HISTOGRAMS = ("weight_histogram", "id_entry_histogram")
COUNTED = "convolution"

# Name in the dataset to what it is.
STATISTICS = {
    "weights": "number of weights",
    "mean": "mean of all weights",
    "standard deviation": "standard deviation of all weights",
    "mass": "sum of |w| of all weights",
    "large mass": "sum of |w| over |w| at least 0.25",
    "above 0.7": "number of weights above 0.7",
    "ID entries": "number of ID entries",
    "ID mean": "mean of the ID entries",
    "ID mass": "sum of |w| of the ID entries",
    "large ID mass": "sum of |w| over ID entries with |w| at least 0.25",
    "ID share": "ID mass beside the large mass, as printed",
    "large ID share": "share of the ID entries in the large mass",
}


@dataclass(frozen=True)
class State:
    """The weights of one network at one checkpoint.

    Attributes:
        step: of the checkpoint, -1 where unknown.
        table: of each of `STATISTICS`; NaN without any convolution.
        weights: histogram of all weights, shape (bin,).
        id_entries: histogram of the ID entries, likewise.
        bins: centres of the bins, shape (bin,).
        id_sum: sum of the ID entries of all layers, the linear ones too.
        id_count: how many these are.
        layers: names of all layers, the linear ones too.
        count: of the weights of each, shape (layer,).
        mass: sum of |w| of each, likewise.
        id_mean: mean of its ID entries, likewise; NaN if it has none.
    """

    step: int
    table: Mapping[str, float]
    weights: Integers
    id_entries: Integers
    bins: Floats
    id_sum: float
    id_count: int
    layers: tuple[str, ...]
    count: Integers
    mass: Floats
    id_mean: Floats


def state_of(step: int, values: Mapping[str, npt.NDArray[Any]], bins: Floats) -> State:
    """Add up the layers of a network.

    Args:
        step: of the checkpoint, -1 where unknown.
        values: of `LAYER_VALUES`, "layer" and "layer_kind", shape (layer,), and of `HISTOGRAMS`,
            shape (layer, bin).
        bins: centres of the bins.
    """
    counted = np.array([str(kind) == COUNTED for kind in values["layer_kind"]], dtype=bool)
    each = {name: np.asarray(values[name], np.float64)[counted] for name in LAYER_VALUES}
    everywhere = np.asarray(values["id_entry_count"], np.float64)
    means = np.asarray(values["id_entry_mean"], np.float64)
    return State(
        step=step,
        table=table(each),
        weights=np.asarray(values["weight_histogram"])[counted].sum(axis=0, dtype=np.int64),
        id_entries=np.asarray(values["id_entry_histogram"])[counted].sum(axis=0, dtype=np.int64),
        bins=bins,
        id_sum=float((everywhere * np.nan_to_num(means)).sum()),
        id_count=int(everywhere.sum()),
        layers=tuple(str(name) for name in values["layer"]),
        count=np.asarray(values["weight_count"], np.int64),
        mass=np.asarray(values["weight_mass"], np.float64),
        id_mean=means,
    )


def table(each: Mapping[str, Floats]) -> dict[str, float]:
    """Give `STATISTICS` of several layers together.

    Args:
        each: of `LAYER_VALUES`, shape (layer,).
    """
    if not each["weight_count"].sum() > 0:
        return dict.fromkeys(STATISTICS, float("nan"))
    count, ids = each["weight_count"], each["id_entry_count"]
    mean = (count * each["weight_mean"]).sum() / count.sum()
    # the spread within layers and that of their means
    spread = each["weight_std"] ** 2 + (each["weight_mean"] - mean) ** 2
    large, id_mass = each["large_weight_mass"].sum(), each["id_entry_mass"].sum()
    large_id = each["large_id_entry_mass"].sum()
    id_sum = (ids * np.nan_to_num(each["id_entry_mean"])).sum()
    found = {
        "weights": count.sum(),
        "mean": mean,
        "standard deviation": np.sqrt((count * spread).sum() / count.sum()),
        "mass": each["weight_mass"].sum(),
        "large mass": large,
        "above 0.7": each["large_weight_count"].sum(),
        "ID entries": ids.sum(),
        "ID mean": id_sum / ids.sum() if ids.sum() else np.nan,
        "ID mass": id_mass,
        "large ID mass": large_id,
        "ID share": id_mass / large if large else np.nan,
        "large ID share": large_id / large if large else np.nan,
    }
    return {name: float(found[name]) for name in STATISTICS}
