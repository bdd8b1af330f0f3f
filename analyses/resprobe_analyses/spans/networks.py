"""Read `lesion-span`, and `influence` and `angular-distance` where they are, into plain arrays."""

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
    collected_beside,
    every_second,
    group_label,
    layout_of,
    shared_images,
    unique,
    values,
)

if TYPE_CHECKING:
    import xarray as xr

    from resprobe.result import Input

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

FAMILY = "lesion-span"
SPAN = ("sample", "block", "length")
NEEDED = {
    FAMILY: {
        "correct": ("sample",),
        "test_loss": ("sample",),
        "span_lesion_correct": SPAN,
        "span_lesion_loss": SPAN,
    }
}


@dataclass(frozen=True)
class Turned:
    """How far each block turns its input, image by image.

    Attributes:
        values: shape (image, block), NaN where the block changes the shape.
        images: which they are, ascending, shape (image,).
    """

    values: Floats
    images: Integers


@dataclass(frozen=True)
class Network:
    """One network's recorded lesions of spans.

    Attributes:
        label: short and unique.
        seed: of its training, None where unknown.
        step: of its checkpoint, None where unknown.
        names: of its blocks.
        plain: whether no block has a skip.
        layout: of its blocks.
        classes: labels of the images, shape (image,).
        choosing: images that choose spans; the others measure them, shape (image,).
        whole_wrong: whether the whole network errs, shape (image,).
        span_wrong: whether it errs without the span, shape (image, block, length); False past
            the end.
        loss_increase: mean test loss without the span minus with it, shape (block, length).
        choosing_loss_increase: the same over the choosing images.
        influence: mean block influence, shape (block,); None where it was not collected.
        distance: mean angular distance, shape (block, length); None where it was not collected.
        images_left_out: recorded images that other inputs do not have.
        influence_by_image: block influence; None where it was not collected.
        distance_by_image: angular distance of single blocks; None where it was not collected.
        lesioned: whether the lesions of single blocks were collected by themselves, too.
    """

    label: str
    seed: int | None
    step: int | None
    names: tuple[str, ...]
    plain: bool
    layout: Layout
    classes: Integers
    choosing: Flags
    whole_wrong: Flags
    span_wrong: Flags
    loss_increase: Floats
    choosing_loss_increase: Floats
    influence: Floats | None
    distance: Floats | None
    images_left_out: int
    influence_by_image: Turned | None
    distance_by_image: Turned | None
    lesioned: bool


@dataclass(frozen=True)
class Group:
    """Networks of one resolved recipe, trained with different seeds."""

    label: str
    networks: tuple[Network, ...]


def read_groups(inputs: Sequence[Input]) -> tuple[Group, ...]:
    """Read all inputs on the images they share, one group or two.

    Raises:
        InputError: no inputs, more than two groups, a family or variable missing, fewer than two
            images in common, labels that differ on the same image, different blocks, or one seed
            of a group twice.
    """
    if not inputs:
        raise InputError("the analysis spans needs at least one input; none was given.")
    keys = list(dict.fromkeys(given.group for given in inputs))
    if len(keys) > 2:
        raise InputError(
            f"the analysis spans compares two groups, but {len(keys)} were given; analyze two at "
            "a time."
        )
    for given in inputs:
        check_variables(given, NEEDED, "spans")
        _check_lengths(given)
    images = shared_images(inputs, [FAMILY])
    if images.size < 2:
        raise InputError(
            f"{inputs[0].label} has a single image to choose a span on and to measure it on; "
            "collect lesion-span with more --samples."
        )
    labels = unique([given.label for given in inputs])
    networks = [_read(given, label, images) for given, label in zip(inputs, labels, strict=True)]
    check_classes(networks)
    for net in networks[1:]:
        if net.names != networks[0].names or not net.layout.same_as(networks[0].layout):
            raise InputError(
                f"{networks[0].label} and {net.label} have different blocks; analyze them apart."
            )
    members = [
        [net for net, given in zip(networks, inputs, strict=True) if given.group == key]
        for key in keys
    ]
    for own in members:
        check_seeds(own)
    names = unique([group_label([net.label for net in own]) for own in members])
    return tuple(Group(name, tuple(own)) for name, own in zip(names, members, strict=True))


