"""Synthetic networks for the analysis of predictors: as collected, and as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import xarray as xr
from lesioned import build_input
from resprobe_analyses.attribution.differences import differences
from resprobe_analyses.attribution.effects import effects
from resprobe_analyses.attribution.findings import verdict
from resprobe_analyses.attribution.labelled import dataset
from resprobe_analyses.attribution.networks import Network, read_groups
from resprobe_analyses.attribution.predictors import ATTRIBUTION, Measured, Predictor
from resprobe_analyses.attribution.sentences import summary
from resprobe_analyses.difference import with_differences
from resprobe_analyses.lesion import networks as lesioned
from resprobe_analyses.reading import Layout

from resprobe.result import Input, Result

METHODS = ("layer_conductance", "integrated_gradients", "gradient_x_activation")
STEPS = {"conductance_steps": 40, "integrated_gradients_steps": 32}


def build(
    label: str = "net",
    *,
    influence: Sequence[float] | None = None,
    angles: Sequence[float] | None = None,
    attributions: Mapping[str, Sequence[float]] | None = None,
    attributed_images: int = 50,
    noise: float = 0.0,
    layers: Mapping[str, Sequence[str]] | None = None,
    parameters: Sequence[int] | None = None,
    **given: object,
) -> Input:
    """A network of `lesioned.build_input` with further families beside norms and lesions.

    `influence`, `angles` (length 1) and `attributions` by method are what each image has, plus
    normal noise of this standard deviation; a method that is not given is NaN. `layers` are the
    kinds of layers of each block, `parameters` the number of parameters of each branch.
    """
    made = build_input(label, **given)
    lesion = made.families["lesion"]
    coordinates = {name: lesion.coords[name] for name in lesion.coords}
    blocks, images = lesion.sizes["block"], lesion.sizes["sample"]
    generator = np.random.default_rng([29, len(label)])

    def table(values: Sequence[float], rows: int) -> np.ndarray:
        return np.asarray(values) + noise * generator.standard_normal((rows, blocks))

    found = dict(made.families)
    if influence is not None:
        found["influence"] = xr.Dataset(
            {"block_influence": (("sample", "block"), table(influence, images))}, coordinates
        )
    if angles is not None:
        spans = np.full((images, blocks, 2), np.nan)
        spans[:, :, 0] = table(angles, images)
        found["angular-distance"] = xr.Dataset(
            {"angular_distance": (("sample", "block", "length"), spans)},
            {**coordinates, "length": ("length", [1, 2])},
        )
    if attributions is not None:
        kept = lesion.isel(sample=slice(attributed_images))
        each = [
            table(attributions.get(name, [np.nan] * blocks), kept.sizes["sample"])
            for name in METHODS
        ]
        dims = ("sample", "block", "method")
        found["attribution"] = xr.Dataset(
            {"block_attribution": (dims, np.stack(each, axis=2), STEPS)},
            {**{name: kept.coords[name] for name in kept.coords}, "method": list(METHODS)},
        )
    if layers is not None:
        pairs = [(block, kind) for block, kinds in layers.items() for kind in kinds]
        found["layer-cushion"] = xr.Dataset(
            coords={
                "layer_block": ("layer", [block for block, _ in pairs]),
                "layer_kind": ("layer", [kind for _, kind in pairs]),
            }
        )
    if parameters is not None:
        found["lesion-greedy"] = xr.Dataset(
            {"branch_parameters": ("block", np.asarray(parameters))},
            {"block": lesion.coords["block"].values},
        )
    extra = {name: data for name, data in found.items() if name not in made.families}
    path = "" if made.step is None else f"step-{made.step:08d}/"
    tree = xr.DataTree.from_dict({f"/{path}{name}": data for name, data in extra.items()})
    return replace(made, tree=tree)


def network_of(
    change: np.ndarray,
    predictors: Mapping[str, np.ndarray],
    stages: Sequence[int],
    *,
    label: str = "net",
    seed: int = 0,
    loss: np.ndarray | None = None,
    kinds: np.ndarray | None = None,
) -> Network:
    """A network without transitions from arrays.

    Args:
        change: wrong after the lesion minus before, 0 or 1, shape (image, block).
        predictors: by name, of shape (block,), or (image, block) of the first images.
        stages: blocks in each.
        label: of the network.
        seed: of its training.
        loss: increase of the loss, `change` if not given.
        kinds: of the blocks.
    """
    images, blocks = change.shape
    stage = np.repeat(np.arange(len(stages)), stages)
    layout = Layout(
        stage=stage,
        index=np.arange(blocks),
        index_in_stage=np.concatenate([np.arange(count) for count in stages]),
        transition=np.zeros(blocks, dtype=bool),
    )
    lesion = lesioned.Network(
        label=label,
        seed=seed,
        step=None,
        names=tuple(f"b{place}" for place in range(blocks)),
        skips=("identity",) * blocks,
        layout=layout,
        classes=np.arange(images) % 10,
        whole_wrong=np.zeros(images, dtype=bool),
        lesion_wrong=change > 0,
        loss_increase=np.asarray(change if loss is None else loss, dtype=np.float64),
        ratio=np.ones((images, blocks)),
        weight_norm=np.ones(blocks),
        images_left_out=0,
    )
    measured = []
    for name, values in predictors.items():
        own = None if values.ndim == 1 else np.arange(len(values))
        predictor = Predictor(name, name, name, ATTRIBUTION)
        measured.append(Measured(predictor, np.asarray(values, np.float64), own, 1.0))
    return Network(lesion, np.arange(images), tuple(measured), kinds, False)


def without_figures(inputs: Sequence[Input]) -> Result:
    """Analyze and draw nothing, which takes most of the time."""
    found = effects(read_groups(inputs))
    compared = differences(found)
    return Result(
        dataset=with_differences(dataset(found), compared),
        figures={},
        verdict=verdict(found, compared),
        summary=summary(found, compared),
    )


def staircase(images: int, blocks: int) -> np.ndarray:
    """Changes that differ in every block: the lesion of block i makes i + 1 images wrong."""
    return (np.arange(images)[:, None] <= np.arange(blocks)).astype(np.float64)
