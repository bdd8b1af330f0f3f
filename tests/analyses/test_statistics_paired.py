"""Paired binary data: printed values, closed forms, laws, a second opinion and coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from resprobe_analyses import statistics
from scipy import optimize, stats

Z2 = stats.norm.ppf(0.975) ** 2


@st.composite
def discordant(draw: st.DrawFn) -> tuple[int, int, int]:
    pairs = draw(st.integers(1, 300))
    gained = draw(st.integers(0, pairs))
    return gained, draw(st.integers(0, pairs - gained)), pairs


@pytest.mark.parametrize(
    ("gained", "lost", "pairs", "printed"),
    [
        (1, 7, 21, (-0.517, -0.026)),  # Fagerland, Lydersen & Laake (2014), Table V, Tango
        (16, 8, 86, (-0.020, 0.207)),  # Agresti & Min (2005), score interval
    ],
)
def test_tango_gives_the_printed_intervals(gained, lost, pairs, printed):
    bounds = statistics.paired_difference_interval(gained, lost, pairs)
    assert np.round(np.array(bounds, dtype=float), 3) == pytest.approx(printed, abs=1e-9)


@pytest.mark.parametrize("pairs", [1, 7, 500, 10_000])
def test_tango_without_a_discordant_pair_is_z2_over_n_plus_z2(pairs):
    low, high = statistics.paired_difference_interval(0, 0, pairs)
    assert float(high) == pytest.approx(Z2 / (pairs + Z2), rel=1e-12)
    assert float(low) == pytest.approx(-Z2 / (pairs + Z2), rel=1e-12)


def _tango_by_likelihood(gained: int, lost: int, pairs: int, delta: float) -> float:
    """Score statistic with the constrained maximum found by numerical search."""
    same = pairs - gained - lost

    def loss(q: float) -> float:
        cells = np.array([q + delta, q, 1 - 2 * q - delta])
        return -float(np.sum(np.array([gained, lost, same]) * np.log(np.maximum(cells, 1e-300))))

    bounds = (max(0.0, -delta) + 1e-12, (1 - delta) / 2 - 1e-12)
    q = optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
    return (gained - lost - pairs * delta) / np.sqrt(pairs * (2 * q + delta - delta**2))


@pytest.mark.parametrize(("gained", "lost", "pairs"), [(5, 2, 40), (12, 30, 100), (3, 0, 50)])
def test_tango_bounds_solve_the_score_equation(gained, lost, pairs):
    low, high = statistics.paired_difference_interval(gained, lost, pairs)
    # the search for q is good to about 1e-7, the square root of float64 precision
    assert _tango_by_likelihood(gained, lost, pairs, float(low)) == pytest.approx(1.96, abs=1e-4)
    assert _tango_by_likelihood(gained, lost, pairs, float(high)) == pytest.approx(-1.96, abs=1e-4)


@given(discordant())
def test_tango_brackets_the_difference_and_turns_with_the_sign(data):
    gained, lost, pairs = data
    value = float(statistics.paired_difference(gained, lost, pairs))
    low, high = map(float, statistics.paired_difference_interval(gained, lost, pairs))
    assert -1 <= low <= value + 1e-12
    assert value - 1e-12 <= high <= 1
    assert high > low
    mirrored = statistics.paired_difference_interval(lost, gained, pairs)
    # where the discriminant cancels, q keeps half of float64's digits: √ε = 1.5e-8
    assert [-float(bound) for bound in mirrored] == pytest.approx([high, low], abs=1.5e-8)


@pytest.mark.parametrize(("gained", "lost", "pairs"), [(12, 30, 100), (194, 0, 202), (3, 1, 10**5)])
def test_tango_is_exact_to_half_the_digits(gained, lost, pairs):
    """The bounds against the same equation solved in 50 digits."""
    from decimal import Decimal, localcontext

    def score(delta: Decimal) -> Decimal:
        b = -(gained + lost) + (2 * pairs - gained + lost) * delta
        root = (b * b + 8 * pairs * lost * delta * (1 - delta)).sqrt()
        q = (root - b) / (4 * pairs)
        return (gained - lost - pairs * delta) / (pairs * (2 * q + delta * (1 - delta))).sqrt()

    low, high = map(float, statistics.paired_difference_interval(gained, lost, pairs))
    with localcontext() as context:
        context.prec = 50
        for bound, target in ((low, stats.norm.ppf(0.975)), (high, -stats.norm.ppf(0.975))):
            around = [score(Decimal(bound) + Decimal(step)) for step in (-1.5e-8, 1.5e-8)]
            assert around[0] > Decimal(target) > around[1]


def test_tango_takes_many_blocks_at_once():
    gained, lost = np.array([0, 3, 9, 50]), np.array([0, 0, 4, 0])
    low, high = statistics.paired_difference_interval(gained, lost, 50)
    for index in range(4):
        alone = statistics.paired_difference_interval(gained[index], lost[index], 50)
        assert (float(alone[0]), float(alone[1])) == (low[index], high[index])


@pytest.mark.parametrize(("gain", "loss", "pairs"), [(0.02, 0.01, 200), (0.1, 0.02, 60)])
def test_tango_covers(gain, loss, pairs):
    generator = np.random.default_rng(1)
    counts = generator.multinomial(pairs, [gain, loss, 1 - gain - loss], size=4000)
    low, high = statistics.paired_difference_interval(counts[:, 0], counts[:, 1], pairs)
    covered = np.mean((low <= gain - loss) & (gain - loss <= high))
    # nominal 0.95; 4,000 draws give a standard error of 0.0035, discreteness moves it by 0.015
    assert 0.93 < covered < 0.985


def test_tango_keeps_a_rare_effect_where_wald_is_a_point():
    generator = np.random.default_rng(2)
    gained = generator.binomial(500, 0.002, size=4000)
    low, high = statistics.paired_difference_interval(gained, 0 * gained, 500)
    assert np.mean((low <= 0.002) & (high >= 0.002)) > 0.95
    assert np.mean(gained == 0) > 0.3  # Wald's interval would be {0} that often


@pytest.mark.parametrize("counts", [(-1, 0, 5), (3, 3, 5), (0, 0, 0)])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(ValueError, match="at most pairs"):
        statistics.paired_difference_interval(*counts)


@pytest.mark.parametrize(
    ("successes", "total", "printed"),
    [  # Newcombe (1998), Table I, method 3
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson_gives_the_printed_intervals(successes, total, printed):
    low, high = statistics.proportion_interval(successes, total)
    assert (round(float(low), 4), round(float(high), 4)) == printed


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_equals_scipy(data):
    count, total = data
    theirs = stats.binomtest(count, total).proportion_ci(method="wilson")
    ours = statistics.proportion_interval(count, total)
    assert [float(bound) for bound in ours] == pytest.approx([theirs.low, theirs.high], abs=1e-12)


def test_mcnemar_gives_the_printed_value():
    # Fagerland, Lydersen & Laake (2013): 1 and 7 discordant pairs, exact p = 0.0703
    assert float(statistics.mcnemar_p(1, 7)) == pytest.approx(2 * 9 / 256)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_two_sided_binomial_test(gained, lost):
    theirs = stats.binomtest(gained, gained + lost, 0.5).pvalue if gained + lost else 1.0
    assert float(statistics.mcnemar_p(gained, lost)) == pytest.approx(theirs, rel=1e-9)


def test_one_part_is_bonett_and_prices_interval():
    # printed with Bonett & Price's R function: 26 and 4 discordant of 40 pairs
    changes = np.repeat([1, -1, 0], [26, 4, 10])
    mean, low, high = statistics.mean_change_interval(changes)
    assert float(mean) == 22 / 40
    assert (float(low), float(high)) == pytest.approx((0.3126438, 0.7349752), abs=1e-7)


@pytest.mark.parametrize("parts", [1, 2, 10, 50])
@pytest.mark.parametrize("clustering", [0.05, 0.3, 0.7])
@pytest.mark.parametrize("affected", [0.1, 0.6, 2, 10])
def test_mean_change_covers_also_when_few_images_err_under_most_lesions(
    parts, clustering, affected
):
    """Beta-binomial errors: `affected` images' worth of them in 400; a tenth improves."""
    generator = np.random.default_rng([parts, int(100 * clustering), int(10 * affected)])
    shape, images, draws = (1 - clustering) / clustering, 400, 600
    rate = affected / images
    own = generator.beta(rate * shape, (1 - rate) * shape, (images, draws))
    signs = np.where(generator.random((images, draws)) < 0.1, -1, 1)
    changes = signs * generator.binomial(parts, own) / parts
    _, low, high = statistics.mean_change_interval(changes, parts)
    # nominal 0.95, worst case found 0.92; 600 draws add a standard error of 0.011
    assert np.mean((low <= 0.8 * rate) & (high >= 0.8 * rate)) > 0.89


