"""How likely Student's interval over seeds comes to lie where it decides something.

The mean and the standard deviation of normal values are independent, so every such probability
is one integral over the standard deviation, taken by Gauss and Legendre's rule. SciPy's
noncentral t would give the one-sided ones, but is NaN in tails that are met here, such as
`nct.cdf(-2.7, 4, 30)`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import special

from resprobe_analyses.statistics.seeds import MINIMUM_SEEDS

Floats = npt.NDArray[np.float64]

MOST_SEEDS = 10_000
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(128)
_LEFT_OUT = 1e-16  # probability beyond each end of the integral


def above_probability(
    bound: float, mean: float, spread: float, seeds: int, level: float = 0.95
) -> float:
    """Give the probability that the whole interval lies above a bound.

    Args:
        bound: it.
        mean: of one seed's value.
        spread: standard deviation of one seed's value, positive.
        seeds: how many there are.
        level: of the interval.

    Returns:
        The probability; 0 below five seeds.

    Raises:
        ValueError: a spread that is not positive, or a level outside (0, 1).
    """
    half = _half_width(spread, seeds, level)
    if seeds < MINIMUM_SEEDS:
        return 0.0
    distance = (mean - bound) * np.sqrt(seeds) / spread
    ratios, weights = _observed_spreads(seeds, np.inf)
    return float(weights @ special.ndtr(distance - half * ratios))


def below_probability(
    bound: float, mean: float, spread: float, seeds: int, level: float = 0.95
) -> float:
    """Give the probability that the whole interval lies below a bound; else `above_probability`."""
    return above_probability(-bound, -mean, spread, seeds, level)


def inside_probability(
    bounds: tuple[float, float], mean: float, spread: float, seeds: int, level: float = 0.95
) -> float:
    """Give the probability that the whole interval lies between two bounds.

    At level 0.9 this is the power of two one-sided tests at 5 %.

    Args:
        bounds: the lower and the upper one.
        mean: of one seed's value.
        spread: standard deviation of one seed's value, positive.
        seeds: how many there are.
        level: of the interval.

    Returns:
        The probability; 0 below five seeds.

    Raises:
        ValueError: bounds that are not in order, a spread that is not positive, or a level
            outside (0, 1).

    Source:
        Phillips (1990), Journal of Pharmacokinetics and Biopharmaceutics 18, 137-144.
    """
    half = _half_width(spread, seeds, level)
    if not bounds[0] < bounds[1]:
        raise ValueError(f"the lower bound {bounds[0]} must lie below the upper one {bounds[1]}")
    if seeds < MINIMUM_SEEDS:
        return 0.0
    start, end = (np.array(bounds) - mean) * np.sqrt(seeds) / spread
    # a larger observed spread leaves no room between the bounds
    ratios, weights = _observed_spreads(seeds, (end - start) / (2 * half))
    return float(
        weights @ (special.ndtr(end - half * ratios) - special.ndtr(start + half * ratios))
    )


def seeds_needed(power: Callable[[int], float], target: float) -> int:
    """Give the smallest number of seeds whose power reaches a target.

    Args:
        power: by number of seeds; beyond the target it stays there.
        target: the power asked for.

    Returns:
        A number from 5 to 10,000; 10,000 also where that is not enough.
    """
    enough = MINIMUM_SEEDS
    while power(enough) < target:
        if enough == MOST_SEEDS:
            return MOST_SEEDS
        enough = min(2 * enough, MOST_SEEDS)
    short = max(enough // 2, MINIMUM_SEEDS - 1)
    while enough - short > 1:
        middle = (short + enough) // 2
        short, enough = (short, middle) if power(middle) >= target else (middle, enough)
    return enough


def _half_width(spread: float, seeds: int, level: float) -> float:
    """Give the interval's half width in units of sd/sqrt(seeds)."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    if not (spread > 0 and np.isfinite(spread)):
        raise ValueError(f"power needs a positive spread over seeds, got {spread}")
    return float(special.stdtrit(max(seeds - 1, 1), 0.5 + level / 2))


def _observed_spreads(seeds: int, largest: float) -> tuple[Floats, Floats]:
    """Give nodes of observed by true spread, up to `largest`, and their probability weights."""
    half = (seeds - 1) / 2
    low = np.sqrt(special.gammaincinv(half, _LEFT_OUT) / half)
    high = min(np.sqrt(special.gammainccinv(half, _LEFT_OUT) / half), largest)
    if high <= low:
        return np.zeros(1), np.zeros(1)
    ratios = low + (high - low) * (_NODES + 1) / 2
    log_density = (
        np.log(2) + half * np.log(half) - special.gammaln(half)
        + (2 * half - 1) * np.log(ratios) - half * ratios**2
    )  # fmt: skip
    return ratios, _WEIGHTS * (high - low) / 2 * np.exp(log_density)
