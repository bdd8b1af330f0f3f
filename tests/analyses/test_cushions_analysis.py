"""What the analysis of cushions finds in networks whose cushions are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cushioned import LAYERS, build_cushions, two_groups
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.text import Text
from resprobe_analyses import statistics
from resprobe_analyses.cushions import ANALYSIS, analyze, at_most_two
from resprobe_analyses.cushions.effects import QUANTILES
from resprobe_analyses.cushions.labelled import filled

numbers = st.lists(st.integers(-5, 5), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def single():
    return analyze([build_cushions(blocks=(1.1, 1.2, 1.0))])


@pytest.fixture(scope="module")
def five():
    return analyze(two_groups(5))


@given(numbers, numbers)
def test_cliffs_delta_is_the_difference_of_shares_of_all_pairs(first, second):
    pairs = [(a > b) - (a < b) for a in first for b in second]
    found = statistics.cliffs_delta(first, second)
    assert found == pytest.approx(np.mean(pairs), abs=1e-15)
    assert statistics.cliffs_delta(second, first) == -found


@settings(max_examples=20)
@given(numbers, numbers)
def test_cliffs_delta_knows_no_scale_and_no_missing_values(first, second):
    found = statistics.cliffs_delta(first, second)
    scaled = [np.exp(np.array(values) / 3.0) for values in (first, second)]
    assert statistics.cliffs_delta(*scaled) == found
    assert statistics.cliffs_delta([*first, np.nan], [np.nan, *second]) == found
    assert np.isnan(statistics.cliffs_delta([np.nan], second))


def test_quantiles_and_minimum_are_those_of_the_images(single):
    given = build_cushions(blocks=(1.1, 1.2, 1.0))
    values = given.families["layer-cushion"]["layer_cushion"].values.astype(float)
    found = single.dataset["layer_cushion"].values
    assert found.shape == (1, len(LAYERS), 2, len(QUANTILES))
    np.testing.assert_allclose(found[0, :, 0], np.quantile(values, QUANTILES, axis=0).T)
    layers = single.verdict["findings"]["groups"][0]["networks"][0]["layers"]
    assert [one["layer"] for one in layers] == list(LAYERS)
    np.testing.assert_allclose([one["minimum"] for one in layers], values.min(axis=0))


def test_the_norm_of_the_weight_changes_every_cushion_of_a_layer_alike(single):
    layers = single.verdict["findings"]["groups"][0]["networks"][0]["layers"]
    ratio = [one["median_by_weight_norm"] / one["median"] for one in layers]
    np.testing.assert_allclose(ratio, [16, 8, 4, 2, 1])
    assert (
        "larger by one factor, 1.00 to 16 from layer to layer, and then c is the lowest, not a"
        in single.summary
    )


def test_one_network_is_described_and_nothing_more(single):
    assert single.verdict["outcome"] == "described"
    assert single.verdict["findings"]["layers"] == {}
    lines = single.summary.splitlines()
    assert (
        "over 60 test images, this network, the median layer cushion goes from 0.02 (a)"
        in (lines[0])
    )
    assert "factor of 1.01 in all 5 layers; that is a choice of norm" in lines[1]
    # 2 of 30 images x 6 spans x 2 modes
    assert "0.6 % of the estimates did not reach what was asked for" in single.summary
    assert "standard errors of the estimates are at most 0.4 %" in single.summary
    assert "training mode is shown for comparison with printed values only" in single.summary


def test_layers_whose_skip_is_a_part_are_told_apart(five):
    assert "factor of 10 in the 2 layers whose skip counts as a part of the map" in five.summary
    assert "1.01 in the 3 other layers" in five.summary


def test_values_near_zero_in_training_mode_are_batch_norms_doing():
    found = analyze([build_cushions(blocks=(1.1, 1.2, 1.0), blind=True)])
    (line,) = (one for one in found.summary.splitlines() if "Euler" in one)
    assert "in 3 of 3 blocks" in line
    assert "no property of these blocks" in line
    assert "whose cushions in evaluation mode are 1 to 1.2" in line
    (network,) = found.verdict["findings"]["groups"][0]["networks"]
    assert len(network["blind_in_training_mode"]) == 3


def test_a_network_without_batch_norm_has_no_modes():
    found = analyze([build_cushions(blocks=(1.1, 1.2, 1.0), batch_norm=False)])
    assert "BatchNorm" not in found.summary
    assert "this network, the median interlayer cushion of single blocks" in found.summary
    written = [text.get_text() for text in found.figures["interlayer"].findobj(Text)]
    assert not [one for one in written if "mode" in one]
    assert "net" in written
    two = [
        build_cushions(name, group=name, blocks=(1.1, 1.2, 1.0), batch_norm=False) for name in "ab"
    ]
    assert "BatchNorm" not in analyze(two).summary


def test_plain_networks_have_units():
    def inputs(plain):
        names = zip("pq", plain, strict=True)
        return [build_cushions(n, group=n, blocks=(1.1, 1.2, 1), plain=p) for n, p in names]

    found = analyze(inputs((True, True)))
    assert "interlayer cushion of single units" in found.summary
    assert "block" not in found.summary
    written = [text.get_text() for text in found.figures["interlayer"].findobj(Text)]
    assert not [one for one in written if "block" in one]
    assert "interlayer cushions of single blocks or units" in analyze(inputs((True, False))).summary


def test_without_interlayer_cushions_they_are_asked_for():
    found = analyze([build_cushions()])
    assert "--quantity +interlayer_cushion adds them" in found.summary
    assert "interlayer_cushion" not in found.dataset
    assert "interlayer" not in found.figures


def test_two_groups_of_five_seeds_have_intervals_over_seeds(five):
    assert five.verdict["outcome"] == "depends on the norm"
    kept, removed = (five.verdict["findings"]["layers"][norm] for norm in ("kept", "removed"))
    assert kept["paired_by_seed"]
    assert np.shape(kept["pairs"]) == (5, len(LAYERS))
    assert kept["sign"][1:3] == [-1, -1]
    assert removed["sign"][1:3] == [1, 1]
    values = np.array(kept["pairs"])[:, 1]
    mean, low, high = statistics.student_interval(values)
    assert kept["interval"][1] == pytest.approx([max(float(low), -1), min(float(high), 1)])
    assert kept["mean"][1] == pytest.approx(mean)
    # every image above every one in all five seeds: no spread, so no interval, but a sign
    assert removed["interval"][1] == [None, None]
    assert "changes with the choice of norm in 2 of 5 layers" in five.summary
    assert "95 % interval over 5 seeds, each taken alone, leaves out 0" in five.summary


def test_fewer_seeds_have_none(five):
    found = analyze(two_groups(3))
    assert found.verdict["findings"]["layers"]["kept"]["interval"][1] == [None, None]
    assert "those in which all 3 seeds agree; fewer than 5: no interval" in found.summary
    one = analyze(two_groups(1))
    assert "one network each: nothing is said of other trainings" in one.summary
    assert "res: the other 4 networks are in verdict.json" in five.summary


def test_networks_without_common_seeds_are_compared_all_with_all():
    first = [build_cushions(f"a{s}", group="a", seed=s) for s in (0, 1)]
    second = [build_cushions(f"b{s}", group="b", seed=s) for s in (7, 8, 9)]
    found = analyze([*first, *second]).verdict["findings"]["layers"]["kept"]
    assert not found["paired_by_seed"]
    assert np.shape(found["pairs"]) == (6, len(LAYERS))
    assert found["interval"][0] == [None, None]


def test_training_mode_side_by_side_is_told_for_what_it_is(five):
    (line,) = (one for one in five.summary.splitlines() if "how blind BatchNorm" in one)
    assert "in training mode on a batch of one: res has the larger ones in 3 of 3 blocks" in line
    assert five.verdict["findings"]["interlayer"]["eval"]["sign"] == [-1, -1, -1]


def test_layers_that_do_not_correspond_are_not_compared():
    other = build_cushions(
        "short", group="h", medians=(0.1, 0.2), layers=("in", "out"), blocks=(1.0, 1.0, 1.0)
    )
    found = analyze([build_cushions(), other])
    assert found.verdict["outcome"] == "not comparable"
    assert "layers that do not correspond (5 and 2)" in found.summary
    assert "groups" not in found.figures
    assert found.dataset["layer_name"].values[1].tolist() == ["in", "out", "", "", ""]
    assert np.isnan(found.dataset["layer_cushion"].values[1, 2:]).all()


def test_a_layer_without_cushions_is_left_out():
    found = analyze([build_cushions(medians=(0.05, np.nan, 0.03, 0.04, 0.3))])
    layers = found.verdict["findings"]["groups"][0]["networks"][0]["layers"]
    assert layers[1]["median"] is None
    assert "goes from 0.03 (b)" in found.summary
    empty = analyze([build_cushions(medians=[np.nan] * 5)])
    assert "no layer has a cushion" in empty.summary


def test_dataset_and_verdict_can_be_stored(five, tmp_path):
    five.dataset.to_netcdf(tmp_path / "dataset.nc", engine="h5netcdf")
    text = json.dumps(five.verdict, allow_nan=False)
    assert json.loads(text)["analysis"] == "cushions"
    assert all("long_name" in variable.attrs for variable in five.dataset.data_vars.values())


def test_smaller_arrays_are_filled_up():
    found = filled([np.ones((2, 1)), np.zeros((1, 3))])
    expected = [[[1, np.nan, np.nan]] * 2, [[0, 0, 0], [np.nan] * 3]]
    np.testing.assert_array_equal(found, expected)


def test_it_runs_unasked_on_one_group_or_two():
    groups = [build_cushions(group=name) for name in "abc"]
    assert at_most_two(groups[:2])
    assert not at_most_two(groups)
    assert ANALYSIS.families == ("layer-cushion",)
