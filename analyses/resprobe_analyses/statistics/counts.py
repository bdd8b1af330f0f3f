"""How many of a few runs failed: the exact interval of a rate, and what it can decide."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import special, stats

Floats = npt.NDArray[np.float64]


def rate_interval(
    successes: npt.ArrayLike, total: int, level: float = 0.95
) -> tuple[Floats, Floats]:
    """Give Clopper and Pearson's interval of a proportion.

    Chosen for counts over few runs, where Wilson's (`proportion_interval`) covers 95 % on the
    average over rates only: this one covers at least that whatever the rate, and more by
    construction, since counts are whole numbers.

    Args:
        successes: counts, any shape, between 0 and `total`.
        total: number of trials, at least 1.
        level: coverage that is not fallen short of.

    Returns:
        Lower and upper bounds, shaped like `successes`.

    Raises:
        ValueError: a count outside 0..total, no trials, or a level outside (0, 1).

    Source:
        Clopper & Pearson (1934), Biometrika 26, 404-413.
    """
    counts, tail = _checked(successes, total), _tail(level)
    low = special.betaincinv(np.maximum(counts, 1), total - counts + 1, tail)
    high = special.betaincinv(counts + 1, np.maximum(total - counts, 1), 1 - tail)
    return np.where(counts == 0, 0.0, low), np.where(counts == total, 1.0, high)


def rate_p(successes: npt.ArrayLike, total: int, rate: float) -> Floats:
    """Give the two-sided p-value of a stated rate, twice the smaller binomial tail.

    Args:
        successes: counts, any shape, between 0 and `total`.
        total: number of trials, at least 1.
        rate: the one stated, in (0, 1).

    Returns:
        p-values, shaped like `successes`; below 0.05 where the 95 % interval of `rate_interval`
        leaves out the rate.

    Raises:
        ValueError: a count outside 0..total, no trials, or a rate outside (0, 1).
    """
    counts, stated = _checked(successes, total), _rate(rate)
    at_most = stats.binom.cdf(counts, total, stated)
    at_least = stats.binom.sf(counts - 1, total, stated)
    return np.asarray(np.minimum(2 * np.minimum(at_most, at_least), 1.0), dtype=np.float64)


def rate_power(true: float, stated: float, totals: npt.ArrayLike, level: float = 0.95) -> Floats:
    """Give the probability that the interval of `rate_interval` leaves out a stated rate.

    Args:
        true: the rate, in [0, 1].
        stated: the one that may be left out, in (0, 1).
        totals: numbers of trials, any shape, at least 1.
        level: of the interval.

    Returns:
        Probabilities, shaped like `totals`. They do not rise steadily with the number of trials.

    Raises:
        ValueError: rates or a level out of range.
    """
    if not 0 <= true <= 1:
        raise ValueError(f"a rate lies between 0 and 1, got {true}")
    trials, rate, tail = np.asarray(totals), _rate(stated), _tail(level)
    # the outermost counts inside: below and above them a tail is smaller than `tail`
    lowest, highest = stats.binom.ppf(tail, trials, rate), stats.binom.isf(tail, trials, rate)
    left_out = stats.binom.cdf(lowest - 1, trials, true) + stats.binom.sf(highest, trials, true)
    return np.asarray(left_out, dtype=np.float64)


def _checked(successes: npt.ArrayLike, total: int) -> Floats:
    counts = np.asarray(successes, dtype=np.float64)
    if total < 1 or np.any(counts < 0) or np.any(counts > total):
        raise ValueError("successes must lie between 0 and total, and total must be positive")
    return counts


def _rate(rate: float) -> float:
    if not 0 < rate < 1:
        raise ValueError(f"a stated rate must lie between 0 and 1, got {rate}")
    return rate


def _tail(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    return (1 - level) / 2
