"""Synthetic networks for the lesion analysis: what a collection would have written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from resprobe.result import Input

CLASSES = 10


def build_input(
    label: str = "net",
    *,
    group: str = "g",
    seed: int | None = 0,
    stages: Sequence[int] = (4, 4, 4),
    images: int = 400,
    base_error: float = 0.03,
    effects: Mapping[int, float] | None = None,
    every: float = 0.0,
    plain: bool = False,
    ratio: Sequence[float] | None = None,
    weight_norm: Sequence[float] | None = None,
    first_sample: int = 0,
    norm_images: int | None = None,
    draw: int | None = None,
) -> Input:
    """A network that errs on `base_error`; the lesion of block i adds errors at rate `effects[i]`.

    Blocks without an effect add errors at rate `every`. Images are shared between networks (labels
    depend on the image only); `draw` seeds what differs (default: the seed).
    """
    generator = np.random.default_rng([17, 0 if seed is None else seed, draw or 0, len(label)])
    coordinates = _coordinates(stages, plain)
    blocks = len(coordinates["block"][1])
    sample = first_sample + 3 * np.arange(images, dtype=np.int64)
    wrong = generator.permutation(images) < round(base_error * images)
    rates = np.full(blocks, every)
    for block, rate in (effects or {}).items():
        rates[block] = rate
    added = generator.random((images, blocks)) < rates
    lesion_wrong = wrong[:, None] | added
    sizes = np.linspace(0.2, 0.9, blocks) if ratio is None else np.asarray(ratio)
    ratios = sizes * np.exp(0.1 * generator.standard_normal((images, blocks)))
    weights = np.linspace(3, 2, blocks) if weight_norm is None else np.asarray(weight_norm)
    coordinates["sample"] = ("sample", sample)
    coordinates["label"] = ("sample", sample % CLASSES)
    loss = np.where(wrong, 2.0, 0.1).astype(np.float32)
    lesion = xr.Dataset(
        {
            "correct": ("sample", (~wrong).astype(np.int8)),
            "test_loss": ("sample", loss),
            "test_error": ((), float(wrong.mean())),
            "lesion_correct": (("sample", "block"), (~lesion_wrong).astype(np.int8)),
            "lesion_loss": (
                ("sample", "block"),
                np.where(lesion_wrong, 2.1, 0.15).astype(np.float32),
            ),
            "lesion_error": ("block", lesion_wrong.mean(axis=0)),
        },
        coords=coordinates,
    )
    norms = xr.Dataset(
        {
            "branch_shortcut_ratio": (("sample", "block"), ratios.astype(np.float32)),
            "correct": ("sample", (~wrong).astype(np.int8)),
            "weight_norm": ("block", weights.astype(np.float64)),
        },
        coords=coordinates,
    ).isel(sample=slice(norm_images))
    return Input(label, xr.DataTree(), {"norms": norms, "lesion": lesion}, 100, group, seed)


def _coordinates(stages: Sequence[int], plain: bool) -> dict[str, tuple[str, np.ndarray]]:
    stage = np.repeat(np.arange(1, len(stages) + 1), stages).astype(np.int64)
    inside = np.concatenate([np.arange(count, dtype=np.int64) for count in stages])
    transition = ((inside == 0) & (stage > 1)).astype(np.int8)
    kind = np.full(stage.size, "none") if plain else np.where(transition, "padded", "identity")
    names = [f"stage{a}.{b}" for a, b in zip(stage, inside, strict=True)]
    return {
        "block": ("block", np.array(names)),
        "stage": ("block", stage),
        "index": ("block", np.arange(stage.size, dtype=np.int64)),
        "index_in_stage": ("block", inside),
        "skip": ("block", kind),
        "activation": ("block", np.full(stage.size, "pre")),
        "transition": ("block", transition),
        "elements": ("block", np.full(stage.size, 4096, dtype=np.int64)),
    }


def demo_inputs(stages: Sequence[int] = (9, 9, 9), images: int = 500) -> list[Input]:
    """h = 1, h = 0.1 and a plain network, two seeds each: what `resprobe demo` gives."""
    blocks = sum(stages)
    made = []
    for seed in (0, 1):
        rng = np.random.default_rng(seed + 50)
        ratios = 0.15 * np.exp(rng.normal(0, 0.5, blocks))
        damage = {i: float(0.06 * ratios[i]) for i in range(blocks)}
        damage[stages[0]], damage[0], ratios[stages[0]] = 0.12, 0.05, 1.1
        made.append(
            build_input(
                f"h1-seed{seed}",
                group="h1",
                seed=seed,
                stages=stages,
                images=images,
                effects=damage,
                ratio=ratios,
                weight_norm=rng.uniform(2, 3, blocks),
            )
        )
        made.append(
            build_input(
                f"h01-seed{seed}",
                group="h01",
                seed=seed,
                stages=stages,
                images=images,
                base_error=0.034,
                effects={stages[0]: 0.02},
                ratio=ratios * 0.3,
                draw=1,
            )
        )
        made.append(
            build_input(
                f"plain-seed{seed}",
                group="plain",
                seed=seed,
                stages=stages,
                images=images,
                base_error=0.06,
                every=0.75,
                effects={3: 0.4, 5: 0.9},
                plain=True,
                ratio=np.linspace(0.8, 2, blocks),
                draw=2,
            )
        )
    return made
