"""Synthetic networks for the analysis of cushions: what a collection would have written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from lesioned import CLASSES, _coordinates

from resprobe.result import Input

LAYERS = ("stem", "a", "b", "c", "head")


def build_cushions(
    label: str = "net",
    *,
    group: str = "g",
    seed: int | None = 0,
    medians: Sequence[float] = (0.05, 0.02, 0.03, 0.04, 0.3),
    with_skip: Sequence[bool] | None = None,
    removed: float = 10.0,
    spread: float = 0.05,
    images: int = 60,
    first_sample: int = 0,
    step: int | None = None,
    layers: Sequence[str] = LAYERS,
    blocks: Sequence[float] | None = None,
    blind: bool = False,
    batch_norm: bool = True,
    plain: bool = False,
    stages: Sequence[int] = (2, 1),
) -> Input:
    """A network whose cushions scatter around `medians`, those of its blocks around `blocks`.

    Removing ID entries makes the layers `with_skip` larger `removed` times and the others 1.01
    times. With `blind`, the interlayer cushions in training mode are 1e-6 of the others; without
    `batch_norm` there are none.
    """
    generator = np.random.default_rng([29, 0 if seed is None else seed, len(label)])
    sample = first_sample + 3 * np.arange(images, dtype=np.int64)
    skips = np.zeros(len(layers), bool) if with_skip is None else np.array(with_skip)
    noise = np.exp(spread * generator.normal(size=(images, len(layers))))
    kept = np.asarray(medians) * noise
    common = {"sample": ("sample", sample), "label": ("sample", sample % CLASSES)}
    norm = np.linspace(10, 20, len(layers))
    layer = xr.Dataset(
        {
            "layer_cushion": (("sample", "layer"), kept.astype(np.float32)),
            "layer_cushion_id_removed": (
                ("sample", "layer"),
                (kept * np.where(skips, removed, 1.01)).astype(np.float32),
            ),
            "layer_frobenius_norm": ("layer", norm),
            "layer_weight_norm": ("layer", norm / 2 ** np.arange(len(layers))[::-1]),
        },
        coords={
            **common,
            "layer": ("layer", np.array(layers)),
            "layer_kind": (
                "layer",
                np.array(["convolution"] * (len(layers) - 1) + ["linear"]),
            ),
            "layer_skip": ("layer", np.where(skips, "identity", "none")),
        },
    )
    families = {"layer-cushion": layer}
    if blocks is not None:
        families["interlayer-cushion"] = _interlayer(
            generator, np.asarray(blocks), stages, common, blind=blind, plain=plain
        )
        if not batch_norm:
            data = families["interlayer-cushion"]
            data["interlayer_cushion_train_mode"] *= np.nan
            data["interlayer_cushion_train_mode_stderr"] *= np.nan
            data["interlayer_cushion_train_mode_converged"][:] = -1
    folder = "" if step is None else f"/step-{step:08d}"
    tree = xr.DataTree.from_dict({f"{folder}/{name}": data for name, data in families.items()})
    return Input(label, tree, {"layer-cushion": layer}, step, group, seed)


def _interlayer(generator, blocks, stages, common, *, blind, plain):
    sample = common["sample"][1][::2]
    count, size = len(sample), len(blocks)
    values = np.full((count, size, size), np.nan, np.float32)
    for first in range(size):
        for length in range(1, size - first + 1):
            scatter = np.exp(0.02 * generator.normal(size=count))
            values[:, first, length - 1] = blocks[first : first + length].prod() * scatter
    train = values * (1e-6 if blind else 0.5)
    cell = ("sample", "block", "length")
    flags = np.where(np.isnan(values), -1, 1).astype(np.int8)
    flags[0, 0, 0] = 0
    return xr.Dataset(
        {
            "interlayer_cushion": (cell, values),
            "interlayer_cushion_stderr": (cell, 0.004 * values),
            "interlayer_cushion_converged": (cell, flags),
            "interlayer_cushion_train_mode": (cell, train),
            "interlayer_cushion_train_mode_stderr": (cell, 0.004 * train),
            "interlayer_cushion_train_mode_converged": (cell, np.abs(flags) * flags),
        },
        coords={
            **_coordinates(stages, plain),
            "sample": ("sample", sample),
            "label": ("sample", common["label"][1][::2]),
            "length": ("length", np.arange(1, size + 1)),
        },
    )


def two_groups(seeds: int, **options):
    """Residual and plain networks: which has the larger cushions depends on the norm."""
    residual = [
        build_cushions(
            f"res-{seed}",
            group="r",
            seed=seed,
            medians=(0.05, 0.018, 0.027, 0.04, 0.3),
            with_skip=(False, True, True, False, False),
            blocks=(1.1, 1.2, 1.0),
            **options,
        )
        for seed in range(seeds)
    ]
    plain = [
        build_cushions(
            f"plain-{seed}", group="p", seed=seed, blocks=(1.5, 1.6, 1.4), blind=True, **options
        )
        for seed in range(seeds)
    ]
    return [*residual, *plain]
