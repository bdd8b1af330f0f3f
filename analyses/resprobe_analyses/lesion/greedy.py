"""Which blocks can be dropped within a stated loss of accuracy: read, and computed on arrays.

The blocks were chosen by one half of the images, whose error is therefore too good; the other half
had no part in it and says what the choice is worth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from resprobe.errors import InputError
from resprobe_analyses import statistics
from resprobe_analyses.estimates import LEVEL, Estimate
from resprobe_analyses.lesion.effects import GroupEffect, NetworkEffect
from resprobe_analyses.reading import collected_beside, values

if TYPE_CHECKING:
    import xarray as xr

    from resprobe.result import Input

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

FAMILY = "lesion-greedy"
ALLOWED_LOSSES = (0.005, 0.01, 0.02, 0.05)  # of accuracy, as fractions
KEPT, OPEN, BROKEN = "kept", "open", "broken"
_VALIDATION, _TEST = range(2)
_NEEDED = {
    "correct": ("sample",),
    "greedy_lesion_correct": ("sample", "drop"),
    "greedy_lesion": ("drop",),
    "greedy_lesion_drops": (),
    "greedy_lesion_parameters": ("drop",),
    "greedy_lesion_flops": ("drop",),
    "model_parameters": (),
    "model_flops": (),
}


@dataclass(frozen=True)
class Greedy:
    """One network with more and more of its blocks dropped.

    Attributes:
        network: the network.
        group: label of its group.
        order: the dropped blocks by their index, in order, shape (drop,).
        validation_error: on the images that the blocks were chosen by, with 0, 1, … of them
            dropped, shape (drop + 1,).
        test_error: on the others, likewise.
        test_increase: of the test error, paired over the test images, shape (drop + 1,).
        validation_images, test_images: how many there are.
        parameters, flops: what is saved, shape (drop + 1,).
        model_parameters, model_flops: of the whole network.
    """

    network: NetworkEffect
    group: str
    order: Integers
    validation_error: Floats
    test_error: Floats
    test_increase: Estimate
    validation_images: int
    test_images: int
    parameters: Integers
    flops: Integers
    model_parameters: int
    model_flops: int

    @property
    def label(self) -> str:
        """The label of the network."""
        return self.network.network.label

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the dropped blocks, in order."""
        return tuple(self.network.network.names[block] for block in self.order)

    @property
    def validation_increase(self) -> Floats:
        """Of the validation error, shape (drop + 1,)."""
        return np.asarray(self.validation_error - self.validation_error[0])

    @property
    def advice(self) -> tuple[Advice, ...]:
        """What can be dropped within each of `ALLOWED_LOSSES`."""
        return tuple(_advice(self, loss) for loss in ALLOWED_LOSSES)


@dataclass(frozen=True)
class Advice:
    """The largest set of blocks whose loss of accuracy on the validation half is allowed.

    Attributes:
        allowed: the loss.
        drops: how many blocks it has, 0 where even the first is too many.
        test_increase: of the error on the test half, scalar.
        promise: `KEPT` where the interval of that lies at or below the allowed loss, `BROKEN`
            where it lies above, else `OPEN`.
        least_harmful: how many of the set are among as many blocks with the smallest error
            increases by a single lesion.
    """

    allowed: float
    drops: int
    test_increase: Estimate
    promise: str
    least_harmful: int


def greedy(inputs: Mapping[str, Input], groups: Sequence[GroupEffect]) -> tuple[Greedy, ...]:
    """Read `lesion-greedy` of every interpretable network that has it.

    Args:
        inputs: by the label of their network.
        groups: effects of the single lesions.

    Raises:
        InputError: the family lacks a variable, or has other blocks than the single lesions.
    """
    found = []
    for group in groups:
        for member in group.used:
            data = collected_beside(inputs[member.network.label], FAMILY)
            if data is not None:
                found.append(_read(member, group.group.label, data))
    return tuple(found)


