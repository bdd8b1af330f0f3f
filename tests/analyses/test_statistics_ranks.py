"""Rank correlation within strata and intervals over seeds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from resprobe_analyses import statistics
from scipy import stats

FEW = st.integers(0, 4).map(float)  # few values, so that ties are common


def correlate(x, y, strata, seed=0):
    return statistics.rank_correlation(x, y, strata, generator=np.random.default_rng(seed))


def test_one_stratum_is_spearmans_printed_example():
    """Ten pairs of intelligence quotient and hours of television: ρ = −29/165."""
    quotient = [106, 100, 86, 101, 99, 103, 97, 113, 112, 110]
    hours = [7, 27, 2, 50, 28, 29, 20, 12, 6, 17]
    assert correlate(quotient, hours, np.zeros(10)).value == pytest.approx(-29 / 165)


@given(st.lists(st.tuples(FEW, FEW), min_size=2, max_size=8))
def test_one_stratum_is_scipys_spearman_with_ties(pairs):
    x, y = np.array(pairs).T
    found = correlate(x, y, np.zeros(x.size))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert np.isnan(found.value)
        assert found.items == 0
    else:
        assert found.value == pytest.approx(stats.spearmanr(x, y).statistic)


def _slow(x, y, strata):
    """Loops over strata and items; ranks by counting."""
    top = left = right = 0.0
    for label in sorted(set(strata)):
        inside = [i for i in range(len(x)) if strata[i] == label]
        rank = {
            name: [
                (
                    sum(v[j] < v[i] for j in inside)
                    + (sum(v[j] == v[i] for j in inside) + 1) / 2
                    - (len(inside) + 1) / 2
                )
                / (len(inside) + 1)
                for i in inside
            ]
            for name, v in (("x", x), ("y", y))
        }
        if any(rank["x"]) and any(rank["y"]):
            top += sum(a * b for a, b in zip(rank["x"], rank["y"], strict=True))
            left += sum(a * a for a in rank["x"])
            right += sum(b * b for b in rank["y"])
    return top / np.sqrt(left * right) if left and right else np.nan


@given(st.lists(st.tuples(FEW, FEW, st.integers(0, 2)), min_size=1, max_size=9))
def test_strata_are_pooled_as_the_slow_way_does(rows):
    x, y, strata = np.array(rows).T
    assert correlate(x, y, strata).value == pytest.approx(_slow(x, y, strata), nan_ok=True)


def test_differences_between_strata_do_not_count():
    """Falling inside each stratum, rising over all: Simpson's paradox."""
    x = np.array([1, 2, 3, 11, 12, 13, 21, 22, 23.0])
    y = np.array([3, 2, 1, 13, 12, 11, 23, 22, 21.0])
    strata = np.repeat([1, 2, 3], 3)
    assert stats.spearmanr(x, y).statistic > 0.5
    assert correlate(x, y, strata).value == pytest.approx(-1)


@given(st.integers(0, 10_000))
def test_only_the_order_matters(seed):
    generator = np.random.default_rng(seed)
    x, y, strata = generator.random(9), generator.random(9), np.repeat([0, 1, 2], 3)
    found = correlate(x, y, strata)
    assert correlate(np.exp(3 * x), y**3, strata).value == pytest.approx(found.value)
    assert correlate(-x, y, strata).value == pytest.approx(-found.value)
    assert correlate(y, x, strata).value == pytest.approx(found.value)
    order = generator.permutation(9)
    assert correlate(x[order], y[order], strata[order]).value == pytest.approx(found.value)


def test_small_permutation_tests_are_exact():
    x, y = np.arange(4.0), np.array([0, 1, 3, 2.0])
    found = correlate(x, y, np.zeros(4))
    values = [stats.spearmanr(x, order).statistic for order in itertools.permutations(y)]
    assert found.exact
    assert np.sort(found.random) == pytest.approx(np.sort(values))
    assert found.p_value == np.mean(np.abs(values) >= found.value - 1e-9)


def test_strata_of_two_and_three_are_enumerated_together():
    found = correlate(np.arange(5.0), np.arange(5.0), [0, 0, 1, 1, 1])
    assert found.random.size == 2 * 6
    assert found.p_value == pytest.approx(2 / 12)  # both extreme orders are equally far from 0


