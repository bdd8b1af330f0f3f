"""The paired difference of two groups by block or layer: arrays in, arrays out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import numpy as np
import numpy.typing as npt

from resprobe_analyses import statistics
from resprobe_analyses.difference.means import mean_of, means_of, p_values_of
from resprobe_analyses.difference.pairing import matched, paired_values
from resprobe_analyses.estimates import LEVEL, Estimate
from resprobe_analyses.reading import Flags, Integers, Layout

Floats = npt.NDArray[np.float64]

ALPHA = 1 - LEVEL
MOST_LAYERS = 30  # that an axis has room to name


@dataclass(frozen=True)
class Compared:
    """What two groups are compared by.

    Attributes:
        name: of the variable, such as "branch_norm".
        label: what sentences call it, such as "‖G‖" or "the error increase by a lesion".
        units: "1" if none.
        dim: whether an item is a block or a layer.
        ratio: whether logarithms are compared: the difference is then told as "times".
        binary: whether the values are changes of right and wrong on an image, in {−1, 0, 1}, or
            0 and 1. Their intervals keep a width where few images change; values of any other
            kind get Student's t interval.
        symbol: what figures call it, with mathematical text in place of signs; `label` if empty.
        word: what an item is called where that is not `dim`: "unit" of plain networks.
    """

    name: str
    label: str
    units: str = "1"
    dim: Literal["block", "layer"] = "block"
    ratio: bool = False
    binary: bool = False
    symbol: str = ""
    word: str = ""

    @property
    def item(self) -> str:
        """What one item is called."""
        return self.word or self.dim


@dataclass(frozen=True)
class Items:
    """The blocks or layers of a group, the same in all its networks.

    Attributes:
        names: of the items.
        stage: of each, shape (item,); None where there are no stages, as for layers.
        transition: whether its shape changes, shape (item,); None where nobody knows.
    """

    names: tuple[str, ...]
    stage: Integers | None = None
    transition: Flags | None = None

    @classmethod
    def of_blocks(cls, names: Sequence[str], layout: Layout) -> Items:
        """Give blocks as items."""
        return cls(tuple(names), layout.stage, layout.transition)

    @property
    def layers_named(self) -> bool:
        """Whether figures have the names of layers; of more they have positions, from 0."""
        return self.stage is None and len(self.names) <= MOST_LAYERS

    @property
    def within(self) -> Flags:
        """Items that keep their shape: those that the mean is over, shape (item,)."""
        if self.transition is None:
            return np.ones(len(self.names), dtype=np.bool_)
        return ~self.transition

    def same_as(self, other: Items) -> bool:
        """Tell whether both are the items of one architecture."""
        return (
            self.names == other.names
            and _equal(self.stage, other.stage)
            and _equal(self.transition, other.transition)
        )


@dataclass(frozen=True)
class NetworkValues:
    """One quantity of one network.

    Attributes:
        seed: of its training, None where unknown.
        values: shape (image, item), NaN where an image has no value for an item; or (item,) for
            what no image is behind.
        images: which image each row is, ascending, shape (image,); None if the rows of all
            networks that are compared are the same images.
    """

    seed: int | None
    values: Floats
    images: Integers | None = None


@dataclass(frozen=True)
class GroupValues:
    """One quantity of the networks of a group, at least one."""

    label: str
    items: Items
    networks: Sequence[NetworkValues]


@dataclass(frozen=True)
class Difference:
    """The first group minus the second, or by the second for a ratio.

    Attributes:
        quantity: what was compared.
        items: by which.
        first: label of the first group.
        second: label of the other.
        seeds: the equal seeds that were paired; empty where the groups share none, and then all
            networks of each are averaged.
        networks: how many networks of both groups are behind it.
        images: how many images are behind it, 0 for what no image is behind.
        change: by item; factors for a ratio, of which 1 is no change. Bounds are NaN where there
            is no interval.
        p_holm: adjusted over the items, shape (item,); NaN where there is no test.
        mean: the same over the items that keep their shape, of the images that have a number in
            all of them; None without any.
        averaged: how many items that mean is over.
        averaged_images: how many images, 0 for what no image is behind.
    """

    quantity: Compared
    items: Items
    first: str
    second: str
    seeds: tuple[int, ...]
    networks: int
    images: int
    change: Estimate
    p_holm: Floats
    mean: Estimate | None
    averaged: int
    averaged_images: int

    @property
    def label(self) -> str:
        """Both groups, as "first − second"."""
        return f"{self.first} − {self.second}"

    @property
    def nothing(self) -> float:
        """The value of no change: 1 for a ratio, else 0."""
        return 1.0 if self.quantity.ratio else 0.0

    @property
    def sizes(self) -> Floats:
        """How large each change is, whichever its direction, shape (item,)."""
        return np.abs(np.log(self.change.value) if self.quantity.ratio else self.change.value)

    @property
    def changed(self) -> tuple[int, ...]:
        """Items that differ after Holm at 5 %, the largest change first."""
        hits = np.flatnonzero(self.p_holm < ALPHA)
        return tuple(int(hit) for hit in hits[np.argsort(-self.sizes[hits], kind="stable")])


def compare_groups(groups: Sequence[GroupValues], quantity: Compared) -> tuple[Difference, ...]:
    """Compare every two groups that can be, in order."""
    found = [compare(a, b, quantity) for a, b in itertools.combinations(groups, 2)]
    return tuple(one for one in found if one is not None)


def compare(first: GroupValues, second: GroupValues, quantity: Compared) -> Difference | None:
    """Compare two groups item by item, on the images that all their networks have.

    Args:
        first: one group.
        second: another.
        quantity: what is compared.

    Returns:
        The difference, with an interval over seeds from five pairs of equal seeds on, else over
        images for these networks, else without. An image that lacks a finite value of an item in
        any network (for a ratio a positive one) is left out for that item. None where the groups
        have other items or no image in common.

    Raises:
        ValueError: arrays whose shapes don't fit the items, or each other.
    """
    if not first.items.same_as(second.items):
        return None
    ours, theirs, seeds = matched(first.networks, second.networks)
    rows = _common_rows([*ours, *theirs], len(first.items.names), quantity)
    if rows is None:
        return None
    split = len(ours)
    paired, parts = paired_values(rows[:split], rows[split:], seeds)
    within = first.items.within & np.isfinite(paired).any(axis=(0, 1))
    whole = int(np.isfinite(paired[:, :, within]).all(axis=(0, 2)).sum()) if within.any() else 0
    by_image = ours[0].values.ndim == 2
    return Difference(
        quantity=quantity,
        items=first.items,
        first=first.label,
        second=second.label,
        seeds=seeds,
        networks=len(rows),
        images=int(paired.shape[1]) if by_image else 0,
        change=_told(means_of(paired, parts, quantity.binary), quantity),
        p_holm=statistics.holm(p_values_of(paired, parts, quantity.binary)),
        mean=(
            _told(mean_of(paired[:, :, within], parts, quantity.binary), quantity)
            if whole
            else None
        ),
        averaged=int(within.sum()),
        averaged_images=whole if by_image else 0,
    )


def _common_rows(
    networks: Sequence[NetworkValues], items: int, quantity: Compared
) -> list[Floats] | None:
    """Give the arrays of all networks, (image, item), on the images they share.

    What no image is behind is given as a single row.
    """
    for net in networks:
        if net.values.shape[-1] != items or net.values.ndim != networks[0].values.ndim:
            raise ValueError(f"values of shape {net.values.shape} are not by {items} items")
    if networks[0].values.ndim == 1:
        rows = [net.values[None] for net in networks]
    elif any(net.images is None for net in networks):
        rows = [net.values for net in networks]
    else:
        known = [np.asarray(net.images) for net in networks]
        shared = reduce(np.intersect1d, known)
        rows = [
            net.values[np.searchsorted(own, shared)]
            for net, own in zip(networks, known, strict=True)
        ]
    if not rows[0].shape[0]:
        return None
    numbers = [np.asarray(row, dtype=np.float64) for row in rows]
    return [_logarithms(row) for row in numbers] if quantity.ratio else numbers


def _logarithms(values: Floats) -> Floats:
    found = np.full(values.shape, np.nan)
    np.log(values, out=found, where=values > 0)
    return found


def _told(estimate: Estimate, quantity: Compared) -> Estimate:
    """Turn logarithms into factors."""
    if not quantity.ratio:
        return estimate
    value, low, high = (np.exp(bound) for bound in (estimate.value, estimate.low, estimate.high))
    return Estimate(value, low, high, estimate.over, estimate.networks)


def _equal(ours: npt.NDArray[np.generic] | None, theirs: npt.NDArray[np.generic] | None) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    return np.array_equal(ours, theirs)
