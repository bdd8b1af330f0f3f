"""How predictors rank what lesions measure: closed forms, laws, and what the intervals promise."""

from __future__ import annotations

import numpy as np
import pytest
from attributed import network_of, staircase
from hypothesis import given, settings
from hypothesis import strategies as st
from resprobe_analyses import statistics
from resprobe_analyses.attribution import rankings as module
from resprobe_analyses.attribution.rankings import rankings
from resprobe_analyses.attribution.standing import ERROR, KIND, LOSS, STAGE

STAGES = (5, 4)
BLOCKS = sum(STAGES)


@pytest.fixture
def few_draws(monkeypatch):
    monkeypatch.setattr(module, "DRAWS", 120)
    monkeypatch.setattr(module, "HALVES", 20)


def standing(change, predictors, stages=STAGES, **given):
    return rankings(network_of(change, predictors, stages, **given))[ERROR, STAGE]


def test_a_predictor_equal_to_the_effect_ranks_as_it_and_a_reversed_one_the_other_way(few_draws):
    change = staircase(200, BLOCKS)
    harm = change.mean(axis=0)
    found = standing(change, {"same": harm, "images": change, "back": -harm, "flat": 0 * harm})
    assert found.value == pytest.approx([1, 1, -1, np.nan], nan_ok=True)
    assert found.high[:2] == pytest.approx([1, 1])
    assert found.low[2] == -1
    # the same images are drawn in both, so nothing can part them
    assert found.low[1] == pytest.approx(1)
    assert np.isnan(found.random_p_holm[3])
    # 5! · 4! orders: the whole distribution, of which two are as far from 0
    assert found.random_p[0] == pytest.approx(2 / (120 * 24))
    assert found.smallest_p == pytest.approx(2 / (120 * 24))
    assert [found.names[one] for one in found.better_than_random] == ["same", "images"]
    assert [found.names[one] for one in found.against] == ["back"]
    assert [found.names[one] for one in found.worse] == ["back"]
    assert [found.names[one] for one in found.not_told_apart] == ["images"]
    assert found.difference[0, 2] == pytest.approx(2)
    assert found.difference_p[0, 1] == 1
    assert found.decidable


def test_without_any_difference_between_lesions_nothing_is_ranked(few_draws):
    found = standing(np.zeros((40, BLOCKS)), {"a": np.arange(BLOCKS), "b": -np.arange(BLOCKS)})
    assert np.isnan(found.value).all()
    assert found.ordered == found.better_than_random == found.worse == []
    assert np.isnan(found.reliability)
    assert np.isnan(found.difference_p_holm).all()


def test_too_few_blocks_cannot_be_decided(few_draws):
    change = staircase(60, 4)
    found = standing(change, {"same": change.mean(axis=0)}, stages=(2, 2))
    assert found.value == pytest.approx([1])
    assert found.smallest_p == 0.5
    assert not found.decidable
    assert found.better_than_random == []


def random_network(seed, images=60, **given):
    generator = np.random.default_rng(seed)
    harm = generator.uniform(0.02, 0.5, BLOCKS)
    change = (generator.random((images, BLOCKS)) < harm).astype(np.float64)
    values = generator.normal(harm, 0.2, (images // 2, BLOCKS))
    weights = generator.permutation(BLOCKS).astype(np.float64)
    return change, {"of images": values, "of weights": weights}


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10_000))
def test_monotone_transforms_of_what_has_no_images_change_nothing(seed):
    change, predictors = random_network(seed)
    curved = {**predictors, "of weights": np.exp(predictors["of weights"] / 3)}
    first, second = standing(change, predictors), standing(change, curved)
    for name in ("value", "low", "high", "random_p", "difference_low", "difference_p"):
        assert np.array_equal(getattr(first, name), getattr(second, name), equal_nan=True)


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10_000))
def test_scaled_predictors_and_their_order_change_nothing(seed):
    change, predictors = random_network(seed)
    first = standing(change, predictors)
    other = {name: 4.0 * predictors[name] for name in reversed(predictors)}
    second = standing(change, other)
    assert second.names == first.names[::-1]
    for name in ("value", "low", "high", "random_p", "predictor_reliability"):
        assert getattr(second, name)[::-1] == pytest.approx(getattr(first, name), nan_ok=True)
    assert second.difference[0, 1] == pytest.approx(first.difference[1, 0])
    assert second.reliability == first.reliability


def correlated(first, second, strata):
    a, b = (statistics.within_strata_ranks(one, strata) for one in (first, second))
    return a @ b / np.sqrt((a @ a) * (b @ b))


