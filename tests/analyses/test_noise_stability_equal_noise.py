"""Networks under noise of one absolute size, layer by layer."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from noisy import (
    LEVELS,
    WEIGHT_NORMS,
    build_noisy,
    two_answering,
    two_noisy_groups,
)
from resprobe_analyses.noise_stability import analyze
from resprobe_analyses.noise_stability.equal_noise import common_size, interpolated
from scipy import stats


@pytest.fixture(scope="module")
def five():
    return analyze(two_noisy_groups(5, error_added=0.25))


def test_the_same_network_answers_noise_of_equal_size_alike():
    found = analyze([build_noisy("a", group="r"), build_noisy("b", group="p")])
    np.testing.assert_array_equal(found.dataset["equal_noise_log_ratio_by_pair"].values, 0.0)
    told = found.verdict["findings"]["contrast"]["equal_noise"]
    assert told["over_layers"]["value"] == 0
    assert (told["layers"], told["of"]) == (5, 5)


@pytest.mark.parametrize("larger", [1.0, 0.25, 2.7])
def test_responses_proportional_to_the_noise_have_the_ratio_of_their_factors(larger):
    factor = np.array([0.3, 0.5, 1.1, 2.0, 4.0])[:, None, None, None]
    inputs = two_answering(lambda size: factor * size, lambda size: 0.7 * size, larger=larger)
    data = analyze(inputs).dataset
    expected = np.log(factor.ravel() / 0.7)
    np.testing.assert_allclose(data["equal_noise_log_ratio"].values, expected, atol=1e-12)
    np.testing.assert_allclose(data["equal_noise_log_ratio_mean"].values, expected.mean())
    # at equal parts of the norm the larger weights get more noise
    np.testing.assert_allclose(
        data["log_ratio"].values[0, 0], expected[0] + np.log(larger), atol=1e-12
    )


def test_responses_of_other_powers_are_compared_at_the_middle_of_the_common_range():
    inputs = two_answering(lambda size: size**0.6, lambda size: 2 * size, larger=0.5)
    data = analyze(inputs).dataset
    norms = data["layer_weight_norm"].values
    for layer in range(5):
        own = [net[layer][:, None] * np.array(LEVELS) for net in norms]
        middle = np.sqrt(max(one.min() for one in own) * min(one.max() for one in own))
        assert data["equal_noise_log_size"].values[0, layer] == pytest.approx(np.log(middle))
        expected = np.log(middle**0.6 / (2 * middle))
        assert data["equal_noise_log_ratio"].values[layer] == pytest.approx(expected)


def test_layers_without_a_common_size_have_no_number_and_are_counted():
    inputs = two_answering(lambda size: size, lambda size: 2 * size)
    noise = inputs[1].families["weight-noise"]
    for name in WEIGHT_NORMS:
        noise[name][3] *= 1e4
    found = analyze(inputs)
    ratios = found.dataset["equal_noise_log_ratio"].values
    assert np.isnan(ratios).tolist() == [False, False, False, True, False]
    assert np.isnan(found.dataset["equal_noise_log_size"].values[0, 3])
    assert found.dataset["equal_noise_log_ratio_mean"].values == pytest.approx(np.log(0.5))
    assert found.verdict["findings"]["contrast"]["equal_noise"]["layers"] == 4
    assert "averaged over 4 of 5 layers (less in 4" in found.summary
    none = analyze(two_answering(lambda size: size, lambda size: size, larger=1e5))
    assert "in none of 5 layers do the sizes of the noise overlap" in none.summary
    json.dumps(none.verdict, allow_nan=False)


def test_equal_noise_is_compared_pair_by_pair_and_the_pairs_are_named(five):
    data = five.dataset
    assert data["pair_first"].values.tolist() == [f"res-{seed}" for seed in range(5)]
    assert data["pair_second"].values.tolist() == [f"plain-{seed}" for seed in range(5)]
    pairs = data["equal_noise_log_ratio_by_pair"].values
    np.testing.assert_allclose(data["equal_noise_log_ratio"].values, pairs.mean(axis=0))
    np.testing.assert_allclose(pairs.mean(), np.log(0.5), atol=0.03)
    means = pairs.mean(axis=1)
    half = stats.t.ppf(0.975, 4) * means.std(ddof=1) / np.sqrt(5)
    np.testing.assert_allclose(
        data["equal_noise_log_ratio_mean_interval"].values,
        [means.mean() - half, means.mean() + half],
    )
    assert "it expects less), the logits of res change" in five.summary


def test_a_pair_without_a_common_size_takes_no_number_from_the_others():
    inputs = two_noisy_groups(6)
    (odd,) = (one for one in inputs if one.label == "res-2")
    for name in WEIGHT_NORMS:
        odd.families["weight-noise"][name] *= 1e6
    found = analyze(inputs)
    told = found.verdict["findings"]["contrast"]["equal_noise"]
    assert told["layers"] == 5
    assert told["log_ratio"]["networks"] == [5] * 5
    pairs = found.dataset["equal_noise_log_ratio_by_pair"].values
    known = np.delete(pairs, 2, axis=0)
    assert np.isnan(pairs[2]).all()
    np.testing.assert_allclose(found.dataset["equal_noise_log_ratio"].values, known.mean(axis=0))
    half = stats.t.ppf(0.975, 4) * known.std(axis=0, ddof=1) / np.sqrt(5)
    np.testing.assert_allclose(told["log_ratio"]["low"], known.mean(axis=0) - half)
    assert (told["over_layers"]["over"], told["over_layers"]["networks"]) == ("seeds", 5)
    assert "in 5 of 6 pairs, averaged over 5 layers, 5 of them in only some" in found.summary


FINITE = st.floats(-5, 5)


@settings(max_examples=50)
@given(st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=8), st.floats(-6, 6))
def test_interpolation_is_numpys_inside_the_points_and_no_number_outside(points, target):
    by_place = {}
    for place, value in points:
        by_place.setdefault(place, []).append(value)
    places = np.array(sorted(by_place))
    values = np.array([np.mean(by_place[place]) for place in places])
    expected = np.interp(target, places, values, left=np.nan, right=np.nan)
    given_places = np.array([place for place, _ in points] + [-np.inf])
    given_values = np.array([[value for _, value in points] + [3.0]])
    found = interpolated(given_places, given_values, target)
    np.testing.assert_allclose(found, [expected], rtol=1e-9, atol=1e-9)


def test_an_image_without_a_number_beside_the_target_has_none():
    values = np.array([[0.0, 1.0, 2.0], [0.0, np.nan, 2.0]])
    found = interpolated(np.array([0.0, 1.0, 2.0]), values, 0.5)
    np.testing.assert_array_equal(found, [0.5, np.nan])


@given(st.lists(FINITE, min_size=2, max_size=4), st.lists(FINITE, min_size=2, max_size=4), FINITE)
def test_the_common_size_lies_in_both_ranges_and_moves_with_them(one, two, shift):
    first, second = np.array([[*one, -np.inf]]), np.array([two])
    found = common_size(first, second)[0]
    assert np.isnan(found) == (max(min(one), min(two)) > min(max(one), max(two)))
    if np.isfinite(found):
        for own in (one, two):
            assert min(own) <= found <= max(own)
        moved = common_size(first + shift, second + shift)[0]
        assert np.isnan(moved) or moved == pytest.approx(found + shift, abs=1e-9)
    np.testing.assert_array_equal(common_size(second, first), [found])
