"""The numbers of the networks with more and more blocks dropped, with names and meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from resprobe_analyses.labelling import INTERVAL, Variables, attributes, number, strings
from resprobe_analyses.lesion.greedy import (
    ALLOWED_LOSSES,
    BROKEN,
    KEPT,
    OPEN,
    Greedy,
    dropped,
    recurrence,
)

_PROMISES = (BROKEN, OPEN, KEPT)
_DROPS, _ADVICE = ("network", "drop"), ("network", "allowed_loss")


def with_greedy(data: xr.Dataset, found: Sequence[Greedy]) -> xr.Dataset:
    """Add the blocks that can be dropped to the dataset of the analysis, where there are any.

    Args:
        data: of the single lesions.
        found: networks with dropped blocks.

    Returns:
        The dataset with the dimensions `drop` (how many blocks are dropped, from 0) and
        `allowed_loss`; NaN, -1 and "" stand for what a network has not.
    """
    if not found:
        return data
    labels = [str(label) for label in data["network"].values]
    by_label = {one.label: one for one in found}
    networks = [by_label.get(label) for label in labels]
    length = 1 + max(one.order.size for one in found)
    allowed = ("allowed_loss", np.asarray(ALLOWED_LOSSES), attributes("allowed loss of accuracy"))
    drops = ("drop", np.arange(length), attributes("number of blocks dropped"))
    variables = _by_drop(networks, length) | _by_advice(networks, data.sizes["block"])
    groups = [str(label) for label in data["group"].values]
    counts = np.zeros((len(groups), len(ALLOWED_LOSSES), data.sizes["block"]), np.int64)
    for place, group in enumerate(groups):
        if any(one.group == group for one in found):
            counts[place] = recurrence(found, group)
    variables["group_greedy_times_dropped"] = number(
        ("group", "allowed_loss", "block"), counts, "networks that can do without the block"
    )
    return data.assign(variables).assign_coords(drop=drops, allowed_loss=allowed)


def _by_drop(networks: Sequence[Greedy | None], length: int) -> Variables:
    def padded(take: Any, missing: Any = np.nan) -> npt.NDArray[Any]:
        """Fill up what a network gives by drop to the longest."""
        rows = [np.asarray([]) if one is None else np.asarray(take(one)) for one in networks]
        filled = np.full((len(rows), length), missing, dtype=np.asarray(missing).dtype)
        for row, given in zip(filled, rows, strict=True):
            row[: given.size] = given
        return filled

    names = np.full((len(networks), length), "", dtype=object)
    for row, one in zip(names, networks, strict=True):
        if one is not None:
            row[1 : 1 + len(one.names)] = one.names
    bounds = [padded(lambda one, side=side: getattr(one.test_increase, side)) for side in _SIDES]
    increase = "test error without the blocks minus with them, on images that chose no block"
    return {
        "greedy_block": (_DROPS, strings(names), {"long_name": "block that is dropped last"}),
        "greedy_validation_error": number(
            _DROPS, padded(lambda one: one.validation_error), "error on the images that chose"
        ),
        "greedy_test_error": number(
            _DROPS, padded(lambda one: one.test_error), "error on images that chose no block"
        ),
        "greedy_test_error_increase": number(
            _DROPS, padded(lambda one: one.test_increase.value), increase
        ),
        "greedy_test_error_increase_interval": number(
            (*_DROPS, "bound"), np.stack(bounds, axis=-1), INTERVAL + increase
        ),
        "greedy_parameters_saved": number(
            _DROPS, padded(lambda one: one.parameters, -1), "parameters saved"
        ),
        "greedy_flops_saved": number(
            _DROPS, padded(lambda one: one.flops, -1), "FLOPs of one sample saved"
        ),
        **{
            f"greedy_{name}": number(
                ("network",), [-1 if one is None else getattr(one, name) for one in networks], text
            )
            for name, text in _TOTALS.items()
        },
    }


_SIDES = ("low", "high")
_TOTALS = {
    "validation_images": "images that chose the blocks",
    "test_images": "images that chose no block",
    "model_parameters": "parameters of the whole network",
    "model_flops": "FLOPs of one sample through the whole network, a multiply-add as 2",
}


def _by_advice(networks: Sequence[Greedy | None], blocks: int) -> Variables:
    none = len(ALLOWED_LOSSES)
    drops = [[-1] * none if n is None else [a.drops for a in n.advice] for n in networks]
    promise = [
        [-1] * none if n is None else [_PROMISES.index(a.promise) for a in n.advice]
        for n in networks
    ]
    inside = [np.full((none, blocks), -1) if n is None else dropped(n) for n in networks]
    return {
        "advised_drops": number(_ADVICE, drops, "blocks that can be dropped within allowed_loss"),
        "advised_dropped": (
            (*_ADVICE, "block"),
            np.asarray(inside).astype(np.int8),
            {
                "long_name": "whether the block is one of them",
                "flag_values": np.array([-1, 0, 1], np.int8),
                "flag_meanings": "not_measured no yes",
            },
        ),
        "advised_promise": (
            _ADVICE,
            np.asarray(promise).astype(np.int8),
            {
                "long_name": "whether the test error's interval lies above, across or below "
                "allowed_loss",
                "flag_values": np.array([-1, 0, 1, 2], np.int8),
                "flag_meanings": " ".join(("not_measured", *_PROMISES)),
            },
        ),
    }
