"""Spreads over seeds, rates of few runs, and one line a seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from resprobe_analyses import statistics
from scipy import stats


def arms(seed, first, second):
    generator = np.random.default_rng(seed)
    return generator.normal(size=first), generator.normal(scale=2.0, size=second)


@given(st.integers(0, 99), st.integers(5, 12), st.integers(5, 12), st.sampled_from([0.9, 0.95]))
def test_the_ratio_of_two_spreads_is_scipys_f(seed, many, few, level):
    first, second = arms(seed, many, few)
    ratio, low, high = statistics.log_spread_ratio(first, second, level)
    square = first.var(ddof=1) / second.var(ddof=1)
    tails = stats.f.ppf([0.5 - level / 2, 0.5 + level / 2], many - 1, few - 1)
    assert ratio == pytest.approx(np.log(square) / 2)
    assert [high, low] == pytest.approx(np.log(square / tails) / 2)
    p_value = 2 * min(f := stats.f.cdf(square, many - 1, few - 1), 1 - f)
    assert statistics.log_spread_ratio_p(first, second) == pytest.approx(p_value)


@given(st.integers(0, 99), st.floats(0.01, 100), st.floats(-10, 10))
def test_the_ratio_turns_with_the_arms_and_knows_no_unit(seed, scale, shift):
    first, second = arms(seed, 6, 9)
    ratio, low, high = statistics.log_spread_ratio(first, second)
    turned = np.array(statistics.log_spread_ratio(second, first))
    assert turned == pytest.approx(np.array([-ratio, -high, -low]))
    moved = statistics.log_spread_ratio(scale * first + shift, scale * second - shift)
    assert np.array(moved) == pytest.approx(np.array([ratio, low, high]), abs=1e-6)
    assert statistics.log_spread_ratio_p(first, second) == pytest.approx(
        statistics.log_spread_ratio_p(second, first)
    )


def test_items_of_a_ratio_are_apart_and_equal_values_have_none():
    first, second = np.random.default_rng(1).normal(size=(2, 5, 3))
    first[:, 1] = 0.1
    found = np.array(statistics.log_spread_ratio(first, second))
    assert np.isnan(found[:, 1]).all()
    assert np.isnan(statistics.log_spread_ratio_p(first, second)[1])
    alone = statistics.log_spread_ratio(first[:, 2], second[:, 2])
    assert found[:, 2] == pytest.approx(np.array(alone))
    assert statistics.log_spread_ratio(first[:4], second) is None
    assert statistics.log_spread_ratio_p(first, second[:4]) is None


@pytest.mark.parametrize("seeds", [5, 8, 10, 40])
@pytest.mark.parametrize("ratio", [1.0, 1 / 3, 2.0])
def test_the_power_of_a_ratio_is_scipys_f(seeds, ratio):
    tails = stats.f.ppf([0.025, 0.975], seeds - 1, seeds - 1) / ratio**2
    below, above = (
        stats.f.cdf(tails[0], seeds - 1, seeds - 1),
        stats.f.sf(tails[1], seeds - 1, seeds - 1),
    )
    found = statistics.log_spread_ratio_power(np.log(ratio), seeds)
    assert found == pytest.approx(below + above)


def test_five_seeds_hardly_tell_a_ratio_of_three():
    assert statistics.log_spread_ratio_power(np.log(3), 5) < 0.5
    assert statistics.log_spread_ratio_power(np.log(6), 5) > 0.8


@given(st.integers(2, 50), st.floats(0, 1e3), st.sampled_from([0.8, 0.95]))
def test_the_interval_of_a_spread_is_chi_square(seeds, spread, level):
    low, high = statistics.spread_interval(spread, seeds, level)
    tails = stats.chi2.ppf([0.5 + level / 2, 0.5 - level / 2], seeds - 1)
    assert [low, high] == pytest.approx(spread * np.sqrt((seeds - 1) / tails))


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_of_a_rate_is_scipys_exact_one(counted):
    count, total = counted
    expected = stats.binomtest(count, total).proportion_ci(0.95, method="exact")
    assert statistics.rate_interval(count, total) == pytest.approx((expected.low, expected.high))


def test_three_failures_of_five():
    """ZH's Fig. 6 counts so many at h ≥ .8: a rate anywhere between .15 and .95."""
    low, high = statistics.rate_interval(3, 5)
    assert (round(float(low), 2), round(float(high), 2)) == (0.15, 0.95)


@given(
    counted=st.integers(5, 40).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    rate=st.floats(0.02, 0.98),
)
def test_the_test_of_a_rate_agrees_with_its_interval(counted, rate):
    count, total = counted
    low, high = statistics.rate_interval(count, total)
    p_value = statistics.rate_p(count, total, rate)
    sides = (
        stats.binomtest(count, total, rate, alternative=side).pvalue for side in ("less", "greater")
    )
    assert p_value == pytest.approx(min(2 * min(sides), 1))
    if abs(p_value - 0.05) > 1e-9:
        assert (p_value < 0.05) == (not low <= rate <= high)


@pytest.mark.parametrize("stated", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("true", [0.0, 0.03, 0.5, 0.9, 1.0])
def test_the_power_of_a_rate_is_the_sum_over_all_counts(stated, true):
    totals = np.array([5, 6, 8, 10, 17])
    expected = []
    for total in totals:
        counts = np.arange(total + 1)
        low, high = statistics.rate_interval(counts, int(total))
        out = (low > stated) | (high < stated)
        expected.append(stats.binom.pmf(counts, total, true)[out].sum())
    assert statistics.rate_power(true, stated, totals) == pytest.approx(np.array(expected))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: statistics.rate_interval(6, 5), "between 0 and total"),
        (lambda: statistics.rate_interval(0, 0), "positive"),
        (lambda: statistics.rate_interval(1, 5, 1.0), "level"),
        (lambda: statistics.rate_p(1, 5, 0.0), "stated rate"),
        (lambda: statistics.rate_power(1.1, 0.5, 5), "between 0 and 1"),
        (lambda: statistics.rate_power(0.5, 0.5, 5, 0.0), "level"),
        (lambda: statistics.spread_interval(-1.0, 5), "not negative"),
        (lambda: statistics.spread_interval(1.0, 1), "two seeds"),
        (lambda: statistics.log_spread_ratio([1.0] * 5, [1.0] * 5, 0.0), "level"),
        (lambda: statistics.lines([1, 1], [[1, 2]]), "two different x"),
        (lambda: statistics.lines([1, 2], [[1, np.nan]]), "y must be finite"),
    ],
)
def test_what_cannot_be_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()


@given(
    x=st.lists(st.integers(-50, 50), min_size=2, max_size=7, unique=True),
    seed=st.integers(0, 99),
    shift=st.floats(-100, 100),
)
def test_one_line_a_seed_is_scipys_and_blind_to_what_a_seed_has_throughout(x, seed, shift):
    y = np.random.default_rng(seed).normal(size=(3, len(x)))
    slopes, intercepts = statistics.lines(x, y)
    for row, slope, intercept in zip(y, slopes, intercepts, strict=True):
        expected = stats.linregress(x, row)
        assert (slope, intercept) == pytest.approx((expected.slope, expected.intercept))
    moved, _ = statistics.lines(x, y + shift * np.array([[0], [1], [2]]))
    assert moved == pytest.approx(slopes, abs=1e-9)
