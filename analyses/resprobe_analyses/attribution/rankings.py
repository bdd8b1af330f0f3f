"""How well each predictor ranks what the lesions of one network measure: arrays in, arrays out.

Both rankings are estimates from images. Drawing images again and ranking again adds the noise a
second time, so the correlations drawn lie below the one observed, the more the noisier the lesion
is; percentiles of them, and percentiles turned over, miss. Their spread is about right, and what
stands still under it is the correlation that as many images give on average. So that is what the
interval is of: observed plus or minus 1.96 standard deviations of those drawn, cut at ±1. Over 36
simulated truths it held that in 88 to 98 % of draws where lesion and predictor agree with
themselves by more than one half, and in 80 to 93 % below.

What a noise-free lesion would give is more: the reliability says by how much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from resprobe_analyses import statistics
from resprobe_analyses.attribution.kinds import strata
from resprobe_analyses.attribution.networks import Network
from resprobe_analyses.attribution.resampling import (
    all_images,
    drawn_again,
    in_halves,
    weighted_means,
)
from resprobe_analyses.attribution.scores import correlations, scores
from resprobe_analyses.attribution.standing import EFFECTS, ERROR, KIND, LOSS, STAGE, Standing
from resprobe_analyses.estimates import LEVEL
from resprobe_analyses.lesion.effects import changes

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

SEED = 0  # of draws and permutations; the analysis gives the same numbers every time
DRAWS = 1_000  # with replacement: a standard deviation to 2 %
HALVES = 200
Z = float(stats.norm.ppf(0.5 + LEVEL / 2))
Weights = Callable[[Integers, int, np.random.Generator], Iterator[Floats]]


def rankings(network: Network) -> dict[tuple[str, str], Standing]:
    """Rank blocks by every predictor and by the lesion.

    Args:
        network: what was recorded.

    Returns:
        By effect, the increase of the test error or of the test loss, and by what blocks are
        ranked within: stages, and stages and kinds where kinds are told apart.
    """
    measured = _measurements(network)
    again = _drawn(measured, drawn_again, DRAWS)
    halves, others = _drawn_halves(measured)
    layout, kept = network.layout, network.ranked
    found = {STAGE: layout.stage[kept]}
    if network.kinds is not None:
        found[KIND] = strata(layout.stage, network.kinds)[kept]
    drawn = _Drawn(
        {name: _observed(values) for name, (values, _) in measured.items()}, again, halves, others
    )
    names = tuple(one.predictor.name for one in network.predictors)
    return {
        (effect, within): _standing(names, effect, labels, drawn.of_blocks(kept))
        for effect in EFFECTS
        for within, labels in found.items()
    }


def lesion_effects(network: Network) -> dict[str, Floats]:
    """Give what the lesions of blocks do on each image, by effect, each of (image, block)."""
    return {ERROR: changes(network.lesion), LOSS: network.lesion.loss_increase}


@dataclass(frozen=True)
class _Drawn:
    """Means over images by measurement, each of shape (draw, block).

    Attributes:
        now: over all images, a single row.
        again: over images drawn with replacement.
        halves: over a half of the images.
        others: over the other half.
    """

    now: Mapping[str, Floats]
    again: Mapping[str, Floats]
    halves: Mapping[str, Floats]
    others: Mapping[str, Floats]

    def of_blocks(self, kept: Flags) -> _Drawn:
        """Give some of the blocks."""
        tables = (self.now, self.again, self.halves, self.others)
        return _Drawn(*({name: one[:, kept] for name, one in table.items()} for table in tables))


Measurements = Mapping[str, tuple[Floats, Integers | None]]


def _measurements(network: Network) -> Measurements:
    """Give values and images of every measurement by name; of weights there are no images."""
    found: dict[str, tuple[Floats, Integers | None]] = {
        effect: (table, network.images) for effect, table in lesion_effects(network).items()
    }
    return found | {one.predictor.name: (one.values, one.images) for one in network.predictors}


def _observed(values: Floats) -> Floats:
    """Give the mean over images, shape (1, block)."""
    if values.ndim == 1:
        return values[None]
    return weighted_means(values, np.ones((1, values.shape[0])))


def _drawn(measured: Measurements, weights: Weights, draws: int) -> dict[str, Floats]:
    """Give means over drawn images of every measurement, each of shape (draw, block)."""
    images, patterns = all_images([one for _, one in measured.values() if one is not None])
    generator = np.random.default_rng(SEED)
    found: dict[str, list[Floats]] = {name: [] for name in measured}
    for drawn in weights(patterns, draws, generator):
        for name, (values, own) in measured.items():
            found[name].append(
                np.repeat(values[None], len(drawn), axis=0)
                if own is None
                else weighted_means(values, drawn[:, np.searchsorted(images, own)])
            )
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _drawn_halves(measured: Measurements) -> tuple[dict[str, Floats], dict[str, Floats]]:
    def complements(
        patterns: Integers, draws: int, generator: np.random.Generator
    ) -> Iterator[Floats]:
        for weights in in_halves(patterns, draws, generator):
            yield 1 - weights

    return _drawn(measured, in_halves, HALVES), _drawn(measured, complements, HALVES)


def _standing(names: tuple[str, ...], effect: str, labels: Integers, drawn: _Drawn) -> Standing:
    by_blocks = tuple(
        statistics.rank_correlation(
            drawn.now[name][0],
            drawn.now[effect][0],
            labels,
            generator=np.random.default_rng(SEED),
            level=LEVEL,
        )
        for name in names
    )
    value = np.array([one.value for one in by_blocks])
    again = _correlations(names, effect, labels, drawn.again)
    difference, spread = value[:, None] - value[None], _spread(again[:, None] - again[None])
    error = _spread(again)
    most = max(by_blocks, key=lambda one: one.items)
    return Standing(
        names=names,
        value=value,
        low=np.clip(value - Z * error, -1.0, 1.0),
        high=np.clip(value + Z * error, -1.0, 1.0),
        over="images",
        networks=1,
        random_p=np.array([one.p_value for one in by_blocks]),
        difference=difference,
        difference_low=difference - Z * spread,
        difference_high=difference + Z * spread,
        difference_p=_two_sided(difference, spread),
        reliability=_reliability(effect, labels, drawn),
        predictor_reliability=np.array([_reliability(name, labels, drawn) for name in names]),
        blocks=most.items,
        strata=most.strata,
        random=most.random_range(LEVEL),
        smallest_p=_smallest_p(most),
        by_blocks=by_blocks,
    )


def _correlations(
    names: tuple[str, ...], effect: str, labels: Integers, tables: Mapping[str, Floats]
) -> Floats:
    """Give the correlations of all predictors with an effect, shape (predictor, draw)."""
    target = _scores(tables[effect], labels)
    return np.stack([correlations(_scores(tables[name], labels), target, labels) for name in names])


def _scores(table: Floats, labels: Integers) -> Floats:
    """Score rows; a row that lacks a block ranks nothing."""
    whole = np.asarray(np.isfinite(table).all(axis=1))
    return scores(np.where(whole[:, None], table, 0.0), labels)


def _spread(drawn: Floats) -> Floats:
    """Give the standard deviation over the last axis; NaN where most draws rank nothing."""
    known = np.asarray(np.isfinite(drawn))
    count = known.sum(axis=-1)
    mean = np.where(known, drawn, 0.0).sum(axis=-1) / np.maximum(count, 1)
    square = np.where(known, drawn - mean[..., None], 0.0) ** 2
    found = np.sqrt(square.sum(axis=-1) / np.maximum(count - 1, 1))
    return np.where(count * 2 > drawn.shape[-1], found, np.nan)


def _two_sided(difference: Floats, spread: Floats) -> Floats:
    """Give the normal p-value of no difference; that of equal numbers is 1."""
    size = np.abs(difference)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.where(size > 0, size / spread, 0.0)
    found = 2 * stats.norm.sf(distance)
    return np.where(np.isfinite(spread) & np.isfinite(difference), found, np.nan)


def _reliability(name: str, labels: Integers, drawn: _Drawn) -> float:
    """Give the correlation between two rankings from as many images as there are.

    It is the mean correlation r of two halves of the images, taken to the whole: 2r/(1 + r), by
    Spearman and Brown; for ranks an approximation.
    """
    a, b = (_scores(one[name], labels) for one in (drawn.halves, drawn.others))
    found = correlations(a, b, labels)
    if not np.isfinite(found).any():
        return float("nan")
    half = float(np.nanmean(found))
    return max(2 * half / (1 + half), -1.0) if half > -1 else -1.0


def _smallest_p(found: statistics.RankCorrelation) -> float:
    if not found.random.size:
        return float("nan")
    most = float(np.abs(found.random).max())
    if not found.exact:
        return 1 / (found.random.size + 1)
    return statistics.permutation_p(most, found.random, exact=True)
