"""The numbers of the analysis with names, dimensions, units and meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from resprobe_analyses.estimates import LEVEL
from resprobe_analyses.labelling import INTERVAL, Variables, attributes, number, strings
from resprobe_analyses.spans.effects import TOLERANCE, Effect, NetworkEffect
from resprobe_analyses.spans.rankings import PREDICTORS

CELL = ("network", "block", "length")


def dataset(found: Sequence[Effect]) -> xr.Dataset:
    """Give every number of the analysis as one labelled dataset.

    Args:
        found: the effects of one group or two.

    Returns:
        Dataset with dimensions `network`, `block`, `length`, `predictor`, `bound` and, where a
        network is interpretable, `choice`. NaN stands where a span passes the end. Of two groups
        what is chosen and the means have the dimension `group`, too, and each network has its
        `network_group`.
    """
    parts = [_dataset(one) for one in found]
    if len(parts) == 1:
        return parts[0]
    own = [str(name) for name, data in parts[0].data_vars.items() if "network" in data.dims]
    networks = xr.concat([part[own] for part in parts], "network", coords="minimal", join="outer")
    labels = [one.group.label for one in found for _ in one.members]
    chosen = [part.drop_vars(own).drop_dims("network") for part in parts]
    groups = xr.concat(
        chosen, "group", data_vars="all", join="outer", fill_value={"chosen_block": -1}
    )
    return xr.merge([networks, groups]).assign_coords(
        group=("group", strings([one.group.label for one in found])),
        network_group=("network", strings(labels), {"long_name": "group of the network"}),
    )


def _dataset(found: Effect) -> xr.Dataset:
    variables = _network_variables(found.members) | _angle_variables(found)
    variables["span_transition"] = (
        ("block", "length"),
        found.transition.astype(np.int8),
        _flag("span holds a block that changes the shape"),
    )
    variables["mean_error_increase"] = number(
        ("block", "length"),
        found.increase,
        "test error without the span minus with it, mean over networks",
    )
    coordinates = _coordinates(found)
    if found.choices:
        variables |= _choice_variables(found)
        coordinates["choice"] = ("choice", strings([one.name for one in found.choices]))
    return xr.Dataset(
        variables,
        coords=coordinates,
        attrs={
            "analysis": "spans",
            "choosing_images": found.choosing_images,
            "measuring_images": found.measuring_images,
            "level": LEVEL,
            "tolerance": TOLERANCE,
        },
    )


def _coordinates(found: Effect) -> dict[str, Any]:
    layout, nets = found.layout, found.group.networks
    blocks = layout.stage.size
    seeds = [-1 if net.seed is None else net.seed for net in nets]
    steps = [-1 if net.step is None else net.step for net in nets]
    return {
        "network": ("network", strings([net.label for net in nets])),
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
        "block": ("block", strings(nets[0].names), {"long_name": "first block of the span"}),
        "stage": ("block", layout.stage, attributes("stage of the block")),
        "index": ("block", layout.index, attributes("position in the network")),
        "transition": (
            "block",
            layout.transition.astype(np.int8),
            _flag("block changes the shape"),
        ),
        "length": (
            "length",
            np.arange(1, blocks + 1, dtype=np.int64),
            attributes("number of blocks of the span"),
        ),
        "predictor": ("predictor", strings(PREDICTORS)),
        "bound": ("bound", strings(["low", "high"])),
    }


def _network_variables(members: Sequence[NetworkEffect]) -> Variables:
    one = ("network",)
    increases = [member.increase for member in members]
    errors = [member.test_error for member in members]
    meaning = "test error without the span minus with it"
    return {
        "test_error": number(one, [e.value for e in errors], "test error, whole network"),
        "test_error_interval": number(
            (*one, "bound"), [(e.low, e.high) for e in errors], f"{INTERVAL}the test error"
        ),
        "chance_error": number(one, [m.chance_error for m in members], "test error of chance"),
        "interpretable": (
            one,
            np.array([member.interpretable for member in members], dtype=np.int8),
            _flag("test error at most half of chance_error"),
        ),
        "error_increase": number(CELL, [e.value for e in increases], meaning),
        "error_increase_interval": number(
            (*CELL, "bound"),
            [np.stack([e.low, e.high], axis=-1) for e in increases],
            f"{INTERVAL}the {meaning}, each span taken alone",
        ),
        "loss_increase": (
            CELL,
            np.asarray([member.network.loss_increase for member in members]),
            {"units": "nat", "long_name": "mean test loss without the span minus with it"},
        ),
    }


def _choice_variables(found: Effect) -> Variables:
    dims = ("choice", "length")
    measured = [choice.measured_on for choice in found.choices]
    rise = "rise of the test error by the lesion of the chosen span"
    return {
        "chosen_block": (
            dims,
            np.stack([choice.first for choice in found.choices]),
            attributes("position of the first block of the chosen span, -1 where there is none"),
        ),
        "chosen_on": number(
            dims,
            [choice.chosen_on for choice in found.choices],
            f"{rise}, on the images that choose the least harmful ones",
        ),
        "measured_on": number(dims, [one.value for one in measured], f"{rise}, on the others"),
        "measured_on_interval": number(
            (*dims, "bound"),
            [np.stack([one.low, one.high], axis=-1) for one in measured],
            f"{INTERVAL}the {rise}, over the images that do not choose",
        ),
    }


def _angle_variables(found: Effect) -> Variables:
    blocks = found.layout.stage.size
    nets = [member.network for member in found.members]
    no_blocks, no_spans = np.full(blocks, np.nan), np.full((blocks, blocks), np.nan)
    influence = [no_blocks if net.influence is None else net.influence for net in nets]
    distance = [no_spans if net.distance is None else net.distance for net in nets]
    table = [[member.correlations.get(name) for name in PREDICTORS] for member in found.members]
    dims = ("network", "predictor")
    name = "rank correlation with error_increase of single blocks, within stages"
    nan = float("nan")
    return {
        "block_influence": number(
            ("network", "block"), influence, "1 - cos(x, x_out), mean over positions and samples"
        ),
        "mean_angular_distance": number(
            CELL, distance, "arccos(cos)/pi between both ends of the span, mean over samples"
        ),
        "rank_correlation": number(dims, [[c.value if c else nan for c in r] for r in table], name),
        "rank_correlation_interval": number(
            (*dims, "bound"),
            [[(c.low, c.high) if c else (nan, nan) for c in row] for row in table],
            f"{INTERVAL}the {name}, over blocks",
        ),
        "rank_correlation_p": number(
            dims,
            [[c.p_value if c else nan for c in row] for row in table],
            f"permutation test of the {name}",
        ),
        "span_rank_correlation": number(
            ("network", "length"),
            [member.span_correlations for member in found.members],
            "rank correlation of mean_angular_distance with error_increase over overlapping spans",
        ),
    }


def _flag(long_name: str) -> dict[str, Any]:
    return {
        "flag_values": np.array([0, 1], dtype=np.int8),
        "flag_meanings": "no yes",
        "long_name": long_name,
    }
