"""The numbers of the analysis with names, dimensions, units and meaning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from resprobe_analyses.estimates import LEVEL
from resprobe_analyses.labelling import INTERVAL, Variables, attributes, number, strings
from resprobe_analyses.norm_vs_depth.curves import Curve
from resprobe_analyses.norm_vs_depth.labelled_exponents import (
    LAW,
    NAN,
    estimates,
    exponent_variables,
    loss_variables,
)
from resprobe_analyses.norm_vs_depth.networks import Network, Norms
from resprobe_analyses.norm_vs_depth.rule import RULE
from resprobe_analyses.norm_vs_depth.scaling import VERSIONS, Group

Floats = npt.NDArray[np.float64]


def dataset(
    networks: Sequence[Network], groups: Sequence[Group], curves: Sequence[Curve]
) -> xr.Dataset:
    """Give every number of the analysis as one labelled dataset.

    Args:
        networks: all that were read.
        groups: exponents by step size.
        curves: norms by block.

    Returns:
        Dataset with dimensions `network`, `position` (of a block; NaN past a network's end),
        `curve`, `step_size`, `version`, `seed`, `depth` and `bound`. NaN stands for what does not
        exist, such as an interval below five seeds.
    """
    depths = sorted({net.blocks for net in networks})
    seeds = sorted({-1 if net.seed is None else net.seed for net in networks})
    positions = depths[-1]
    variables = _network_variables(networks, positions) | _curve_variables(curves, positions)
    variables |= exponent_variables(groups, seeds, depths) | loss_variables(groups, depths)
    return xr.Dataset(
        variables,
        coords={
            "network": ("network", strings([net.label for net in networks])),
            "position": ("position", np.arange(positions), attributes("position of the block, j")),
            "curve": ("curve", strings([curve_name(curve) for curve in curves])),
            "step_size": number(
                ("step_size",),
                [NAN if group.h is None else group.h for group in groups],
                "step size h; NaN where it differs between blocks",
            ),
            "moment": (
                "step_size",
                strings([group.moment for group in groups]),
                {"long_name": "what tells groups of one step size apart, empty where nothing does"},
            ),
            "version": ("version", strings(list(VERSIONS))),
            "seed": ("seed", np.array(seeds), attributes("seed of the training, -1 if unknown")),
            "depth": ("depth", np.array(depths), attributes("number of blocks d")),
            "bound": ("bound", strings(["low", "high"])),
        },
        attrs={
            "analysis": "norm-vs-depth",
            "images": networks[0].classes.size,
            "level": LEVEL,
            "rule": RULE,
        },
    )


def curve_name(curve: Curve) -> str:
    """Name a curve, as "d = 9, h = 0.5"."""
    size = "h by block" if curve.h is None else f"h = {curve.h:g}"
    return f"d = {curve.blocks}, {size}{f', {curve.moment}' if curve.moment else ''}"


def _network_variables(networks: Sequence[Network], positions: int) -> Variables:
    one, all_blocks = ("network",), ("network", "position")
    found: Variables = {
        "blocks": number(one, [net.blocks for net in networks], "number of blocks d"),
        "h": number(one, [NAN if net.h is None else net.h for net in networks], "step size h"),
        "network_seed": number(
            one,
            [-1 if net.seed is None else net.seed for net in networks],
            "seed of the training, -1 where unknown",
        ),
        "step": number(
            one,
            [-1 if net.step is None else net.step for net in networks],
            "training step of the checkpoint, -1 where unknown",
        ),
        "train_loss": _losses([net.training.loss for net in networks], "training loss reached"),
        "stop_train_loss": _losses(
            [net.training.target for net in networks], "training loss that ended the training"
        ),
        "compared": _flags(
            [net.excluded is None for net in networks],
            "whether the network may count for an exponent",
        ),
        "untrained_initial_statistics": _flags(
            [net.initial_statistics for net in networks],
            "whether BatchNorm of the untrained network took mean 0 and variance 1",
        ),
        "excluded": (
            one,
            strings([net.excluded or "" for net in networks]),
            {"long_name": "why the network does not count, empty where it may"},
        ),
    }
    for state, norms in _STATES.items():
        measured = [norms(net) for net in networks]
        of = LAW[state].replace("networks", "network")
        for suffix, blocks in zip(("", "_later"), VERSIONS.values(), strict=True):
            found[f"{state}_gamma{suffix}"] = number(
                one,
                [
                    NAN if found_norms is None else found_norms.gamma(blocks(net))
                    for net, found_norms in zip(networks, measured, strict=True)
                ],
                f"mean of ||G|| over images, then over {'later ' * bool(suffix)}blocks, {of}",
            )
        for name, symbol in (("branch", "||G||"), ("input", "||x||")):
            rows = [None if m is None else getattr(m, name).mean(axis=0) for m in measured]
            found[f"{state}_{name}_norm"] = number(
                all_blocks, _padded(rows, positions), f"mean of {symbol} over images, {of}"
            )
    return found


_STATES: dict[str, Callable[[Network], Norms | None]] = {
    "trained": lambda net: net.trained,
    "untrained": lambda net: net.untrained,
}


def _flags(
    values: Sequence[bool], long_name: str
) -> tuple[tuple[str, ...], npt.NDArray[np.int8], dict[str, Any]]:
    told = {"flag_values": np.array([0, 1], np.int8), "flag_meanings": "no yes"}
    return ("network",), np.array(values, np.int8), {**told, "long_name": long_name}


def _losses(
    losses: Sequence[float | None], long_name: str
) -> tuple[tuple[str, ...], Floats, dict[str, Any]]:
    told = np.array([NAN if loss is None else loss for loss in losses])
    return ("network",), told, {"units": "nat", "long_name": f"{long_name}, NaN where unknown"}


def _curve_variables(curves: Sequence[Curve], positions: int) -> Variables:
    dims = ("curve", "position")
    layouts = [curve.layout for curve in curves]
    found: Variables = {
        "curve_state": (
            ("curve",),
            strings([curve.state for curve in curves]),
            {"long_name": "which networks were averaged"},
        ),
        "curve_networks": number(
            ("curve",), [len(curve.labels) for curve in curves], "number of networks averaged"
        ),
        "curve_stage": number(
            dims, _padded([one.stage for one in layouts], positions), "stage of the block"
        ),
        "curve_index_in_stage": number(
            dims,
            _padded([one.index_in_stage for one in layouts], positions),
            "position of the block in its stage",
        ),
        "curve_time": number(
            dims, _padded([curve.time for curve in curves], positions), "t = j h at the block"
        ),
    }
    for name, symbol in (("branch", "||G||"), ("input", "||x||"), ("force", "||F|| = ||G|| / h")):
        found_norms = [getattr(curve, name) for curve in curves]
        found[f"curve_{name}_norm"] = number(
            dims,
            _padded([None if e is None else e.value for e in found_norms], positions),
            f"mean of {symbol} over images and networks",
        )
        bounds = [
            _padded([None if e is None else getattr(e, bound) for e in found_norms], positions)
            for bound in ("low", "high")
        ]
        found[f"curve_{name}_norm_interval"] = number(
            (*dims, "bound"),
            np.stack(bounds, axis=-1),
            f"{INTERVAL}the mean of {symbol}, over seeds from five on, else over images",
        )
    found |= estimates(
        "stage_first_excess",
        ("curve",),
        [curve.first_excess for curve in curves],
        "mean ||G|| of stage-first blocks by that of later ones, geometric mean over networks",
    )
    return found


def _padded(rows: Sequence[npt.ArrayLike | None], positions: int) -> Floats:
    table = np.full((len(rows), positions), np.nan)
    for number_, row in enumerate(rows):
        if row is not None:
            numbers = np.asarray(row, dtype=np.float64)
            table[number_, : numbers.size] = numbers
    return table
