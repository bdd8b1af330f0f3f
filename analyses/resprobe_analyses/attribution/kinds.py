"""Which blocks of a stage are of one kind, as attention and MLP in turn are not.

No name is read. Branches are of one kind where what was recorded of their parameters is equal: the
number of all, as `lesion-greedy` stores it; else the numbers of weights layer by layer, as
`weights` does; else the kinds of their layers, as `layer-cushion` does.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from resprobe_analyses.reading import Flags, Integers, collected_beside

if TYPE_CHECKING:
    import xarray as xr

    from resprobe.result import Input


def read_kinds(
    given: Input, names: Sequence[str], stage: Integers, within: Flags
) -> Integers | None:
    """Tell kinds apart.

    Args:
        given: one input.
        names: of the blocks.
        stage: of each, shape (block,).
        within: blocks that keep their shape, shape (block,).

    Returns:
        The kind of each block, counted from 0, shape (block,). None where nothing recorded tells
        kinds, or where no stage has two kinds of at least two blocks each that keep their shape.
    """
    for family, read in (
        ("lesion-greedy", _parameters),
        ("weights", _weights),
        ("layer-cushion", _layers),
    ):
        data = collected_beside(given, family)
        told = None if data is None else read(data, names)
        if told is not None:
            numbers = {one: place for place, one in enumerate(dict.fromkeys(told))}
            kinds = np.array([numbers[one] for one in told], dtype=np.int64)
            if _alternate(kinds, stage, within):
                return kinds
    return None


def strata(stage: Integers, kinds: Integers) -> Integers:
    """Number the pairs of stage and kind, shape (block,)."""
    pairs = np.stack([stage, kinds], axis=1)
    return np.asarray(np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1), dtype=np.int64)


def _alternate(kinds: Integers, stage: Integers, within: Flags) -> bool:
    for one in np.unique(stage[within]):
        counts = np.bincount(kinds[within & (stage == one)])
        if (counts >= 2).sum() >= 2:
            return True
    return False


def _parameters(data: xr.Dataset, names: Sequence[str]) -> list[Hashable] | None:
    if "branch_parameters" not in data or not _has(data, names):
        return None
    return list(data["branch_parameters"].sel(block=list(names)).values.tolist())


def _weights(data: xr.Dataset, names: Sequence[str]) -> list[Hashable] | None:
    if "weight_count" not in data or "layer_block" not in data.coords:
        return None
    return _by_block(data, [int(count) for count in data["weight_count"].values], names)


def _layers(data: xr.Dataset, names: Sequence[str]) -> list[Hashable] | None:
    if "layer_kind" not in data.coords or "layer_block" not in data.coords:
        return None
    return _by_block(data, [str(kind) for kind in data["layer_kind"].values], names)


def _by_block(
    data: xr.Dataset, told: Sequence[int] | Sequence[str], names: Sequence[str]
) -> list[Hashable]:
    owners = [str(owner) for owner in data["layer_block"].values]
    return [
        tuple(sorted(str(one) for one, owner in zip(told, owners, strict=True) if owner == name))
        for name in names
    ]


def _has(data: xr.Dataset, names: Sequence[str]) -> bool:
    return set(names) <= {str(name) for name in data["block"].values}