def recurrence(found: Sequence[Greedy], group: str) -> Integers:
    """Count the networks of a group in whose advised sets each block is.

    Args:
        found: of all groups.
        group: label of the one.

    Returns:
        Shape (allowed loss, block).
    """
    own = [one for one in found if one.group == group]
    return np.asarray(np.sum([dropped(one) for one in own], axis=0, dtype=np.int64))


def dropped(one: Greedy) -> Integers:
    """Give 1 where a block is in the advised set, shape (allowed loss, block)."""
    inside = np.zeros((len(ALLOWED_LOSSES), len(one.network.network.names)), np.int64)
    for row, advice in enumerate(one.advice):
        inside[row, one.order[: advice.drops]] = 1
    return inside


def at(one: Greedy, drops: int) -> Estimate:
    """Give the increase of the test error with so many blocks dropped."""
    every = one.test_increase
    value, low, high = (np.asarray(b[drops]) for b in (every.value, every.low, every.high))
    return Estimate(value, low, high, every.over, every.networks)


def _read(member: NetworkEffect, group: str, data: xr.Dataset) -> Greedy:
    label = member.network.label
    for name, dims in _NEEDED.items():
        if name not in data or set(data[name].dims) != set(dims):
            raise InputError(
                f"{label}: the family {FAMILY!r} has no variable {name!r} with the dimensions "
                f"{', '.join(dims) or '()'}; collect it again."
            )
    if tuple(str(name) for name in data["block"].values) != member.network.names:
        raise InputError(
            f"{label}: the families {FAMILY} and lesion have different blocks; collect both from "
            "the same checkpoint."
        )
    drops = int(data["greedy_lesion_drops"].values)
    half = np.asarray(data["sample_half"].values)
    wrong = np.concatenate(
        [
            values(data, "correct", "sample")[:, None] == 0,
            values(data, "greedy_lesion_correct", "sample", "drop")[:, :drops] == 0,
        ],
        axis=1,
    )
    chosen_by, tested = wrong[half == _VALIDATION], wrong[half == _TEST]
    return Greedy(
        network=member,
        group=group,
        order=data["greedy_lesion"].values[:drops].astype(np.int64),
        validation_error=chosen_by.mean(axis=0),
        test_error=tested.mean(axis=0),
        test_increase=_increase(tested),
        validation_images=len(chosen_by),
        test_images=len(tested),
        parameters=_from_nothing(data["greedy_lesion_parameters"].values[:drops]),
        flops=_from_nothing(data["greedy_lesion_flops"].values[:drops]),
        model_parameters=int(data["model_parameters"].values),
        model_flops=int(data["model_flops"].values),
    )


def _from_nothing(saved: npt.ArrayLike) -> Integers:
    return np.concatenate([[0], np.asarray(saved)]).astype(np.int64)


def _increase(wrong: npt.NDArray[np.bool_]) -> Estimate:
    """Pair the error with that of the whole network; with nothing dropped it is exactly 0."""
    before = wrong[:, :1]
    gained, lost = (wrong & ~before).sum(axis=0), (before & ~wrong).sum(axis=0)
    low, high = statistics.paired_difference_interval(gained, lost, len(wrong), LEVEL)
    low[0] = high[0] = 0.0
    value = statistics.paired_difference(gained, lost, len(wrong))
    return Estimate(value, low, high, over="images", networks=1)


def _advice(one: Greedy, allowed: float) -> Advice:
    # whole images: 0.01 of 500 images is 5 of them, whatever the last bit of 0.01 says
    increase = np.rint(one.validation_increase * one.validation_images)
    drops = int(np.flatnonzero(increase <= allowed * one.validation_images + 1e-9)[-1])
    measured = at(one, drops)
    promise = OPEN
    if measured.high <= allowed:
        promise = KEPT
    elif measured.low > allowed:
        promise = BROKEN
    mildest = np.argsort(one.network.increase.value, kind="stable")[:drops]
    shared = len(set(mildest.tolist()) & set(one.order[:drops].tolist()))
    return Advice(allowed, drops, measured, promise, shared)
