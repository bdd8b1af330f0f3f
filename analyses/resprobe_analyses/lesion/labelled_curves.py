"""The numbers over several blocks with names, dimensions, units and meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from resprobe_analyses.estimates import Estimate
from resprobe_analyses.labelling import INTERVAL, Variables, attributes, number, strings
from resprobe_analyses.lesion.curves import Curve, Curves, Shuffle
from resprobe_analyses.lesion.labelled import Key

Floats = npt.NDArray[np.float64]


def with_curves(data: xr.Dataset, found: Curves) -> xr.Dataset:
    """Add the curves over several blocks to the dataset of the analysis, where there are any.

    Args:
        data: of the single lesions.
        found: the curves.

    Returns:
        The dataset with the dimensions `curve` and `level` (blocks dropped at once), and
        `shuffle`, `shuffle_level` and `trial`; levels that a curve lacks are NaN.
    """
    if found.multi:
        data = data.merge(_multi(found.multi))
    if found.shuffle:
        data = data.merge(_shuffle(found.shuffle))
    return data


def _multi(found: Sequence[Curve]) -> xr.Dataset:
    levels = max(curve.sweep.level.size for curve in found)
    dims = ("curve", "level")
    variables: Variables = {
        "multi_trials": number(
            dims, [_padded(c.trials, levels, 0) for c in found], "random sets of so many blocks"
        ),
        "multi_images": number(("curve",), [c.sweep.images for c in found], "test images"),
        "multi_test_error": number(
            ("curve",), [c.test_error.value for c in found], "test error, no block dropped"
        ),
        "multi_error_increase_range": number(
            (*dims, "bound"),
            [_pair(_padded(c.lowest, levels), _padded(c.highest, levels)) for c in found],
            "lowest and highest error increase by a single set",
        ),
    }
    names = {
        "increase": ("multi_error_increase", "test error without the blocks minus with them"),
        "single_sum": ("multi_single_sum", "sum of the error increases of the single lesions"),
        "excess": ("multi_excess", "error increase minus the sum of the single lesions'"),
    }
    for field, (name, meaning) in names.items():
        _put(
            variables,
            Key(dims, name, f"{meaning}, mean over the sets"),
            [getattr(c, field) for c in found],
            levels,
        )
    coordinates = _coordinates("curve", [(c.group.group.label, c.sweep.batch_norm) for c in found])
    coordinates["curve_kind"] = (
        "curve",
        strings([c.kind for c in found]),
        {"long_name": "which sets: without or with a block that changes the shape"},
    )
    coordinates["level"] = (
        "level",
        np.arange(1, levels + 1),
        attributes("number of blocks dropped at once"),
    )
    return xr.Dataset(variables, coords=coordinates)


def _shuffle(found: Sequence[Shuffle]) -> xr.Dataset:
    widest = max(found, key=lambda one: one.swaps.size)
    levels, trials = widest.swaps.size, max(one.by_order.shape[1] for one in found)
    dims, order = ("shuffle", "shuffle_level"), ("shuffle", "shuffle_level", "trial")
    distances = {
        "kendall_tau_distance": "all pairs",
        "kendall_tau_distance_possible": "pairs that the swaps can turn",
    }
    variables: Variables = {
        "shuffle_trials": number(
            dims, [_padded(one.trials, levels, 0) for one in found], "random orders of the level"
        ),
        "shuffle_images": number(("shuffle",), [one.sweep.images for one in found], "test images"),
        "shuffle_test_error": number(
            ("shuffle",), [one.test_error.value for one in found], "test error, no block moved"
        ),
        "shuffle_error_increase_range": number(
            (*dims, "bound"),
            [_pair(_padded(one.lowest, levels), _padded(one.highest, levels)) for one in found],
            "lowest and highest error increase by a single order",
        ),
        "shuffle_error_increase_by_order": number(
            order,
            [_grid(one.by_order, levels, trials) for one in found],
            "test error with the blocks in that order minus in their own",
        ),
        "shuffle_rank_correlation": number(
            ("shuffle",),
            [one.distance.value for one in found],
            "rank correlation of error increase and Kendall's tau distance over different orders",
        ),
    }
    for name, meaning in distances.items():
        variables[f"shuffle_{name}"] = number(
            order,
            [_grid(np.asarray(one.sweep.said[name], np.float64), levels, trials) for one in found],
            f"share of {meaning} of blocks that run the other way round",
        )
    _put(
        variables,
        Key(
            dims,
            "shuffle_error_increase",
            "test error with the blocks in another order minus in their own, mean over the orders",
        ),
        [one.increase for one in found],
        levels,
    )
    _put(
        variables,
        Key(
            ("shuffle",),
            "shuffle_first_minus_last_stage",
            "error increase by one swap in the first shuffled stage minus in the last",
        ),
        [one.first_minus_last for one in found],
        None,
    )
    coordinates = _coordinates(
        "shuffle", [(one.group.group.label, one.sweep.batch_norm) for one in found]
    )
    coordinates["swaps"] = (
        "shuffle_level",
        widest.swaps,
        attributes("swaps of two blocks, one after the other"),
    )
    coordinates["shuffled_stage"] = (
        "shuffle_level",
        widest.stage,
        attributes("stage whose blocks are moved, -1 for all"),
    )
    return xr.Dataset(variables, coords=coordinates)


def _coordinates(dim: str, of: Sequence[tuple[str, str]]) -> dict[str, Any]:
    groups, batch_norms = zip(*of, strict=True)
    return {
        f"{dim}_group": (dim, strings(groups), {"long_name": "group of the networks"}),
        f"{dim}_batch_norm": (
            dim,
            strings(batch_norms),
            {"long_name": "statistics of BatchNorm"},
        ),
    }


def _put(
    into: Variables, key: Key, estimates: Sequence[Estimate | None], levels: int | None
) -> None:
    missing = np.full(() if levels is None else (levels,), np.nan)
    table = [
        [missing] * 3
        if one is None
        else [
            bound if levels is None else _padded(bound, levels)
            for bound in (one.value, one.low, one.high)
        ]
        for one in estimates
    ]
    into[key.name] = number(key.dims, [row[0] for row in table], key.long_name)
    into[f"{key.name}_interval"] = number(
        (*key.dims, "bound"), [_pair(row[1], row[2]) for row in table], INTERVAL + key.long_name
    )


def _pair(low: npt.NDArray[Any], high: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.stack([low, high], axis=-1)


def _padded(values: npt.NDArray[Any], size: int, fill: float = np.nan) -> npt.NDArray[Any]:
    return np.concatenate([values, np.full(size - values.size, fill, values.dtype)])


def _grid(values: Floats, levels: int, trials: int) -> Floats:
    padded = np.full((levels, trials), np.nan)
    padded[: values.shape[0], : values.shape[1]] = values
    return padded
