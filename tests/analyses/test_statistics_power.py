"""What an interval over seeds can decide, and the tests of a mean between two bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from resprobe_analyses import statistics
from scipy import integrate, stats

SEEDS = (5, 8, 10, 30)


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("effect", [0.0, 0.4, 1.0, 2.5])
@pytest.mark.parametrize("level", [0.95, 0.9])
def test_one_sided_power_is_the_noncentral_t(seeds, effect, level):
    critical = stats.t.ppf(0.5 + level / 2, seeds - 1)
    expected = stats.nct.sf(critical, seeds - 1, effect / 0.7 * np.sqrt(seeds))
    assert statistics.above_probability(3.0, 3.0 + effect, 0.7, seeds, level) == pytest.approx(
        expected, abs=1e-12
    )
    assert statistics.below_probability(-3.0, -3.0 - effect, 0.7, seeds, level) == pytest.approx(
        expected, abs=1e-12
    )


def slow_inside(bounds, mean, spread, seeds, level):
    """Adaptive quadrature over the chi distribution of the spread, cut where no room is left."""
    critical, error = stats.t.ppf(0.5 + level / 2, seeds - 1), spread / np.sqrt(seeds)

    def integrand(ratio):
        half = critical * error * ratio
        low, high = bounds[0] + half, bounds[1] - half
        inside = stats.norm.cdf(high, mean, error) - stats.norm.cdf(low, mean, error)
        return inside * stats.chi.pdf(ratio, seeds - 1, scale=1 / np.sqrt(seeds - 1))

    room = (bounds[1] - bounds[0]) / 2 / critical / error
    return integrate.quad(integrand, 0, min(room, 8.0), limit=200, epsabs=1e-12)[0]


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize(("mean", "spread"), [(-1.0, 0.1), (-0.8, 0.25), (-0.5, 0.06), (-1.1, 2.0)])
@pytest.mark.parametrize("level", [0.95, 0.9])
def test_the_power_of_a_band_is_a_slow_integral(seeds, mean, spread, level):
    found = statistics.inside_probability((-1.25, -0.75), mean, spread, seeds, level)
    expected = slow_inside((-1.25, -0.75), mean, spread, seeds, level)
    assert found == pytest.approx(expected, abs=1e-9)


def test_the_power_of_two_one_sided_tests_at_a_margin_of_six_thousandths():
    """Simulated before for five seeds and spreads of the difference of .003, .006 and .012."""
    found = [
        statistics.inside_probability((-0.006, 0.006), 0.0, spread, 5, 0.9)
        for spread in (0.003, 0.006, 0.012)
    ]
    assert found == pytest.approx([0.95, 0.29, 0.02], abs=0.005)


@given(
    mean=st.floats(-3, 3),
    spread=st.floats(0.01, 10),
    seeds=st.sampled_from([5, 6, 17, 400, 10_000]),
    bound=st.floats(-2, 2),
    width=st.floats(0.01, 3),
)
@settings(max_examples=60)
def test_places_of_an_interval_share_out_one(mean, spread, seeds, bound, width):
    """Above, below and inside exclude each other, and a shift of everything changes none."""
    above = statistics.above_probability(bound + width, mean, spread, seeds)
    below = statistics.below_probability(bound, mean, spread, seeds)
    inside = statistics.inside_probability((bound, bound + width), mean, spread, seeds)
    assert min(above, below, inside) >= 0
    assert above + below + inside <= 1 + 1e-10
    # further up it is above less often, and a wider band holds it more often
    assert statistics.above_probability(bound + 2 * width, mean, spread, seeds) <= above + 1e-12
    wider = statistics.inside_probability((bound - 1, bound + width + 1), mean, spread, seeds)
    assert wider >= inside - 1e-12


def test_below_five_seeds_nothing_is_decided():
    assert statistics.above_probability(0, 100, 1, 4) == 0
    assert statistics.inside_probability((-1, 1), 0, 1e-3, 4) == 0
    assert statistics.log_spread_ratio_power(5.0, 4) == 0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: statistics.above_probability(0, 1, 0.0, 5), "positive spread"),
        (lambda: statistics.above_probability(0, 1, np.nan, 5), "positive spread"),
        (lambda: statistics.above_probability(0, 1, 1.0, 5, 1.0), "level"),
        (lambda: statistics.inside_probability((1, 1), 1, 1.0, 5), "below the upper"),
        (lambda: statistics.equivalence_p(np.arange(5.0), 1.0, -1.0), "below the upper"),
        (lambda: statistics.beyond_p(np.arange(5.0), 1.0, 1.0), "below the upper"),
    ],
)
def test_power_refuses_what_has_none(call, said):
    with pytest.raises(ValueError, match=said):
        call()


@pytest.mark.parametrize("target", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("spread", [0.2, 1.0, 2.3])
def test_the_seeds_needed_are_the_first_that_reach_the_target(target, spread):
    def power(seeds):
        return statistics.above_probability(0.0, 0.5, spread, seeds)

    expected = next(seeds for seeds in range(5, 1000) if power(seeds) >= target)
    assert statistics.seeds_needed(power, target) == expected


def test_the_seeds_needed_stop_at_ten_thousand():
    assert statistics.seeds_needed(lambda _: 0.1, 0.8) == statistics.MOST_SEEDS == 10_000
    assert statistics.seeds_needed(lambda seeds: float(seeds >= 9_999), 0.8) == 9_999


@given(
    values=st.lists(st.floats(-1, 1), min_size=5, max_size=12),
    low=st.floats(-1, 0.5),
    width=st.floats(0.01, 1.5),
)
def test_two_one_sided_tests_are_scipys(values, low, width):
    array = np.array(values)
    found = statistics.equivalence_p(array, low, low + width)
    if np.ptp(array) == 0:
        assert found == 1 == statistics.beyond_p(array, low, low + width)
        return
    assume(np.std(array) > 1e-9)  # SciPy warns of cancellation below
    p_values = {
        (bound, side): stats.ttest_1samp(array, bound, alternative=side).pvalue
        for bound in (low, low + width)
        for side in ("greater", "less")
    }
    inside = max(p_values[low, "greater"], p_values[low + width, "less"])
    beyond = 2 * min(p_values[low, "less"], p_values[low + width, "greater"])
    assert found == pytest.approx(inside, rel=1e-6, abs=1e-12)
    assert statistics.beyond_p(array, low, low + width) == pytest.approx(
        min(beyond, 1), rel=1e-6, abs=1e-12
    )
    _, inner_low, inner_high = statistics.student_interval(array, 0.9)
    if abs(inside - 0.05) > 1e-9:
        assert (found < 0.05) == (inner_low > low and inner_high < low + width)


def test_tests_between_bounds_take_five_seeds_and_many_items():
    values = np.random.default_rng(4).normal(size=(6, 3))
    each = [statistics.equivalence_p(column, -1.0, 1.5) for column in values.T]
    assert statistics.equivalence_p(values, -1.0, 1.5) == pytest.approx(np.array(each))
    assert statistics.equivalence_p(values[:4], -1.0, 1.5) is None
    assert statistics.beyond_p(values[:4], -1.0, 1.5) is None
