"""ZH-F1, RA-E21 and YT-H: each fails when what it measures is broken."""

import re
from fractions import Fraction

import numpy as np
import pytest
from exact_evidence import failed, measured
from hypothesis import given
from hypothesis import strategies as st
from resprobe_analyses.studies import ra_e21, yt_h, zh_f1
from resprobe_analyses.studies.exact_networks import seeded
from scipy import stats

from resprobe import registry

# -- ZH-F1 ----------------------------------------------------------------------------------------


def test_zh_f1_fails_for_an_implicit_method_which_never_diverges():
    names = failed(zh_f1.measure(lambda x, h: x / (1 + zh_f1.RATE * h)))
    assert any("(1 + 10^-k)" in name for name in names)


def test_zh_f1_fails_for_a_method_of_second_order():
    def midpoint(x, h):
        return x + h * -zh_f1.RATE * (x + h / 2 * -zh_f1.RATE * x)

    names = failed(zh_f1.measure(midpoint))
    assert any(name.startswith("order") for name in names)


@pytest.mark.parametrize("factor", [Fraction(999, 1000), Fraction(1001, 1000)])
def test_zh_f1_fails_at_another_limit(factor):
    assert failed(zh_f1.measure(limit=zh_f1.LIMIT * factor))


def test_zh_f1_errors_are_those_of_floating_point_where_that_is_exact_enough():
    for h in zh_f1.STEPS:
        expected = abs((1 - 2.3 * float(h)) ** int(1 / h) - np.exp(-2.3))
        # 4,096 factors round, each by less than 2e-16 of a number below 1.4.
        assert float(zh_f1.error(zh_f1.euler_step, h)) == pytest.approx(expected, abs=2e-12)


def test_zh_f1_draws_solutions_and_errors():
    evidence = measured("ZH-F1")
    left, right = evidence.figures["euler"].axes
    labels = [text.get_text() for text in left.get_legend().get_texts()]
    assert labels == ["exact", *(f"h = {h:g}" for h in evidence.dataset["shown_h"].values)]
    one = left.lines[1]
    assert np.allclose(one.get_ydata(), (-1.3) ** np.arange(5), rtol=1e-14)
    assert np.array_equal(one.get_xdata(), np.arange(5))
    assert all(line.get_xdata()[-1] <= 4 for line in left.lines)
    assert np.array_equal(right.lines[0].get_ydata(), evidence.dataset["error"].values)
    assert (right.get_xscale(), right.get_yscale()) == ("log", "log")


# -- RA-E21 ---------------------------------------------------------------------------------------


@pytest.fixture
def coarse(monkeypatch):
    """A grid and draws that are enough to see a mistake."""
    monkeypatch.setattr(ra_e21, "GRID", tuple(Fraction(n, 2) for n in range(-10, 11)))
    monkeypatch.setattr(ra_e21, "DRAWS", 200)


@pytest.mark.usefixtures("coarse")
def test_ra_e21_fails_for_a_step_that_is_not_reversible():
    def both_old(state, coefficients):
        (y, z), (alpha, beta) = state, coefficients
        return y + beta * z, z + alpha * y

    assert len(failed(ra_e21.measure(both_old))) >= 4


@pytest.mark.parametrize(
    "ends",
    [
        (Fraction(-4) + Fraction(1, 2**40), Fraction(0)),
        (Fraction(-4) - Fraction(1, 2**40), Fraction(0)),
        (Fraction(-4), Fraction(1, 2**40)),
        (Fraction(-4), -Fraction(1, 2**40)),
    ],
    ids=["above -4", "below -4", "above 0", "below 0"],
)
@pytest.mark.usefixtures("coarse")
def test_ra_e21_fails_with_other_ends_of_the_range(ends):
    assert failed(ra_e21.measure(lowest=ends[0], highest=ends[1]))


@given(
    st.fractions(-6, 6, max_denominator=50),
    st.fractions(-6, 6, max_denominator=50),
)
def test_moduli_are_those_of_numerical_roots(alpha, beta):
    matrix = ra_e21.matrix_of(ra_e21.revnet_step, (alpha, beta))
    roots = np.abs(np.roots([1, -float(2 + alpha * beta), 1]))
    # Rounding of a coefficient of at most 38 moves a root by less than √(38·2^-50) < 1e-6; the
    # nearest root off the circle has alpha·beta at least 1/2500 away from the range, √ of it 0.02.
    assert ra_e21.both_of_modulus_one(matrix) == bool(np.abs(roots - 1).max() < 1e-5)


def test_ra_e21_draws_growth_over_both_coefficients():
    evidence = measured("RA-E21")
    modulus = evidence.dataset["modulus"]
    assert float(modulus.sel(alpha=2, beta=-1)) == pytest.approx(1, abs=1e-14)
    # xi² - 6·xi + 1 = 0
    assert float(modulus.sel(alpha=4, beta=1)) == pytest.approx(3 + np.sqrt(8), rel=1e-14)
    axes, bar = evidence.figures["modulus"].axes
    drawn = axes.collections[0].get_array()
    assert np.array_equal(np.ravel(drawn), np.log10(modulus.values.T).ravel())
    assert "growth" in bar.get_ylabel()


# -- YT-H -----------------------------------------------------------------------------------------


def make_with(**other):
    """Build each network as if another scheme or fan had been asked for."""

    def build(scheme, fan):
        with seeded(0):
            return registry.load("models", "simplified-resnet")(
                depth=14, initialisation=other.get(scheme, scheme), fan=other.get(fan, fan)
            )

    return build


def test_yt_h_fails_with_the_other_fan():
    names = failed(yt_h.measure(make_with(**{"in": "out", "out": "in"})))
    # Where both fans differ: the stem and the two kernels that double the channels.
    assert sum("sd of" in name for name in names) == 4 * 3


def test_yt_h_fails_with_the_other_scheme():
    evidence = yt_h.measure(make_with(kwi="hmwi", hmwi="kwi"))
    assert len(failed(evidence)) == len(evidence.checks) == yt_h.CHECKS


def test_yt_h_fails_with_uniform_weights_of_the_same_spread():
    def uniform(scheme, fan):
        network = make_with()(scheme, fan)
        for _, weight in yt_h.kernels(network):
            half = np.sqrt(3) * yt_h.expected(scheme, fan, tuple(weight.shape))
            weight.uniform_(-half, half)
        return network

    with seeded(0):
        names = failed(yt_h.measure(uniform))
    assert len(names) == 4
    assert all("Kolmogorov" in name for name in names)


def test_yt_h_tells_which_fan_gives_the_sums_of_table_3():
    """Table 3, at epoch 0: 25 000 for the plain network, 1900 for the residual one made plain."""
    _, residual, plain = measured("YT-H").notes
    sums = [re.findall("to two digits ([0-9]+,[0-9]{3})", note) for note in (plain, residual)]
    assert sums == [["25,000", "24,000"], ["2,000", "1,900"]]


def test_the_interval_of_a_spread_is_the_chi_square_one():
    weights = np.random.default_rng(0).normal(0, 0.3, 50)
    value, low, high = yt_h.size_interval(weights)
    bounds = stats.chi2.ppf([1 - yt_h.ALARM / 2, yt_h.ALARM / 2], 50)
    assert value == pytest.approx(np.sqrt(np.mean(weights**2)))
    assert (low, high) == pytest.approx(tuple(np.sqrt(np.sum(weights**2) / bounds)), rel=1e-9)
