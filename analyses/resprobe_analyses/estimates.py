"""Numbers with their intervals: over images for the networks at hand, or over training seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from resprobe_analyses import statistics

Floats = npt.NDArray[np.float64]

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A number, or one per block, with its 95 % interval.

    Attributes:
        value: shape () or (block,).
        low: lower bound, same shape; NaN where there is no interval.
        high: upper bound, same shape.
        over: what the interval is over: "images" (these networks) or "seeds" (the training).
        networks: how many networks are behind it.
    """

    value: Floats
    low: Floats
    high: Floats
    over: str
    networks: int

    @property
    def direction(self) -> int:
        """+1 or −1 where the whole interval lies above or below 0, else 0 (scalars only)."""
        return int(self.low > 0) - int(self.high < 0)


def estimate_change(values: Floats, parts: int = 1) -> Estimate:
    """Average paired differences over networks, with an interval over seeds or over images.

    Args:
        values: shape (network, image) or (network, image, block), in [−2, 2].
        parts: how many binary differences each entry is the mean of.

    Returns:
        Over seeds from five networks on, else over images for these networks.
    """
    networks = values.shape[0]
    by_seed = statistics.student_interval(values.mean(axis=1), LEVEL)
    if by_seed is not None:
        return Estimate(*by_seed, over="seeds", networks=networks)
    over_images = statistics.mean_change_interval(values.mean(axis=0), parts * networks, LEVEL)
    return Estimate(*over_images, over="images", networks=networks)


def estimate_fraction(values: Floats) -> Estimate:
    """Average shares of errors over networks, with an interval over seeds or over images.

    Args:
        values: shape (network, image), in [0, 1].

    Returns:
        Over seeds from five networks on, else over images for these networks.
    """
    by_seed = statistics.student_interval(values.mean(axis=1), LEVEL)
    if by_seed is not None:
        mean, low, high = by_seed
        cut = np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)
        return Estimate(mean, *cut, over="seeds", networks=values.shape[0])
    mean, low, high = map(np.asarray, statistics.mean_fraction_interval(values.mean(axis=0), LEVEL))
    return Estimate(mean, low, high, over="images", networks=values.shape[0])


def over_seeds(values: Floats) -> Estimate:
    """Average over seeds, with Student's t interval from five seeds on, else without.

    Args:
        values: shape (seed,) or (seed, item).
    """
    seeds = values.shape[0]
    found = statistics.student_interval(values, LEVEL)
    if found is None:
        mean = np.asarray(values.mean(axis=0))
        found = mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    return Estimate(*found, over="seeds", networks=seeds)


def ratio_over_seeds(logarithms: Floats) -> Estimate:
    """Give a geometric mean over seeds, with the interval of the logarithms' mean.

    Args:
        logarithms: of the ratios, shape (seed,).
    """
    found = over_seeds(logarithms)
    value, low, high = (np.exp(bound) for bound in (found.value, found.low, found.high))
    return Estimate(value, low, high, found.over, found.networks)


def estimate_json(estimate: Estimate | None) -> dict[str, Any] | None:
    """Give an estimate for a verdict, None where there is none."""
    if estimate is None:
        return None
    return {
        "value": number_json(estimate.value),
        "interval": [number_json(estimate.low), number_json(estimate.high)],
        "over": estimate.over,
        "networks": estimate.networks,
    }


def correlation_json(found: statistics.RankCorrelation) -> dict[str, Any]:
    """Give a rank correlation over blocks for a verdict."""
    return {
        "value": number_json(found.value),
        "interval": [number_json(found.low), number_json(found.high)],
        "over": "blocks",
        "p": number_json(found.p_value),
        "p_exact": found.exact,
        "random": [number_json(bound) for bound in found.random_range(LEVEL)],
        "blocks": found.items,
        "stages": found.strata,
    }


def number_json(value: Any) -> float | None:
    """Give a number for a verdict, None where it is not finite."""
    return float(value) if np.isfinite(value) else None
