"""Averages over what is known, and estimates over seeds or over images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from resprobe_analyses import statistics
from resprobe_analyses.estimates import LEVEL, Estimate, estimate_change

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def mean_of_known(values: Floats, axis: int) -> Floats:
    """Average what is finite along one axis; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))


def pooled(values: Floats, *, seeds: bool = True) -> Estimate:
    """Average measurements over networks, with an interval over seeds or over images.

    Args:
        values: shape (network, image, …), of networks or of pairs of them; what is not finite is
            left out, so that each number is of the networks that have it.
        seeds: whether the networks are different trainings with seeds in common between groups.

    Returns:
        Over seeds (Student t) where any number is of five networks or more, those of fewer then
        without an interval; else over images for these networks. Shape (…); `networks` is the
        fewest behind a number that exists, see `known_networks` for each.
    """
    by_network, counts = mean_of_known(values, axis=1), known_networks(values)
    fewest = int(counts[counts > 0].min()) if counts.any() else 0
    if seeds and counts.max(initial=0) >= statistics.MINIMUM_SEEDS:
        return Estimate(*_over_seeds(by_network, counts), over="seeds", networks=fewest)
    over_images = statistics.mean_interval(mean_of_known(values, axis=0), LEVEL)
    return Estimate(*over_images, over="images", networks=fewest)


def known_networks(values: Floats) -> Integers:
    """Count the networks that have each number.

    Args:
        values: shape (network, image, …).

    Returns:
        Shape (…).
    """
    return np.asarray(np.isfinite(values).any(axis=1).sum(axis=0), np.int64)


def _over_seeds(values: Floats, counts: Integers) -> tuple[Floats, Floats, Floats]:
    """Give Student's interval of what is finite, column by column, of values (network, …)."""
    mean = mean_of_known(values, axis=0)
    bounds = np.full((2, *mean.shape), np.nan)
    rows = values.reshape(len(values), -1)
    for column in np.flatnonzero(counts >= statistics.MINIMUM_SEEDS):
        own = rows[np.isfinite(rows[:, column]), column]
        found = statistics.student_interval(own, LEVEL)
        assert found is not None
        bounds.reshape(2, -1)[:, column] = found[1:]
    return mean, np.asarray(bounds[0]), np.asarray(bounds[1])


def pooled_changes(values: Floats, parts: int, *, seeds: bool = True) -> Estimate:
    """Average changes of right and wrong over networks, as `pooled` does.

    Args:
        values: shape (network, image, …), in [−2, 2].
        parts: how many binary differences each entry is the mean of.
        seeds: as for `pooled`.

    Returns:
        Over seeds from five networks on, else over images by an interval that does not shrink to a
        point where nothing changes, shape (…).
    """
    items = values.reshape(*values.shape[:2], -1)
    if seeds:
        found = estimate_change(items, parts)
    else:
        over = statistics.mean_change_interval(items.mean(axis=0), parts * len(items), LEVEL)
        found = Estimate(*over, over="images", networks=len(items))
    shape = values.shape[2:]
    value, low, high = (one.reshape(shape) for one in (found.value, found.low, found.high))
    return Estimate(value, low, high, found.over, found.networks)


def over_trainings(values: Floats, *, seeds: bool = True) -> Estimate:
    """Average one number, or several, of each network.

    Args:
        values: shape (network, …).
        seeds: as for `pooled`.

    Returns:
        Over seeds (Student t) from five networks on, else, and where any number is infinite or
        missing, without an interval, shape (…).
    """
    seeds = seeds and bool(np.isfinite(values).all())
    found = statistics.student_interval(values, LEVEL) if seeds else None
    if found is None:
        with np.errstate(invalid="ignore"):  # of infinite ones of either sign
            mean = np.asarray(values.mean(axis=0))
        found = mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    return Estimate(*found, over="seeds", networks=len(values))
