"""The numbers of the analysis with names, dimensions, units and meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from resprobe_analyses.attribution.choices import SHARES
from resprobe_analyses.attribution.costs import lesion_passes, predictor_passes
from resprobe_analyses.attribution.effects import GroupEffect, NetworkEffect, predictors_of
from resprobe_analyses.attribution.labelled_standings import standing_variables
from resprobe_analyses.attribution.standing import EFFECTS, KIND, STAGE
from resprobe_analyses.estimates import LEVEL, Estimate
from resprobe_analyses.labelling import INTERVAL, Variables, attributes, number, strings

Floats = npt.NDArray[np.float64]

BEST, RANDOM = "lesion on other images", "random"


def dataset(groups: Sequence[GroupEffect]) -> xr.Dataset:
    """Give every number of the analysis as one labelled dataset.

    Args:
        groups: effects by group.

    Returns:
        Dataset with dimensions `network`, `group`, `block`, `predictor`, `other_predictor`,
        `effect`, `ranked_within`, `share`, `chooser` and `bound`. What a network lacks is NaN.
        Numbers have `units` and `long_name`; no variable holds Python objects.
    """
    members = [member for group in groups for member in group.members]
    names = list(predictors_of(groups))
    told = any(member.network.kinds is not None for member in members)
    within = [STAGE, KIND] if told else [STAGE]
    variables = _blocks(members, names)
    variables |= standing_variables(
        "network", [member.standings for member in members], names, within
    )
    of_groups = [group.standings for group in groups]
    variables |= {
        f"group_{name}": one
        for name, one in standing_variables("group", of_groups, names, within).items()
    }
    variables |= _costs(groups, names)
    return xr.Dataset(
        variables,
        coords=_coordinates(groups, members, names, within),
        attrs={
            "analysis": "attribution",
            "images": int(members[0].network.images.size),
            "level": LEVEL,
        },
    )


def _coordinates(
    groups: Sequence[GroupEffect],
    members: Sequence[NetworkEffect],
    names: Sequence[str],
    within: Sequence[str],
) -> dict[str, Any]:
    layout, nets = groups[0].layout, [member.network.lesion for member in members]
    flag = {"flag_values": np.array([0, 1], dtype=np.int8), "flag_meanings": "no yes"}
    # a plain network may name its units otherwise; `block_name` holds each network's own names
    named = next((net for net in nets if not net.plain), nets[0])
    return {
        "network": ("network", strings([net.label for net in nets])),
        "network_group": (
            "network",
            strings([group.group.label for group in groups for _ in group.members]),
            {"long_name": "group of the network"},
        ),
        "seed": (
            "network",
            np.array([-1 if net.seed is None else net.seed for net in nets], dtype=np.int64),
            attributes("seed of the training, -1 where unknown"),
        ),
        "interpretable": (
            "network",
            np.array([member.interpretable for member in members], dtype=np.int8),
            {**flag, "long_name": "test error at most half of that of chance"},
        ),
        "group": ("group", strings([group.group.label for group in groups])),
        "block": ("block", strings(named.names)),
        "stage": ("block", layout.stage, attributes("stage of the block")),
        "index": ("block", layout.index, attributes("position in the network")),
        "transition": (
            "block",
            layout.transition.astype(np.int8),
            {**flag, "long_name": "block changes the shape; it is not ranked"},
        ),
        "predictor": ("predictor", strings(names)),
        "predictor_label": (
            "predictor",
            strings([one.label for one in predictors_of(groups).values()]),
            {"long_name": "predictor in words"},
        ),
        "other_predictor": ("other_predictor", strings(names)),
        "chooser": ("chooser", strings([*names, BEST, RANDOM])),
        "effect": ("effect", strings(EFFECTS), {"long_name": "of a lesion: rise of the test …"}),
        "ranked_within": ("ranked_within", strings(within)),
        "share": ("share", np.array(SHARES), attributes("share of the ranked blocks chosen")),
        "bound": ("bound", strings(["low", "high"])),
    }


def _blocks(members: Sequence[NetworkEffect], names: Sequence[str]) -> Variables:
    block = ("network", "block")
    increase = [member.lesion.increase for member in members]
    loss = [member.lesion.loss_increase for member in members]
    nets = [member.network for member in members]
    missing = np.full(nets[0].layout.stage.size, -1, dtype=np.int64)
    told = "test error without the branch minus with it"
    lost = "mean test loss without the branch minus with it"
    return {
        "block_name": (block, strings([n.lesion.names for n in nets]), {"long_name": "block"}),
        "branch_kind": number(
            block,
            [missing if n.kinds is None else n.kinds for n in nets],
            "kind of the branch by its parameters, -1 where kinds are not told apart",
        ),
        "ranked": number(
            block,
            np.array([n.ranked for n in nets], dtype=np.int8),
            "1 for blocks that keep their shape and have a value of every predictor",
        ),
        "lesion_error_increase": number(block, [one.value for one in increase], told),
        "lesion_error_increase_interval": number(
            (*block, "bound"), [_bounds(one) for one in increase], INTERVAL + told
        ),
        "lesion_loss_increase": number(block, [one.value for one in loss], lost),
        "lesion_loss_increase_interval": number(
            (*block, "bound"), [_bounds(one) for one in loss], INTERVAL + lost
        ),
        "mcnemar_p_holm": number(
            block,
            [member.lesion.p_holm for member in members],
            "McNemar's exact test of the error increase, adjusted over blocks (Holm)",
        ),
        "prediction": number(
            ("network", "predictor", "block"),
            [[_mean(member, name) for name in names] for member in members],
            "mean of the predictor over its images",
        ),
        "prediction_images": number(
            ("network", "predictor"),
            [[_images(member, name) for name in names] for member in members],
            "images behind the predictor, 0 for the weights",
        ),
        "prediction_passes": number(
            ("network", "predictor"),
            [[predictor_passes(n).get(name, np.nan) for name in names] for n in nets],
            "forward passes of the network for one image, a backward pass counted as two",
        ),
        "lesion_passes": number(
            ("network",), [lesion_passes(n) for n in nets], "the same for all single lesions, about"
        ),
    }


def _costs(groups: Sequence[GroupEffect], names: Sequence[str]) -> Variables:
    """Give what it costs to trust each predictor, by group."""
    dims = ("group", "chooser", "share")
    shape = (len(groups), len(names) + 2, len(SHARES))
    hits = np.full(shape, np.nan)
    increase, below = np.full((*shape, 3), np.nan), np.full((*shape, 3), np.nan)
    counts = np.zeros((len(groups), len(SHARES)), dtype=np.int64)
    for row, group in enumerate(groups):
        for one in group.costs:
            place = SHARES.index(one.share)
            counts[row, place] = one.count
            hits[row, -1, place] = one.random_hits
            increase[row, -2, place] = _numbers(one.best)
            increase[row, -1, place] = _numbers(one.random)
            for column, name in enumerate(names):
                if name in one.hits:
                    hits[row, column, place] = one.hits[name]
                    increase[row, column, place] = _numbers(one.increase[name])
                    below[row, column, place] = _numbers(one.below_random[name])
    raised = "error increase by the lesion of one of the blocks chosen as least harmful"
    less = f"{raised}, minus that of a random choice"
    found: Variables = {
        "chosen_blocks": number(("group", "share"), counts, "blocks chosen, 0 for no choice"),
        "chosen_hits": number(dims, hits, "how many of them are among the least harmful ones"),
    }
    for name, table, said in (
        ("chosen_increase", increase, raised),
        ("chosen_increase_minus_random", below, less),
    ):
        found[name] = number(dims, table[..., 0], said)
        found[f"{name}_interval"] = number((*dims, "bound"), table[..., 1:], INTERVAL + said)
    return found


def _numbers(estimate: Estimate) -> tuple[Floats, Floats, Floats]:
    return estimate.value, estimate.low, estimate.high


def _bounds(estimate: Estimate) -> Floats:
    return np.stack([estimate.low, estimate.high], axis=-1)


def _mean(member: NetworkEffect, name: str) -> Floats:
    one = member.network.predictor(name)
    return np.full(member.network.layout.stage.size, np.nan) if one is None else one.mean


def _images(member: NetworkEffect, name: str) -> int:
    one = member.network.predictor(name)
    return 0 if one is None or one.images is None else int(one.images.size)
