"""How well the angle by which blocks turn their input ranks the harm of their lesion."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from resprobe_analyses import statistics
from resprobe_analyses.estimates import LEVEL
from resprobe_analyses.spans.networks import Network, with_transition, within_network

Floats = npt.NDArray[np.float64]

SEED = 0  # of the permutations; the analysis gives the same numbers every time
INFLUENCE, DISTANCE = "block_influence", "angular_distance"
PREDICTORS = (INFLUENCE, DISTANCE)
FEWEST = 4  # spans in a ranking; fewer have a correlation by chance


def block_rankings(network: Network, increase: Floats) -> dict[str, statistics.RankCorrelation]:
    """Correlate what angles say of single blocks with the rise of the error, within stages.

    Args:
        network: with or without angles.
        increase: of the error, shape (block, length).

    Returns:
        Predictor to rank correlation over the within-stage blocks of this network; empty where
        no angle was collected.
    """
    predictors: dict[str, Floats] = {}
    if network.influence is not None:
        predictors[INFLUENCE] = network.influence
    if network.distance is not None:
        predictors[DISTANCE] = network.distance[:, 0]
    found = {}
    for name, predictor in predictors.items():
        kept = network.layout.within & np.isfinite(predictor)
        found[name] = statistics.rank_correlation(
            predictor[kept],
            increase[kept, 0],
            network.layout.stage[kept],
            generator=np.random.default_rng(SEED),
            level=LEVEL,
        )
    return found


def span_rankings(network: Network, increase: Floats) -> Floats:
    """Correlate the angular distance of spans with the rise of the error, length by length.

    Spans of one length overlap, so they are no independent items: there is no interval and no
    test, only the number.

    Args:
        network: with or without angles.
        increase: of the error, shape (block, length).

    Returns:
        Rank correlations within stages over the spans of each length without a transition, shape
        (length,); NaN with fewer than four of them, or without angles.
    """
    lengths = increase.shape[1]
    found = np.full(lengths, np.nan)
    if network.distance is None:
        return found
    allowed = within_network(lengths) & ~with_transition(network.layout)
    for place in range(lengths):
        kept = allowed[:, place] & np.isfinite(network.distance[:, place])
        a = statistics.within_strata_ranks(
            network.distance[kept, place], network.layout.stage[kept]
        )
        b = statistics.within_strata_ranks(increase[kept, place], network.layout.stage[kept])
        scale = np.sqrt((a @ a) * (b @ b))
        if kept.sum() >= FEWEST and scale > 0:
            found[place] = np.clip(a @ b / scale, -1.0, 1.0)
    return found


def told(found: Mapping[str, statistics.RankCorrelation], name: str) -> bool:
    """Tell whether there is a correlation to speak of."""
    return name in found and bool(np.isfinite(found[name].value))
