"""Read the families `norms` and `lesion` into plain arrays on common images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from resprobe.errors import InputError
from resprobe_analyses.reading import (
    Layout,
    check_classes,
    check_seeds,
    check_variables,
    group_label,
    layout_of,
    shared_images,
    unique,
    values,
)

if TYPE_CHECKING:
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
        check_variables(given, NEEDED, "lesion")
    images = shared_images(inputs, ["lesion"])
    norm_images = shared_images(inputs, ["lesion", "norms"])
    labels = unique([given.label for given in inputs])
    networks = [
        _read(given, label, images, norm_images)
        for given, label in zip(inputs, labels, strict=True)
    ]
    check_classes(networks)
    _check_blocks(networks)
    keys = list(dict.fromkeys(given.group for given in inputs))
    members = [
        [net for net, given in zip(networks, inputs, strict=True) if given.group == key]
        for key in keys
    ]
    for group in members:
        check_seeds(group)
    names = unique([group_label([net.label for net in group]) for group in members])
    return tuple(Group(name, tuple(group)) for name, group in zip(names, members, strict=True))


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
    whole_loss = values(lesion, "test_loss", "sample").astype(np.float64)
    lesion_loss = values(lesion, "lesion_loss", "sample", "block").astype(np.float64)
    return Network(
        label=label,
        seed=given.seed,
        step=given.step,
        names=names,
        skips=tuple(str(skip) for skip in lesion["skip"].values),
        layout=layout_of(lesion),
        classes=lesion["label"].values.astype(np.int64),
        whole_wrong=values(lesion, "correct", "sample") == 0,
        lesion_wrong=values(lesion, "lesion_correct", "sample", "block") == 0,
        loss_increase=lesion_loss - whole_loss[:, None],
        ratio=values(norms, "branch_shortcut_ratio", "sample", "block").astype(np.float64),
        weight_norm=values(norms, "weight_norm", "block").astype(np.float64),
        images_left_out=recorded - images.size,
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
