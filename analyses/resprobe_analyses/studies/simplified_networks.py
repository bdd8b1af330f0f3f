"""Trained simplified networks, residual and plain: the runs that YT-F3, YT-N and YT-F7 share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from resprobe_analyses.statistics.counts import rate_interval
from resprobe_analyses.studies.by_seed import mean_in_words
from resprobe_analyses.studies.full_width import SUBSET, WHOLE
from resprobe_analyses.studies.images import (
    CIFAR_16,
    DIGITS,
    SEEDS,
    SMOKE,
    SMOKE_SEEDS,
    Images,
)
from resprobe_analyses.studies.residual_and_plain import PLAIN, RESIDUAL, Pilots
from resprobe_analyses.studies.study import Setting
from resprobe_analyses.sweeps.outcomes import PointOutcome
from resprobe_analyses.sweeps.specification import Arm, Collection, Sweep

# A network that errs on more of its training images has learnt next to nothing; chance errs on 0.9.
UNTRAINED = 0.8
# What studies add to a contrast that is of such pairs only.
OF_THOSE = f"; of seeds of which both networks learnt (training error at most {UNTRAINED:g})"
RATE = "schedule.learning_rate"


def scales(pilots: Pilots) -> dict[str, tuple[Setting, ...]]:
    """Give the settings by scale.

    Args:
        pilots: of a study at the scale `small`, by label of the data and name of the contrast.
    """
    # Seed 200, batches of 32. On the digits at a rate of 0.01 the residual network of depth 32 came
    # to 0.35 and the plain one stayed at chance (2.302); at 0.005 to 0.06 in 20 and 0.07 in 30
    # epochs, the plain one leaving chance in epoch 10 only; at 0.02 and more losses jumped. On
    # CIFAR-10 depth 20 came to 1.51 and 1.79 in 16 epochs at 0.01, at 0.005 the plain one to 2.07.
    digits, cifar = {**paper_steps(30), RATE: 0.005}, {**paper_steps(20), RATE: 0.01}
    small = (
        (DIGITS, _sweep("small", DIGITS, 20, digits), 5.5),
        (deep(DIGITS), _sweep("small", DIGITS, 32, digits), 9.0),
        (CIFAR_16, _sweep("small", CIFAR_16, 20, cifar), 6.0),
    )
    smoke = _sweep("smoke", SMOKE, 20, {**paper_steps(1), RATE: 0.01})
    subset = {**paper_steps(60), RATE: 0.01}
    whole = {**paper_steps(200, batch=128), RATE: 0.01}
    return {
        "smoke": (_setting(SMOKE, smoke, 0.5),),
        "small": tuple(
            _setting(images, sweep, minutes, pilots.get(images.label, {}))
            for images, sweep, minutes in small
        ),
        "medium": (_setting(SUBSET, _sweep("medium", SUBSET, 20, subset), 250.0),),
        "paper": (
            _setting(WHOLE, _sweep("paper", WHOLE, 20, whole), 4000.0),
            _setting(deep(WHOLE), _sweep("paper", WHOLE, 32, whole), 6500.0),
        ),
    }


def paper_steps(epochs: int, *, batch: int = 32) -> dict[str, Any]:
    """Give the keys of a training as the paper has it but its rate: a tenth from 60 and 80 % on.

    Source: Yu and Tomasi (2019), caption of Table 1: 200 epochs, a rate of 0.01 divided by 10
    after epochs 120 and 160, weight decay 1e-4. Batch and momentum are not printed.

    Args:
        epochs: in all.
        batch: images a step.
    """
    return {
        "train.epochs": epochs,
        "train.batch_size": batch,
        "train.weight_decay": 1e-4,
        "schedule.name": "step",
        "schedule.milestones": [0.6, 0.8],
        "schedule.factor": 0.1,
    }


def deep(images: Images) -> Images:
    """Give the same images under the label of networks of depth 32: a row of its own."""
    return replace(images, label=f"{images.label}-depth-32")


def arms(recipe: str) -> tuple[Arm, Arm]:
    """Give the two arms on a recipe: residual from HMWI, plain from KWI, as the paper has them.

    Both are the defaults of the architecture.
    """
    name = {"model.name": "simplified-resnet"}
    return (
        Arm(RESIDUAL, recipe, {**name, "model.residual": True}),
        Arm(PLAIN, recipe, {**name, "model.residual": False}),
    )


def _sweep(scale: str, images: Images, depth: int, training: Mapping[str, Any]) -> Sweep:
    return Sweep(
        name=f"simplified-{depth}-{images.label}-{scale}",
        arms=arms(images.recipe),
        seeds=SMOKE_SEEDS if scale == "smoke" else SEEDS,
        settings={
            **images.settings,
            **training,
            "model.depth": depth,
            "checkpoint.initial": True,
        },
        collections=(
            Collection(("layer_cushion",), images.samples),
            Collection(
                ("weight_noise_output_change",),
                20 if scale == "smoke" else 100,
                options={"trials": 3},
            ),
            Collection(("weight_mass",)),
            Collection(("weight_mass",), checkpoint="0"),
        ),
    )


def _setting(
    images: Images, sweep: Sweep, minutes: float, pilots: Mapping[str, Any] | None = None
) -> Setting:
    return Setting(
        data=images.label,
        meaning=f"{images.meaning}; simplified networks of depth {sweep.settings['model.depth']}, "
        f"residual and plain, {len(sweep.seeds)} seeds",
        sweep=sweep,
        pilots=pilots or {},
        core_minutes=minutes,
    )


def learnt(points: Sequence[PointOutcome]) -> list[PointOutcome]:
    """Give the runs that were trained to their end and learnt something."""
    return [p for p in points if p.trained and p.metrics["train_error"] <= UNTRAINED]


def learnt_note(points: Sequence[PointOutcome]) -> tuple[str, ...]:
    """Say what the runs came to, how many of an arm learnt nothing, and which have no number."""
    told = []
    stuck = {point.name for point in points if point.trained} - {p.name for p in learnt(points)}
    for arm in (RESIDUAL, PLAIN):
        own = [point for point in points if point.arm == arm and point.trained]
        figures = [
            mean_in_words([point.metrics[name] for point in own])
            for name in ("train_loss", "test_error")
        ]
        told.append(f"A {arm} network: training loss {figures[0]}, test error {figures[1]}.")
        if own:
            count = sum(point.name in stuck for point in own)
            low, high = rate_interval(count, len(own))
            told.append(
                f"{count} of {len(own)} {arm} networks learnt nothing (training error above "
                f"{UNTRAINED:g}): 95 % interval of the rate {float(low):.2f} to {float(high):.2f}."
            )
    if stuck:
        names = ", ".join(point.name for point in points if point.name in stuck)
        told.append(f"The verdict is of networks that learnt; no number have: {names}.")
    return tuple(told)