@given(
    st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), min_size=1, max_size=60),
)
def test_p_value_and_interval_of_a_mean_change_agree(changes):
    _, low, high = statistics.mean_change_interval(changes, 2)
    p_value = float(statistics.mean_change_p(changes, 2))
    assert (p_value < 0.05) == (float(low) > 0 or float(high) < 0)
    assert float(high) > float(low)


def test_fractions_of_zero_and_one_give_agresti_and_coulls_interval():
    wrong = np.repeat([1.0, 0.0], [3, 97])
    mean, low, high = statistics.mean_fraction_interval(wrong)
    centre, total = (3 + Z2 / 2) / (100 + Z2), 100 + Z2
    half = np.sqrt(Z2 * centre * (1 - centre) / total)
    assert (mean, low, high) == pytest.approx((0.03, centre - half, centre + half))


def test_fractions_cover():
    generator = np.random.default_rng(3)
    hits = 0
    for _ in range(1000):
        values = generator.binomial(25, generator.beta(0.1, 2.4, 200)) / 25
        _, low, high = statistics.mean_fraction_interval(values)
        hits += low <= 0.04 <= high
    assert hits > 930


def test_mean_interval_is_scipys_and_leaves_out_what_is_not_finite():
    values = np.array([1.0, 2.0, 4.0, np.inf, np.nan])
    mean, low, high = statistics.mean_interval(values)
    theirs = stats.ttest_1samp(values[:3], 0).confidence_interval()
    assert (float(mean), float(low), float(high)) == pytest.approx((7 / 3, *theirs))
    nothing = statistics.mean_interval(np.full((3, 1), np.nan))
    assert all(np.isnan(bound).all() for bound in nothing)


def test_holm_gives_the_textbook_example():
    adjusted = statistics.holm([0.01, 0.04, 0.03, 0.005])
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])


def _holm_slowly(p_values: list[float]) -> list[float]:
    """The step-down procedure itself: the smallest level at which each test is rejected."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    needed, adjusted = 0.0, [0.0] * len(p_values)
    for step, index in enumerate(order):
        needed = max(needed, p_values[index] * (len(p_values) - step))
        adjusted[index] = min(needed, 1.0)
    return adjusted


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_the_step_down_procedure(p_values):
    assert statistics.holm(p_values) == pytest.approx(_holm_slowly(p_values))


def test_holm_does_not_count_tests_that_were_not_made():
    adjusted = statistics.holm([0.01, np.nan, 0.04])
    assert adjusted[[0, 2]] == pytest.approx([0.02, 0.04])
    assert np.isnan(adjusted[1])
    with pytest.raises(ValueError, match="between 0 and 1"):
        statistics.holm([1.2])
