"""Synthetic pairs, weights and epochs for the analysis of equivalence: what runs would hold."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import xarray as xr

from resprobe.result import Input
from resprobe.store.reader import grouping

UNITS = {"float64": 2.0**-53, "float32": 2.0**-24, "bfloat16": 2.0**-8}
EDGES = np.arange(-100, 101) / 50
PAIR_SCALES = {"output": 4.0, "gradient": 0.5, "weight": 2.0}
EPOCHS = 8


def to_toml(recipe):
    """A recipe of tables of plain values as TOML; JSON writes texts, numbers and lists alike."""
    lines = []
    for table, values in recipe.items():
        lines.append(f"[{table}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(lines)


def recipe_of(*, residual=True, dtype="float64", seed=0, changes=(), pair=False, **train):
    """The recipe of a run; `train` holds further keys of its table."""
    return {
        "model": {"name": "simplified-resnet", "depth": 8, "residual": residual},
        "data": {"name": "digits"},
        "train": {
            "seed": seed,
            "dtype": dtype,
            "weight_decay": 0.01,
            "wd_scale": 1.0,
            "decay_toward": "zero",
            **train,
        },
        "pair": {"network": "equivalent" if pair else "none", "changes": list(changes)},
    }


def partner_recipe(recipe, **train):
    """The recipe of the equivalent partner, with further changes of its training."""
    residual = not recipe["model"]["residual"]
    toward = "zero" if residual else "identity"
    own = {**recipe["train"], "decay_toward": toward, **train}
    return {**recipe, "model": {**recipe["model"], "residual": residual}, "train": own}


def build_pair(
    label="pair",
    *,
    seed=0,
    dtype="float64",
    steps=200,
    slope=0.004,
    start=None,
    multiple=10.0,
    grows=0.0,
    zeros: Sequence[int] = (),
    not_finite: Sequence[int] = (),
    noise=0.0,
    control=False,
    every=1,
    residual=True,
    partner=True,
    weights=(0, 200),
    epochs=EPOCHS,
    gap=0.0,
    partner_weights=True,
    **train,
) -> Input:
    """A run and its partner.

    log10|ΔL| is a line of `slope` from `start` (by default that of the rounding) at step 1, with
    noise of mean 0 and slope 0; distances are `multiple` units of rounding, those of the weights
    growing by `grows` a step. The partner's test error is less by `gap` at every training loss.
    `train` holds further keys of that table.
    """
    unit = UNITS[dtype]
    start = np.log10(unit) if start is None else start
    changes = ("train.decay_toward=zero",) if control else ()
    recipe = recipe_of(
        residual=residual, dtype=dtype, seed=seed, changes=changes, pair=True, **train
    )
    generator = np.random.default_rng([53, seed, len(label)])
    step = np.arange(1, steps + 1, every)
    scatter = noise * generator.normal(size=step.size)
    if noise:
        line = np.polyfit(step, scatter, 1)
        scatter -= np.polyval(line, step)
    loss = 10.0 ** (start + slope * (step - 1) + scatter) * generator.choice([-1, 1], step.size)
    loss[np.isin(step, zeros)] = 0.0
    loss[np.isin(step, not_finite)] = np.nan
    values = {"pair_loss_distance": loss}
    for what, scale in PAIR_SCALES.items():
        growth = multiple + grows * (step - 1) if what == "weight" else np.full(step.size, multiple)
        values[f"pair_{what}_distance"] = growth * unit * scale
        values[f"pair_{what}_scale"] = np.full(step.size, scale)
    groups = {
        "/training/pair": xr.Dataset({k: ("step", v) for k, v in values.items()}, {"step": step}),
        "/training/step": step_record(step, 3.0, residual),
    }
    if epochs:
        groups["/training/epoch"] = epoch_record(epochs, seed, 0.0)
    for place in weights:
        groups[f"/step-{place:08d}/weights"] = weight_record(residual, place)
    if not partner:
        return _input(label, groups, recipe)
    told = partner_recipe(recipe, **({"decay_toward": "zero"} if control else {}))
    groups["/partner"] = xr.Dataset(attrs={"recipe": to_toml(told)})
    groups["/partner/training/step"] = step_record(step, 4.0, not residual)
    if epochs:
        groups["/partner/training/epoch"] = epoch_record(epochs, seed, gap)
    for place in weights if partner_weights else ():
        groups[f"/partner/step-{place:08d}/weights"] = weight_record(not residual, place)
    return _input(label, groups, recipe)


def build_single(
    label="net", *, seed=0, residual=True, gap=0.0, weights=(), epochs=EPOCHS, large=None, **train
) -> Input:
    """A run without a partner; a plain one's test error is more by `gap`."""
    recipe = recipe_of(residual=residual, seed=seed, **train)
    groups = {"/training/step": step_record(np.arange(1, 5), 3.0, residual)}
    if epochs:
        groups["/training/epoch"] = epoch_record(epochs, seed, gap)
    for place in weights:
        groups[f"/step-{place:08d}/weights"] = weight_record(residual, place, large)
    return _input(label, groups, recipe)


