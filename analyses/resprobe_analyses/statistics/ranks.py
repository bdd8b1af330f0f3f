"""Rank correlation between two properties of blocks, within stages only.

Shapes, widths and resolutions differ between stages, so a correlation over the whole network
mostly says that stages differ. Ranks are taken inside each stage and pooled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product
from math import factorial, prod

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]

DRAWS = 9_999
EXACT_LIMIT = 20_000


@dataclass(frozen=True)
class RankCorrelation:
    """A rank correlation within strata and what a random ranking would give.

    Attributes:
        value: pooled Spearman correlation; NaN where no stratum ranks both properties.
        low: lower bound of its interval over items.
        high: upper bound of its interval over items.
        p_value: two-sided permutation p-value, permuting within strata.
        random: correlations of random rankings, shape (draw,); the whole permutation
            distribution where `exact`, else draws from it.
        exact: whether every permutation was enumerated.
        items: items in strata that carry information.
        strata: number of those strata.
    """

    value: float
    low: float
    high: float
    p_value: float
    random: Floats
    exact: bool
    items: int
    strata: int

    def random_range(self, level: float = 0.95) -> tuple[float, float]:
        """Give the range that holds the central `level` of random rankings; NaN where none."""
        if not self.random.size:
            return float("nan"), float("nan")
        low, high = np.quantile(self.random, [0.5 - level / 2, 0.5 + level / 2])
        return float(low), float(high)


def within_strata_ranks(values: npt.ArrayLike, strata: npt.ArrayLike) -> Floats:
    """Give centred midranks within strata, divided by the stratum's size + 1.

    Ties share their mean rank. Dividing by n + 1 puts strata of different size on one scale, so
    that each weighs about by its number of items (van Elteren's weights); raw ranks would weigh
    by the cube. A stratum of one item gets 0.

    Args:
        values: shape (item,).
        strata: shape (item,), any labels.

    Returns:
        Scores in (−½, ½), shape (item,), summing to 0 in each stratum.

    Raises:
        ValueError: shapes that differ or values that are not finite.

    Source:
        van Elteren (1960), Bulletin of the International Statistical Institute 37, 351-361.
    """
    numbers, labels = np.asarray(values, dtype=np.float64), np.asarray(strata)
    if numbers.ndim != 1 or numbers.shape != labels.shape:
        raise ValueError(f"values {numbers.shape} and strata {labels.shape} must be equal lists")
    if not np.all(np.isfinite(numbers)):
        raise ValueError("values must be finite")
    scores = np.zeros(numbers.shape)
    for label in np.unique(labels):
        inside = labels == label
        size = int(inside.sum())
        scores[inside] = (stats.rankdata(numbers[inside]) - (size + 1) / 2) / (size + 1)
    return scores


def rank_correlation(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    strata: npt.ArrayLike,
    *,
    generator: np.random.Generator,
    level: float = 0.95,
) -> RankCorrelation:
    """Correlate the ranks of two properties within strata.

    `value = Σ a b / sqrt(Σ a² Σ b²)` with the scores a, b of `within_strata_ranks`; with one
    stratum this is Spearman's correlation. Strata in which either property is constant (so any
    of a single item) say nothing about order: they are left out, and `items` and `strata` count
    what is left. A stratum of two items takes part with its two possible orders.

    Args:
        x: shape (item,), finite.
        y: shape (item,), finite.
        strata: shape (item,), any labels.
        generator: draws the permutations where they are too many to enumerate.
        level: coverage aimed at by the interval.

    Returns:
        The correlation with its interval over items and its permutation p-value.

    Raises:
        ValueError: shapes that differ or values that are not finite.
    """
    a, b = within_strata_ranks(x, strata), within_strata_ranks(y, strata)
    groups = [
        np.flatnonzero(np.asarray(strata) == label) for label in np.unique(np.asarray(strata))
    ]
    groups = [group for group in groups if a[group].any() and b[group].any()]
    if not groups:
        nan = float("nan")
        return RankCorrelation(nan, nan, nan, nan, np.empty(0), True, 0, 0)
    pairs = [(a[group], b[group]) for group in groups]
    scale = float(np.sqrt(sum(u @ u for u, _ in pairs) * sum(v @ v for _, v in pairs)))
    value = float(np.clip(sum(u @ v for u, v in pairs) / scale, -1.0, 1.0))
    random, exact = _random_sums(pairs, generator)
    random = np.clip(random / scale, -1.0, 1.0)
    items = sum(group.size for group in groups)
    low, high = correlation_interval(value, items, len(groups), level)
    p_value = permutation_p(value, random, exact=exact)
    return RankCorrelation(value, low, high, p_value, random, exact, items, len(groups))


def permutation_p(value: float, random: npt.ArrayLike, *, exact: bool) -> float:
    """Give the share of random rankings at least as far from 0 as the one observed.

    Args:
        value: the observed correlation.
        random: correlations of random rankings, shape (draw,).
        exact: whether `random` is the whole distribution (which holds the observed order) or
            draws from it; then the observed one is counted in, so that p is never 0.

    Returns:
        A two-sided p-value.

    Source:
        Phipson & Smyth (2010), Statistical Applications in Genetics and Molecular Biology
        9(1):39.
    """
    draws = np.asarray(random, dtype=np.float64)
    # sums of the same terms in another order differ by rounding; scores are of order 1
    extreme = int(np.sum(np.abs(draws) >= abs(value) - 1e-9))
    return extreme / draws.size if exact else (extreme + 1) / (draws.size + 1)


def _random_sums(
    pairs: list[tuple[Floats, Floats]], generator: np.random.Generator
) -> tuple[Floats, bool]:
    if prod(factorial(u.size) for u, _ in pairs) <= EXACT_LIMIT:
        sums = [list(_all_products(u, v)) for u, v in pairs]
        return np.array([sum(chosen) for chosen in product(*sums)]), True
    total = np.zeros(DRAWS)
    for u, v in pairs:
        total += generator.permuted(np.broadcast_to(u, (DRAWS, u.size)), axis=1) @ v
    return total, False


def _all_products(u: Floats, v: Floats) -> Iterator[float]:
    for order in permutations(range(u.size)):
        yield float(u[list(order)] @ v)


def correlation_interval(
    value: float, items: int, strata: int = 1, level: float = 0.95
) -> tuple[float, float]:
    """Give the interval of a rank correlation over items by Fisher's z.

    The standard error is `sqrt((1 + r²/2) / (items − strata − 2))`: Bonett and Wright's for
    Spearman's, with one degree of freedom less for each further stratum, as for a partial
    correlation. A correlation of ±1, where z is infinite, is first moved inwards by half a step
    of Spearman's scale, `6 / (n³ − n)`; the bound on its side stays ±1.

    Args:
        value: correlation in [−1, 1].
        items: number of items n.
        strata: number of strata they fall into.
        level: coverage aimed at.

    Returns:
        Lower and upper bound; NaN where no degree of freedom is left.

    Source:
        Bonett & Wright (2000), Psychometrika 65, 23-28, doi:10.1007/BF02294183.
    """
    freedom = items - strata - 2
    if freedom < 1 or not np.isfinite(value):
        return float("nan"), float("nan")
    z, error = fisher_z(value, items), np.sqrt((1 + value**2 / 2) / freedom)
    half = stats.norm.ppf(0.5 + level / 2) * error
    low = -1.0 if value == -1 else float(np.tanh(z - half))
    high = 1.0 if value == 1 else float(np.tanh(z + half))
    return low, high


def fisher_z(value: npt.ArrayLike, items: int) -> Floats:
    """Give Fisher's z of rank correlations over `items` items, kept finite at ±1.

    Args:
        value: correlations in [−1, 1], any shape.
        items: number of items n; |value| is cut to 1 − 6/(n³ − n), half a step of Spearman's.

    Returns:
        `artanh(value)`, shaped like `value`.
    """
    limit = 1 - 6 / (max(items, 3) ** 3 - max(items, 3))
    return np.arctanh(np.clip(np.asarray(value, dtype=np.float64), -limit, limit))


def fisher_mean(values: npt.ArrayLike, items: int) -> Floats:
    """Average correlations over networks on Fisher's z scale.

    Args:
        values: shape (network,) or (network, draw), in [−1, 1].
        items: number of items behind each correlation.

    Returns:
        `tanh(mean(artanh(values)))` over the first axis, shape () or (draw,).
    """
    return np.asarray(np.tanh(fisher_z(values, items).mean(axis=0)))
