"""What the analysis of noise stability finds in networks whose responses are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from noisy import (
    INPUT_LEVELS,
    LEVELS,
    MEDIANS,
    build_noisy,
    two_noisy_groups,
)
from resprobe_analyses.noise_stability import analyze
from resprobe_analyses.noise_stability.known import (
    known_networks,
    mean_of_known,
    pooled,
    pooled_changes,
)
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
    assert five.verdict["outcome"] == "less in every reading"
    assert "(less in 5 layers, more in 0)" in five.summary


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
    assert "Noise of the input changes the logits of res 0.50" in five.summary


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


def test_a_network_without_a_number_is_left_out_of_the_others_interval():
    by_network = np.arange(1.0, 7.0) ** 2
    values = np.stack([by_network, by_network, by_network], axis=-1)[:, None] * np.ones((1, 9, 1))
    values[2, :, 1] = np.nan
    values[:2, :, 2] = np.inf
    found = pooled(values)
    assert found.over == "seeds"
    assert found.networks == 4
    np.testing.assert_array_equal(known_networks(values), [6, 5, 4])
    for column, own in enumerate((by_network, np.delete(by_network, 2))):
        expected = stats.t.interval(0.95, len(own) - 1, own.mean(), stats.sem(own))
        assert found.value[column] == pytest.approx(own.mean())
        np.testing.assert_allclose([found.low[column], found.high[column]], expected)
    assert found.value[2] == pytest.approx(by_network[2:].mean())
    assert np.isnan([found.low[2], found.high[2]]).all()  # of four seeds there is no interval
    assert pooled(values[1:, :, 2]).over == "images"


def test_layers_without_a_number_in_some_networks_are_counted():
    made = [build_noisy(f"net{seed}", seed=seed) for seed in range(3)]
    made[1].families["weight-noise"]["weight_noise_output_change"][:, 2] = 0.0
    found = analyze(made)
    log_change = found.verdict["findings"]["groups"][0]["weight_noise"]["log_change"]
    assert [counts[0][0] for counts in log_change["networks"]] == [3, 3, 2, 3, 3]
    assert np.isfinite(log_change["value"]).all()
    assert "net: 1 of 5 layers has no number in some of 3 networks" in found.summary
    assert "has no number" not in analyze(made[:1]).summary


def test_verdict_and_dataset_can_be_written(five, tmp_path):
    assert json.loads(json.dumps(five.verdict, allow_nan=False))["outcome"]
    assert len(five.verdict["departures"]) == 7
    five.dataset.to_netcdf(tmp_path / "dataset.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "dataset.nc", engine="h5netcdf") as read:
        xr.testing.assert_identical(read.load(), five.dataset)
    assert all("long_name" in one.attrs for one in five.dataset.data_vars.values())
    assert five.dataset.sizes["level"] == len(LEVELS)
