"""The measurement of a family, and what it asks of a pass."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, TypedDict, TypeGuard

from resprobe.errors import InputError
from resprobe.quantities.family import (
    ChangesInputs,
    ChangesLayers,
    OfActivations,
    OfGradients,
    OfLayers,
    OfTrials,
    Searches,
)
from resprobe.quantities.quantity import all_quantities
from resprobe.quantities.sweep import SweepFamily

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from resprobe.blocks.intervene import Runner
    from resprobe.quantities.family import Measurement, Reestimating
    from resprobe.quantities.trials import Trials
    from resprobe.source import Source


def owner_of(family: str) -> Any:
    """Give what makes the measurement of a family."""
    owners = {
        q.measured_by for q in all_quantities().values() if q.family == family and q.measured_by
    }
    module, _, name = min(owners).partition(":")
    return getattr(importlib.import_module(module), name)


def measurement_of(
    family: str,
    indices: NDArray[np.int64],
    *,
    source: Source,
    runner: Runner,
    trials: Trials,
    training_images: Callable[[], Source],
) -> Measurement:
    """Make the measurement of a family, ready for the first batch.

    Args:
        family: its name.
        indices: of the samples.
        source: network and data.
        runner: of the network.
        trials: of the families that draw at random.
        training_images: makes what statistics of BatchNorm are estimated anew from.

    Raises:
        InputError: the network or the samples do not allow it.
    """
    owner = owner_of(family)
    drawn = (trials,) if isinstance(owner, SweepFamily | OfTrials) else ()
    made: Measurement = owner(source.model, runner.blocks, source.images.classes, *drawn)
    if isinstance(made, OfLayers | OfActivations | ChangesLayers):
        made.take_layers(runner.layers)
    if isinstance(made, Searches):
        made.divide(source.images.labels, indices)
    if isinstance(made, OfGradients):
        made.take_input(ids=runner.takes_ids)
    if reestimating(made):
        if not runner.has_batch_norm:
            raise InputError(
                "the network has no BatchNorm with running statistics, so there is nothing "
                f"that {family} could estimate anew."
            )
        images = training_images()
        made.batch_norm_mode = (
            f"eval, statistics estimated anew from {len(images.images)} training images "
            f"(SHA-256 {images.images.fingerprint()})"
            f"{', without the noise that the run put on its own' if images.noisy else ''}"
        )
    return made


class Keeps(TypedDict):
    """What a pass keeps, as keywords of `Runner.run` and `Runner.kept_bytes`."""

    replays: bool
    states: bool
    functions: bool
    layers: bool
    inputs: bool
    taps: bool


def keeps(measurement: Measurement) -> Keeps:
    """Give what a pass keeps for a measurement."""
    return {
        "replays": measurement.needs_replays,
        "states": measurement.needs_states,
        "functions": measurement.needs_functions,
        "layers": isinstance(measurement, ChangesLayers),
        "inputs": isinstance(measurement, ChangesInputs),
        "taps": isinstance(measurement, OfGradients),
    }


def reestimating(measurement: Measurement) -> TypeGuard[Reestimating]:
    """Say whether it estimates the statistics of BatchNorm anew."""
    return measurement.reestimates
