"""Networks of exactly known branch norms: what training and collection would have written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tomli_w
import xarray as xr

from resprobe.result import Input

Norm = Callable[[np.ndarray], np.ndarray]  # of the position of a block


def build_network(
    depth: int = 6,
    seed: int | None = 0,
    norm: float | Norm = 1.0,
    *,
    untrained: float | Norm | None = None,
    h: float = 1.0,
    target: float | None = 0.05,
    loss: float | None = 0.04,
    status: str = "reached_target",
    step: int | None = 100,
    stages: int = 3,
    images: int = 12,
    first_sample: int = 0,
    label: str = "",
    plain: bool = False,
    recipe: Mapping[str, Mapping[str, object]] | None = None,
) -> Input:
    """A network of `depth` blocks in `stages` stages whose mean ‖G‖ of block j is `norm(j)`.

    The norm differs between images, with the mean that was asked for. Norms are float64, so that
    what a test works out is met to rounding.
    """
    tables: dict[str, dict[str, object]] = {
        "model": {"name": "net", "depth": 2 * depth + 2, "h": h, "width_factor": 0.5},
        "data": {"name": "digits", "dir": ""},
        "train": {"epochs": 30, "seed": seed or 0},
        "record": {"every": 1},
        "checkpoint": {"initial": untrained is not None},
    }
    if target is not None:
        tables["train"]["stop_train_loss"] = target
    for table, changes in (recipe or {}).items():
        tables[table] = {**tables.get(table, {}), **changes}
    coordinates = _coordinates(depth, h, stages, first_sample + np.arange(images), plain=plain)
    norms, groups = _norms(norm, coordinates), {}
    if untrained is not None:
        groups["/step-00000000/norms"] = _norms(untrained, coordinates)
    tree = xr.DataTree.from_dict(groups)
    tree.attrs["recipe"] = tomli_w.dumps(tables)
    checkpoint: dict[str, object] = {"status": status}
    if loss is not None:
        checkpoint["metrics"] = {"train_loss": loss}
    name = label or f"d{depth}-s{seed}"
    group = json.dumps({**tables, "train": {}}, sort_keys=True)
    return Input(name, tree, {"norms": norms}, step, group, seed, checkpoint)


def power_law(
    exponents: Sequence[float],
    depths: Sequence[int] = (3, 6, 9, 15, 24),
    *,
    constant: float = 30.0,
    untrained: Sequence[float] | None = None,
    **options,
) -> list[Input]:
    """A seed for each exponent, at every depth: γ = constant·(1 + seed/10)·d^p exactly."""
    return [
        build_network(
            depth,
            seed,
            constant * (1 + seed / 10) * depth**exponent,
            untrained=None if untrained is None else depth ** untrained[seed],
            **options,
        )
        for seed, exponent in enumerate(exponents)
        for depth in depths
    ]


def _norms(norm: float | Norm, coordinates: Mapping[str, tuple[str, np.ndarray]]) -> xr.Dataset:
    index = coordinates["index"][1]
    wanted = np.full(index.size, norm) if isinstance(norm, int | float) else norm(index)
    spread = np.linspace(-0.2, 0.2, coordinates["sample"][1].size)  # its mean is 0
    branch = wanted * (1 + spread[:, None])
    dims = ("sample", "block")
    return xr.Dataset(
        {"branch_norm": (dims, branch), "input_norm": (dims, 2 * branch)}, coords=coordinates
    )


def _coordinates(
    depth: int, h: float, stages: int, sample: np.ndarray, *, plain: bool
) -> dict[str, tuple[str, np.ndarray]]:
    index = np.arange(depth)
    stage = index * stages // depth
    inside = index - np.searchsorted(stage, stage)
    transition = ((inside == 0) & (stage > 0)).astype(np.int8)
    kind = np.full(depth, "none") if plain else np.where(transition, "padded", "identity")
    names = [f"stage{a}.{b}" for a, b in zip(stage, inside, strict=True)]
    return {
        "sample": ("sample", sample),
        "label": ("sample", sample % 10),
        "block": ("block", np.array(names)),
        "stage": ("block", stage),
        "index": ("block", index),
        "index_in_stage": ("block", inside),
        "skip": ("block", kind),
        "scale": ("block", np.full(depth, h)),
        "transition": ("block", transition),
    }
