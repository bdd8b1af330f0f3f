"""Read what noise did to each network, and its cushions on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from resprobe.errors import InputError
from resprobe.result import Input
from resprobe_analyses.cushions.networks import CUSHIONS
from resprobe_analyses.cushions.networks import FAMILY as LAYER_CUSHION
from resprobe_analyses.noise_stability.families import (
    BESIDE,
    INPUT,
    INPUT_NOISE,
    NAME,
    NEEDED,
    WEIGHT,
    WEIGHT_NOISE,
)
from resprobe_analyses.noise_stability.known import mean_of_known
from resprobe_analyses.reading import (
    check_variables,
    collected_beside,
    shared_images,
    shared_samples,
    values,
)
from resprobe_analyses.statistics import rate_interval

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

NORMS = tuple(CUSHIONS)  # of the layer, in which the noise is measured; an axis of arrays
OUTSIDE = -1  # stage of a layer that runs in no block


@dataclass(frozen=True)
class Response:
    """What noise did to the logits of one network.

    Attributes:
        level: relative norms of the noise above 0, ascending, shape (level,).
        log_change: ln of the relative change of the logits, mean over trials, shape
            (image, …, level); NaN where no trial has a logarithm.
        change: median over images and trials of the relative change, shape (…, level).
        error_added: wrong with the noise minus wrong without, mean over trials, (image, …, level).
        trials: how many draws of noise.
        left_out: share of the changes that are 0 or no number and have no logarithm.
    """

    level: Floats
    log_change: Floats
    change: Floats
    error_added: Floats
    trials: int
    left_out: float


@dataclass(frozen=True)
class Network:
    """One network under noise.

    Attributes:
        label: short and unique, as in the analysis of its cushions.
        seed: of its training, None where unknown.
        residual: whether any block has a skip.
        layers: names of its layers, in the order of execution.
        blocks: the block that each layer runs in, "" for none or where that is not known.
        stage: of that block, `OUTSIDE` for none, shape (layer,).
        within: whether the block keeps its shape, shape (layer,).
        weight: response to noise of one layer's weight, axes (image, layer, norm, level).
        input: response to noise of the input, axes (image, level); None where not collected.
        cushion: layer cushions of the same images, shape (image, layer, norm).
        weight_norm: ‖W‖_F that the noise is relative to, shape (layer, norm).
        error: share of the images that it gets wrong without noise.
        chance_error: share that it would if it always named the most frequent class.
        metrics: what the trainer measured at the checkpoint, such as `train_error`.
    """

    label: str
    seed: int | None
    residual: bool
    layers: tuple[str, ...]
    blocks: tuple[str, ...]
    stage: Integers
    within: Flags
    weight: Response
    input: Response | None
    cushion: Floats
    weight_norm: Floats
    error: float
    chance_error: float
    metrics: Mapping[str, float]

    @property
    def noise_ratio(self) -> Floats:
        """Norm with ID entries removed beside that with them, as the noise of the two differs."""
        kept, removed = self.weight_norm.T
        empty = np.full_like(kept, np.nan)
        return np.asarray(np.divide(removed, kept, out=empty, where=kept > 0))

    @property
    def at_chance(self) -> bool:
        """Whether the 95 % interval of its error, over the images, reaches that of chance."""
        images = len(self.cushion)
        _, high = rate_interval(round(self.error * images), images)
        return bool(high >= self.chance_error)

    @property
    def interpretable(self) -> bool:
        """Whether it errs on at most half as many images as chance does."""
        return self.error <= self.chance_error / 2


def check_inputs(inputs: Sequence[Input]) -> None:
    """Make sure that there are one or two groups with what the analysis needs.

    Raises:
        InputError: no inputs, more than two groups, or a family or variable missing.
    """
    if not inputs:
        raise InputError(f"the analysis {NAME} needs at least one input; none was given.")
    groups = len({given.group for given in inputs})
    if groups > 2:
        raise InputError(
            f"the analysis {NAME} lays one or two groups side by side, but these {len(inputs)} "
            f"inputs are of {groups} (they differ in more than the seed); give those of two."
        )
    for given in inputs:
        check_variables(given, NEEDED, NAME, ("sample", "label", "layer"))
        for name in ("norm", "level"):
            if name not in given.families[WEIGHT_NOISE].coords:
                raise InputError(
                    f"{given.label}: the family {WEIGHT_NOISE!r} has no coordinate {name!r}; "
                    "collect it again."
                )


def beside(given: Input, family: str) -> xr.Dataset | None:
    """Give a family of the analyzed checkpoint that is read where it is.

    Raises:
        InputError: it is there but lacks a variable.
    """
    data = collected_beside(given, family)
    if data is None:
        return None
    for name, dims in BESIDE[family].items():
        if name not in data or set(data[name].dims) != set(dims):
            raise InputError(
                f"{given.label}: the family {family!r} has no variable {name!r} with the "
                f"dimensions {', '.join(dims)}; collect it again."
            )
    return data


def read_networks(inputs: Sequence[Input], labels: Sequence[str]) -> dict[str, Network]:
    """Read all inputs on the images they share.

    Args:
        inputs: checked by `check_inputs`.
        labels: of the inputs, unique.

    Returns:
        Label to network.

    Raises:
        InputError: no images in common, layers that are not those of the cushions, no noise of a
            level above 0, or noise of other levels than that of another input.
    """
    images = shared_images(inputs, [WEIGHT_NOISE, LAYER_CUSHION])
    noisy = [beside(given, INPUT_NOISE) for given in inputs]
    present = [data for data in noisy if data is not None]
    shared = shared_samples(present, f"the families {INPUT_NOISE}") if present else images
    networks = [
        _read(given, label, images, None if data is None else data.sel(sample=shared))
        for given, label, data in zip(inputs, labels, noisy, strict=True)
    ]
    _check_levels(networks)
    return {net.label: net for net in networks}


def _read(given: Input, label: str, images: Integers, noisy: xr.Dataset | None) -> Network:
    cushions = given.families[LAYER_CUSHION].sel(sample=images)
    noise = given.families[WEIGHT_NOISE].sel(sample=images)
    layers = tuple(str(name) for name in cushions["layer"].values)
    if tuple(str(name) for name in noise["layer"].values) != layers:
        raise InputError(
            f"{given.label}: the families {LAYER_CUSHION} and {WEIGHT_NOISE} have different "
            "layers; collect both from the same checkpoint."
        )
    absent = [norm for norm in NORMS if norm not in noise["norm"].values]
    if absent:
        raise InputError(
            f"{given.label}: the family {WEIGHT_NOISE} has no noise of the norm {absent[0]!r}; "
            "collect it again."
        )
    stage, within = _places(cushions)
    return Network(
        label=label,
        seed=given.seed,
        residual=_residual(cushions),
        layers=layers,
        blocks=tuple(str(name) for name in cushions["layer_block"].values)
        if "layer_block" in cushions
        else ("",) * len(layers),
        stage=stage,
        within=within,
        weight=_response(
            _above_0(given, noise.sel(norm=list(NORMS)), WEIGHT_NOISE), "weight_noise", WEIGHT
        ),
        input=None
        if noisy is None
        else _response(_above_0(given, noisy, INPUT_NOISE), "input_noise", INPUT),
        cushion=np.stack(
            [
                values(cushions, name, "sample", "layer").astype(np.float64)
                for name in CUSHIONS.values()
            ],
            axis=-1,
        ),
        weight_norm=np.stack(
            [
                values(noise, name, "layer").astype(np.float64)
                for name in ("layer_weight_norm", "layer_weight_norm_id_removed")
            ],
            axis=-1,
        ),
        error=float((values(noise, "correct", "sample") == 0).mean()),
        chance_error=1
        - float(np.unique(noise["label"].values, return_counts=True)[1].max()) / images.size,
        metrics={
            name: float(value)
            for name, value in dict(given.checkpoint.get("metrics") or {}).items()
            if isinstance(value, int | float)
        },
    )


def _residual(cushions: xr.Dataset) -> bool:
    skips = [*cushions["layer_skip"].values]
    skips += [*cushions["skip"].values] if "skip" in cushions else []
    return any(str(skip) != "none" for skip in skips)


def _places(cushions: xr.Dataset) -> tuple[Integers, Flags]:
    """Give the stage of each layer and whether its block keeps its shape."""
    layers = cushions.sizes["layer"]
    stage, within = np.full(layers, OUTSIDE, np.int64), np.zeros(layers, np.bool_)
    if not all(name in cushions for name in ("block", "layer_block", "stage", "transition")):
        return stage, within
    place = {str(name): i for i, name in enumerate(cushions["block"].values)}
    for layer, block in enumerate(cushions["layer_block"].values):
        if str(block) in place:
            stage[layer] = int(cushions["stage"].values[place[str(block)]])
            within[layer] = not cushions["transition"].values[place[str(block)]]
    return stage, within


def _above_0(given: Input, data: xr.Dataset, family: str) -> xr.Dataset:
    """Give the levels above 0, ascending: no noise changes nothing, which has no logarithm."""
    levels = data["level"].values
    if not (levels > 0).any():
        raise InputError(
            f"{given.label}: the family {family!r} has no noise of a level above 0; collect it "
            "again with levels such as --noise-levels 0.03,0.1,0.3."
        )
    return data.isel(level=levels > 0).sortby("level")


def _response(data: xr.Dataset, prefix: str, dims: tuple[str, ...]) -> Response:
    change = values(data, f"{prefix}_output_change", *dims).astype(np.float64)
    known = np.isfinite(change) & (change > 0)
    logs = np.log(np.where(known, change, 1.0))
    wrong = values(data, f"{prefix}_correct", *dims) == 0
    before = values(data, "correct", "sample") == 0
    added = wrong.mean(axis=-1) - before.reshape(-1, *(1,) * (wrong.ndim - 2))
    trials_first = np.moveaxis(change, -1, 0)
    return Response(
        level=np.asarray(data["level"].values, np.float64),
        log_change=mean_of_known(np.where(known, logs, np.nan), axis=-1),
        change=np.asarray(np.median(trials_first.reshape(-1, *change.shape[1:-1]), axis=0)),
        error_added=np.asarray(added, np.float64),
        trials=change.shape[-1],
        left_out=float(1 - known.mean()),
    )


def _check_levels(networks: Sequence[Network]) -> None:
    first = networks[0]
    for other in networks[1:]:
        pairs = [(first.weight, other.weight)]
        if first.input is not None and other.input is not None:
            pairs.append((first.input, other.input))
        for one, two in pairs:
            if not np.array_equal(one.level, two.level):
                raise InputError(
                    f"{first.label} and {other.label} were measured under noise of different "
                    "levels; collect both with the same."
                )
