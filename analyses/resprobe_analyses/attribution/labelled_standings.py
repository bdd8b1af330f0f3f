"""How predictors stand, with names, dimensions, units and meaning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from resprobe_analyses.attribution.effects import Standings
from resprobe_analyses.attribution.standing import EFFECTS, Standing
from resprobe_analyses.estimates import LEVEL
from resprobe_analyses.labelling import INTERVAL, Variables, number

Floats = npt.NDArray[np.float64]


class _Row(NamedTuple):
    """One variable: its dimensions after the common ones, how it is read, and its meaning."""

    name: str
    dims: tuple[str, ...]
    read: Callable[[Standing], npt.ArrayLike]
    text: str


def _over_blocks(one: Standing) -> Floats:
    if not one.by_blocks:
        return np.full((len(one.names), 2), np.nan)
    return np.array([(found.low, found.high) for found in one.by_blocks])


_EACH, _PAIR, _BOUND = ("predictor",), ("predictor", "other_predictor"), ("bound",)
_VALUE = "rank correlation of the predictor with the effect of the lesion"
_DIFFERENCE = f"{_VALUE} minus that of the other predictor (of several networks: of Fisher's z)"
_RANDOM = "that a random ranking correlates as much"
_ROWS = (
    _Row("rank_correlation", _EACH, lambda one: one.value, _VALUE),
    _Row(
        "rank_correlation_interval",
        _EACH + _BOUND,
        lambda one: np.stack([one.low, one.high], axis=-1),
        f"{INTERVAL}the {_VALUE} that as many images give, over images; of a group over seeds",
    ),
    _Row(
        "rank_correlation_block_interval",
        _EACH + _BOUND,
        _over_blocks,
        f"{INTERVAL}the {_VALUE}, over blocks; of one network",
    ),
    _Row("random_p", _EACH, lambda one: one.random_p, _RANDOM),
    _Row(
        "random_p_holm",
        _EACH,
        lambda one: one.random_p_holm,
        f"{_RANDOM}, adjusted over predictors (Holm)",
    ),
    _Row(
        "random_rank_correlation_interval",
        _BOUND,
        lambda one: np.array(one.random),
        f"range that holds {LEVEL:.0%} of random rankings' correlation in one network",
    ),
    _Row("rank_correlation_difference", _PAIR, lambda one: one.difference, _DIFFERENCE),
    _Row(
        "rank_correlation_difference_interval",
        _PAIR + _BOUND,
        lambda one: np.stack([one.difference_low, one.difference_high], axis=-1),
        f"{INTERVAL}the {_DIFFERENCE}, paired over images; of a group over seeds",
    ),
    _Row(
        "rank_correlation_difference_p_holm",
        _PAIR,
        lambda one: one.difference_p_holm,
        "that both correlate alike, over images for these blocks, of a group over seeds; adjusted "
        "over all pairs (Holm)",
    ),
    _Row(
        "lesion_reliability",
        (),
        lambda one: one.reliability,
        "correlation of two rankings by the lesion from as many images each: halves, Spearman and "
        "Brown",
    ),
    _Row(
        "predictor_reliability",
        _EACH,
        lambda one: one.predictor_reliability,
        "correlation of two rankings by the predictor from as many images each",
    ),
    _Row("ranked_blocks", (), lambda one: one.blocks, "blocks behind the rank correlations"),
)


def standing_variables(
    first: str, found: Sequence[Standings], names: Sequence[str], within: Sequence[str]
) -> Variables:
    """Give the numbers of every standing.

    Args:
        first: the first dimension, `network` or `group`.
        found: standings along it.
        names: of all predictors.
        within: of all ways of ranking.

    Returns:
        Variables with the dimensions (`first`, `effect`, `ranked_within`) and what they are by;
        NaN for what does not exist.
    """
    variables: Variables = {}
    for row in _ROWS:
        sizes = [2 if dim == "bound" else len(names) for dim in row.dims]
        table = np.full((len(found), len(EFFECTS), len(within), *sizes), np.nan)
        for place in np.ndindex(*table.shape[:3]):
            key = EFFECTS[place[1]], within[place[2]]
            if key in found[place[0]]:
                _put(table[(*place, ...)], row, found[place[0]][key], names)
        dims = (first, "effect", "ranked_within", *row.dims)
        variables[row.name] = number(dims, table, row.text)
    return variables


def _put(into: Floats, row: _Row, one: Standing, names: Sequence[str]) -> None:
    places = [names.index(name) for name in one.names]
    axes = [places if dim != "bound" else [0, 1] for dim in row.dims]
    into[np.ix_(*axes) if axes else ...] = row.read(one)
