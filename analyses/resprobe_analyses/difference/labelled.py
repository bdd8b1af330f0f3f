"""Differences with names, dimensions, units and meaning, and JSON-ready."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from resprobe_analyses.difference.compared import Compared, Difference
from resprobe_analyses.estimates import Estimate, estimate_json, number_json
from resprobe_analyses.labelling import INTERVAL, Variables, strings

Floats = npt.NDArray[np.float64]


def with_differences(data: xr.Dataset, differences: Sequence[Difference]) -> xr.Dataset:
    """Add differences to the dataset of an analysis.

    Args:
        data: of the analysis; coordinates `contrast`, `block` and `layer` that it has are kept and
            extended by what they lack.
        differences: any number.

    Returns:
        The dataset with `<name>_difference`, `<name>_difference_low`, `<name>_difference_high` and
        `<name>_difference_p_holm`, dimensions (contrast, block or layer), for each quantity; with
        their mean over the items that keep their shape in `<name>_difference_mean`, `…_mean_low`
        and `…_mean_high` (contrast). NaN stands for what does not exist. A ratio is a factor, the
        first group by the second. Without differences the dataset as it is.
    """
    if not differences:
        return data
    contrasts = list(dict.fromkeys(one.label for one in differences))
    whole = _extended(data, "contrast", contrasts)
    found: Variables = {}
    for quantity in dict.fromkeys(one.quantity for one in differences):
        chosen = [one for one in differences if one.quantity == quantity]
        deepest_first = sorted(chosen, key=lambda one: -len(one.items.names))
        names = list(dict.fromkeys(name for one in deepest_first for name in one.items.names))
        whole = _extended(whole, quantity.dim, names)
        found |= _variables(whole, quantity, chosen)
    return whole.assign(found)


def differences_json(differences: Sequence[Difference]) -> list[dict[str, Any]]:
    """Give differences for a verdict, one entry for each contrast and quantity."""
    return [_json(one) for one in differences]


def _extended(data: xr.Dataset, dim: str, names: Sequence[str]) -> xr.Dataset:
    """Make sure that a dataset has a coordinate with these labels."""
    if dim not in data.coords:
        return data.assign_coords({dim: (dim, strings(names))})
    there = [str(name) for name in data[dim].values]
    missing = [name for name in names if name not in there]
    if not missing:
        return data
    empty = {
        str(name): "" if variable.dtype.kind in "UO" else np.nan
        for name, variable in data.variables.items()
    }
    return data.reindex({dim: strings([*there, *missing])}, fill_value=empty)


def _variables(data: xr.Dataset, quantity: Compared, chosen: Sequence[Difference]) -> Variables:
    rows = {str(name): place for place, name in enumerate(data["contrast"].values)}
    columns = {str(name): place for place, name in enumerate(data[quantity.dim].values)}
    tables = np.full((4, len(rows), len(columns)), np.nan)
    means = np.full((3, len(rows)), np.nan)
    for one in chosen:
        row, places = rows[one.label], [columns[name] for name in one.items.names]
        tables[:3, row, places] = _bounds(one.change)
        tables[3, row, places] = one.p_holm
        if one.mean is not None:
            means[:, row] = _bounds(one.mean)
    how = "first group by second" if quantity.ratio else "first group minus second"
    meaning = f"{quantity.name}, {how}"
    units = "1" if quantity.ratio else quantity.units
    dims, name = ("contrast", quantity.dim), f"{quantity.name}_difference"
    bounds = ("", "_low", "_high")
    said = (
        meaning,
        f"lower bound of the {INTERVAL}{meaning}",
        f"upper bound of the {INTERVAL}{meaning}",
    )
    found: Variables = {}
    for bound, table, mean, text in zip(bounds, tables, means, said, strict=False):
        told = {"units": units, "long_name": text}
        found[f"{name}{bound}"] = (dims, table, told)
        over = {"units": units, "long_name": f"{text}, mean over {quantity.dim}s of one shape"}
        found[f"{name}_mean{bound}"] = (("contrast",), mean, over)
    test = {"units": "1", "long_name": f"test of {meaning}, adjusted over {quantity.dim}s (Holm)"}
    found[f"{name}_p_holm"] = (dims, tables[3], test)
    return found


def _bounds(estimate: Estimate) -> Floats:
    return np.stack([estimate.value, estimate.low, estimate.high])


def _json(one: Difference) -> dict[str, Any]:
    names, change = one.items.names, one.change
    return {
        "quantity": one.quantity.name,
        "first": one.first,
        "second": one.second,
        "units": "1" if one.quantity.ratio else one.quantity.units,
        "ratio": one.quantity.ratio,
        "paired_seeds": list(one.seeds),
        "networks": one.networks,
        "images": one.images,
        "mean": estimate_json(one.mean),
        "images_of_mean": one.averaged_images,
        "over": change.over,
        f"changed_{one.quantity.dim}s": [names[item] for item in one.changed],
        f"{one.quantity.dim}s": [
            {
                one.quantity.dim: name,
                "difference": number_json(change.value[item]),
                "interval": [number_json(change.low[item]), number_json(change.high[item])],
                "p_holm": number_json(one.p_holm[item]),
            }
            for item, name in enumerate(names)
        ],
    }
