"""Read the families `norms` and `lesion` into plain arrays on common images."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from resprobe.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

    from resprobe.result import Input

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

NEEDED = {
    "norms": {"branch_shortcut_ratio": ("sample", "block"), "weight_norm": ("block",)},
    "lesion": {
        "correct": ("sample",),
        "test_loss": ("sample",),
        "lesion_correct": ("sample", "block"),
        "lesion_loss": ("sample", "block"),
    },
}
COORDINATES = ("block", "stage", "index", "index_in_stage", "skip", "transition", "sample", "label")


@dataclass(frozen=True)
class Layout:
    """Where each block stands; equal for all inputs of one analysis.

    Attributes:
        stage: shape (block,).
        index: position in the network, shape (block,).
        index_in_stage: shape (block,).
        transition: whether input and output shape differ, shape (block,).
    """

    stage: Integers
    index: Integers
    index_in_stage: Integers
    transition: Flags

    @property
    def within(self) -> Flags:
        """Blocks that keep their shape, shape (block,)."""
        return ~self.transition

    def same_as(self, other: Layout) -> bool:
        """Tell whether both have as many blocks, in equal stages and of equal kind."""
        return (
            np.array_equal(self.stage, other.stage)
            and np.array_equal(self.index_in_stage, other.index_in_stage)
            and np.array_equal(self.transition, other.transition)
        )


@dataclass(frozen=True)
class Network:
    """One network's recorded lesions.

    Attributes:
        label: short and unique.
        seed: of its training, None where unknown.
        step: of its checkpoint, None where unknown.
        names: of its blocks.
        skips: kind of each block's skip.
        layout: of its blocks.
        classes: labels of the images, shape (image,).
        whole_wrong: whether the whole network errs, shape (image,).
        lesion_wrong: whether it errs without one branch, shape (image, block).
        loss_increase: test loss without a branch minus with it, shape (image, block).
        ratio: ‖G‖/‖s‖, shape (image, block); its images are those that all inputs' norms share.
        weight_norm: of the branch's parameters, shape (block,).
        images_left_out: recorded lesion images that other inputs do not have.
    """

    label: str
    seed: int | None
    step: int | None
    names: tuple[str, ...]
    skips: tuple[str, ...]
    layout: Layout
    classes: Integers
    whole_wrong: Flags
    lesion_wrong: Flags
    loss_increase: Floats
    ratio: Floats
    weight_norm: Floats
    images_left_out: int

    @property
    def plain(self) -> bool:
        """Whether no block has a skip."""
        return all(skip == "none" for skip in self.skips)


@dataclass(frozen=True)
class Group:
    """Networks of one resolved recipe, trained with different seeds."""

    label: str
    networks: tuple[Network, ...]

    @property
    def plain(self) -> bool:
        """Whether these are networks without skips."""
        return self.networks[0].plain


def read_groups(inputs: Sequence[Input]) -> tuple[Group, ...]:
    """Read all inputs on the images they share, grouped by recipe in order of appearance.

    Raises:
        InputError: no inputs, a family or variable missing, no images in common, labels that
            differ on the same image, different blocks, or one seed of a group given twice.
    """
    if not inputs:
        raise InputError("the analysis lesion needs at least one input; none was given.")
    for given in inputs:
        _check_variables(given)
    images = _shared_images(inputs, ["lesion"])
    norm_images = _shared_images(inputs, ["lesion", "norms"])
    labels = _unique([given.label for given in inputs])
    networks = [
        _read(given, label, images, norm_images)
        for given, label in zip(inputs, labels, strict=True)
    ]
    _check_classes(networks)
    _check_blocks(networks)
    keys = list(dict.fromkeys(given.group for given in inputs))
    members = [
        [net for net, given in zip(networks, inputs, strict=True) if given.group == key]
        for key in keys
    ]
    for group in members:
        _check_group(group)
    names = _unique([group_label([net.label for net in group]) for group in members])
    return tuple(Group(name, tuple(group)) for name, group in zip(names, members, strict=True))


def group_label(labels: Sequence[str]) -> str:
    """Shorten the labels of a group to what they share, without a trailing `seed`.

    Args:
        labels: of the group's networks, at least one.

    Returns:
        `"h1"` for `["h1-seed0", "h1-seed1"]`; a single label as it is; where nothing is shared,
        the first label and "etc.".
    """
    if len(labels) == 1:
        return labels[0]
    split = [re.split(r"([-_. ]+|(?<=\D)(?=\d))", label) for label in labels]
    shared = itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*split, strict=False))
    common = "".join(parts[0] for parts in shared)
    return re.sub(r"[-_. ]*(seed)?[-_. ]*$", "", common) or f"{labels[0]} etc."


def _unique(labels: Sequence[str]) -> list[str]:
    seen: dict[str, int] = {}
    unique = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        unique.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return unique


def _check_variables(given: Input) -> None:
    for family, variables in NEEDED.items():
        if family not in given.families:
            raise InputError(
                f"{given.label} has no family {family!r}, which the analysis lesion reads; "
                "collect it first with `resprobe collect`."
            )
        data = given.families[family]
        for name, dims in variables.items():
            if name not in data or set(data[name].dims) != set(dims):
                raise InputError(
                    f"{given.label}: the family {family!r} has no variable {name!r} with the "
                    f"dimensions {', '.join(dims)}; collect it again."
                )
        for name in COORDINATES:
            if name not in data.coords:
                raise InputError(
                    f"{given.label}: the family {family!r} has no coordinate {name!r}; collect it "
                    "again."
                )


def _shared_images(inputs: Sequence[Input], families: Sequence[str]) -> Integers:
    sets = [
        np.asarray(given.families[family]["sample"].values, dtype=np.int64)
        for given in inputs
        for family in families
    ]
    shared = reduce(np.intersect1d, sets)
    if not shared.size:
        who = ", ".join(given.label for given in inputs)
        raise InputError(
            f"no test image is in all of the families {' and '.join(families)} of {who}; collect "
            "them with the same --samples and --sample-seed."
        )
    return np.asarray(shared, dtype=np.int64)


def _read(given: Input, label: str, images: Integers, norm_images: Integers) -> Network:
    lesion, norms = given.families["lesion"], given.families["norms"]
    names = tuple(str(name) for name in lesion["block"].values)
    if set(names) != {str(name) for name in norms["block"].values}:
        raise InputError(
            f"{given.label}: the families norms and lesion have different blocks; collect both "
            "from the same checkpoint."
        )
    recorded = lesion.sizes["sample"]
    lesion = lesion.sel(sample=images)
    norms = norms.sel(sample=norm_images, block=list(names))
    whole_loss = _values(lesion, "test_loss", "sample").astype(np.float64)
    lesion_loss = _values(lesion, "lesion_loss", "sample", "block").astype(np.float64)
    return Network(
        label=label,
        seed=given.seed,
        step=given.step,
        names=names,
        skips=tuple(str(skip) for skip in lesion["skip"].values),
        layout=_layout(lesion),
        classes=lesion["label"].values.astype(np.int64),
        whole_wrong=_values(lesion, "correct", "sample") == 0,
        lesion_wrong=_values(lesion, "lesion_correct", "sample", "block") == 0,
        loss_increase=lesion_loss - whole_loss[:, None],
        ratio=_values(norms, "branch_shortcut_ratio", "sample", "block").astype(np.float64),
        weight_norm=_values(norms, "weight_norm", "block").astype(np.float64),
        images_left_out=recorded - images.size,
    )


def _values(data: xr.Dataset, name: str, *dims: str) -> npt.NDArray[np.generic]:
    return np.asarray(data[name].transpose(*dims).values)


def _layout(data: xr.Dataset) -> Layout:
    return Layout(
        stage=data["stage"].values.astype(np.int64),
        index=data["index"].values.astype(np.int64),
        index_in_stage=data["index_in_stage"].values.astype(np.int64),
        transition=data["transition"].values.astype(bool),
    )


def _check_classes(networks: Sequence[Network]) -> None:
    for other in networks[1:]:
        if not np.array_equal(networks[0].classes, other.classes):
            raise InputError(
                f"{networks[0].label} and {other.label} have different labels for the same "
                "images: they were not measured on one data set; analyze them apart."
            )


def _check_blocks(networks: Sequence[Network]) -> None:
    first = networks[0]
    named: dict[bool, Network] = {}
    for other in networks:
        same_kind = named.setdefault(other.plain, other)
        if not first.layout.same_as(other.layout) or same_kind.names != other.names:
            raise InputError(
                f"{same_kind.label if first.layout.same_as(other.layout) else first.label} and "
                f"{other.label} have different blocks; analyze networks of different "
                "architecture apart."
            )


def _check_group(networks: Sequence[Network]) -> None:
    by_seed: dict[int, Network] = {}
    for net in networks:
        if net.seed is None:
            continue
        if net.seed in by_seed:
            raise InputError(
                f"{by_seed[net.seed].label} and {net.label} have the same recipe and the same "
                f"seed {net.seed}, so they are not independent; give one of them."
            )
        by_seed[net.seed] = net
