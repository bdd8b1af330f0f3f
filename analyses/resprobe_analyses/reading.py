"""What analyses of blocks check and read alike: layout, common images, labels, groups."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from resprobe.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

    from resprobe.result import Input

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_STEP = re.compile(r" step \d+$")
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


class Measured(Protocol):
    """A network that was measured on labelled images."""

    @property
    def label(self) -> str:
        """Short name."""

    @property
    def seed(self) -> int | None:
        """Seed of its training, None where unknown."""

    @property
    def classes(self) -> Integers:
        """Labels of the images, shape (image,)."""


def group_label(labels: Sequence[str]) -> str:
    """Shorten the labels of a group to what they share, without a trailing `seed`.

    Args:
        labels: of the group's networks, at least one.

    Returns:
        `"h1"` for `["h1-seed0", "h1-seed1"]`, `"h1 step 390"` where both end in that step; a
        single label as it is; where nothing is shared, the first label and "etc.".
    """
    if len(labels) == 1:
        return labels[0]
    step = _STEP.search(labels[0])
    if step is not None and all(label.endswith(step[0]) for label in labels):
        return group_label([label.removesuffix(step[0]) for label in labels]) + step[0]
    split = [re.split(r"([-_. ]+|(?<=\D)(?=\d))", label) for label in labels]
    shared = itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*split, strict=False))
    common = "".join(parts[0] for parts in shared)
    return re.sub(r"[-_. ]*(seed)?[-_. ]*$", "", common) or f"{labels[0]} etc."


def unique(labels: Sequence[str]) -> list[str]:
    """Number equal labels, as "net", "net (2)"."""
    seen: dict[str, int] = {}
    unique = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        unique.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return unique


def check_variables(
    given: Input,
    needed: Mapping[str, Mapping[str, tuple[str, ...]]],
    analysis: str,
    coordinates: Sequence[str] = COORDINATES,
) -> None:
    """Make sure that an input holds what an analysis reads.

    Args:
        given: one input.
        needed: family to variable to its dimensions, in any order.
        analysis: its name, for the message.
        coordinates: that every one of the families must have.

    Raises:
        InputError: a family, a variable or a coordinate is missing.
    """
    for family, variables in needed.items():
        if family not in given.families:
            raise InputError(
                f"{given.label} has no family {family!r}, which the analysis {analysis} reads; "
                "collect it first with `resprobe collect`."
            )
        data = given.families[family]
        for name, dims in variables.items():
            if name not in data or set(data[name].dims) != set(dims):
                raise InputError(
                    f"{given.label}: the family {family!r} has no variable {name!r} with the "
                    f"dimensions {', '.join(dims)}; collect it again."
                )
        for name in coordinates:
            if name not in data.coords:
                raise InputError(
                    f"{given.label}: the family {family!r} has no coordinate {name!r}; collect it "
                    "again."
                )


def shared_images(inputs: Sequence[Input], families: Sequence[str]) -> Integers:
    """Give the samples that all families of all inputs have, ascending, `(image,)`.

    Raises:
        InputError: there is none.
    """
    who = ", ".join(given.label for given in inputs)
    return shared_samples(
        [given.families[family] for given in inputs for family in families],
        f"the families {' and '.join(families)} of {who}",
    )


def collected_beside(given: Input, family: str) -> xr.Dataset | None:
    """Give a family of the analyzed checkpoint, None where it was not collected."""
    if family in given.families:
        return given.families[family]
    # a lone file, or a checkpoint that was given by itself, has its families at the root
    paths = [family] if given.step is None else [f"step-{given.step:08d}/{family}", family]
    for path in paths:
        with contextlib.suppress(KeyError):
            return given.tree[path].to_dataset()
    return None


def shared_samples(data: Sequence[xr.Dataset], what: str) -> Integers:
    """Give the samples that all datasets have, ascending, `(image,)`.

    Raises:
        InputError: there is none; `what` names the datasets.
    """
    sets = [np.asarray(one["sample"].values, dtype=np.int64) for one in data]
    shared = np.unique(reduce(np.intersect1d, sets))  # a single set may be in any order
    if not shared.size:
        raise InputError(
            f"no test image is in all of {what}; collect them with the same --samples and "
            "--sample-seed."
        )
    return np.asarray(shared, dtype=np.int64)


def values(data: xr.Dataset, name: str, *dims: str) -> npt.NDArray[np.generic]:
    """Give a variable's values with its axes in the order of `dims`."""
    return np.asarray(data[name].transpose(*dims).values)


def layout_of(data: xr.Dataset) -> Layout:
    """Read where the blocks of a family stand."""
    return Layout(
        stage=data["stage"].values.astype(np.int64),
        index=data["index"].values.astype(np.int64),
        index_in_stage=data["index_in_stage"].values.astype(np.int64),
        transition=data["transition"].values.astype(bool),
    )


def every_second(classes: Integers) -> Flags:
    """Choose every second image of each class, and of the classes one after the other.

    Alternating needs no random draw, keeps the classes balanced where a data set is sorted by
    them, and gives each half its share of a class of odd size.

    Args:
        classes: labels of the images, shape (image,).

    Returns:
        Whether an image is in the first half, shape (image,).
    """
    order = np.argsort(classes, kind="stable")
    chosen = np.zeros(classes.size, dtype=np.bool_)
    chosen[order[::2]] = True
    return chosen


def check_classes(networks: Sequence[Measured]) -> None:
    """Make sure that the same images have the same labels in all networks.

    Raises:
        InputError: they have not.
    """
    for other in networks[1:]:
        if not np.array_equal(networks[0].classes, other.classes):
            raise InputError(
                f"{networks[0].label} and {other.label} were measured on different images, or on "
                "images with different labels; analyze them apart."
            )


def check_seeds(networks: Sequence[Measured]) -> None:
    """Make sure that the networks of one group were trained with different seeds.

    Raises:
        InputError: a known seed is given twice.
    """
    by_seed: dict[int, Measured] = {}
    for net in networks:
        if net.seed is None:
            continue
        if net.seed in by_seed:
            raise InputError(
                f"{by_seed[net.seed].label} and {net.label} have the same recipe and the same "
                f"seed {net.seed}, so they are not independent; give one of them."
            )
        by_seed[net.seed] = net