def _input(label, groups, recipe) -> Input:
    tree = xr.DataTree.from_dict(groups)
    tree.attrs["recipe"] = to_toml(recipe)
    told = grouping(recipe)
    return Input(label, tree, {}, None, told["group"], told["seed"])


def step_record(step, norm, residual):
    """Two parameters whose squared norms sum to `norm`² from the first step on."""
    norms = np.tile(norm * np.sqrt([0.36, 0.64]), (step.size, 1))
    skips = ["identity" if residual else "none"] * 2
    return xr.Dataset(
        {"parameter_norm": (("step", "parameter"), norms), "loss": ("step", 2.0 / step)},
        {"step": step, "block": ["a", "b"], "skip": ("block", skips)},
    )


def epoch_record(epochs, seed, gap):
    """Losses that fall by a factor 0.8 an epoch; test errors 0.3 of them and `gap` less."""
    epoch = np.arange(1, epochs + 1)
    loss = (2.0 + 0.01 * seed) * 0.8**epoch
    values = {
        "train_loss": loss,
        "train_error": 0.2 * loss,
        "test_loss": 1.5 * loss,
        "test_error": 0.3 * loss - gap,
    }
    return xr.Dataset(
        {name: ("epoch", value) for name, value in values.items()},
        {"epoch": epoch, "step": ("epoch", 25 * epoch)},
    )


def kernels(residual, place=0, large=None):
    """Weights of a stem, two layers with ID entries and a linear one, as arrays with masks."""
    generator = np.random.default_rng([59, place, int(residual)])
    shapes = ((4, 3, 3, 3), (4, 4, 3, 3), (6, 4, 3, 3), (10, 6))
    found = []
    for number, shape in enumerate(shapes):
        weight = generator.normal(scale=0.2, size=shape)
        mask = np.zeros(shape, bool)
        if number in (1, 2):
            ids = np.arange(min(shape[:2]))
            mask[ids, ids, 1, 1] = True
            if residual:
                weight[mask] += 1.0 if large is None else large
        found.append((weight, mask))
    return found


def weight_record(residual, place, large=None):
    """What a collection of the family `weights` would write of these kernels."""
    both = kernels(residual, place, large)
    per_layer: dict[str, list] = {}
    for weight, mask in both:
        for prefix, values in (("weight", weight.ravel()), ("id_entry", weight[mask])):
            size = np.abs(values)
            with np.errstate(invalid="ignore", divide="ignore"):
                told = {
                    f"{prefix}_count": values.size,
                    f"{prefix}_mean": values.mean() if values.size else np.nan,
                    f"{prefix}_std": values.std() if values.size else np.nan,
                    f"{prefix}_mass": size.sum(),
                    f"large_{prefix}_mass": size[size >= 0.25].sum(),
                    f"{prefix}_histogram": np.histogram(np.clip(values, -1.99, 1.99), EDGES)[0],
                }
            for name, value in told.items():
                per_layer.setdefault(name, []).append(value)
        per_layer.setdefault("large_weight_count", []).append(int((weight > 0.7).sum()))
    dims = {name: ("layer", "bin") if "histogram" in name else ("layer",) for name in per_layer}
    skips = ["none", *["identity" if residual else "none"] * 2, "none"]
    return xr.Dataset(
        {name: (dims[name], np.array(values)) for name, values in per_layer.items()},
        {
            "layer": ["stem", "a", "b", "linear"],
            "layer_kind": ("layer", ["convolution"] * 3 + ["linear"]),
            "layer_skip": ("layer", skips),
            "block": ["a", "b"],
            "skip": ("block", skips[1:3]),
            "bin": (EDGES[:-1] + EDGES[1:]) / 2,
        },
    )


def seeds(count, build=build_pair, **options):
    """Equal runs of several seeds, named after `label` or their builder."""
    label = options.pop("label", "pair")
    return [build(f"{label}-seed{seed}", seed=seed, **options) for seed in range(count)]
