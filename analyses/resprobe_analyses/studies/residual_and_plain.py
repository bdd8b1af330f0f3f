"""Residual networks and their plain twins, lesioned and shuffled: the sweep of three studies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe_analyses.studies.images import (
    CIFAR,
    CIFAR_16,
    CIFAR_SUBSET,
    DIGITS,
    MORE_SEEDS,
    PAPER_TRAINING,
    SEEDS,
    SMOKE,
    SMOKE_SEEDS,
    Images,
    cosine,
)
from resprobe_analyses.studies.study import Pilot, Setting
from resprobe_analyses.sweeps.specification import Arm, Collection, Sweep

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

RESIDUAL, PLAIN = "residual", "plain"

Pilots = Mapping[str, Mapping[str, Pilot]]


def scales(pilots: Pilots) -> dict[str, tuple[Setting, ...]]:
    """Give the settings by scale.

    Args:
        pilots: of a study at the scale `small`, by label of the data and name of the contrast.
    """
    smoke = _sweep("smoke", SMOKE, SMOKE_SEEDS, 20, {"train.epochs": 1})
    # Seed 200, 20 and 25 epochs: the plain network erred on 8 % of the digits and 73 % of CIFAR-10,
    # the residual one on 2 % and 63 %. Shorter, the plain network hardly learns.
    digits = _sweep("small", DIGITS, SEEDS, 38, cosine(20, 0.05))
    cifar = _sweep("small", CIFAR_16, SEEDS, 38, cosine(25, 0.05))
    medium = _sweep("medium", CIFAR_SUBSET, MORE_SEEDS, 56, cosine(40, 0.05))
    paper = _sweep("paper", CIFAR, SEEDS, 110, PAPER_TRAINING)
    return {
        "smoke": (_setting(SMOKE, smoke, 0.5),),
        "small": (
            _setting(DIGITS, digits, 6.5, pilots.get(DIGITS.label, {})),
            _setting(CIFAR_16, cifar, 9.5, pilots.get(CIFAR_16.label, {})),
        ),
        "medium": (_setting(CIFAR_SUBSET, medium, 900.0),),
        "paper": (_setting(CIFAR, paper, 54000.0),),
    }


def _sweep(
    scale: str,
    images: Images,
    seeds: tuple[int, ...],
    depth: int,
    training: Mapping[str, Any],
) -> Sweep:
    return Sweep(
        name=f"residual-and-plain-{images.label}-{scale}",
        arms=(
            Arm(RESIDUAL, images.recipe, {"model.residual": True}),
            Arm(PLAIN, images.recipe, {"model.residual": False}),
        ),
        seeds=seeds,
        settings={**images.settings, **training, "model.depth": depth},
        collections=(
            Collection(
                quantities=("branch_norm", "lesion_error", "shuffle_error"),
                samples=images.samples,
                # up to three swaps: no more than every stage has pairs of neighbours
                options={"levels": 3, "trials": 5},
            ),
        ),
    )


def _setting(
    images: Images,
    sweep: Sweep,
    minutes: float,
    pilots: Mapping[str, Pilot] | None = None,
) -> Setting:
    depth = sweep.settings["model.depth"]
    return Setting(
        data=images.label,
        meaning=f"{images.meaning}; depth {depth}, residual and plain, {len(sweep.seeds)} seeds",
        sweep=sweep,
        pilots=pilots or {},
        core_minutes=minutes,
    )


def rows(data: xr.Dataset, *, plain: bool) -> dict[int, int]:
    """Give where the residual or the plain networks stand in the analysis `lesion`, by seed.

    Args:
        data: of the analysis `lesion`.
        plain: whether those without skips are wanted.
    """
    without = (data["skip"].values == "none").all(axis=1)
    return {
        int(seed): place
        for place, seed in enumerate(data["seed"].values)
        if bool(without[place]) == plain
    }


def by_seed(
    data: xr.Dataset, numbers: npt.NDArray[np.float64], *, plain: bool = False
) -> dict[int, float]:
    """Give one number of each residual (or plain) network by its seed.

    Args:
        data: of the analysis `lesion`.
        numbers: shape (network,).
        plain: see `rows`.
    """
    return {seed: float(numbers[place]) for seed, place in rows(data, plain=plain).items()}


def interpretable(data: xr.Dataset, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Leave out the numbers of networks of which the analysis `lesion` says nothing about blocks.

    Args:
        data: of the analysis `lesion`.
        numbers: shape (network,).

    Returns:
        The same with NaN where a network errs on more than half as many images as chance does.
    """
    kept = numbers.astype(np.float64)
    kept[data["interpretable"].values == 0] = np.nan
    return kept


def uninterpretable_note(data: xr.Dataset, *, plain: bool) -> tuple[str, ...]:
    """Say how many residual (or plain) networks have no number, nothing if all have one."""
    kinds = rows(data, plain=plain)
    count = sum(int(data["interpretable"].values[place] == 0) for place in kinds.values())
    if not count:
        return ()
    words = PLAIN if plain else RESIDUAL
    return (
        f"{count} of {len(kinds)} {words} networks err on more than half as many images as chance "
        "does: what an intervention on them adds says nothing about a block, and they have no "
        "number.",
    )