def test_the_spread_is_that_of_images_drawn_one_by_one():
    """A slow bootstrap with the ranks of the statistics, image by image."""
    change, predictors = random_network(5)
    found = standing(change, predictors)
    generator = np.random.default_rng(1)
    stage = np.repeat([0, 1], STAGES)
    half = len(predictors["of images"])
    slow = []
    for _ in range(250):
        first = generator.integers(0, half, half)
        rest = generator.integers(half, len(change), len(change) - half)
        effect = change[np.concatenate([first, rest])].mean(axis=0)
        told = [predictors["of images"][first].mean(axis=0), predictors["of weights"]]
        slow.append([correlated(one, effect, stage) for one in told])
    spread = np.std(slow, axis=0, ddof=1)
    expected = np.clip(found.value + 1.96 * spread, -1, 1)
    assert found.high == pytest.approx(expected, abs=0.06)  # 250 draws: a spread to 5 %
    apart = np.std(np.diff(slow, axis=1), ddof=1)
    assert found.difference_high[1, 0] - found.difference[1, 0] == pytest.approx(
        1.96 * apart, rel=0.15
    )


def test_kinds_are_ranked_within_themselves(few_draws):
    """Attention and MLP in turn: within a kind the predictor is right, over all it is not."""
    change = staircase(100, 8)
    kinds = np.tile([0, 1], 4)
    harm = change.mean(axis=0) - 10.0 * kinds
    found = rankings(network_of(change, {"p": harm}, (8,), kinds=kinds))
    assert found[ERROR, KIND].value == pytest.approx([1])
    assert found[ERROR, KIND].strata == 2
    assert found[ERROR, STAGE].value[0] < 0.5
    assert {within for _, within in found} == {STAGE, KIND}


def test_the_loss_is_ranked_beside_the_error(few_draws):
    change = staircase(60, BLOCKS)
    found = rankings(network_of(change, {"p": change.mean(axis=0)}, STAGES, loss=-change))
    assert found[ERROR, STAGE].value == pytest.approx([1])
    assert found[LOSS, STAGE].value == pytest.approx([-1])


def noisy(generator, harm, signal, images, told):
    """Lesions of rare errors that hard images share, and a predictor on some of the images."""
    hard = generator.gamma(0.5, 2.0, size=(images, 1))
    change = (generator.random((images, harm.size)) < 1 - np.exp(-hard * harm)).astype(np.float64)
    return change, signal + 0.8 * generator.standard_normal((told, harm.size))


def test_intervals_hold_the_correlation_that_as_many_images_give(monkeypatch):
    """Nominal 95 %, and 97 % of 300 draws of this truth; 60 draws have a standard error of 3 %."""
    monkeypatch.setattr(module, "DRAWS", 150)
    monkeypatch.setattr(module, "HALVES", 10)
    generator = np.random.default_rng(11)
    signal = generator.normal(size=18)
    harm, stages = 0.02 * np.exp(0.9 * signal), (6, 6, 6)
    found = [
        standing(*_named(noisy(generator, harm, signal, 300, 100)), stages=stages)
        for _ in range(60)
    ]
    expected = np.mean([one.value[0] for one in found])
    held = np.mean([one.low[0] <= expected <= one.high[0] for one in found])
    assert 0.85 <= held <= 1.0
    widths = np.array([one.high[0] - one.low[0] for one in found])
    spread = np.std([one.value[0] for one in found])
    assert np.median(widths) == pytest.approx(2 * 1.96 * spread, rel=0.35)


def test_reliability_is_what_another_measurement_gives(monkeypatch):
    """And its root what a predictor without noise reaches."""
    monkeypatch.setattr(module, "DRAWS", 2)
    monkeypatch.setattr(module, "HALVES", 20)
    generator = np.random.default_rng(12)
    signal = generator.normal(size=18)
    harm, stages = 0.03 * np.exp(0.7 * signal), (9, 9)
    labels = np.repeat([0, 1], stages)
    drawn = [noisy(generator, harm, signal, 200, 60)[0] for _ in range(60)]
    found = [standing(change, {"truth": harm}, stages=stages) for change in drawn]
    again = [
        statistics.rank_correlation(a.mean(axis=0), b.mean(axis=0), labels, generator=generator)
        for a, b in zip(drawn[::2], drawn[1::2], strict=True)
    ]
    expected = np.mean([one.value for one in again])
    assert 0.3 < expected < 0.9
    assert np.mean([one.reliability for one in found]) == pytest.approx(expected, abs=0.08)
    reached = np.mean([one.value[0] for one in found])
    assert np.mean([one.ceiling for one in found]) == pytest.approx(reached, abs=0.08)
    assert all(np.isfinite(one.predictor_reliability[0]) for one in found)


def _named(drawn):
    change, values = drawn
    return change, {"p": values}


def test_equal_numbers_are_given_every_time(few_draws):
    change, predictors = random_network(9)
    first, second = (standing(change, predictors) for _ in range(2))
    assert np.array_equal(first.low, second.low)
    assert first.reliability == second.reliability
