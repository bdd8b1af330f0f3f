"""What sums over freshly drawn weights are expected to be, and how far a draw may lie from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from scipy import stats


class Expected(NamedTuple):
    """A statistic of drawn weights.

    Attributes:
        value: its expectation.
        deviation: the standard deviation of one draw.
    """

    value: float
    deviation: float


class Drawn(Protocol):
    """So many weights of one distribution.

    Attributes:
        count: how many.
        mean: of the distribution.
    """

    @property
    def count(self) -> int:
        """How many weights."""

    @property
    def mean(self) -> float:
        """The mean."""

    def square_about(self, centre: float) -> tuple[float, float]:
        """Give mean and variance of (w - centre)²."""

    def size_from(self, least: float) -> tuple[float, float]:
        """Give mean and variance of |w| where |w| ≥ least, 0 elsewhere."""


@dataclass(frozen=True)
class Normal:
    """`count` weights of N(`mean`, `deviation`²)."""

    count: int
    mean: float
    deviation: float

    def square_about(self, centre: float) -> tuple[float, float]:
        """Give mean and variance of (w - centre)²."""
        shift, variance = (self.mean - centre) ** 2, self.deviation**2
        return shift + variance, 4 * shift * variance + 2 * variance**2

    def size_from(self, least: float) -> tuple[float, float]:
        """Give mean and variance of |w| where |w| ≥ least, 0 elsewhere."""
        first = second = 0.0
        for mean in (self.mean, -self.mean):  # w ≥ least, and -w ≥ least
            edge = (least - mean) / self.deviation
            beyond, height = float(stats.norm.sf(edge)), float(stats.norm.pdf(edge))
            first += mean * beyond + self.deviation * height
            second += (mean**2 + self.deviation**2) * beyond
            second += self.deviation * (mean + least) * height
        return first, second - first**2


@dataclass(frozen=True)
class Uniform:
    """`count` weights spread evenly from -`reach` to `reach`."""

    count: int
    reach: float

    @property
    def mean(self) -> float:
        """The mean, 0."""
        return 0.0

    def square_about(self, centre: float) -> tuple[float, float]:
        """Give mean and variance of (w - centre)²."""
        square = self.reach**2
        return centre**2 + square / 3, 4 * centre**2 * square / 3 + 4 * square**2 / 45

    def size_from(self, least: float) -> tuple[float, float]:
        """Give mean and variance of |w| where |w| ≥ least, 0 elsewhere."""
        if least >= self.reach:
            return 0.0, 0.0
        first = (self.reach**2 - least**2) / (2 * self.reach)
        second = (self.reach**3 - least**3) / (3 * self.reach)
        return first, second - first**2


def expected_mean(parts: Sequence[Drawn]) -> Expected:
    """Give the mean of all weights."""
    total = sum(part.count for part in parts)
    value = sum(part.count * part.mean for part in parts) / total
    variance = sum(part.count * part.square_about(part.mean)[0] for part in parts)
    return Expected(value, math.sqrt(variance) / total)


def expected_deviation(parts: Sequence[Drawn]) -> Expected:
    """Give the standard deviation of all weights about their common mean, by the delta method."""
    total, centre = sum(part.count for part in parts), expected_mean(parts).value
    moments = [(part.count, *part.square_about(centre)) for part in parts]
    value = math.sqrt(sum(count * mean for count, mean, _ in moments) / total)
    spread = math.sqrt(sum(count * variance for count, _, variance in moments)) / total
    return Expected(value, spread / (2 * value))


def expected_mass(parts: Sequence[Drawn], least: float = 0.0) -> Expected:
    """Give the sum of |w| over |w| ≥ `least`."""
    moments = [(part.count, *part.size_from(least)) for part in parts]
    variance = sum(count * spread for count, _, spread in moments)
    return Expected(sum(count * mean for count, mean, _ in moments), math.sqrt(variance))
