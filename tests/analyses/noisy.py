"""Synthetic networks under noise: what a collection would have written, with known responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr
from cushioned import build_cushions

from resprobe.result import Input

LAYERS = ("stem", "stage1.0", "stage1.1", "stage2.0", "head")
LEVELS = (0.01, 0.02, 0.05)
INPUT_LEVELS = (0.05, 0.1, 0.2)
MEDIANS = (0.05, 0.02, 0.03, 0.04, 0.3)
SKIPS = (False, True, True, False, False)
RECIPE = "[train]\nbatch_size = 50\n"
MARGIN = 0.4
OUTPUT_NORM = 8.0
CONTRACTION = 2.0
SMOOTHNESS = 5.0
SMOOTHNESS_NOISE = 0.1
WEIGHT_NORMS = ("layer_weight_norm", "layer_weight_norm_id_removed")
EVERYTHING = (
    "interlayer-cushion",
    "input-noise",
    "activation-contraction",
    "interlayer-smoothness",
    "norms",
)


def build_noisy(
    label: str = "net",
    *,
    group: str = "g",
    seed: int | None = 0,
    residual: bool = True,
    medians: Sequence[float] = MEDIANS,
    layers: Sequence[str] = LAYERS,
    gain: Sequence[float] | float = 0.02,
    power: float = 1.0,
    removed: float = 10.0,
    follow: float = 1.0,
    spread: float = 0.05,
    images: int = 40,
    trials: int = 3,
    levels: Sequence[float] = LEVELS,
    first_sample: int = 0,
    error_added: float = 0.0,
    input_gain: float = 2.0,
    families: Sequence[str] = EVERYTHING,
    blocks: Sequence[float] = (0.5, 0.8, 0.25),
    batch_norm: bool = False,
    blind: bool = False,
    train_error: float = 0.1,
    test_error: float = 0.3,
    step: int = 20,
) -> Input:
    """A network whose logits change by `gain · (level/μ)^power` under noise, times a scatter.

    μ is the cushion of the layer and the image, with ID entries kept or removed, to the power
    `follow`: with 0 the response does not follow the cushion. Images cut by `error_added` turn
    wrong at the highest level. Interlayer cushions of single blocks are `blocks`, near enough.
    """
    made = build_cushions(
        label,
        group=group,
        seed=seed,
        medians=medians,
        with_skip=SKIPS if residual else None,
        removed=removed,
        spread=spread,
        images=images,
        first_sample=first_sample,
        step=step,
        layers=layers,
        blocks=blocks if "interlayer-cushion" in families else None,
        batch_norm=batch_norm,
        blind=blind,
        plain=not residual,
    )
    generator = np.random.default_rng([31, 0 if seed is None else seed, len(label)])
    cushions = _with_blocks(made.families["layer-cushion"], residual)
    common = {name: cushions[name] for name in ("sample", "label")}
    found = {
        "layer-cushion": cushions,
        "weight-noise": _weight_noise(
            cushions,
            generator,
            gain=gain,
            power=power,
            follow=follow,
            levels=levels,
            trials=trials,
            error_added=error_added,
        ).assign_coords(common),
    }
    if "interlayer-cushion" in families:
        found["interlayer-cushion"] = made.tree[f"step-{step:08d}/interlayer-cushion"].to_dataset()
    others = {
        "input-noise": lambda: _input_noise(generator, images, input_gain, trials, error_added),
        "activation-contraction": lambda: _contraction(images, layers),
        "interlayer-smoothness": lambda: _smoothness(images, trials),
        "norms": lambda: _norms(images),
    }
    for name, build in others.items():
        if name in families:
            found[name] = build().assign_coords(common)
    tree = xr.DataTree.from_dict({f"/step-{step:08d}/{name}": one for name, one in found.items()})
    tree.attrs["recipe"] = RECIPE
    metrics = {
        "train_error": train_error,
        "test_error": test_error,
        "train_loss": 0.5,
        "test_loss": 0.9,
        "wall_time": 1.0,
    }
    return replace(
        made,
        tree=tree,
        families={name: found[name] for name in ("layer-cushion", "weight-noise")},
        checkpoint={"step": step, "epoch": 2, "metrics": metrics},
    )


def _with_blocks(cushions: xr.Dataset, residual: bool) -> xr.Dataset:
    """Add what a collection says of the blocks, as in files, where it is no coordinate."""
    layers = [str(name) for name in cushions["layer"].values]
    inside = layers[1:-1]
    stage = np.array([int(name[5]) if name.startswith("stage") else 1 for name in inside])
    return cushions.assign(
        layer_weight_norm_id_removed=cushions["layer_weight_norm"]
        * np.where(cushions["layer_skip"].values == "identity", 0.1, 0.99),
        stage=("block", stage),
        transition=("block", np.zeros(len(inside), np.int8)),
        skip=("block", np.array(["identity" if residual else "none"] * len(inside))),
        elements=("block", np.full(len(inside), 16)),
    ).assign_coords(
        block=("block", np.array(inside)),
        layer_block=("layer", np.array(["", *inside, ""])),
    )


def _weight_noise(cushions, generator, *, gain, power, follow, levels, trials, error_added):
    cushion = np.stack(
        [cushions[name].values for name in ("layer_cushion", "layer_cushion_id_removed")], axis=2
    ).astype(np.float64)
    images, layers = cushion.shape[:2]
    shape = (images, layers, 2, len(levels), trials)
    gains = np.broadcast_to(np.asarray(gain, np.float64), (layers,))[None, :, None, None, None]
    change = (
        gains
        * (np.array(levels)[None, None, None, :, None] / cushion[..., None, None] ** follow)
        ** power
        * np.exp(0.05 * generator.normal(size=shape))
    )
    wrong = np.zeros(shape, np.int8)
    wrong[: round(error_added * images), :, :, -1] = 1
    cell = ("sample", "layer", "norm", "level", "trial")
    return xr.Dataset(
        {
            "weight_noise_output_change": (cell, change.astype(np.float32)),
            "weight_noise_correct": (cell, (1 - wrong).astype(np.int8)),
            "correct": ("sample", np.ones(images, np.int8)),
            "output_norm": ("sample", np.linspace(1, OUTPUT_NORM, images)),
            **{name: cushions[name].variable for name in WEIGHT_NORMS},
        },
        coords={
            "layer": cushions["layer"].values,
            "norm": np.array(["kept", "removed"]),
            "level": np.array(levels),
            "trial": np.arange(trials),
        },
    )


def _input_noise(generator, images, gain, trials, error_added):
    shape = (images, len(INPUT_LEVELS), trials)
    change = gain * np.array(INPUT_LEVELS)[:, None] * np.exp(0.05 * generator.normal(size=shape))
    wrong = np.zeros(shape, np.int8)
    wrong[: round(error_added * images), -1] = 1
    cell = ("sample", "level", "trial")
    return xr.Dataset(
        {
            "input_noise_output_change": (cell, change.astype(np.float32)),
            "input_noise_correct": (cell, (1 - wrong).astype(np.int8)),
            "correct": ("sample", np.ones(images, np.int8)),
        },
        coords={"level": np.array(INPUT_LEVELS), "trial": np.arange(trials)},
    )


def _contraction(images, layers):
    values = np.full((images, len(layers)), CONTRACTION)
    values[0, 0], values[:, -1] = 1.1, np.nan
    return xr.Dataset(
        {"activation_contraction": (("sample", "layer"), values.astype(np.float32))},
        coords={"layer": np.array(layers)},
    )


def _smoothness(images, trials):
    values = np.full((images, 3, 3, trials), SMOOTHNESS)
    values[1], values[:, 1, 2] = 20.0, np.nan
    return xr.Dataset(
        {
            "interlayer_smoothness": (
                ("sample", "block", "length", "trial"),
                values,
                {"noise_level": SMOOTHNESS_NOISE},
            )
        },
    )


def _norms(images):
    margin = np.full(images, MARGIN)
    margin[0] = -1.0
    return xr.Dataset({"margin": ("sample", margin)}, coords={"class": np.arange(10)})


def two_noisy_groups(seeds: int, **options) -> list[Input]:
    """Residual networks that answer half as much as plain ones where noise is kept-norm."""
    residual = [
        build_noisy(
            f"res-{seed}",
            group="r",
            seed=seed,
            gain=0.01,
            train_error=0.1,
            input_gain=1.0,
            **options,
        )
        for seed in range(seeds)
    ]
    plain = [
        build_noisy(
            f"plain-{seed}",
            group="p",
            seed=seed,
            residual=False,
            gain=0.02,
            train_error=0.05,
            **options,
        )
        for seed in range(seeds)
    ]
    return [*plain, *residual]


def answering(given, change, *, larger=1.0):
    """The same network with weights `larger` times, whose logits change by `change(‖ΔW‖_F)`."""
    noise = given.families["weight-noise"].copy(deep=True)
    for name in WEIGHT_NORMS:
        noise[name] = noise[name] * larger
    norms = np.stack([noise[name].values for name in WEIGHT_NORMS], axis=-1)
    exact = change((norms[..., None] * noise["level"].values)[None, ..., None])
    name = "weight_noise_output_change"
    noise[name] = noise[name].dims, np.broadcast_to(exact, noise[name].shape).astype(np.float64)
    return replace(given, families={**given.families, "weight-noise": noise})


def two_answering(first, second, **options):
    """A residual network and a plain one that answer noise of one size so."""
    residual = answering(build_noisy("res", group="r"), first, **options)
    return [residual, answering(build_noisy("plain", group="p", residual=False), second)]
