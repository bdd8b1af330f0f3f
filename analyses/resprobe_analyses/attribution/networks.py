"""Read the lesions and every predictor that was collected beside them into plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from resprobe.errors import InputError
from resprobe_analyses.attribution.kinds import read_kinds
from resprobe_analyses.attribution.predictors import Measured, read_predictors
from resprobe_analyses.lesion import networks as lesioned
from resprobe_analyses.reading import (
    Flags,
    Integers,
    Layout,
    check_variables,
    collected_beside,
    shared_images,
    unique,
)

if TYPE_CHECKING:
    from resprobe.result import Input

TOGETHER = ("lesion-greedy", "lesion-multi")  # which the analysis of lesions reads


@dataclass(frozen=True)
class Network:
    """One network's lesions and what might have told them.

    Attributes:
        lesion: as the analysis `lesion` reads it.
        images: the sample of each row of the lesions, ascending, shape (image,).
        predictors: that were collected.
        kinds: of the branches, shape (block,); None where they are not told apart.
        together: whether lesions of several blocks at once were collected beside.
    """

    lesion: lesioned.Network
    images: Integers
    predictors: tuple[Measured, ...]
    kinds: Integers | None
    together: bool

    @property
    def label(self) -> str:
        """Short and unique."""
        return self.lesion.label

    @property
    def layout(self) -> Layout:
        """Layout of the blocks."""
        return self.lesion.layout

    @property
    def ranked(self) -> Flags:
        """Blocks that keep their shape and have a value of every predictor, shape (block,)."""
        known = [np.isfinite(one.mean) for one in self.predictors]
        return np.asarray(reduce(np.logical_and, known, self.layout.within))

    def predictor(self, name: str) -> Measured | None:
        """Give a predictor by its name."""
        return next((one for one in self.predictors if one.predictor.name == name), None)


@dataclass(frozen=True)
class Group:
    """Networks of one resolved recipe, trained with different seeds."""

    label: str
    networks: tuple[Network, ...]

    @property
    def layout(self) -> Layout:
        """Layout of the blocks."""
        return self.networks[0].layout


def read_groups(inputs: Sequence[Input]) -> tuple[Group, ...]:
    """Read all inputs, grouped by recipe in order of appearance.

    The lesions are those of the images that all inputs share; each predictor keeps its own.

    Raises:
        InputError: no inputs, a family or variable missing, no images in common, labels that
            differ on the same image, different blocks, or one seed of a group given twice.
    """
    if not inputs:
        raise InputError("the analysis attribution needs at least one input; none was given.")
    for given in inputs:
        check_variables(given, lesioned.NEEDED, "attribution")
    groups = lesioned.read_groups(inputs)
    images = shared_images(inputs, ["lesion"])
    by_label = dict(zip(unique([given.label for given in inputs]), inputs, strict=True))
    return tuple(
        Group(
            group.label,
            tuple(_network(by_label[net.label], net, images) for net in group.networks),
        )
        for group in groups
    )


def _network(given: Input, lesion: lesioned.Network, images: Integers) -> Network:
    kinds = read_kinds(given, lesion.names, lesion.layout.stage, lesion.layout.within)
    together = any(collected_beside(given, family) is not None for family in TOGETHER)
    return Network(lesion, images, read_predictors(given, lesion.names), kinds, together)
