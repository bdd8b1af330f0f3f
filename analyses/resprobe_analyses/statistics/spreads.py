"""Standard deviations over seeds: of one arm, and of one arm against another.

The intervals hold for normal values; unlike those of a mean they do not become right with more
seeds where the tails are heavier.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import special

from resprobe_analyses.statistics.seeds import MINIMUM_SEEDS

Floats = npt.NDArray[np.float64]


def spread_interval(
    spread: npt.ArrayLike, seeds: int, level: float = 0.95
) -> tuple[Floats, Floats]:
    """Give the chi-square interval of a standard deviation.

    Args:
        spread: the one observed (divisor seeds - 1), any shape, not negative.
        seeds: how many values are behind it, at least 2.
        level: coverage aimed at.

    Returns:
        Lower and upper bounds, shaped like `spread`.

    Raises:
        ValueError: a negative spread, fewer than two seeds, or a level outside (0, 1).
    """
    observed, freedom, tail = np.asarray(spread, dtype=np.float64), seeds - 1, _tail(level)
    if freedom < 1 or np.any(observed < 0):
        raise ValueError("a spread is not negative and takes at least two seeds")
    largest, smallest = special.chdtri(freedom, [tail, 1 - tail])
    return observed * np.sqrt(freedom / largest), observed * np.sqrt(freedom / smallest)


def log_spread_ratio(
    first: npt.ArrayLike, second: npt.ArrayLike, level: float = 0.95
) -> tuple[Floats, Floats, Floats] | None:
    """Give the log ratio of two standard deviations with the F interval, or None below five seeds.

    The interval is exact for independent arms. Arms that share their seeds may be correlated,
    either way; their spreads then vary together and the interval is wider than it need be.

    Args:
        first: shape (seed,) or (seed, item).
        second: likewise, with any number of seeds.
        level: coverage aimed at.

    Returns:
        log(sd of first / sd of second), lower and upper bound, each of shape () or (item,), or
        None. All NaN where all values of one arm are equal.

    Raises:
        ValueError: a level outside (0, 1).
    """
    tail = _tail(level)
    arms = [np.asarray(values, dtype=np.float64) for values in (first, second)]
    if min(len(arm) for arm in arms) < MINIMUM_SEEDS:
        return None
    log_spreads = [_log_spread(arm) for arm in arms]
    ratio = np.asarray(log_spreads[0] - log_spreads[1])
    above, below = (special.fdtri(len(a) - 1, len(b) - 1, 1 - tail) for a, b in _both_ways(arms))
    return ratio, np.asarray(ratio - np.log(above) / 2), np.asarray(ratio + np.log(below) / 2)


def log_spread_ratio_p(first: npt.ArrayLike, second: npt.ArrayLike) -> Floats | None:
    """Give the two-sided p-value of equal standard deviations, or None below five seeds.

    Args:
        first: shape (seed,) or (seed, item).
        second: likewise, with any number of seeds.

    Returns:
        p-values of shape () or (item,), or None; below 0.05 where the 95 % interval of
        `log_spread_ratio` leaves out 0; NaN where all values of one arm are equal.
    """
    found = log_spread_ratio(first, second)
    if found is None:
        return None
    arms = [np.asarray(values) for values in (first, second)]
    square = np.exp(2 * found[0])
    tails = (
        special.fdtrc(len(a) - 1, len(b) - 1, value)
        for (a, b), value in zip(_both_ways(arms), (square, 1 / square), strict=True)
    )
    return np.asarray(2 * np.minimum(*tails), dtype=np.float64)


def log_spread_ratio_power(log_ratio: float, seeds: int, level: float = 0.95) -> float:
    """Give the probability that the interval of `log_spread_ratio` leaves out 0.

    Args:
        log_ratio: the true one.
        seeds: of each arm; arms are independent and normal.
        level: of the interval.

    Returns:
        The probability; 0 below five seeds.
    """
    if seeds < MINIMUM_SEEDS:
        return 0.0
    freedom = seeds - 1
    critical = special.fdtri(freedom, freedom, 1 - _tail(level))
    above, below = special.fdtrc(
        freedom, freedom, critical * np.exp([-2 * log_ratio, 2 * log_ratio])
    )
    return float(above + below)


def _tail(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    return (1 - level) / 2


def _log_spread(values: Floats) -> Floats:
    # equal numbers may differ from their own mean by rounding
    known = np.ptp(values, axis=0) > 0
    spread = values.std(axis=0, ddof=1)
    return np.log(np.where(known, spread, np.nan))


def _both_ways(arms: list[Floats]) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    return (arms[0], arms[1]), (arms[1], arms[0])
