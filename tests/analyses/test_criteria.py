"""Rules of the studies: what each says of values whose verdict is known, and their power."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from resprobe_analyses import statistics
from resprobe_analyses.studies.criteria import (
    CONTRADICTED,
    FAILS,
    HOLDS,
    NOT_ATTEMPTED,
    REPRODUCED,
    UNDECIDED,
    Band,
    Directional,
    Equivalence,
    FailureRate,
    ThinnerBand,
    attempted,
    judge_checks,
    not_attempted,
    with_and_without,
)
from resprobe_analyses.studies.evidence import Check, Sample
from scipy import stats

BAND = Band(-1.25, -0.75, claimed=-1.0)
PAR = Equivalence(0.006, "YT Table 2, largest printed gap")
NOISE = np.array([-0.06, 0.02, 0.05, -0.03, 0.01])
MEAN_RULES = [
    pytest.param(rule, id=str(rule))
    for rule in (
        Directional(+1),
        Directional(-1),
        Directional(+1, "log"),
        Directional(-1, "correlation", items=18),
        PAR,
        BAND,
    )
]
RULES = [*MEAN_RULES, pytest.param(ThinnerBand(), id="ThinnerBand()")]


def sample(values, diverged=(), baseline=None) -> Sample:
    numbers = np.asarray(values, dtype=float)
    flags = np.isin(np.arange(numbers.size), diverged)
    other = None if baseline is None else np.asarray(baseline, dtype=float)
    return Sample(tuple(range(numbers.size)), numbers, flags, other)


def both_arms(values) -> Sample:
    """A sample that every rule can judge: the second arm varies as the first."""
    return sample(values, baseline=np.asarray(values)[::-1])


@pytest.mark.parametrize(
    ("rule", "values", "said"),
    [
        (Directional(+1), 0.2 + NOISE, REPRODUCED),
        (Directional(+1), -0.2 + NOISE, CONTRADICTED),
        (Directional(+1), 0.01 + NOISE, UNDECIDED),
        (Directional(-1), -0.2 + NOISE, REPRODUCED),
        (Directional(-1), 0.2 + NOISE, CONTRADICTED),
        (Directional(+1, "log"), np.log(2) + NOISE, REPRODUCED),
        (Directional(-1, "log"), np.log(2) + NOISE, CONTRADICTED),
        (Directional(+1, "log"), NOISE, UNDECIDED),
        (Directional(+1, "correlation", items=9), 0.5 + NOISE, REPRODUCED),
        (Directional(+1, "correlation", items=9), -0.5 + NOISE, CONTRADICTED),
        (Directional(+1, "correlation", items=9), NOISE, UNDECIDED),
        (PAR, NOISE / 20, REPRODUCED),
        (PAR, 0.02 + NOISE / 20, CONTRADICTED),
        (PAR, -0.02 + NOISE / 20, CONTRADICTED),
        (PAR, NOISE, UNDECIDED),
        (PAR, 0.006 + NOISE / 20, UNDECIDED),
        (BAND, -1 + NOISE, REPRODUCED),
        (BAND, -0.5 + NOISE, CONTRADICTED),
        (BAND, -1.5 + NOISE, CONTRADICTED),
        (BAND, -0.75 + NOISE, UNDECIDED),
        (BAND, -1 + 20 * NOISE, UNDECIDED),  # it holds -1, but so would anything
        (FailureRate(+1, 0.5), np.ones(8), REPRODUCED),
        (FailureRate(+1, 0.5), np.zeros(8), CONTRADICTED),
        (FailureRate(-1, 0.5), np.zeros(8), REPRODUCED),
        (FailureRate(+1, 0.5), np.array([1, 1, 1, 0, 0]), UNDECIDED),
    ],
)
def test_each_outcome_is_reached_and_said(rule, values, said):
    found = rule.judge(sample(values), reference=0.5)
    assert found.outcome == said
    assert found.outcome == str(rule.decide(np.asarray(values, dtype=float)))
    assert found.low <= found.value <= found.high
    assert found.seeds == len(values)
    assert (found.needed is not None) == (said == UNDECIDED)
    assert said in rule.rule
    assert f"{found.low:.3g}" in found.reason


@pytest.mark.parametrize(
    ("first", "said"),
    [(NOISE / 30, REPRODUCED), (NOISE * 30, CONTRADICTED), (NOISE * 2, UNDECIDED)],
)
def test_a_thinner_band_is_told_by_both_arms(first, said):
    rule = ThinnerBand()
    found = rule.judge(sample(0.9 + first, baseline=0.7 + NOISE), reference=0.2)
    assert found.outcome == said == str(rule.decide(first, NOISE))
    assert found.value == pytest.approx(np.std(first) / np.std(NOISE))
    assert found.low < found.value < found.high
    if said == UNDECIDED:
        enough, same = found.needed
        assert enough == same
        assert rule.power(0.2, np.nan, enough) >= 0.8 > rule.power(0.2, np.nan, enough - 1)
    with pytest.raises(ValueError, match="baseline"):
        rule.judge(sample(first), reference=0.2)


@given(st.lists(st.floats(-0.9, 0.9), min_size=5, max_size=12), st.sampled_from([1, -1]))
def test_a_direction_is_where_scipys_interval_lies(values, sign):
    array = np.array(values)
    assume(array.std() > 1e-6)
    expected = stats.ttest_1samp(array, 0.0)
    interval = expected.confidence_interval(0.95)
    plain = Directional(sign).judge(sample(array), 0.1)
    side = int(interval.low > 0) - int(interval.high < 0)
    assert plain.outcome == {sign: REPRODUCED, -sign: CONTRADICTED, 0: UNDECIDED}[side]
    assert (plain.low, plain.high) == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert plain.p_value == pytest.approx(expected.pvalue)
    ratio = Directional(sign, "log").judge(sample(array), 1.1)
    assert ratio.outcome == plain.outcome
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx(
        tuple(np.exp([plain.value, plain.low, plain.high]))
    )
    by_z = Directional(sign, "correlation", items=30).judge(sample(array), 0.1)
    z = stats.ttest_1samp(np.arctanh(array), 0.0).confidence_interval(0.95)
    assert (by_z.low, by_z.high) == pytest.approx((np.tanh(z.low), np.tanh(z.high)))


@pytest.mark.parametrize("rule", MEAN_RULES)
@given(
    values=st.lists(st.floats(-1, 1), min_size=5, max_size=9),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=30)
def test_the_order_of_seeds_and_missing_ones_change_nothing(rule, values, order):
    found = rule.judge(sample(values), 0.4)
    shuffled = [*values, np.nan, np.nan]
    order.shuffle(shuffled)
    again = rule.judge(sample(shuffled), 0.4)
    if (
        np.isnan(found.p_value) or abs(found.p_value - 0.05) > 1e-6
    ):  # sums in another order differ by rounding
        assert again.outcome == found.outcome
    assert again.value == pytest.approx(found.value, abs=1e-9)
    assert again.seeds == found.seeds


@pytest.mark.parametrize("rule", RULES)
@given(
    centre=st.sampled_from([-1.4, -1.0, -0.7, -0.004, 0.0, 0.008, 0.4]),
    spread=st.sampled_from([0.002, 0.05, 0.3]),
    ratio=st.sampled_from([0.2, 1.0, 6.0]),
    seed=st.integers(0, 999),
)
@settings(max_examples=60)
def test_p_is_below_five_hundredths_exactly_where_a_rule_decides(rule, centre, spread, ratio, seed):
    first, second = np.random.default_rng(seed).normal(size=(2, 6))
    bounded = np.clip(centre, -0.9, 0.9) if getattr(rule, "items", 0) else centre
    values = sample(bounded + spread * first, baseline=ratio * spread * second)
    found = rule.judge(values, 0.4)
    assert (found.p_value < 0.05) == (found.outcome in (REPRODUCED, CONTRADICTED))


@pytest.mark.parametrize(
    ("rule", "centres"),
    [(BAND, np.linspace(-1.4, -0.6, 201)), (PAR, np.linspace(-0.012, 0.012, 201))],
)
def test_p_follows_a_centre_that_moves_through_the_bounds(rule, centres):
    noise = NOISE * (1 if rule is BAND else 0.03)
    found = [rule.judge(sample(centre + noise), 0.0) for centre in centres]
    assert {one.outcome for one in found} == {REPRODUCED, CONTRADICTED, UNDECIDED}
    for one in found:
        assert (one.p_value < 0.05) == (one.outcome != UNDECIDED)


@pytest.mark.parametrize("rule", [*RULES, FailureRate(+1, 0.3)], ids=str)
def test_below_five_values_nothing_is_attempted(rule):
    values = np.array([1.0, 0.0, 1.0, 0.0, np.nan])
    found = rule.judge(both_arms(values), 0.4)
    assert found.outcome == NOT_ATTEMPTED
    assert found.seeds == 4
    assert "4 of 5 seeds have a value" in found.reason
    assert found.needed is None
    assert np.isnan([found.value, found.low, found.high, found.p_value]).all()
    assert "there are 3 seeds" in rule.judge(both_arms(values[:3]), 0.4).reason


@pytest.mark.parametrize("rule", RULES)
def test_equal_values_have_no_interval_and_decide_nothing(rule):
    found = rule.judge(both_arms([0.1] * 6), 0.4)
    assert found.outcome == UNDECIDED
    assert "all 6 values are equal" in found.reason
    assert found.needed is None
    assert np.isnan([found.low, found.high, found.p_value]).all()


@pytest.mark.parametrize("rule", MEAN_RULES)
def test_the_seeds_needed_follow_from_the_interval_of_the_spread(rule):
    """For each bound of the spread, the first number whose power is 80 %."""
    values, reference = {
        BAND: (-0.95 + 4 * NOISE, -0.5),
        PAR: (0.001 + NOISE / 3, 0.0),
    }.get(rule, (0.03 + NOISE * 2, 0.2 if getattr(rule, "scale", "") != "log" else 1.2))
    given_sample = sample(values)
    found = rule.judge(given_sample, reference)
    assert found.outcome == UNDECIDED
    low, high = statistics.spread_interval(rule.spread(given_sample), 5)
    for needed, spread in zip(found.needed, (low, high), strict=True):
        assert rule.power(reference, float(spread), needed) >= 0.8
        if needed > 5:
            assert rule.power(reference, float(spread), needed - 1) < 0.8
    assert found.needed[0] < found.needed[1]


def test_what_no_number_of_seeds_decides_needs_ten_thousand_or_more():
    values = sample(0.01 + NOISE)
    assert Directional(+1).judge(values, 1e-6).needed == (10_000, 10_000)
    assert FailureRate(+1, 0.5).judge(sample([1, 0, 1, 0, 1]), 0.5).needed == (10_000, 10_000)


def test_the_seeds_needed_for_a_rate_are_the_first_that_reach_it():
    rule = FailureRate(+1, 0.5)
    enough, same = rule.judge(sample([1, 0, 1, 0, 1]), 0.9).needed
    assert enough == same
    powers = [rule.power(0.9, np.nan, seeds) for seeds in range(5, enough + 1)]
    assert powers[-1] >= 0.8
    assert max(powers[:-1]) < 0.8


def test_spreads_are_on_the_scale_of_the_rule():
    values = 0.5 + NOISE
    assert Directional(+1).spread(sample(values)) == pytest.approx(values.std(ddof=1))
    by_z = Directional(+1, "correlation", items=18).spread(sample(values))
    assert by_z == pytest.approx(np.arctanh(values).std(ddof=1))
    assert np.isnan(Directional(+1).spread(sample([1.0])))
    assert np.isnan(ThinnerBand().spread(both_arms(values)))


def test_power_takes_a_ratio_for_ratios_and_a_correlation_for_correlations():
    plain = Directional(+1).power(np.log(2), 0.4, 7)
    assert Directional(-1, "log").power(2.0, 0.4, 7) == pytest.approx(plain)
    assert Directional(+1, "log").power(0.5, 0.4, 7) == pytest.approx(plain)
    by_z = Directional(+1, "correlation", items=18).power(np.tanh(0.3), 0.4, 7)
    assert by_z == pytest.approx(Directional(+1).power(0.3, 0.4, 7))
    assert ThinnerBand().power(2.0, np.nan, 7) == pytest.approx(ThinnerBand().power(0.5, 1.0, 7))


@pytest.mark.parametrize("rule", [*MEAN_RULES, pytest.param(FailureRate(1, 0.5), id="rate")])
def test_below_five_seeds_there_is_no_power(rule):
    assert rule.power(0.9, 0.01, 4) == 0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Directional(2), "sign"),
        (lambda: Directional(1, "square"), "scale"),
        (lambda: Directional(1, "correlation"), "number of items"),
        (lambda: Directional(1, items=9), "number of items"),
        (lambda: Directional(1, "log").power(-0.5, 0.1, 5), "positive ratio"),
        (lambda: Directional(1).power(0.5, 0.0, 5), "positive spread"),
        (lambda: Equivalence(0.0, "nowhere"), "margin"),
        (lambda: Band(0.0, 1.0, 1.5), "between"),
        (lambda: ThinnerBand().power(0.0, 0.1, 5), "positive"),
        (lambda: FailureRate(1, 1.0), "rate between"),
        (lambda: FailureRate(1, 0.5).judge(sample([1, 1, 1, 1, 1], [0]), 0.9), "diverged"),
        (lambda: FailureRate(1, 0.5).judge(sample([0.5] * 5), 0.9), "1 and 0"),
        (lambda: judge_checks(()), "at least one"),
        (lambda: sample([1.0, 2.0], baseline=[1.0]), "one value and one flag"),
    ],
)
def test_what_cannot_be_judged_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()


GOOD = [0.30, 0.35, 0.28, 0.33, 0.31, 0.29]


@pytest.mark.parametrize(
    ("values", "diverged", "outcomes"),
    [
        (GOOD, [], (REPRODUCED, REPRODUCED, None)),
        ([*GOOD, 0.5], [6], (REPRODUCED, REPRODUCED, REPRODUCED)),
        # norms of diverged runs are missing, so that nothing changes
        ([*GOOD, np.nan], [6], (REPRODUCED, REPRODUCED, REPRODUCED)),
        # the failures alone make the difference
        ([*NOISE, 0.9, 0.9, 0.9, 0.9], [5, 6, 7, 8], (UNDECIDED, REPRODUCED, UNDECIDED)),
        # the failures hide it
        ([*GOOD, -0.9], [6], (UNDECIDED, UNDECIDED, REPRODUCED)),
        # so few are left that nobody can say
        ([*GOOD[:4], 0.3, 0.4], [4, 5], (UNDECIDED, REPRODUCED, NOT_ATTEMPTED)),
        ([*GOOD[:4], np.nan], [4], (NOT_ATTEMPTED, NOT_ATTEMPTED, NOT_ATTEMPTED)),
    ],
)
def test_a_verdict_stands_with_and_without_diverged_runs(values, diverged, outcomes):
    both = with_and_without(Directional(+1), sample(values, diverged), 0.1)
    verdict, counted, kept = outcomes
    assert both.verdict.outcome == verdict
    assert both.with_diverged.outcome == counted
    assert (both.without_diverged.outcome if both.without_diverged else None) == kept
    assert both.diverged == len(diverged)
    assert both.verdict.value == pytest.approx(both.with_diverged.value, nan_ok=True)
    if counted != kept and kept is not None:
        assert counted in both.verdict.reason
        assert kept in both.verdict.reason
        named = "the seed whose" if len(diverged) == 1 else f"the {len(diverged)} seeds whose"
        assert named in both.verdict.reason
    if UNDECIDED in (counted, kept):
        assert both.verdict.needed is not None


def test_both_arms_lose_the_seed_of_a_diverged_run():
    values = sample([1.0, 2.0, 3.0], [1], baseline=[4.0, 5.0, 6.0]).without_diverged()
    assert values.seeds == (0, 2)
    assert values.values.tolist() == [1, 3]
    assert values.baseline.tolist() == [4, 6]


def test_an_exact_claim_holds_if_every_check_does():
    right = Check("ResNet-50", "0.76 M", "0.76 M", True)
    wrong = Check("sign of Eq. 8", "-h F", "+h F", False)
    assert judge_checks([right]).outcome == HOLDS
    assert judge_checks([right, right]).reason == "all 2 checks hold"
    found = judge_checks([right, wrong])
    assert found.outcome == FAILS
    assert found.reason == "1 of 2 checks fail: sign of Eq. 8: -h F instead of +h F"
    assert np.isnan([found.value, found.low, found.high, found.p_value]).all()


def test_a_study_is_attempted_from_even_odds_on():
    assert attempted(0.5)
    assert not attempted(0.499)
    assert not attempted(float("nan"))
    assert not_attempted("power 0.2").outcome == NOT_ATTEMPTED


def test_a_mean_of_equal_numbers_has_no_interval_in_words():
    from resprobe_analyses.studies.by_seed import mean_in_words

    assert mean_in_words([312.0] * 5) == "312 (each of 5 seeds)"
    assert mean_in_words([1.0, 2.0, 3.0, 4.0, 5.0]) == "3 [1.04, 4.96] (5 seeds)"
    assert mean_in_words([2.0]) == "2 (1 seeds, no interval)"
