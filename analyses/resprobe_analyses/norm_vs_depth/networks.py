"""Read the family `norms` of trained and untrained networks into plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from resprobe.errors import InputError
from resprobe_analyses.norm_vs_depth.moments import FAMILY, moments_of, step_of
from resprobe_analyses.norm_vs_depth.recipes import recipe_of
from resprobe_analyses.norm_vs_depth.training import Training, read_training
from resprobe_analyses.reading import (
    Flags,
    Integers,
    Layout,
    check_classes,
    check_variables,
    layout_of,
    unique,
    values,
)

if TYPE_CHECKING:
    import xarray as xr

    from resprobe.result import Input

Floats = npt.NDArray[np.float64]

REESTIMATED = "norms-reestimated"
NEEDED = {
    FAMILY: {"branch_norm": ("sample", "block"), "input_norm": ("sample", "block")},
}
UNTRAINED = f"step-{0:08d}"


@dataclass(frozen=True)
class Norms:
    """Norms of one network at one checkpoint.

    Attributes:
        branch: ‖G‖, shape (image, block).
        input: ‖x‖, shape (image, block).
        ratio: ‖G‖/‖s‖, shape (image, block); None where it was not measured.
    """

    branch: Floats
    input: Floats
    ratio: Floats | None = None

    def usable(self, blocks: Flags) -> bool:
        """Whether the mean ‖G‖ of some blocks exists and has a logarithm."""
        mean = self.gamma(blocks)
        return bool(np.isfinite(mean) and mean > 0)

    def gamma(self, blocks: Flags) -> float:
        """Give γ: the mean of ‖G‖ over images, then over the chosen blocks; NaN without any."""
        chosen = self.branch[:, blocks]
        return float(chosen.mean(axis=0).mean()) if chosen.size else float("nan")


@dataclass(frozen=True)
class Network:
    """One network, before and after its training as far as it was measured.

    Attributes:
        label: short and unique.
        moment: what tells it from networks of its depth and step size, "" where nothing does.
        names: of its blocks.
        seed: of its training, None where unknown.
        step: of the checkpoint, None where unknown.
        h: the number that multiplies every branch; None where it differs between blocks.
        layout: of its blocks.
        classes: labels of the images, shape (image,).
        trained: its norms, None where only the untrained network was measured.
        untrained: those of the same network at step 0, None where not measured.
        training: how far it was trained.
        initial_statistics: whether BatchNorm of the untrained network took the statistics of its
            initialisation, mean 0 and variance 1, so that its branches were not normalised.
        excluded: why it cannot be compared with the others, None where it can.
    """

    label: str
    moment: str
    names: tuple[str, ...]
    seed: int | None
    step: int | None
    h: float | None
    layout: Layout
    classes: Integers
    trained: Norms | None
    untrained: Norms | None
    training: Training
    initial_statistics: bool
    excluded: str | None

    @property
    def blocks(self) -> int:
        """Their number d."""
        return int(self.layout.stage.size)

    @property
    def later(self) -> Flags:
        """Blocks that are not the first of their stage, shape (block,)."""
        return np.asarray(self.layout.index_in_stage > 0)


def read_networks(inputs: Sequence[Input]) -> tuple[Network, ...]:
    """Read all inputs on the images they share.

    Raises:
        InputError: no inputs, a family, variable or coordinate missing, inputs of several depths
            that differ in more than depth, h and seed, a plain network, no images in common,
            labels that differ on the same image, or one network given twice.
    """
    if not inputs:
        raise InputError("the analysis norm-vs-depth needs at least one input; none was given.")
    for given in inputs:
        check_variables(given, NEEDED, "norm-vs-depth")
        _check_blocks(given)
    moments = moments_of(inputs)
    beginnings = [_beginning(given) for given in inputs]
    images = _shared_images(inputs, beginnings)
    labels = unique([given.label for given in inputs])
    networks = tuple(
        _read(given, label, moment, beginning, images)
        for given, label, moment, beginning in zip(inputs, labels, moments, beginnings, strict=True)
    )
    check_classes(networks)
    _check_twice(networks)
    return networks


def _check_blocks(given: Input) -> None:
    data = given.families[FAMILY]
    if "scale" not in data.coords:
        raise InputError(
            f"{given.label}: the family {FAMILY!r} has no coordinate 'scale'; collect it again."
        )
    if all(str(skip) == "none" for skip in data["skip"].values):
        raise InputError(
            f"{given.label} is a plain network: without skips its units add nothing to a state, "
            "so their norms say nothing about a step size; give residual networks."
        )


def _beginning(given: Input) -> xr.Dataset | None:
    """Give the norms of the untrained network beside the analyzed checkpoint, if measured."""
    if given.step in (None, 0):
        return None
    data = _of_step_0(given)
    if data is None:
        return None
    names = given.families[FAMILY]["block"].values
    if "branch_norm" not in data or not np.array_equal(data["block"].values, names):
        raise InputError(
            f"{given.label}: the norms of step 0 and of step {given.step} have different blocks "
            "or lack branch_norm; collect both again with --checkpoint all --overwrite."
        )
    return data


def _of_step_0(given: Input) -> xr.Dataset | None:
    """Give the norms of step 0, those with BatchNorm's statistics estimated anew if measured."""
    try:
        data = given.tree[f"{UNTRAINED}/{REESTIMATED}"].to_dataset()
        return data.rename({f"reestimated_{name}": name for name in ("branch_norm", "input_norm")})
    except KeyError:
        pass
    try:
        return given.tree[f"{UNTRAINED}/{FAMILY}"].to_dataset()
    except KeyError:
        return None


