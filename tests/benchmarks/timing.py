"""Paired timings: variants take turns, process time, one thread; ratios of each round's medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def interleaved(
    variants: Mapping[str, Callable[[], object]], *, rounds: int, warmup: int = 2
) -> dict[str, list[float]]:
    """Give the process time of each call, in seconds; variants take turns within a round."""
    for _ in range(warmup):
        for run in variants.values():
            run()
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            start = time.process_time()
            run()
            times[name].append(time.process_time() - start)
    return times


def ratio(times: Mapping[str, list[float]], of: str, to: str) -> tuple[float, float, float]:
    """Give the median of the rounds' ratios with their quartiles: low, median, high."""
    ratios = sorted(a / b for a, b in zip(times[of], times[to], strict=True))
    low, middle, high = statistics.quantiles(ratios, n=4)
    return low, middle, high


def line(name: str, times: Mapping[str, list[float]], of: str, to: str, limit: float) -> str:
    """Give one row of the printed table."""
    low, middle, high = ratio(times, of, to)
    base = statistics.median(times[to]) * 1e3
    return (
        f"{name:<46} {middle:6.3f} [{low:.3f}, {high:.3f}]  limit {limit:.2f}  "
        f"({to} {base:.1f} ms, {len(times[of])} rounds)"
    )