def within_network(blocks: int) -> Flags:
    """Tell which spans end within the network, shape (block, length)."""
    first, length = np.indices((blocks, blocks))
    return np.asarray(first + length < blocks)


def with_transition(layout: Layout) -> Flags:
    """Tell which spans hold a transition, shape (block, length); False past the end."""
    blocks = layout.transition.size
    before = np.concatenate([[0], np.cumsum(layout.transition)])
    first, length = np.indices((blocks, blocks))
    after = np.minimum(first + length + 1, blocks)
    return np.asarray((before[after] > before[first]) & within_network(blocks))


def _check_lengths(given: Input) -> None:
    data = given.families[FAMILY]
    expected = np.arange(1, data.sizes["block"] + 1)
    if "length" not in data.coords or not np.array_equal(data["length"].values, expected):
        raise InputError(
            f"{given.label}: the lengths of the family {FAMILY!r} are not 1 to the number of "
            "blocks; collect it again."
        )


def _read(given: Input, label: str, images: Integers) -> Network:
    data = given.families[FAMILY]
    recorded = data.sizes["sample"]
    data = data.sel(sample=images)
    names = tuple(str(name) for name in data["block"].values)
    classes = data["label"].values.astype(np.int64)
    choosing = every_second(classes)
    inside = within_network(len(names))
    loss = values(data, "span_lesion_loss", *SPAN)
    whole_loss = values(data, "test_loss", "sample").astype(np.float64)
    return Network(
        label=label,
        seed=given.seed,
        step=given.step,
        names=names,
        plain=all(str(skip) == "none" for skip in data["skip"].values),
        layout=layout_of(data),
        classes=classes,
        choosing=choosing,
        whole_wrong=values(data, "correct", "sample") == 0,
        span_wrong=(values(data, "span_lesion_correct", *SPAN) == 0) & inside,
        loss_increase=loss.mean(axis=0, dtype=np.float64) - whole_loss.mean(),
        choosing_loss_increase=(
            loss[choosing].mean(axis=0, dtype=np.float64) - whole_loss[choosing].mean()
        ),
        influence=_influence(given, names),
        distance=_distance(given, names),
        images_left_out=recorded - images.size,
        influence_by_image=_turned(given, "influence", "block_influence", names),
        distance_by_image=_turned(given, "angular-distance", "angular_distance", names),
        lesioned=collected_beside(given, "lesion") is not None,
    )


def _turned(given: Input, family: str, variable: str, names: tuple[str, ...]) -> Turned | None:
    """Give what a family says of single blocks, image by image."""
    data = collected_beside(given, family)
    if data is None or variable not in data:
        return None
    data = _collected(given, family, variable, names)
    assert data is not None
    data = data.isel(sample=np.argsort(data["sample"].values))
    if "length" in data[variable].dims:
        data = data.sel(length=1)
    found = values(data, variable, "sample", "block").astype(np.float64)
    return Turned(found, data["sample"].values.astype(np.int64))


def _influence(given: Input, names: tuple[str, ...]) -> Floats | None:
    data = _collected(given, "influence", "block_influence", names)
    if data is None:
        return None
    found = values(data, "block_influence", "sample", "block").astype(np.float64)
    known = np.isfinite(found)
    total = np.where(known, found, 0.0).sum(axis=0)
    missing = np.full(len(names), np.nan)  # a transition has no influence
    np.divide(total, known.sum(axis=0), out=missing, where=known.any(axis=0))
    return missing


def _distance(given: Input, names: tuple[str, ...]) -> Floats | None:
    data = _collected(given, "angular-distance", "mean_angular_distance", names)
    if data is None:
        return None
    return np.asarray(values(data, "mean_angular_distance", "block", "length"), np.float64)


def _collected(
    given: Input, family: str, variable: str, names: tuple[str, ...]
) -> xr.Dataset | None:
    """Give a family of the analyzed checkpoint, None where it was not collected."""
    data = collected_beside(given, family)
    if data is None:
        return None
    if tuple(str(name) for name in data["block"].values) != names or variable not in data:
        raise InputError(
            f"{given.label}: the families {FAMILY} and {family} have different blocks or lack "
            f"{variable}; collect both from the same checkpoint."
        )
    return data