def _shared_images(inputs: Sequence[Input], beginnings: Sequence[xr.Dataset | None]) -> Integers:
    measured = [given.families[FAMILY] for given in inputs]
    measured += [data for data in beginnings if data is not None]
    shared = reduce(np.intersect1d, [np.unique(data["sample"].values) for data in measured])
    if not shared.size:
        raise InputError(
            f"no test image is in the family {FAMILY} of all inputs; collect them with the same "
            "--samples and --sample-seed."
        )
    return np.asarray(shared, dtype=np.int64)


def _read(
    given: Input, label: str, moment: str, beginning: xr.Dataset | None, images: Integers
) -> Network:
    data, recipe = given.families[FAMILY].sel(sample=images), recipe_of(given)
    step = step_of(given)
    never_trained = step == 0 and "train" in recipe  # the one checkpoint of others' models is 0
    measured = _norms(data)
    trained = None if never_trained else measured
    untrained = measured if never_trained else None
    if beginning is not None:
        untrained = _norms(beginning.sel(sample=images))
    training = read_training(given, step, recipe)
    return Network(
        label=label,
        moment=moment,
        names=tuple(str(name) for name in data["block"].values),
        seed=given.seed,
        step=step,
        h=_step_size(data),
        layout=layout_of(data),
        classes=data["label"].values.astype(np.int64),
        trained=trained,
        untrained=untrained,
        training=training,
        initial_statistics=_initial_statistics(data if never_trained else beginning, recipe),
        excluded=_excluded(trained, training),
    )


def _initial_statistics(untrained: xr.Dataset | None, recipe: Mapping[str, Any]) -> bool:
    if untrained is None or recipe.get("model", {}).get("batch_norm") is not True:
        return False
    return str(untrained["branch_norm"].attrs.get("batch_norm_mode", "eval")) == "eval"


def _excluded(trained: Norms | None, training: Training) -> str | None:
    if trained is None:
        why = f" ({reason})" if (reason := training.shortfall()) else ""
        return f"only its untrained network was measured{why}"
    if not np.isfinite(trained.branch).all():
        return "its branch norms are not finite"
    if not trained.branch.any():
        return "its branches add exactly nothing"
    return training.shortfall()


def _norms(data: xr.Dataset) -> Norms:
    branch, inputs = (
        values(data, name, "sample", "block").astype(np.float64)
        for name in ("branch_norm", "input_norm")
    )
    ratio = None
    if "branch_shortcut_ratio" in data:
        ratio = values(data, "branch_shortcut_ratio", "sample", "block").astype(np.float64)
    return Norms(branch, inputs, ratio)


def _step_size(data: xr.Dataset) -> float | None:
    scales = np.unique(data["scale"].values.astype(np.float64))
    return float(scales[0]) if scales.size == 1 and scales[0] > 0 else None


def _check_twice(networks: Sequence[Network]) -> None:
    seen: dict[tuple[int, float | None, str, int], Network] = {}
    for net in networks:
        if net.seed is None:
            continue
        other = seen.setdefault((net.blocks, net.h, net.moment, net.seed), net)
        if other is not net:
            raise InputError(
                f"{other.label} and {net.label} have the same depth, h and seed {net.seed}, so "
                "they are not independent; give one of them."
            )
