"""Synthetic networks for the analysis of spans: what a collection would have written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from lesioned import CLASSES, _coordinates
from resprobe_analyses.difference import with_differences
from resprobe_analyses.spans.differences import differences
from resprobe_analyses.spans.effects import effect
from resprobe_analyses.spans.findings import verdict
from resprobe_analyses.spans.labelled import dataset
from resprobe_analyses.spans.networks import read_groups
from resprobe_analyses.spans.sentences import summary

from resprobe.result import Input, Result


def build_spans(
    label: str = "net",
    *,
    group: str = "g",
    seed: int | None = 0,
    stages: Sequence[int] = (8,),
    images: int = 400,
    base_error: float = 0.03,
    harm: Sequence[float] | None = None,
    influence: Sequence[float] | None = None,
    angles: bool = False,
    plain: bool = False,
    first_sample: int = 0,
    step: int | None = None,
) -> Input:
    """A network in which each dropped block adds errors at its own rate `harm`, independently.

    `influence` are the block influences, and with `angles` the angular distance of a span is
    that of as many turns one after the other.
    """
    generator = np.random.default_rng([23, 0 if seed is None else seed, len(label)])
    coordinates = _coordinates(stages, plain)
    blocks = sum(stages)
    sample = first_sample + 3 * np.arange(images, dtype=np.int64)
    rates = np.zeros(blocks) if harm is None else np.asarray(harm, dtype=np.float64)
    wrong = generator.permutation(images) < round(base_error * images)
    added = generator.random((images, blocks)) < rates
    correct = np.full((images, blocks, blocks), -1, dtype=np.int8)
    loss = np.full((images, blocks, blocks), np.nan, dtype=np.float32)
    for first in range(blocks):
        for length in range(1, blocks - first + 1):
            inside = added[:, first : first + length]
            correct[:, first, length - 1] = ~(wrong | inside.any(axis=1))
            loss[:, first, length - 1] = 0.1 + 2 * wrong + inside.sum(axis=1) + 0.01 * rates[first]
    coordinates |= {
        "length": ("length", np.arange(1, blocks + 1, dtype=np.int64)),
        "sample": ("sample", sample),
        "label": ("sample", sample % CLASSES),
    }
    cell = ("sample", "block", "length")
    lesion = xr.Dataset(
        {
            "correct": ("sample", (~wrong).astype(np.int8)),
            "test_loss": ("sample", (0.1 + 2 * wrong).astype(np.float32)),
            "span_lesion_correct": (cell, correct),
            "span_lesion_loss": (cell, loss),
        },
        coords=coordinates,
    )
    families = {"lesion-span": lesion}
    turned = np.full(blocks, 0.02) if influence is None else np.asarray(influence, dtype=np.float64)
    transition = coordinates["transition"][1].astype(bool)
    turned = np.where(transition, np.nan, turned)
    if influence is not None:
        rows = np.tile(turned, (images, 1)).astype(np.float32)
        data = xr.Dataset(coords=lesion.coords)
        families["influence"] = data.assign(block_influence=(("sample", "block"), rows))
    if angles:
        distance = np.full((blocks, blocks), np.nan)
        for first in range(blocks):
            total = np.cumsum(np.arccos(1 - turned[first:]) / np.pi)
            distance[first, : blocks - first] = np.minimum(total, 1)
        data = xr.Dataset(coords=lesion.coords)
        families["angular-distance"] = data.assign(
            mean_angular_distance=(("block", "length"), distance)
        )
    folder = "" if step is None else f"/step-{step:08d}"
    tree = xr.DataTree.from_dict({f"{folder}/{name}": data for name, data in families.items()})
    return Input(label, tree, {"lesion-span": lesion}, step, group, seed)


def without_figures(inputs: Sequence[Input]) -> Result:
    """Analyze and draw nothing, which takes most of the time."""
    found = tuple(effect(group) for group in read_groups(inputs))
    compared = differences(found)
    return Result(
        dataset=with_differences(dataset(found), compared),
        figures={},
        verdict=verdict(found, compared),
        summary=summary(found, compared),
    )


def realistic(stages: Sequence[int], images: int = 1000, seed: int = 0, **options: object) -> Input:
    """Blocks that matter less the deeper they lie, with angles that follow the harm loosely."""
    generator = np.random.default_rng(seed + 7)
    blocks = sum(stages)
    harm = 0.25 * np.exp(-4 * np.arange(blocks) / blocks) * np.exp(generator.normal(0, 0.6, blocks))
    harm = np.minimum(harm * 8 / blocks, 0.5)
    influence = np.minimum(0.3 * np.sqrt(harm) * np.exp(generator.normal(0, 0.3, blocks)), 0.9)
    return build_spans(
        f"net-seed{seed}",
        seed=seed,
        stages=stages,
        images=images,
        harm=harm,
        influence=influence,
        angles=True,
        **options,
    )
