"""What the analysis of noise stability finds in networks whose responses are known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from noisy import (
    CONTRACTION,
    INPUT_LEVELS,
    LAYERS,
    LEVELS,
    MARGIN,
    MEDIANS,
    OUTPUT_NORM,
    WEIGHT_NORMS,
    build_noisy,
    two_noisy_groups,
)
from resprobe_analyses.noise_stability import analyze
from resprobe_analyses.noise_stability.bound import (
    FACTORS,
    bound,
    following_blocks,
    minimal_interlayer,
    output_elements,
    smoothness,
)
from resprobe_analyses.noise_stability.equal_noise import common_size, interpolated
from resprobe_analyses.noise_stability.known import mean_of_known, pooled, pooled_changes
from scipy import stats

PLAIN_LAYERS = ("stem", "stage1.0", "stage1.1", "stage2.0", "stage2.1", "stage2.2", "head")


@pytest.fixture(scope="module")
def single():
    return analyze([build_noisy()])


@pytest.fixture(scope="module")
def five():
    return analyze(two_noisy_groups(5, error_added=0.25))


@pytest.fixture(scope="module")
def stronger():
    """Residual networks that answer 1.5 times as much, but for the choice of norm."""
    residual = [build_noisy(f"res-{s}", group="r", seed=s, gain=0.03) for s in range(5)]
    plain = [build_noisy(f"plain-{s}", group="p", seed=s, residual=False) for s in range(5)]
    return analyze([*residual, *plain])


def raw(given, name="weight_noise_output_change"):
    data = given.families["weight-noise"][name]
    return data.transpose("sample", "layer", "norm", "level", "trial").values.astype(float)


def test_changes_are_means_of_logarithms_and_medians_over_images_and_trials(single):
    change = raw(build_noisy())
    found = single.dataset
    for layer, norm, level in np.ndindex(5, 2, 3):
        own = change[:, layer, norm, level].ravel()
        place = (0, layer, norm, level)
        assert found["log_output_change"].values[place] == pytest.approx(np.log(own).mean())
        assert found["output_change"].values[place] == pytest.approx(np.median(own))
    np.testing.assert_allclose(
        found["output_change"].values[0, :, 0, 0], 0.02 * 0.01 / np.array(MEDIANS), rtol=0.05
    )


def test_error_added_is_paired_by_image_and_its_interval_is_no_point_at_0():
    made = build_noisy(error_added=0.25)
    found = analyze([made])
    np.testing.assert_allclose(found.dataset["error_change"].values[0, :, :, -1], 0.25)
    np.testing.assert_array_equal(found.dataset["error_change"].values[0, :, :, 0], 0)
    added = found.verdict["findings"]["groups"][0]["weight_noise"]["error_added"]
    assert added["over"] == "images"
    assert added["low"][0][0][0] < 0 < added["high"][0][0][0]
    assert added["low"][0][0][-1] > 0


@pytest.mark.parametrize("power", [1.0, 0.6])
def test_the_slope_is_the_power_of_the_level(power):
    found = analyze([build_noisy(power=power)])
    np.testing.assert_allclose(found.dataset["slope"].values, power, atol=0.02)
    np.testing.assert_allclose(found.dataset["first_slope"].values, power, atol=0.03)
    told = found.verdict["findings"]["groups"][0]["weight_noise"]["slope"]
    for value, low, high in zip(told["value"], told["low"], told["high"], strict=True):
        assert low < value < high
    input_slope = found.verdict["findings"]["groups"][0]["input_noise"]["slope"]
    assert input_slope["value"] == pytest.approx(1.0, abs=0.05)


def test_a_single_level_has_no_slope():
    found = analyze([build_noisy(levels=(0.02,))])
    assert "slope" not in found.dataset
    assert found.verdict["findings"]["groups"][0]["weight_noise"]["slope"] is None
    assert "slope of" not in found.summary


def test_groups_are_compared_pair_by_pair_with_intervals_over_seeds(five):
    logs = five.dataset["log_output_change"].values
    pairs = logs[:5] - logs[5:]
    np.testing.assert_allclose(five.dataset["log_ratio_by_pair"].values, pairs)
    half = stats.t.ppf(0.975, 4) * pairs.std(axis=0, ddof=1) / np.sqrt(5)
    mean = pairs.mean(axis=0)
    np.testing.assert_allclose(five.dataset["log_ratio"].values, mean)
    np.testing.assert_allclose(
        five.dataset["log_ratio_interval"].values, np.stack([mean - half, mean + half], axis=-1)
    )
    over_layers = five.dataset["log_ratio_mean"].values
    np.testing.assert_allclose(over_layers, mean.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(over_layers[0], np.log(0.5), atol=0.02)
    # two of five layers have ten times the cushion with ID entries removed
    np.testing.assert_allclose(over_layers[1], np.log(0.5) - 0.4 * np.log(10), atol=0.03)
    assert five.dataset["residual"].values.tolist() == [1] * 5 + [0] * 5
    assert five.verdict["outcome"] == "less with both norms"
    assert "over 5 seeds); less in 5 layers and more in 0" in five.summary


def test_what_depends_on_the_norm_is_said_and_why(stronger):
    assert stronger.verdict["outcome"] == "depends on the norm"
    assert (
        "with ID entries kept res answers more, removed it answers less "
        "(Yu & Tomasi 2019 expect it to answer less), and 3 of 5 layers say "
        "the same with both" in stronger.summary
    )
    assert "0.10 times in res (median)" in stronger.summary


def answering(given, change, *, larger=1.0):
    """The same network with weights `larger` times, whose logits change by `change(‖ΔW‖_F)`."""
    noise = given.families["weight-noise"].copy(deep=True)
    for name in WEIGHT_NORMS:
        noise[name] = noise[name] * larger
    norms = np.stack([noise[name].values for name in WEIGHT_NORMS], axis=-1)
    exact = change((norms[..., None] * noise["level"].values)[None, ..., None])
    name = "weight_noise_output_change"
    noise[name] = noise[name].dims, np.broadcast_to(exact, noise[name].shape).astype(np.float64)
    return replace(given, families={**given.families, "weight-noise": noise})


def two_answering(first, second, **options):
    residual = answering(build_noisy("res", group="r"), first, **options)
    return [residual, answering(build_noisy("plain", group="p", residual=False), second)]


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
    assert "those of 5 layers that have a size in common (4 in every pair)" in found.summary
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
    assert "noise of equal ‖ΔW‖_F in the weight of one layer: the logits of res" in five.summary


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


def test_few_seeds_give_intervals_over_images_for_these_networks():
    found = analyze(two_noisy_groups(2))
    told = found.verdict["findings"]["contrast"]["weight_noise"]["over_layers"]
    assert (told["over"], told["networks"]) == ("images", 2)
    assert "these 2 pairs of networks and these draws of noise" in found.summary
    assert "no interval below 5 seeds" in found.summary


def test_networks_without_common_seeds_are_compared_all_with_all():
    residual = [build_noisy(f"r{s}", group="r", seed=s) for s in range(3)]
    plain = [build_noisy(f"p{s}", group="p", seed=s, residual=False) for s in (7, 8)]
    found = analyze([*residual, *plain])
    contrast = found.verdict["findings"]["contrast"]
    assert not contrast["paired_by_seed"]
    assert contrast["weight_noise"]["over_layers"]["networks"] == 6
    assert contrast["weight_noise"]["over_layers"]["over"] == "images"


def test_groups_of_other_layers_are_not_compared_layer_by_layer():
    other = build_noisy(
        "b", group="h", residual=False, layers=PLAIN_LAYERS, medians=[0.03] * 7, blocks=[0.5] * 5,
        families=(),
    )  # fmt: skip
    found = analyze([build_noisy("a"), other])
    assert found.verdict["outcome"] == "not comparable"
    assert "layers that do not correspond (5 and 7)" in found.summary
    assert "log_ratio" not in found.dataset


def test_the_correlation_over_layers_is_spearmans_of_medians_and_mean_responses(single):
    made = build_noisy()
    cushions = made.families["layer-cushion"]
    names = {"kept": "layer_cushion", "removed": "layer_cushion_id_removed"}
    found = single.verdict["findings"]["groups"][0]["networks"][0]
    for place, (norm, name) in enumerate(names.items()):
        medians = np.median(cushions[name].values, axis=0)
        response = np.log(raw(made)[:, :, place, 0]).mean(axis=(0, 2))
        told = found["correlation_over_layers"]["all layers"][norm]
        assert told["value"] == pytest.approx(stats.spearmanr(medians, response).statistic)
        assert told["interval"][0] < told["value"] or told["value"] == -1
        within = found["correlation_over_layers"]["within stages"][norm]
        assert within["blocks"] == 2  # stage1.0 and stage1.1; a stage of one layer ranks nothing
        images = [
            stats.spearmanr(
                cushions[name].values[:, layer], np.log(raw(made)[:, layer, place, 0]).mean(axis=1)
            ).statistic
            for layer in range(5)
        ]
        np.testing.assert_allclose(single.dataset["image_correlation"].values[0, :, place], images)
        assert found["correlation_over_images"][place] == pytest.approx(np.median(images))


def test_the_correlations_say_how_many_layers_they_are_over(single):
    assert "over 2 layers within stages, −1.00" in single.summary
    assert "over all 5 layers" in single.summary


def test_a_response_that_does_not_follow_the_cushion_is_seen():
    found = analyze([build_noisy(follow=0.0, gain=np.array(MEDIANS), removed=1.0)])
    told = found.verdict["findings"]["groups"][0]
    for norm in ("kept", "removed"):
        assert told["networks"][0]["correlation_over_layers"]["all layers"][norm]["value"] > 0.9
        assert abs(told["correlation_over_images"][norm]["value"]) < 0.3


def test_correlations_of_five_seeds_have_students_interval_on_fishers_scale(five):
    group = five.verdict["findings"]["groups"][0]
    for place, norm in enumerate(("kept", "removed")):
        medians = np.median(five.dataset["image_correlation"].values[:5, :, place], axis=1)
        z = np.arctanh(medians)
        half = stats.t.ppf(0.975, 4) * z.std(ddof=1) / np.sqrt(5)
        told = group["correlation_over_images"][norm]
        assert told["over"] == "seeds"
        expected = np.tanh([z.mean(), z.mean() - half, z.mean() + half])
        np.testing.assert_allclose([told["value"], told["low"], told["high"]], expected)


def test_layers_where_the_larger_cushion_has_the_smaller_response_are_counted(stronger):
    told = stronger.verdict["findings"]["contrast"]["larger_cushion_smaller_response"]
    cushion = stronger.dataset["log_cushion_removed"].values
    response = stronger.dataset["log_output_change"].values[:, :, 1, 0]
    ratios = [(one[:5] - one[5:]).mean(axis=0) for one in (cushion, response)]
    assert told["removed"]["layers"] == int((ratios[0] * ratios[1] < 0).sum())
    assert told["removed"]["layers"] >= 2  # the layers with a skip, ten times and 0.15 times
    assert told["removed"]["of"] == 5


def test_noise_of_the_input_is_compared_likewise(five):
    ratio = five.dataset["input_log_ratio"]
    np.testing.assert_allclose(ratio.values, np.log(0.5), atol=0.02)
    np.testing.assert_allclose(
        np.exp(five.dataset["log_input_change"].values[0]), INPUT_LEVELS, rtol=0.02
    )
    np.testing.assert_allclose(five.dataset["input_error_change"].values[:, -1], 0.25)
    assert "res beside plain, noise of the input: the logits change 0.50" in five.summary


def test_the_bound_is_that_of_its_parts_written_out(single):
    made = build_noisy()
    spans = made.tree["step-00000020/interlayer-cushion"].to_dataset()["interlayer_cushion"].values
    # after the stem come all blocks, after a block the next ones, after the last one none
    following = {0: 0, 1: 1, 2: 2}
    elements = [16, 16, 16, 16, 10]
    total = {"kept": 0.0, "removed": 0.0}
    for layer in range(len(LAYERS)):
        least = 1.0
        if layer in following:
            own = spans[:, following[layer]]
            least = min(1.0, float(np.nanmin(own)))
        arora = least / np.sqrt(elements[layer])
        for norm, name in (("kept", "layer_cushion"), ("removed", "layer_cushion_id_removed")):
            smallest = float(made.families["layer-cushion"][name].values[:, layer].min())
            total[norm] += 1 / (smallest**2 * arora**2)
    told = single.verdict["findings"]["groups"][0]["networks"][0]["bound"]
    for norm, sum_of_terms in total.items():
        expected = np.sqrt(
            CONTRACTION**2 * 5**2 * OUTPUT_NORM**2 * sum_of_terms / (MARGIN**2 * 500)
        )
        assert told["value"][norm] == pytest.approx(expected, rel=1e-6)
        logs = [told["log10_factors"][name][norm] for name in FACTORS]
        assert sum(logs) == pytest.approx(np.log10(expected))
        assert told["void"][norm]
    assert told["margin"] == pytest.approx(MARGIN)
    assert told["training_images"] == 500
    np.testing.assert_allclose(single.dataset["gap"].values, 0.2)
    assert "so it says nothing about this network" in single.summary


PARTS = {
    "contraction": np.array([[1.5, 2.0], [np.nan, 1.0]]),
    "output_norm": np.array([3.0, 5.0]),
    "margins": np.array([-1.0, 0.5, 0.5, 2.0]),
    "training_images": 400.0,
    "layer_cushion": np.array([[0.1, 0.2], [0.4, 0.4]]),
    "interlayer_cushion": np.array([0.05, 0.3]),
}


@settings(max_examples=20)
@given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.1, 10))
def test_the_bound_knows_no_scale_of_logits_and_falls_with_cushions_and_images(s, k, m):
    found = bound(**PARTS).value
    logits = {"output_norm": s * PARTS["output_norm"], "margins": s * PARTS["margins"]}
    np.testing.assert_allclose(bound(**PARTS | logits).value, found)
    larger = {"layer_cushion": k * PARTS["layer_cushion"]}
    np.testing.assert_allclose(bound(**PARTS | larger).value, found / k)
    more = {"training_images": m * 400.0}
    np.testing.assert_allclose(bound(**PARTS | more).value, found / np.sqrt(m))


def test_the_margin_is_of_the_images_that_are_right_and_its_loss_of_all():
    found = bound(**PARTS)
    assert found.margin == pytest.approx(0.5)
    assert found.margin_loss == 0.75
    none = bound(**PARTS | {"margins": np.array([-1.0, -2.0])})
    assert np.isnan(none.margin)
    assert np.isnan(none.value).all()


def test_a_cushion_of_0_makes_the_bound_infinite_and_void():
    found = bound(**PARTS | {"layer_cushion": np.array([[0.0, 0.2], [0.4, 0.4]])})
    assert np.isinf(found.value[0])
    assert np.isfinite(found.value[1])


def test_a_layer_is_followed_by_the_next_block_and_has_its_elements():
    layers = ["", "a", "a", "b", "", "c", ""]
    blocks = ["a", "b", "c"]
    assert following_blocks(layers, blocks) == [0, 1, 1, 2, 2, None, None]
    elements = output_elements(layers, {"a": 64, "b": 32, "c": 16}, 10)
    assert elements.tolist() == [64, 64, 64, 32, 16, 16, 10]


def test_minimal_interlayer_cushions_never_pass_that_of_a_layer_to_itself():
    cushions = np.array([[[0.5, 0.2], [2.0, np.nan]], [[0.4, 0.3], [3.0, np.nan]]])
    found = minimal_interlayer(cushions, [0, 1, None], np.array([4, 16, 100]))
    np.testing.assert_allclose(found, [0.2 / 2, 1 / 4, 1 / 10])


def test_the_condition_asks_every_image_span_and_draw_for_three_times_the_layers(single):
    found = smoothness(np.array([[40.0, np.nan], [44.0, np.inf]]), 14)
    assert (found.least, found.needed, found.median) == (40.0, 42.0, 44.0)
    assert found.share == pytest.approx(2 / 3)
    assert not found.holds
    assert smoothness(np.array([43.0]), 14).holds
    assert smoothness(np.array([np.nan]), 14) is None
    assert "smoothness of 3d = 15 and more, is not met" in single.summary


def test_the_order_of_bounds_and_gaps_is_compared_pair_by_pair(five):
    contrast = five.verdict["findings"]["contrast"]
    logs, gaps = five.dataset["bound_log10_ratio"].values, five.dataset["gap_difference"].values
    np.testing.assert_allclose(gaps, -0.05)
    values = np.log10(five.dataset["bound_value"].values)
    np.testing.assert_allclose(logs, values[:5] - values[5:])
    assert contrast["pairs_ordered"] == [5, 5]
    assert contrast["pairs_ordered_alike"] == (logs < 0).sum(axis=0).tolist()


def test_a_part_that_is_missing_is_left_out_and_the_command_said():
    found = analyze([build_noisy(families=("interlayer-cushion", "norms"))])
    assert set(found.figures) == {"response", "prediction"}
    network = found.verdict["findings"]["groups"][0]["networks"][0]
    assert network["bound"] is None
    assert set(network["not_measured"]) == {
        "input-noise", "activation-contraction", "interlayer-smoothness",
    }  # fmt: skip
    last = found.summary.splitlines()[-1]
    assert last.startswith("Not measured")
    assert (
        "--quantity +input_noise_output_change --quantity +activation_contraction "
        "--quantity +interlayer_smoothness" in last
    )
    assert "bound_value" not in found.dataset
    everything = analyze([build_noisy()]).summary
    assert "Not measured" not in everything


def test_without_batch_norm_no_mode_is_told_and_with_it_the_artefact_is():
    assert "No block here has BatchNorm" in analyze([build_noisy()]).summary
    plain = analyze([build_noisy(residual=False, batch_norm=True, blind=True)])
    assert "in 3 of 3 the latter is near 0 because BatchNorm" in plain.summary
    assert "is an artefact of the mode and no property of the network" in plain.summary
    network = plain.verdict["findings"]["groups"][0]["networks"][0]
    assert len(network["blind_in_training_mode"]) == 3
    residual = analyze([build_noisy(batch_norm=True)])
    assert "a skip carries the scale of the input past BatchNorm" in residual.summary


def test_a_layers_own_output_changes_by_the_level_over_its_cushion():
    """E‖ΔA x‖² = ε²‖A‖²‖x‖²/n, so the change is ε/(√n μ): what the summary says of a layer."""
    generator = np.random.default_rng(3)
    weight, x = generator.normal(size=(30, 20)), generator.normal(size=20)
    image = weight @ x
    norm = np.linalg.norm(weight)
    cushion = np.linalg.norm(image) / (norm * np.linalg.norm(x))
    noise = generator.normal(size=(4000, *weight.shape))
    noise *= 0.1 * norm / np.sqrt((noise**2).sum(axis=(1, 2), keepdims=True))
    squares = ((noise @ x) ** 2).sum(axis=1) / (image @ image)
    expected = (0.1 / (np.sqrt(20) * cushion)) ** 2
    assert abs(squares.mean() - expected) < 4 * squares.std() / np.sqrt(len(squares))


def test_an_infinite_factor_makes_the_bound_infinite_in_words_and_figures():
    def dead(given):
        data = given.tree["step-00000020/activation-contraction"].to_dataset()
        data["activation_contraction"][3, 2] = np.inf
        tree = given.tree.copy()
        tree["step-00000020/activation-contraction"] = xr.DataTree(data)
        return replace(given, tree=tree)

    made = two_noisy_groups(5)
    found = analyze([*map(dead, made[:6]), *made[6:]])  # all plain networks and a residual one
    assert "the bound of Arora et al. 2018 is infinite with ID entries kept" in found.summary
    title = found.figures["bound"].legends[0].get_title().get_text()
    assert "no bar: infinite" in title


def test_networks_that_have_not_learned_are_named_and_flagged():
    made = build_noisy("bad")
    noise = made.families["weight-noise"].copy(deep=True)
    noise["correct"][:] = np.arange(40) < 20
    bad = replace(made, families={**made.families, "weight-noise": noise})
    found = analyze([bad, build_noisy("good", seed=1)])
    assert found.dataset["interpretable"].values.tolist() == [0, 1]
    assert found.summary.startswith("bad errs on more than half as many images as chance does")
    assert "than half" not in analyze([made]).summary


def test_a_gap_that_is_not_above_0_is_explained():
    found = analyze([build_noisy(train_error=0.3, test_error=0.2)])
    assert "of −0.100 (the trainer's training error is over a whole epoch" in found.summary


def test_averages_leave_out_what_is_not_known():
    values = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan]])
    np.testing.assert_allclose(mean_of_known(values, axis=1), [2.0, np.nan])
    found = pooled(np.array([[[1.0], [3.0], [np.nan]]]))
    half = stats.t.ppf(0.975, 1)
    np.testing.assert_allclose([found.value, found.low, found.high], [[2], [2 - half], [2 + half]])
    unpaired = pooled_changes(np.zeros((9, 20, 2, 2)), 3, seeds=False)
    assert unpaired.value.shape == (2, 2)
    assert unpaired.over == "images"
    assert (unpaired.low < 0).all()


def test_verdict_and_dataset_can_be_written(five, tmp_path):
    assert json.loads(json.dumps(five.verdict, allow_nan=False))["outcome"]
    assert len(five.verdict["departures"]) == 6
    five.dataset.to_netcdf(tmp_path / "dataset.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "dataset.nc", engine="h5netcdf") as read:
        xr.testing.assert_identical(read.load(), five.dataset)
    assert all("long_name" in one.attrs for one in five.dataset.data_vars.values())
    assert five.dataset.sizes["level"] == len(LEVELS)