def test_drawn_permutations_agree_with_the_exact_law(monkeypatch):
    x, y = np.arange(7.0), np.array([2, 0, 1, 5, 3, 6, 4.0])
    exact = correlate(x, y, np.zeros(7))
    monkeypatch.setattr("resprobe_analyses.statistics.ranks.EXACT_LIMIT", 0)
    drawn = correlate(x, y, np.zeros(7))
    assert (exact.exact, drawn.exact) == (True, False)
    # p is about 0.04, drawn 9,999 times: a standard error of 0.002
    assert drawn.p_value == pytest.approx(exact.p_value, abs=0.008)
    assert drawn.random_range() == pytest.approx(exact.random_range(), abs=0.05)


def test_draws_repeat_with_the_generator_and_never_give_a_p_of_zero():
    strata = np.repeat([0, 1, 2], 6)
    found = correlate(np.arange(18.0), np.arange(18.0), strata, seed=3)
    again = correlate(np.arange(18.0), np.arange(18.0), strata, seed=3)
    assert np.array_equal(found.random, again.random)
    assert found.p_value == pytest.approx(1 / 10_000)


def test_permutation_test_holds_its_level():
    generator = np.random.default_rng(6)
    strata = np.repeat([0, 1], 4)
    found = [correlate(*generator.random((2, 8)), strata) for _ in range(400)]
    # 0.05 with a standard error of 0.011
    assert np.mean([one.p_value <= 0.05 for one in found]) < 0.085


def test_random_range_holds_random_rankings():
    low, high = correlate(np.arange(27.0), np.arange(27.0), np.repeat([0, 1, 2], 9)).random_range()
    # the variance of a pooled correlation of permuted ranks is 1 / Σ(n − 1)
    assert (low, high) == pytest.approx((-1.96 / np.sqrt(24), 1.96 / np.sqrt(24)), abs=0.02)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_interval_over_items_covers(rho):
    """Bivariate normal within three strata of nine; the target is the mean of the statistic."""
    generator = np.random.default_rng(int(10 * rho))
    found = []
    for _ in range(1500):
        x = generator.standard_normal((3, 9))
        y = rho * x + np.sqrt(1 - rho**2) * generator.standard_normal((3, 9))
        found.append(np.mean([stats.spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]))
    target = np.mean(found)
    bounds = np.array([statistics.correlation_interval(value, 27, 3) for value in found])
    assert 0.92 < np.mean((bounds[:, 0] <= target) & (target <= bounds[:, 1])) < 0.985


def test_interval_of_one_is_not_a_point_and_needs_freedom():
    low, high = statistics.correlation_interval(1.0, 9)
    assert high == 1
    assert 0 < low < 0.99
    mirrored = statistics.correlation_interval(-1.0, 9)
    assert mirrored == pytest.approx((-1, -low))
    assert np.isnan(statistics.correlation_interval(0.5, 6, 4)).all()


@given(st.floats(-0.95, 0.95), st.integers(5, 60))
def test_fisher_mean_of_equal_correlations_is_that_correlation(value, items):
    assert float(statistics.fisher_mean([value] * 3, items)) == pytest.approx(value, abs=1e-9)


def test_values_that_cannot_be_ranked_are_refused():
    with pytest.raises(ValueError, match="finite"):
        statistics.within_strata_ranks([1.0, np.nan], [0, 0])
    with pytest.raises(ValueError, match="equal lists"):
        statistics.within_strata_ranks([1.0, 2.0], [0])


@pytest.mark.parametrize("seeds", [1, 2, 4])
def test_fewer_than_five_seeds_give_no_interval(seeds):
    assert statistics.student_interval(np.arange(seeds)) is None
    assert statistics.student_p(np.arange(seeds)) is None


@given(st.lists(st.integers(-50, 50).map(float), min_size=5, max_size=9))
def test_student_is_scipys_t_test(values):
    mean, low, high = statistics.student_interval(values)
    p_value = statistics.student_p(values)
    if np.ptp(values) == 0:
        assert np.isnan(low)
        assert np.isnan(high)
        assert p_value == 1
        return
    theirs = stats.ttest_1samp(values, 0)
    interval = theirs.confidence_interval()
    assert (float(mean), float(low), float(high)) == pytest.approx((np.mean(values), *interval))
    assert float(p_value) == pytest.approx(theirs.pvalue)
