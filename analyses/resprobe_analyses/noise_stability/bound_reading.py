"""Read the parts of the bound of one network, and say which are not there."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from resprobe.result import Input
from resprobe_analyses.cushions.effects import NetworkEffect as Cushions
from resprobe_analyses.cushions.networks import FAMILY as LAYER_CUSHION
from resprobe_analyses.cushions.networks import INTERLAYER
from resprobe_analyses.noise_stability.bound import (
    Bound,
    Smoothness,
    bound,
    following_blocks,
    minimal_interlayer,
    output_elements,
    smoothness,
)
from resprobe_analyses.noise_stability.families import (
    CONTRACTION,
    NORMS,
    SMOOTHNESS,
    WEIGHT_NOISE,
)
from resprobe_analyses.noise_stability.networks import beside


@dataclass(frozen=True)
class Parts:
    """What is known of the bound of one network.

    Attributes:
        bound: None where a part is missing.
        smoothness: None where it was not measured.
        missing: families that were not measured.
        training_images: how many the network was trained on, at most a batch too many; NaN where
            that is not known.
        augmented: whether it was trained on altered images, by its recipe.
    """

    bound: Bound | None
    smoothness: Smoothness | None
    missing: tuple[str, ...]
    training_images: float
    augmented: bool


def read_parts(given: Input, cushions: Cushions) -> Parts:
    """Read what there is of the bound of one network.

    Raises:
        InputError: a family is there but lacks a variable.
    """
    contraction, margins = beside(given, CONTRACTION), beside(given, NORMS)
    smooth, inter = beside(given, SMOOTHNESS), cushions.network.interlayer
    layers = given.families[LAYER_CUSHION]
    there = {CONTRACTION: contraction, NORMS: margins, SMOOTHNESS: smooth, INTERLAYER: inter}
    images = training_images(given)
    found = None
    if (
        contraction is not None
        and margins is not None
        and inter is not None
        and np.isfinite(images)
        and all(name in layers for name in ("block", "layer_block", "elements"))
    ):
        own = np.asarray(margins["margin"].values, np.float64)
        where = [str(name) for name in layers["layer_block"].values]
        blocks = (str(name) for name in layers["block"].values)
        elements = dict(zip(blocks, (int(n) for n in layers["elements"].values), strict=True))
        found = bound(
            contraction=np.asarray(contraction["activation_contraction"].values, np.float64),
            output_norm=np.asarray(given.families[WEIGHT_NOISE]["output_norm"].values, np.float64),
            margins=own,
            training_images=images,
            layer_cushion=np.stack([cushions.kept[:, 0], cushions.removed[:, 0]], axis=-1),
            interlayer_cushion=minimal_interlayer(
                inter.values["eval"],
                following_blocks(where, inter.blocks),
                output_elements(where, elements, _classes(margins, given)),
            ),
        )
    return Parts(
        bound=found,
        smoothness=None
        if smooth is None
        else smoothness(
            np.asarray(smooth["interlayer_smoothness"].values, np.float64),
            layers.sizes["layer"],
            float(smooth["interlayer_smoothness"].attrs.get("noise_level", np.nan)),
        ),
        missing=tuple(name for name, data in there.items() if data is None),
        training_images=images,
        augmented=augmented(given),
    )


def augmented(given: Input) -> bool:
    """Tell whether a network was trained on altered images; no where its recipe says nothing."""
    return bool(_recipe(given).get("data", {}).get("augment", "none") != "none")


def training_images(given: Input) -> float:
    """Give how many images a network was trained on: steps of an epoch times the batch size.

    The last batch of an epoch may be smaller, so that this is at most a batch too many; NaN where
    the trainer's record is not at hand.
    """
    epoch, step = given.checkpoint.get("epoch"), given.checkpoint.get("step", given.step)
    batch = _recipe(given).get("train", {}).get("batch_size")
    if not isinstance(batch, int) or not epoch or not step:
        return float("nan")
    return float(batch * step / epoch)


def _recipe(given: Input) -> dict[str, Any]:
    """Give the recipe that a network was trained by, empty where it is not at hand."""
    recipe = given.tree.attrs.get("recipe")
    return tomllib.loads(recipe) if isinstance(recipe, str) else {}


def _classes(margins: xr.Dataset, given: Input) -> int:
    if "class" in margins.sizes:
        return int(margins.sizes["class"])
    return int(given.families[WEIGHT_NOISE]["label"].values.max()) + 1
