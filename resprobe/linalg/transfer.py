"""The map between residual networks of single layers and the plain networks that equal them.

A block `s + A x` whose skip is the identity, or subsamples and pads with zero channels, is the
plain layer `(A + ρ) x`, where ρ is 1 at the ID entries of the kernel and 0 elsewhere:

    T(r) = r + ρ,    T⁻¹(p) = p - ρ

Source: Yu & Tomasi 2019 (Identity connections in residual nets improve noise stability), Sec. 3,
Eq. 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def to_plain(state: Mapping[str, Tensor], id_entries: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give T(r): the parameters of the plain network that equals a residual one.

    Args:
        state: parameters (and buffers) of the residual network by name; stays as it is.
        id_entries: name of a weight to a bool mask of its shape, true at its ID entries.

    Returns:
        A new tensor for each weight of `id_entries`, the others as they are given.

    Raises:
        KeyError: a weight of `id_entries` is not in `state`.
    """
    return _moved(state, id_entries, 1)


def to_residual(state: Mapping[str, Tensor], id_entries: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give T⁻¹(p): the parameters of the residual network that equals a plain one; see `to_plain`.

    Subtracting 1 rounds where an entry is small beside it: there and back differs from the start
    by at most half a unit in the last place of 1.
    """
    return _moved(state, id_entries, -1)


def _moved(
    state: Mapping[str, Tensor], id_entries: Mapping[str, Tensor], by: int
) -> dict[str, Tensor]:
    moved = {
        name: state[name] + by * entries.to(state[name]) for name, entries in id_entries.items()
    }
    return {**state, **moved}
