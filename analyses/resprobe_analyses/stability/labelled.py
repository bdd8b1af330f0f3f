"""The numbers of the analysis with names, dimensions, units and meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from resprobe_analyses.difference import Difference, with_differences
from resprobe_analyses.estimates import LEVEL, Estimate
from resprobe_analyses.labelling import INTERVAL, Variables, attributes, number, strings
from resprobe_analyses.stability.conditions import CONDITIONS, jacobian_share, tallies
from resprobe_analyses.stability.families import MEANINGS, PARTS
from resprobe_analyses.stability.labelled_parts import (
    eigenvalue_variables,
    exponent_variables,
    padded,
    training_variables,
)
from resprobe_analyses.stability.records import Group, Network
from resprobe_analyses.stability.spread import SPREAD_TEXT, cells, spread_of
from resprobe_analyses.stability.stages import MEASURES, Contrast, stage_estimate, stages_of

Floats = npt.NDArray[np.float64]


def dataset(
    groups: Sequence[Group], contrasts: Sequence[Contrast], by_block: Sequence[Difference]
) -> xr.Dataset:
    """Give every number of the analysis as one labelled dataset.

    Args:
        groups: all that were read.
        contrasts: of every two groups.
        by_block: the same block by block, of groups of one architecture.

    Returns:
        Dataset with dimensions `network`, `group`, `position` (of a block; NaN past a network's
        end), `part`, `condition`, `stage`, `measure` and `bound`; where measured `spectrum_image`,
        `eigenvalue`, `exponent` and `step`; with several groups `contrast`, of one architecture
        `compared_groups` and `compared_block`. NaN stands for what does not exist, such as
        eigenvalues of a block that is not square.
    """
    nets = [net for group in groups for net in group.networks]
    positions = max(len(net.names) for net in nets)
    stages = sorted({stage for group in groups for stage in stages_of(group.first)})
    variables = _network_variables(groups, nets, positions)
    variables |= _spreads(nets, positions) | _condition_variables(nets, positions)
    variables |= eigenvalue_variables(nets, positions) | exponent_variables(nets, positions)
    variables |= _group_variables(groups, stages)
    found, steps = training_variables(nets, positions)
    variables |= found
    coordinates = _coordinates(groups, nets, positions, stages)
    if steps:
        coordinates["step"] = ("step", np.array(steps, np.int64), attributes("training step"))
    if contrasts:
        variables |= _contrast_variables(contrasts)
    data = xr.Dataset(
        variables,
        coords=coordinates,
        attrs={"analysis": "stability", "images": nets[0].classes.size, "level": LEVEL},
    )
    return _with_differences(data, by_block)


def _with_differences(data: xr.Dataset, by_block: Sequence[Difference]) -> xr.Dataset:
    """Add differences by block, on dimensions of their own: `contrast` has a row for each stage."""
    if not by_block:
        return data
    found = with_differences(xr.Dataset(), by_block)
    found = found.rename(contrast="compared_groups", block="compared_block")
    return data.assign_coords(found.coords).assign(found.data_vars)


def _coordinates(
    groups: Sequence[Group], nets: Sequence[Network], positions: int, stages: Sequence[int]
) -> dict[str, Any]:
    return {
        "network": ("network", strings([net.label for net in nets])),
        "group": ("group", strings([group.label for group in groups])),
        "position": ("position", np.arange(positions), attributes("position of the block")),
        "part": ("part", strings(PARTS)),
        "condition": ("condition", strings(list(CONDITIONS))),
        "stage": ("stage", np.array(stages, np.int64), attributes("stage of the blocks")),
        "measure": ("measure", strings(list(MEASURES))),
        "bound": ("bound", strings(["low", "high"])),
    }


def _network_variables(
    groups: Sequence[Group], nets: Sequence[Network], positions: int
) -> Variables:
    one, each = ("network",), ("network", "position")
    member = [group.label for group in groups for _ in group.networks]
    names = [list(net.names) + [""] * (positions - len(net.names)) for net in nets]
    return {
        "network_group": (one, strings(member), {"long_name": "group of the network"}),
        "network_seed": number(
            one,
            [-1 if net.seed is None else net.seed for net in nets],
            "seed of the training, -1 where unknown",
        ),
        "network_step": number(
            one,
            [-1 if net.step is None else net.step for net in nets],
            "training step of the checkpoint, -1 where unknown",
        ),
        "block": (each, strings(names), {"long_name": "name of the block, empty past the end"}),
        "block_stage": number(
            each, padded([net.layout.stage for net in nets], positions), "stage of the block"
        ),
        "transition": number(
            each,
            padded([net.layout.transition for net in nets], positions),
            "whether the block changes the shape",
        ),
        "identity_skip": number(
            each,
            padded([net.identity for net in nets], positions),
            "whether the block adds its branch to its unchanged input",
        ),
    }


def _spreads(nets: Sequence[Network], positions: int) -> Variables:
    dims = ("network", "position", "part")
    found: Variables = {}
    for name, meaning in MEANINGS.items():
        rows = [cells(net, name) for net in nets]
        spreads = [None if row is None else spread_of([row]) for row in rows]
        found[name] = number(
            dims,
            padded([None if s is None else s.middle for s in spreads], positions, (2,)),
            f"{meaning}, median over images",
        )
        found[f"{name}_spread"] = number(
            (*dims, "bound"),
            padded(
                [None if s is None else np.stack([s.low, s.high], axis=-1) for s in spreads],
                positions,
                (2, 2),
            ),
            f"{meaning}, bounds of the middle {SPREAD_TEXT} of images",
        )
    return found


def _condition_variables(nets: Sequence[Network], positions: int) -> Variables:
    dims = ("network", "position", "condition")
    counted = [tallies(net) for net in nets]
    told = "; ".join(f"{name}: {meaning}" for name, meaning in CONDITIONS.items())

    def column(what: str) -> Floats:
        return np.stack(
            [
                padded([getattr(t[name], what) if name in t else None for t in counted], positions)
                for name in CONDITIONS
            ],
            axis=-1,
        )

    return {
        "images_holding": number(dims, column("holds"), f"images on which it holds ({told})"),
        "images_violating": number(dims, column("violated"), "images on which it is violated"),
        "images_undecided": number(
            dims, column("undecided"), "images on which the error covers the limit"
        ),
        "share_holding": number(dims, column("share"), "share of images on which it holds"),
        "share_holding_interval": number(
            (*dims, "bound"),
            np.stack([column("low"), column("high")], axis=-1),
            f"exact {INTERVAL}the share of images on which it holds, undecided ones either way",
        ),
    }


def _group_variables(groups: Sequence[Group], stages: Sequence[int]) -> Variables:
    dims = ("group", "stage", "measure")
    missing = np.full((len(groups), len(stages), len(MEASURES), 3), np.nan)
    for row, group in enumerate(groups):
        for column, stage in enumerate(stages):
            if stage in stages_of(group.first):
                missing[row, column] = [
                    _triple(stage_estimate(group, measure, stage)) for measure in MEASURES
                ]
    told = "; ".join(f"{name}: {meaning}" for name, meaning in MEASURES.items())
    shares = [[_triple(jacobian_share(group, name)) for name in CONDITIONS] for group in groups]
    return {
        "stage_value": number(dims, missing[..., 0], f"mean over images and networks ({told})"),
        "jacobians_holding": number(
            ("group", "condition"),
            np.array(shares)[..., 0],
            "share of a network's Jacobians on which the condition holds, mean over networks",
        ),
        "jacobians_holding_interval": number(
            ("group", "condition", "bound"),
            np.array(shares)[..., 1:],
            f"{INTERVAL}jacobians_holding, over seeds from five on",
        ),
        "stage_interval": number(
            (*dims, "bound"),
            missing[..., 1:],
            f"{INTERVAL}stage_value, over images for one network, over seeds from five on",
        ),
    }


def _contrast_variables(contrasts: Sequence[Contrast]) -> Variables:
    dims = ("contrast",)
    triples = np.array([_triple(one.difference) for one in contrasts])

    def texts(what: str, long_name: str) -> tuple[tuple[str, ...], Any, dict[str, Any]]:
        return dims, strings([getattr(one, what) for one in contrasts]), {"long_name": long_name}

    return {
        "contrast_group": texts("group", "group of the contrast"),
        "contrast_base": texts("base", "group that is subtracted"),
        "contrast_measure": texts("measure", "measure that is compared"),
        "contrast_paired": texts("paired", "what pairs the values, empty where nothing does"),
        "contrast_stage": number(dims, [one.stage for one in contrasts], "stage of both"),
        "difference": number(dims, triples[:, 0], "stage_value of the group minus the base's"),
        "difference_interval": number(
            (*dims, "bound"), triples[:, 1:], f"{INTERVAL}the difference, each taken alone"
        ),
    }


def _triple(estimate: Estimate | None) -> tuple[float, float, float]:
    if estimate is None:
        return (float("nan"),) * 3
    return float(estimate.value), float(estimate.low), float(estimate.high)
