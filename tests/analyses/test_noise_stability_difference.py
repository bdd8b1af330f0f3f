"""Two networks of one architecture under the same noise, layer by layer."""

from __future__ import annotations

import numpy as np
import pytest
from noisy import LAYERS, build_noisy, two_noisy_groups
from resprobe_analyses import statistics
from resprobe_analyses.noise_stability import analyze
from resprobe_analyses.noise_stability.effects import effect
from resprobe_analyses.noise_stability.labelled import dataset
from resprobe_analyses.noise_stability.sentences_groups import side_by_side
from scipy import stats

GAINS = np.array([0.02, 0.03, 0.02, 0.01, 0.02])
BARE = ("norms",)  # no family that the differences do not read


@pytest.fixture(scope="module")
def pair():
    """Two checkpoints of one training, the later first, whose gains differ in two layers."""
    return [
        build_noisy("net step 20", group="late", gain=GAINS, error_added=0.5, families=BARE),
        build_noisy("net step 9", group="early", gain=0.02, step=9, families=BARE),
    ]


@pytest.fixture(scope="module")
def found(pair):
    return analyze(pair)


def logarithms(given, norm):
    """ln of the change at the lowest level, mean over trials, (image, layer)."""
    change = given.families["weight-noise"]["weight_noise_output_change"].values
    return np.log(change[:, :, norm, 0].astype(np.float64)).mean(axis=-1)


@pytest.mark.parametrize(("norm", "suffix"), [(0, ""), (1, "_id_removed")])
def test_factors_of_the_logits_are_paired_over_images(pair, found, norm, suffix):
    by_image = logarithms(pair[0], norm) - logarithms(pair[1], norm)
    name = f"weight_noise_output_change{suffix}_difference"
    data = found.dataset.isel(contrast=0)
    assert data["layer"].values.tolist() == list(LAYERS)
    for place, column in enumerate(by_image.T):
        test = stats.ttest_1samp(column, 0.0)
        low, high = test.confidence_interval(0.95)
        told = [data[f"{name}{bound}"].values[place] for bound in ("", "_low", "_high")]
        assert told == pytest.approx(np.exp([column.mean(), low, high]), rel=1e-8)
    # half as much again, and half
    assert np.flatnonzero(data[f"{name}_p_holm"].values < 0.05).tolist() == [1, 3]


def test_the_factor_is_that_of_the_other_readings_at_the_lowest_level(found):
    data = found.dataset.isel(contrast=0)
    ratio = found.dataset["log_ratio"].sel(norm="kept").isel(level=0).values
    factor = data["weight_noise_output_change_difference"].values
    np.testing.assert_allclose(np.log(factor), ratio, rtol=1e-10)
    mean = data["weight_noise_output_change_difference_mean"].item()
    whole = found.dataset["log_ratio_mean"].sel(norm="kept").isel(level=0).item()
    assert np.log(mean) == pytest.approx(whole, rel=1e-10)


def test_the_error_that_noise_adds_is_compared_at_the_highest_level(pair, found):
    wrong = [
        1 - one.families["weight-noise"]["weight_noise_correct"].values[:, :, 0, -1].mean(axis=-1)
        for one in pair
    ]
    expected = statistics.mean_change_interval(wrong[0] - wrong[1])
    data = found.dataset.isel(contrast=0)
    for bound, values in zip(("", "_low", "_high"), expected, strict=True):
        told = data[f"weight_noise_error_difference{bound}"].values
        np.testing.assert_allclose(told, values, rtol=1e-10)
    np.testing.assert_allclose(data["weight_noise_error_difference"].values, 0.5)


def test_the_sentences_name_layers_and_do_not_repeat_the_means(found):
    lines = [line for line in found.summary.splitlines() if line.startswith("net step 20 against")]
    assert len(lines) == 3
    assert "noise of 1 % of a layer's ‖W‖_F (ID entries kept)" in lines[0]
    assert "2 of 5 layers differ (Holm, 5 %): stage2.0 0.5" in lines[0]
    assert "ID entries removed" in lines[1]
    assert "5 of 5 layers differ" in lines[2]
    assert not any("on average" in line for line in lines)
    told = found.verdict["findings"]["differences"]
    assert [one["quantity"] for one in told] == [
        "weight_noise_output_change",
        "weight_noise_output_change_id_removed",
        "weight_noise_error",
    ]
    assert len(found.figures["difference"].axes) == 3


def test_draws_that_may_differ_are_said(pair, found):
    assert "noise of the same directions if both were collected with one --trial-seed" in (
        found.summary
    )
    other = build_noisy("net step 9", group="early", step=9, trials=2, families=BARE)
    told = "\n".join(side_by_side(effect([pair[0], other])))
    assert "net step 20 has 3 draws of noise and net step 9 2, so the draws are not" in told
    assert "same directions" not in told


def test_without_skips_one_norm_is_enough():
    inputs = [build_noisy(name, group=name, residual=False, families=BARE) for name in ("a", "bb")]
    quantities = [one.quantity.name for one in effect(inputs).differences]
    assert quantities == ["weight_noise_output_change", "weight_noise_error"]


def test_a_residual_beside_a_plain_network_keeps_its_contrast_alone():
    found = effect(two_noisy_groups(1, families=BARE))
    assert found.contrast is not None
    assert found.contrast.weight is not None
    assert found.differences == ()
    assert "contrast" not in dataset(found).dims
    assert not any("--trial-seed" in line for line in side_by_side(found))


def test_five_pairs_of_seeds_have_an_interval_over_seeds():
    inputs = [
        build_noisy(f"{name}-{seed}", group=name, seed=seed, gain=gain, families=BARE)
        for name, gain in (("one", 0.02), ("other", 0.01))
        for seed in range(5)
    ]
    found = effect(inputs)
    change, _, error = found.differences
    assert change.seeds == error.seeds == (0, 1, 2, 3, 4)
    assert change.change.over == "seeds"
    assert found.contrast is not None
    assert found.contrast.weight is not None
    same = found.contrast.weight.log_ratio
    np.testing.assert_allclose(np.log(change.change.low), same.low[:, 0, 0], rtol=1e-8)
    np.testing.assert_allclose(np.log(change.change.high), same.high[:, 0, 0], rtol=1e-8)
