"""Read `layer-cushion`, and `interlayer-cushion` where it is, into plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resprobe.errors import InputError
from resprobe.result import Input
from resprobe_analyses.reading import (
    check_classes,
    check_seeds,
    check_variables,
    collected_beside,
    group_label,
    shared_images,
    shared_samples,
    unique,
    values,
)

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

FAMILY, INTERLAYER = "layer-cushion", "interlayer-cushion"
LAYER = ("sample", "layer")
# What becomes of the ID entries in the norm of the layer, to the cushion with that norm.
CUSHIONS = {"kept": "layer_cushion", "removed": "layer_cushion_id_removed"}
NEEDED = {
    **dict.fromkeys(CUSHIONS.values(), LAYER),
    "layer_frobenius_norm": ("layer",),
    "layer_weight_norm": ("layer",),
}
COORDINATES = ("sample", "label", "layer", "layer_kind", "layer_skip")
SPAN = ("sample", "block", "length")
MODES = ("eval", "train")
_VARIABLES = {"eval": "interlayer_cushion", "train": "interlayer_cushion_train_mode"}


@dataclass(frozen=True)
class Interlayer:
    """Interlayer cushions of one network.

    Attributes:
        blocks: their names.
        stage: of each block, shape (block,).
        transition: whether the block changes the shape, shape (block,).
        values: mode of BatchNorm to cushions, shape (image, block, length); NaN where there is no
            such span, or in the mode "train" no BatchNorm in it.
        stderr: mode to their standard errors, likewise.
        plain: whether no block has a skip.
        open: share of the estimates that did not reach the error that was asked for, both modes.
    """

    blocks: tuple[str, ...]
    stage: Integers
    transition: Flags
    values: dict[str, Floats]
    stderr: dict[str, Floats]
    plain: bool
    open: float

    @property
    def batch_norm(self) -> bool:
        """Whether the network has a BatchNorm, by whose mode cushions differ."""
        return bool(np.isfinite(self.values["train"]).any())

    @property
    def unit(self) -> str:
        """What one of its blocks is called."""
        return "unit" if self.plain else "block"


def unit_of(inters: Sequence[Interlayer]) -> str:
    """Give what one block of any of several networks is called: "block", "unit" or either."""
    return " or ".join(sorted({one.unit for one in inters}))


def several(unit: str) -> str:
    """Give the plural of `unit_of`, as "blocks or units"."""
    return f"{unit.replace(' or ', 's or ')}s"


@dataclass(frozen=True)
class Network:
    """One network's recorded cushions.

    Attributes:
        label: short and unique.
        seed: of its training, None where unknown.
        step: of its checkpoint, None where unknown.
        classes: labels of the images, shape (image,).
        layers: names of its layers.
        kinds: "convolution" or "linear", of each.
        with_skip: whether a skip counts as a part of the layer, shape (layer,).
        plain: whether no block has a skip, as far as the family tells.
        kept: cushions with ID entries kept in the norm, shape (image, layer).
        removed: cushions with ID entries removed from it, likewise.
        by_weight: ‖A‖_F/‖W‖_F, by which a cushion with the norm of the weight is larger, shape
            (layer,).
        interlayer: None where it was not collected.
        images_left_out: recorded images that other inputs do not have.
    """

    label: str
    seed: int | None
    step: int | None
    classes: Integers
    layers: tuple[str, ...]
    kinds: tuple[str, ...]
    with_skip: Flags
    plain: bool
    kept: Floats
    removed: Floats
    by_weight: Floats
    interlayer: Interlayer | None
    images_left_out: int


@dataclass(frozen=True)
class Group:
    """Networks of one resolved recipe, trained with different seeds."""

    label: str
    networks: tuple[Network, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, the same in all networks."""
        return self.networks[0].layers


