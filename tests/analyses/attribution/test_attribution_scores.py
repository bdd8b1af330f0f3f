"""Rank correlations of many rows at once, and images drawn again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resprobe_analyses import statistics
from resprobe_analyses.attribution.resampling import (
    all_images,
    drawn_again,
    in_halves,
    weighted_means,
)
from resprobe_analyses.attribution.scores import correlations, scores

SMALL = settings(max_examples=15, deadline=None)


def drawn(seed, items):
    """Few different values, so that there are ties and constant strata."""
    generator = np.random.default_rng(seed)
    x, y = generator.integers(0, 3, (2, 4, items)).astype(np.float64)
    return x, y, np.sort(generator.integers(0, 3, items))


@SMALL
@given(st.integers(0, 10_000), st.integers(2, 9))
def test_every_row_is_what_a_single_correlation_gives(seed, items):
    x, y, strata = drawn(seed, items)
    found = correlations(scores(x, strata), scores(y, strata), strata)
    for row in range(len(x)):
        one = statistics.rank_correlation(
            x[row], y[row], strata, generator=np.random.default_rng(0)
        )
        assert scores(x, strata)[row] == pytest.approx(
            statistics.within_strata_ranks(x[row], strata), abs=1e-12
        )
        assert found[row] == pytest.approx(one.value, abs=1e-12, nan_ok=True)


@SMALL
@given(st.integers(0, 10_000), st.lists(st.integers(2, 30), min_size=1, max_size=3))
def test_every_measurement_keeps_its_number_of_images(seed, counts):
    generator = np.random.default_rng(seed)
    measured = [np.sort(generator.choice(50, size, replace=False)) for size in counts]
    images, patterns = all_images(measured)
    assert images.tolist() == sorted(set(np.concatenate(measured).tolist()))
    for weights in drawn_again(patterns, 7, generator):
        for own in measured:
            assert weights[:, np.isin(images, own)].sum(axis=1) == pytest.approx(len(own))
    sizes = np.bincount(patterns)
    halves = next(in_halves(patterns, 6, generator))
    assert set(np.unique(halves)) <= {0.0, 1.0}
    for one, size in enumerate(sizes):
        chosen = halves[:, patterns == one].sum(axis=1)
        assert set(chosen.tolist()) <= {size // 2, (size + 1) // 2}
    if images.size > 1:
        odd = halves.sum(axis=1).mean()
        assert odd == pytest.approx(images.size / 2)


def test_draws_are_given_in_parts_that_add_up():
    patterns = np.zeros(5, dtype=np.int64)
    parts = list(drawn_again(patterns, 260, np.random.default_rng(0)))
    assert sum(map(len, parts)) == 260
    assert max(map(len, parts)) == 125


def test_weighted_means_are_those_of_the_images_written_out():
    generator = np.random.default_rng(3)
    values = generator.normal(size=(6, 2))
    values[1, 0] = values[4, 1] = np.nan
    weights = np.array([[1, 2, 0, 0, 3, 0], [0, 6, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]], float)
    found = weighted_means(values, weights)
    for row, counts in enumerate(weights):
        written = np.repeat(values, counts.astype(int), axis=0)
        known = [column[np.isfinite(column)] for column in written.T]
        expected = [one.mean() if one.size else np.nan for one in known]
        assert found[row] == pytest.approx(expected, nan_ok=True)
