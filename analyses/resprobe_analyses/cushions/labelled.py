"""The numbers of the analysis with names, dimensions, units and meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from resprobe_analyses.cushions.effects import (
    NORMS,
    QUANTILES,
    Comparison,
    Effect,
    NetworkEffect,
)
from resprobe_analyses.cushions.networks import MODES
from resprobe_analyses.difference import with_differences
from resprobe_analyses.estimates import LEVEL
from resprobe_analyses.labelling import INTERVAL, Variables, attributes, number, strings

_DELTA = "Cliff's delta over images of the first group over the second"


def dataset(found: Effect) -> xr.Dataset:
    """Give every number of the analysis as one labelled dataset.

    Args:
        found: the effect of one group or two.

    Returns:
        Dataset with dimensions `network`, `layer`, `norm`, `quantile`; with interlayer cushions
        `block`, `length` and `mode`, with two groups `pair` and `bound`, of one architecture
        `contrast`. Networks with fewer layers or blocks are filled up with NaN and "".
    """
    members = found.all_members
    variables = _layer_variables(members)
    coordinates: dict[str, Any] = {
        **network_coordinates(found),
        "norm": ("norm", strings([f"ID entries {norm}" for norm in NORMS])),
        "quantile": ("quantile", np.array(QUANTILES), attributes("share of images below")),
    }
    if any(member.interlayer for member in members):
        variables |= _span_variables(members)
        coordinates["mode"] = ("mode", strings(MODES), {"long_name": "mode of BatchNorm"})
    if found.layers or found.spans:
        variables |= _comparisons(found)
        coordinates["bound"] = ("bound", strings(["low", "high"]))
    data = xr.Dataset(
        variables,
        coords=coordinates,
        attrs={"analysis": "cushions", "images": found.images, "level": LEVEL},
    )
    return with_differences(data, found.differences)


def network_coordinates(found: Effect) -> dict[str, Any]:
    """Give the coordinates of the dimension `network`: label, group, seed and step."""
    nets = [member.network for member in found.all_members]
    groups = [group.label for group in found.groups for _ in group.networks]
    seeds = [-1 if net.seed is None else net.seed for net in nets]
    steps = [-1 if net.step is None else net.step for net in nets]
    return {
        "network": ("network", strings([net.label for net in nets])),
        "group": ("network", strings(groups)),
        "seed": (
            "network",
            np.array(seeds, np.int64),
            attributes("seed of the training, -1 where unknown"),
        ),
        "step": (
            "network",
            np.array(steps, np.int64),
            attributes("training step of the checkpoint, -1 where unknown"),
        ),
    }


def layer_names(members: Sequence[NetworkEffect]) -> Variables:
    """Give the names of the layers, and whether a skip counts as a part of each."""
    nets = [member.network for member in members]
    names = filled([strings(net.layers) for net in nets], "")
    return {
        "layer_name": (("network", "layer"), names, {"long_name": "module that ran"}),
        "layer_with_skip": (
            ("network", "layer"),
            filled([net.with_skip.astype(np.int8) for net in nets], np.int8(0)),
            {
                **attributes("whether a skip counts as a part of the layer"),
                "flag_values": np.array([0, 1], np.int8),
                "flag_meanings": "no yes",
            },
        ),
    }


def _layer_variables(members: Sequence[NetworkEffect]) -> Variables:
    cushions = [np.stack([member.kept, member.removed], axis=1) for member in members]
    return layer_names(members) | {
        "layer_cushion": number(
            ("network", "layer", "norm", "quantile"),
            filled(cushions),
            "quantiles over images of the layer cushion",
        ),
        "layer_norm_by_weight_norm": number(
            ("network", "layer"),
            filled([member.network.by_weight for member in members]),
            "norm of the layer as a map beside that of its weight, by which a cushion with the "
            "latter is larger",
        ),
    }


def _span_variables(members: Sequence[NetworkEffect]) -> Variables:
    known = [member.network.interlayer for member in members]
    names = filled([strings([] if one is None else one.blocks) for one in known], "")
    empty = np.empty((0, 0, len(MODES), len(QUANTILES)))
    spans = [
        np.stack([member.interlayer[mode] for mode in MODES], axis=2)
        if member.interlayer
        else empty
        for member in members
    ]
    values = filled(spans)
    return {
        "block_name": (("network", "block"), names, {"long_name": "first block of the span"}),
        "interlayer_cushion": number(
            ("network", "block", "length", "mode", "quantile"),
            values,
            "quantiles over images of the interlayer cushion of the span",
        ),
        "interlayer_relative_error": number(
            ("network",),
            [member.relative_error for member in members],
            "largest standard error of an interlayer cushion beside it, mode eval",
        ),
    }


def _comparisons(found: Effect) -> Variables:
    variables: Variables = {}
    if found.layers:
        variables |= _stacked("layer", "norm", [found.layers[norm] for norm in NORMS])
    if found.spans:
        shape = next(iter(found.spans.values())).pairs.shape
        nan = np.full(shape, np.nan)
        pairs = [found.spans[m].pairs if m in found.spans else nan for m in MODES]
        variables["block_delta"] = number(
            ("mode", "pair", "block"), pairs, f"{_DELTA}, interlayer cushions of single blocks"
        )
    return variables


def _stacked(item: str, kind: str, compared: Sequence[Comparison]) -> Variables:
    return {
        f"{item}_delta": number(
            (kind, "pair", item), [one.pairs for one in compared], f"{_DELTA}, layer cushions"
        ),
        f"{item}_delta_interval": number(
            (kind, item, "bound"),
            [np.stack([one.mean.low, one.mean.high], axis=-1) for one in compared],
            f"{INTERVAL}its mean over pairs of one seed, each layer taken alone",
        ),
    }


def filled(arrays: Sequence[npt.NDArray[Any]], blank: Any = np.nan) -> npt.NDArray[Any]:
    """Stack arrays of one number of axes, the smaller ones filled up at the end.

    Args:
        arrays: of any shapes.
        blank: what they are filled with.

    Returns:
        One more axis, in front.
    """
    shape = tuple(np.max([array.shape for array in arrays], axis=0))
    dtype = np.result_type(*(array.dtype for array in arrays))
    stacked = np.full((len(arrays), *shape), blank, dtype=dtype)
    for own, array in zip(stacked, arrays, strict=True):
        own[tuple(slice(size) for size in array.shape)] = array
    return stacked