def read_groups(inputs: Sequence[Input]) -> tuple[Group, ...]:
    """Read all inputs on the images they share, one group or two.

    Raises:
        InputError: no inputs, more than two groups, a family or variable missing, no images in
            common, labels that differ on the same image, seeds of one group with different
            layers, or one seed twice.
    """
    if not inputs:
        raise InputError("the analysis cushions needs at least one input; none was given.")
    names = list(dict.fromkeys(given.group for given in inputs))
    if len(names) > 2:
        raise InputError(
            f"the analysis cushions lays one or two groups side by side, but these "
            f"{len(inputs)} inputs are of {len(names)} (they differ in more than the seed); give "
            "those of two."
        )
    for given in inputs:
        check_variables(given, {FAMILY: NEEDED}, "cushions", COORDINATES)
    images = shared_images(inputs, [FAMILY])
    spans = [collected_beside(given, INTERLAYER) for given in inputs]
    present = [data for data in spans if data is not None]
    span_images = shared_samples(present, "the families interlayer-cushion") if present else None
    labels = unique([given.label for given in inputs])
    networks = [
        _read(given, label, images, span_images)
        for given, label in zip(inputs, labels, strict=True)
    ]
    check_classes(networks)
    groups = []
    for name in names:
        own = [net for given, net in zip(inputs, networks, strict=True) if given.group == name]
        for net in own[1:]:
            if net.layers != own[0].layers:
                raise InputError(
                    f"{own[0].label} and {net.label} are of one recipe but have different layers; "
                    "collect both from the same kind of checkpoint, or analyze them apart."
                )
        check_seeds(own)
        groups.append(Group(group_label([net.label for net in own]), tuple(own)))
    return tuple(_told_apart(groups))


def _told_apart(groups: Sequence[Group]) -> list[Group]:
    """Give every group a label of its own."""
    labels = unique([group.label for group in groups])
    return [Group(label, group.networks) for label, group in zip(labels, groups, strict=True)]


def _read(given: Input, label: str, images: Integers, span_images: Integers | None) -> Network:
    data = given.families[FAMILY]
    recorded = data.sizes["sample"]
    data = data.sel(sample=images)
    norm = np.asarray(data["layer_frobenius_norm"].values, np.float64)
    weight = np.asarray(data["layer_weight_norm"].values, np.float64)
    by_weight = np.divide(norm, weight, out=np.full_like(norm, np.nan), where=weight > 0)
    with_skip = np.array([str(skip) != "none" for skip in data["layer_skip"].values])
    return Network(
        label=label,
        seed=given.seed,
        step=given.step,
        classes=data["label"].values.astype(np.int64),
        layers=tuple(str(name) for name in data["layer"].values),
        kinds=tuple(str(kind) for kind in data["layer_kind"].values),
        with_skip=with_skip,
        plain=not with_skip.any()
        and all(str(skip) == "none" for skip in (data["skip"].values if "skip" in data else ())),
        **{norm: values(data, one, *LAYER).astype(np.float64) for norm, one in CUSHIONS.items()},
        by_weight=by_weight,
        interlayer=None if span_images is None else _interlayer(given, span_images),
        images_left_out=recorded - images.size,
    )


def _interlayer(given: Input, images: Integers) -> Interlayer | None:
    data = collected_beside(given, INTERLAYER)
    if data is None:
        return None
    absent = [
        name
        for one in _VARIABLES.values()
        for name in (one, f"{one}_stderr", f"{one}_converged")
        if name not in data
    ]
    absent += [name for name in ("stage", "skip", "transition") if name not in data.coords]
    if absent:
        raise InputError(
            f"{given.label}: the family {INTERLAYER!r} lacks {absent[0]!r}; collect it again."
        )
    data = data.sel(sample=images)
    flags = np.stack([data[f"{one}_converged"].values for one in _VARIABLES.values()])
    return Interlayer(
        blocks=tuple(str(name) for name in data["block"].values),
        stage=data["stage"].values.astype(np.int64),
        transition=data["transition"].values.astype(np.bool_),
        values={m: values(data, one, *SPAN).astype(np.float64) for m, one in _VARIABLES.items()},
        stderr={
            m: values(data, f"{one}_stderr", *SPAN).astype(np.float64)
            for m, one in _VARIABLES.items()
        },
        plain=all(str(skip) == "none" for skip in data["skip"].values),
        open=float((flags == 0).sum() / max((flags >= 0).sum(), 1)),
    )
