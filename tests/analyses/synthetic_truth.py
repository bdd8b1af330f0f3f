"""Intervals over seeds on draws whose truth is known, all draws at once.

Every case draws values of shape (seed, draw) and gives, for each draw, the interval that a study
would report and the number that it should hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from resprobe_analyses import statistics
from resprobe_analyses.studies.criteria import Directional
from resprobe_analyses.studies.criteria.means import interval
from scipy import stats

Floats = npt.NDArray[np.float64]
Bounds = tuple[Floats, Floats, float]

BLOCKS = 18
DEPTHS = np.log([3.0, 6, 9, 15, 24])


@dataclass(frozen=True)
class Case:
    """An interval and the synthetic truth that it is tried on.

    Attributes:
        name: as the table prints it.
        draw: `draw(generator, seeds, draws)` gives lower and upper bounds and the truth.
        level: the coverage that it promises.
        promise: `exact` for values as drawn here; `near` where it rests on an approximation;
            `at least` where it covers more by construction.
    """

    name: str
    draw: Callable[[np.random.Generator, int, int], Bounds]
    level: float = 0.95
    promise: Literal["exact", "near", "at least"] = "exact"


def coverage(case: Case, seeds: int, draws: int) -> float:
    """Give the share of draws whose interval holds the truth; the same whenever it is called."""
    generator = np.random.default_rng([seeds, draws, *case.name.encode()])
    low, high, truth = case.draw(generator, seeds, draws)
    assert low.shape == high.shape == (draws,)
    return float(np.mean((low <= truth) & (truth <= high)))


def correlated_blocks(
    generator: np.random.Generator, shape: tuple[int, ...], rho: float
) -> tuple[Floats, Floats]:
    """Draw two properties of 18 blocks, bivariate normal, shape (*shape, block)."""
    first, other = generator.normal(size=(2, *shape, BLOCKS))
    return first, rho * first + np.sqrt(1 - rho**2) * other


def pearson(first: Floats, second: Floats) -> Floats:
    """Correlate over the last axis."""
    a, b = (x - x.mean(axis=-1, keepdims=True) for x in (first, second))
    return np.sum(a * b, axis=-1) / np.sqrt(np.sum(a**2, axis=-1) * np.sum(b**2, axis=-1))


def _mean(level: float) -> Callable[[np.random.Generator, int, int], Bounds]:
    def draw(generator: np.random.Generator, seeds: int, draws: int) -> Bounds:
        # two arms that share their seed, as paired runs do
        shared, first, second = generator.normal(size=(3, seeds, draws))
        differences = (0.3 + 2 * shared + first) - (2 * shared + 0.5 * second)
        _, low, high = interval(differences, level)
        return low, high, 0.3

    return draw


def _accuracies(generator: np.random.Generator, seeds: int, draws: int) -> Bounds:
    """Shares of 1,000 test images, of two arms whose true accuracies vary with the seed."""
    rates = np.array([0.62, 0.59])[:, None, None] + 0.02 * generator.normal(size=(2, seeds, draws))
    first, second = generator.binomial(1000, rates) / 1000
    _, low, high = interval(first - second)
    return low, high, 0.03


def _ratio(generator: np.random.Generator, seeds: int, draws: int) -> Bounds:
    ratios = 1.7 * np.exp(generator.normal(scale=0.4, size=(seeds, draws)))
    _, low, high = interval(np.log(ratios))
    return np.exp(low), np.exp(high), 1.7


def _correlation(
    rho: float, *, ranks: bool = False
) -> Callable[[np.random.Generator, int, int], Bounds]:
    def draw(generator: np.random.Generator, seeds: int, draws: int) -> Bounds:
        first, second = correlated_blocks(generator, (seeds, draws), rho)
        if ranks:
            first, second = stats.rankdata(first, axis=-1), stats.rankdata(second, axis=-1)
        rule = Directional(+1, "correlation", items=BLOCKS)
        _, low, high = interval(rule.scaled(pearson(first, second)))
        # Spearman's of a bivariate normal population: Pearson (1907)
        truth = 6 / np.pi * np.arcsin(rho / 2) if ranks else rho
        return np.tanh(low), np.tanh(high), truth

    return draw


def _slope(generator: np.random.Generator, seeds: int, draws: int) -> Bounds:
    """Points of a seed share its level and its own deviation from the common slope."""
    level, slope = generator.normal(size=(2, seeds * draws, 1))
    noise = generator.normal(scale=0.2, size=(seeds * draws, DEPTHS.size))
    slopes, _ = statistics.lines(DEPTHS, 3 * level + (-1 + 0.1 * slope) * DEPTHS + noise)
    _, low, high = interval(slopes.reshape(seeds, draws))
    return low, high, -1.0


def _spread_ratio(shared: float) -> Callable[[np.random.Generator, int, int], Bounds]:
    def draw(generator: np.random.Generator, seeds: int, draws: int) -> Bounds:
        first, other = generator.normal(size=(2, seeds, draws))
        second = shared * first + np.sqrt(1 - shared**2) * other
        _, low, high = statistics.log_spread_ratio(0.5 * first, 2 + second)
        return low, high, float(np.log(0.5))

    return draw


def _spread(generator: np.random.Generator, seeds: int, draws: int) -> Bounds:
    values = generator.normal(scale=3.0, size=(seeds, draws))
    return *statistics.spread_interval(values.std(axis=0, ddof=1), seeds), 3.0


def _rate(rate: float) -> Callable[[np.random.Generator, int, int], Bounds]:
    def draw(generator: np.random.Generator, seeds: int, draws: int) -> Bounds:
        failed = generator.random((seeds, draws)) < rate
        return *statistics.rate_interval(failed.sum(axis=0), seeds), rate

    return draw


# Shares are not quite normal. Fisher's z averages to a little more than that of the true
# correlation, by r/2n over n items: with many seeds the interval is slightly too far from 0.
CASES = (
    Case("mean of paired differences, Student t", _mean(0.95)),
    Case("the same at 90 %, behind TOST", _mean(0.9), level=0.9),
    Case("mean difference of accuracies, Student t", _accuracies, promise="near"),
    Case("mean ratio, Student t of logarithms", _ratio),
    Case("mean Pearson correlation 0 over 18 blocks, Fisher z", _correlation(0.0), promise="near"),
    Case("mean Pearson correlation 0.5", _correlation(0.5), promise="near"),
    Case("mean Pearson correlation -0.8", _correlation(-0.8), promise="near"),
    Case(
        "mean Spearman correlation 0 over 18 blocks, Fisher z",
        _correlation(0.0, ranks=True),
        promise="near",
    ),
    Case("mean Spearman correlation at 0.5", _correlation(0.5, ranks=True), promise="near"),
    Case("mean Spearman correlation at -0.8", _correlation(-0.8, ranks=True), promise="near"),
    Case("one slope a seed, Student t", _slope),
    Case("ratio of two standard deviations, F", _spread_ratio(0.0)),
    Case("the same, arms correlated by 0.6 over seeds", _spread_ratio(0.6), promise="at least"),
    Case("standard deviation, chi-square", _spread),
    Case("failure rate 0.1, Clopper-Pearson", _rate(0.1), promise="at least"),
    Case("failure rate 0.5", _rate(0.5), promise="at least"),
    Case("failure rate 0.8", _rate(0.8), promise="at least"),
)
