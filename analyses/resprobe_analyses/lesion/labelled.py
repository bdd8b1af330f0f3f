"""The numbers of the analysis with names, dimensions, units and meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from resprobe_analyses.difference import Difference, with_differences
from resprobe_analyses.estimates import LEVEL, Estimate
from resprobe_analyses.labelling import INTERVAL, Variables, attributes, number, strings
from resprobe_analyses.lesion.contrasts import Contrast
from resprobe_analyses.lesion.effects import PREDICTORS, GroupEffect, NetworkEffect


class Key(NamedTuple):
    """Dimensions, name and meaning of an estimate; its interval gets `_interval` and `bound`."""

    dims: tuple[str, ...]
    name: str
    long_name: str


def dataset(
    groups: Sequence[GroupEffect], compared: Sequence[Contrast], differences: Sequence[Difference]
) -> xr.Dataset:
    """Give every number of the single lesions as one labelled dataset.

    Args:
        groups: effects by group.
        compared: plain groups beside residual ones.
        differences: groups of one kind beside each other.

    Returns:
        Dataset with dimensions `network`, `block`, `predictor`, `bound`, `group` and, with at
        least two groups to compare, `contrast`. Numbers have `units` and `long_name`; no variable
        holds Python objects, so that `to_netcdf(engine="h5netcdf")` writes it.
    """
    members = [member for group in groups for member in group.members]
    variables = _network_variables(members) | _ranking_variables(members)
    variables |= _group_variables(groups)
    coordinates = _coordinates(groups, members)
    if compared:
        variables |= _contrast_variables(compared)
        coordinates["contrast"] = ("contrast", strings([one.label for one in compared]))
    data = xr.Dataset(
        variables,
        coords=coordinates,
        attrs={
            "analysis": "lesion",
            "images": int(members[0].network.whole_wrong.size),
            "ratio_images": int(members[0].network.ratio.shape[0]),
            "level": LEVEL,
        },
    )
    return with_differences(data, differences)


def _coordinates(groups: Sequence[GroupEffect], members: Sequence[NetworkEffect]) -> dict[str, Any]:
    layout, nets = groups[0].layout, [member.network for member in members]
    # a plain network may name its units otherwise; `block_name` holds each network's own names
    named = next((net for net in nets if not net.plain), nets[0])
    flag = {"flag_values": np.array([0, 1], dtype=np.int8), "long_name": "block changes the shape"}
    flag["flag_meanings"] = "no yes"
    group_of = [group.group.label for group in groups for _ in group.members]
    return {
        "network": ("network", strings([net.label for net in nets])),
        "network_group": ("network", strings(group_of), {"long_name": "group of the network"}),
        "seed": (
            "network",
            np.array([-1 if net.seed is None else net.seed for net in nets], dtype=np.int64),
            attributes("seed of the training, -1 where unknown"),
        ),
        "step": (
            "network",
            np.array([-1 if net.step is None else net.step for net in nets], dtype=np.int64),
            attributes("training step of the checkpoint, -1 where unknown"),
        ),
        "group": ("group", strings([group.group.label for group in groups])),
        "block": ("block", strings(named.names)),
        "stage": ("block", layout.stage, attributes("stage of the block")),
        "index": ("block", layout.index, attributes("position in the network")),
        "index_in_stage": ("block", layout.index_in_stage, attributes("position in the stage")),
        "transition": ("block", layout.transition.astype(np.int8), flag),
        "predictor": ("predictor", strings(PREDICTORS)),
        "bound": ("bound", strings(["low", "high"])),
    }


def _network_variables(members: Sequence[NetworkEffect]) -> Variables:
    nets, block, one = [member.network for member in members], ("network", "block"), ("network",)
    found: Variables = {
        "chance_error": number(one, [m.chance_error for m in members], "test error of chance"),
        "interpretable": (
            one,
            np.array([m.interpretable for m in members], dtype=np.int8),
            {
                "flag_values": np.array([0, 1], dtype=np.int8),
                "flag_meanings": "no yes",
                "long_name": "test error at most half of chance_error",
            },
        ),
        "block_name": (block, strings([net.names for net in nets]), {"long_name": "block"}),
        "skip": (block, strings([net.skips for net in nets]), {"long_name": "kind of skip"}),
        "images_gained": number(block, [m.gained for m in members], "images wrong by the lesion"),
        "images_lost": number(block, [m.lost for m in members], "images right by the lesion"),
        "lesion_error": number(
            block,
            [net.lesion_wrong.mean(axis=0) for net in nets],
            "test error without the branch of the block",
        ),
        "mcnemar_p": number(block, [m.p_value for m in members], "McNemar's exact test"),
        "mcnemar_p_holm": number(
            block, [m.p_holm for m in members], "McNemar's exact test, adjusted over blocks (Holm)"
        ),
        "weight_norm": number(
            block, [net.weight_norm for net in nets], "L2 norm of the parameters of the branch"
        ),
    }
    _put(
        found, Key(one, "test_error", "test error, whole network"), [m.test_error for m in members]
    )
    _put(
        found,
        Key(block, "lesion_error_increase", "test error without the branch minus with it"),
        [m.increase for m in members],
    )
    _put(
        found,
        Key(block, "lesion_loss_increase", "mean test loss without the branch minus with it"),
        [m.loss_increase for m in members],
    )
    _put(found, Key(block, "branch_shortcut_ratio", "mean of |G|/|s|"), [m.ratio for m in members])
    return found


def _ranking_variables(members: Sequence[NetworkEffect]) -> Variables:
    table = [[member.correlations[name] for name in PREDICTORS] for member in members]
    dims = ("network", "predictor")
    name = "rank correlation with lesion_error_increase within stages"
    return {
        "rank_correlation": number(dims, [[c.value for c in row] for row in table], name),
        "rank_correlation_interval": number(
            (*dims, "bound"),
            [[(c.low, c.high) for c in row] for row in table],
            f"{INTERVAL}the {name}, over blocks",
        ),
        "rank_correlation_p": number(
            dims,
            [[c.p_value for c in row] for row in table],
            f"permutation test of the {name}",
        ),
        "random_rank_correlation_interval": number(
            (*dims, "bound"),
            [[c.random_range(LEVEL) for c in row] for row in table],
            f"range that holds {LEVEL:.0%} of random rankings' {name}",
        ),
        "rank_correlation_blocks": number(
            dims, [[c.items for c in row] for row in table], f"blocks behind the {name}"
        ),
    }


def _group_variables(groups: Sequence[GroupEffect]) -> Variables:
    one, block, blocks = ("group",), ("group", "block"), groups[0].layout.stage.size
    over = [group.within or group.increase for group in groups]
    found: Variables = {
        "group_networks": number(
            one, [len(group.used) for group in groups], "interpretable networks in the mean"
        ),
        "group_interval_over": (
            one,
            strings([estimate.over if estimate else "none" for estimate in over]),
            {"long_name": "what the intervals of the group are over"},
        ),
    }
    scalars = {
        "test_error": "test error, whole networks",
        "within": "error increase by one within-stage lesion, mean over blocks",
        "transition": "error increase by one transition's lesion, mean over blocks",
        "transition_excess": "error increase of transitions minus within-stage blocks",
        "lesion_error": "test error after one within-stage lesion, mean over blocks",
    }
    for field, meaning in scalars.items():
        _put(
            found, Key(one, f"group_{field}", meaning), [getattr(group, field) for group in groups]
        )
    by_block = {
        "group_lesion_error_increase": [group.increase for group in groups],
        "group_branch_shortcut_ratio": [group.ratio for group in groups],
    }
    meanings = ("test error without the branch minus with it", "mean of |G|/|s|")
    for (name, estimates), meaning in zip(by_block.items(), meanings, strict=True):
        _put(found, Key(block, name, f"{meaning}, mean over networks"), estimates, blocks)
    adjusted = [np.full(blocks, np.nan) if g.p_holm is None else g.p_holm for g in groups]
    found["group_p_holm"] = number(
        block, adjusted, "t test over seeds, adjusted over blocks (Holm); from 5 seeds on"
    )
    means = [[(group.correlations or {}).get(name) for name in PREDICTORS] for group in groups]
    flat = [estimate for row in means for estimate in row]
    value, bounds = _stack(flat, None)
    dims, shape = ("group", "predictor"), (len(groups), len(PREDICTORS))
    text = "mean over seeds of the rank correlation within stages; from 5 seeds on"
    found["group_rank_correlation"] = number(dims, value.reshape(shape), text)
    found["group_rank_correlation_interval"] = number(
        (*dims, "bound"), bounds.reshape(*shape, 2), INTERVAL + text
    )
    return found


def _contrast_variables(compared: Sequence[Contrast]) -> Variables:
    found: Variables = {}
    _put(
        found,
        Key(
            ("contrast",),
            "contrast_mean",
            "test error after a within-stage lesion, plain group minus residual one",
        ),
        [contrast.mean for contrast in compared],
    )
    return found


def _put(
    into: Variables, key: Key, estimates: Sequence[Estimate | None], blocks: int | None = None
) -> None:
    value, bounds = _stack(estimates, blocks)
    into[key.name] = number(key.dims, value, key.long_name)
    into[f"{key.name}_interval"] = number((*key.dims, "bound"), bounds, INTERVAL + key.long_name)


def _stack(
    estimates: Sequence[Estimate | None], blocks: int | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    missing = np.full(() if blocks is None else (blocks,), np.nan)
    filled = [(e.value, e.low, e.high) if e else (missing, missing, missing) for e in estimates]
    values = np.stack([value for value, _, _ in filled])
    bounds = np.stack([np.stack([low, high], axis=-1) for _, low, high in filled])
    return values, bounds
