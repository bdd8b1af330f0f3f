"""Read the families of several blocks, where they were collected, into plain arrays.

Networks of one group are read on the images that all of them share, and must have been measured
with the same draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from resprobe.errors import InputError
from resprobe_analyses.reading import collected_beside, shared_samples, values

if TYPE_CHECKING:
    import xarray as xr

    from resprobe.result import Input
    from resprobe_analyses.lesion.networks import Group

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

AS_TRAINED, REESTIMATED = "as trained", "re-estimated"
_BATCH_NORM = {AS_TRAINED: "", REESTIMATED: "reestimated_"}


@dataclass(frozen=True)
class Sweep:
    """Many interventions on the networks of one group.

    Attributes:
        batch_norm: `AS_TRAINED` or `REESTIMATED`: the statistics that BatchNorm had.
        labels: of the networks.
        whole: 1 where the network without an intervention errs, shape (network, image).
        wrong: 1 where it errs with one, shape (network, image, level, trial).
        exists: which trials there are, shape (level, trial).
        level: its coordinate: the number of blocks dropped, or of the level, shape (level,).
        said: what was done, by variable.
        single: errors by the lesion of each single block, shape (network, image, block), with the
            same statistics; None where that was not collected.
    """

    batch_norm: str
    labels: tuple[str, ...]
    whole: Floats
    wrong: Floats
    exists: Flags
    level: Integers
    said: Mapping[str, npt.NDArray[np.generic]]
    single: Floats | None

    @property
    def images(self) -> int:
        """How many images all networks share."""
        return int(self.whole.shape[1])

    def changes(self) -> Floats:
        """Give wrong with the intervention minus wrong without, (network, image, level, trial)."""
        return self.wrong - self.whole[:, :, None, None]


@dataclass(frozen=True)
class _Names:
    """Where a family of interventions keeps its numbers."""

    family: str
    correct: str
    said: tuple[str, ...]


_MULTI = _Names("lesion-multi", "multi_lesion_correct", ("multi_lesion_dropped",))
_SHUFFLE = _Names(
    "lesion-shuffle",
    "shuffle_correct",
    (
        "shuffle_order",
        "kendall_tau_distance",
        "kendall_tau_distance_possible",
        "swaps",
        "shuffled_stage",
    ),
)


def read_multi(inputs: Mapping[str, Input], group: Group) -> list[Sweep]:
    """Read `lesion-multi`, as trained and re-estimated, of the networks that have it.

    Args:
        inputs: by the label of their network.
        group: whose networks are read.

    Raises:
        InputError: networks of the group were measured with other draws, or share no image.
    """
    return _read(inputs, group, _MULTI)


def read_shuffle(inputs: Mapping[str, Input], group: Group) -> list[Sweep]:
    """Read `lesion-shuffle` likewise."""
    return _read(inputs, group, _SHUFFLE)


def _read(inputs: Mapping[str, Input], group: Group, names: _Names) -> list[Sweep]:
    found = []
    for batch_norm in _BATCH_NORM:
        family = names.family + ("-reestimated" if batch_norm == REESTIMATED else "")
        data = {
            net.label: one
            for net in group.networks
            if (one := collected_beside(inputs[net.label], family)) is not None
        }
        if data:
            _check_blocks(data, group)
            _check_draws(data, names)
            found.append(_sweep(inputs, batch_norm, data, names))
    return found


def _sweep(
    inputs: Mapping[str, Input], batch_norm: str, data: Mapping[str, xr.Dataset], names: _Names
) -> Sweep:
    prefix = _BATCH_NORM[batch_norm]
    single_family = "lesion" if batch_norm == AS_TRAINED else "lesion-reestimated"
    singles = {label: collected_beside(inputs[label], single_family) for label in data}
    known = [one for one in singles.values() if one is not None]
    beside = known if len(known) == len(data) else []
    images = shared_samples([*data.values(), *beside], f"{names.family} of {', '.join(data)}")
    first = next(iter(data.values()))
    dims = ("sample", "level", "trial")
    correct = [
        values(one.sel(sample=images), prefix + names.correct, *dims) for one in data.values()
    ]
    whole = [values(one.sel(sample=images), f"{prefix}correct", "sample") for one in data.values()]
    blocks = [str(name) for name in first["block"].values]
    single = [
        values(one.sel(sample=images, block=blocks), f"{prefix}lesion_correct", "sample", "block")
        for one in beside
    ]
    return Sweep(
        batch_norm=batch_norm,
        labels=tuple(data),
        whole=np.stack([one == 0 for one in whole]).astype(np.float64),
        wrong=np.stack([one == 0 for one in correct]).astype(np.float64),
        exists=np.asarray(correct[0][0] != -1),
        level=first["level"].values.astype(np.int64),
        said={name: np.asarray(first[name].values) for name in names.said},
        single=np.stack([one == 0 for one in single]).astype(np.float64) if single else None,
    )


def _check_blocks(data: Mapping[str, xr.Dataset], group: Group) -> None:
    names = {net.label: net.names for net in group.networks}
    for label, one in data.items():
        if tuple(str(name) for name in one["block"].values) != names[label]:
            raise InputError(
                f"{label}: the families of its lesions have different blocks; collect them from "
                "the same checkpoint."
            )


def _check_draws(data: Mapping[str, xr.Dataset], names: _Names) -> None:
    first, *others = data
    for name in names.said:
        for other in others:
            if not np.array_equal(
                np.nan_to_num(data[first][name].values, nan=-1),
                np.nan_to_num(data[other][name].values, nan=-1),
            ):
                raise InputError(
                    f"{names.family} of {first} and {other} was measured with different random "
                    "draws; collect it with the same --levels, --trials and --trial-seed."
                )
