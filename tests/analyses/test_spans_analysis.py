"""What the analysis of spans finds, says and writes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from resprobe_analyses import ENTRIES, statistics
from resprobe_analyses.reading import every_second
from resprobe_analyses.spans import ANALYSIS, analyze
from resprobe_analyses.spans.effects import ALL, ANGLE, TOLERANCE, WITHIN, effect
from resprobe_analyses.spans.networks import read_groups
from spanned_lesions import build_spans, realistic


@pytest.fixture(scope="module")
def deep():
    return analyze([realistic((5, 5), images=600)])


def lines(result) -> list[str]:
    return result.summary.split("\n")


def test_the_registered_object_is_this_analysis():
    assert ENTRIES["spans"] == "resprobe_analyses.spans:ANALYSIS"
    assert (ANALYSIS.name, ANALYSIS.families) == ("spans", ("lesion-span",))
    assert ANALYSIS.function is analyze


def test_numbers_are_those_of_the_recorded_pairs():
    made = build_spans(stages=(3, 2), harm=[0.2, 0.1, 0.05, 0.1, 0.02])
    data, found = made.families["lesion-span"], analyze([made]).dataset.isel(network=0)
    whole = data["correct"].values == 0
    images = whole.size
    assert found["test_error"].item() == pytest.approx(whole.mean())
    for first in range(5):
        for length in range(1, 6):
            cell = found.sel(length=length).isel(block=first)
            if first + length > 5:
                assert np.isnan(cell["error_increase"].item())
                continue
            after = data["span_lesion_correct"].values[:, first, length - 1] == 0
            gained, lost = np.sum(after & ~whole), np.sum(~after & whole)
            bounds = statistics.paired_difference_interval(gained, lost, images)
            assert cell["error_increase"].item() == pytest.approx((gained - lost) / images)
            assert cell["error_increase_interval"].values == pytest.approx(bounds)
            loss = data["span_lesion_loss"].values[:, first, length - 1].astype(float)
            mean = loss.mean() - data["test_loss"].values.astype(float).mean()
            assert cell["loss_increase"].item() == pytest.approx(mean)


def naive_choice(made, length, allowed):
    """Choose on one half and measure on the other, one span after the other."""
    data = made.families["lesion-span"]
    choosing = every_second(data["label"].values)
    whole = data["correct"].values == 0
    best = None
    for first in range(data.sizes["block"] - length + 1):
        if not allowed(first, length):
            continue
        after = data["span_lesion_correct"].values[:, first, length - 1] == 0
        rise = after[choosing].mean() - whole[choosing].mean()
        loss = data["span_lesion_loss"].values[choosing, first, length - 1].astype(float).mean()
        if best is None or (round(rise, 12), loss) < best[:2]:
            gained = np.sum(after & ~whole & ~choosing)
            lost = np.sum(~after & whole & ~choosing)
            best = (round(rise, 12), loss, first, gained, lost)
    return best, int((~choosing).sum())


@pytest.mark.parametrize("name", [WITHIN, ALL])
def test_one_half_of_the_images_chooses_and_the_other_measures(name):
    made = realistic((4, 4), images=301)
    found = analyze([made]).dataset.sel(choice=name)

    def allowed(first, length):
        return name == ALL or not first <= 4 < first + length

    for length in range(1, 9):
        cell = found.sel(length=length)
        best, images = naive_choice(made, length, allowed)
        if best is None:
            assert cell["chosen_block"].item() == -1
            assert np.isnan(cell["measured_on"].item())
            continue
        rise, _, first, gained, lost = best
        assert cell["chosen_block"].item() == first
        assert cell["chosen_on"].item() == pytest.approx(rise)
        assert cell["measured_on"].item() == pytest.approx((gained - lost) / images)
        bounds = statistics.paired_difference_interval(gained, lost, images)
        assert cell["measured_on_interval"].values == pytest.approx(bounds)


def test_choosing_and_measuring_on_the_same_images_would_be_optimistic():
    """Twenty-four blocks that all do the same harm: the best of them is so by chance."""
    made = [
        effect(read_groups([build_spans(seed=seed, stages=(24,), harm=[0.1] * 24)])[0])
        for seed in range(5)
    ]
    chosen = np.mean([one.choices[0].chosen_on[0] for one in made])
    measured = np.mean([one.choices[0].measured_on.value[0] for one in made])
    # the least of 24 draws around 0.097 with a spread of √(0.1·0.9/200) = 0.021 lies two of them
    # below; the other images know nothing of it
    assert chosen < 0.075
    assert abs(measured - 0.097) < 4 * 0.021 / np.sqrt(5)


def test_the_span_that_can_go_is_named_with_its_cost():
    harm = [0.3, 0.3, 0.3, 0, 0, 0, 0.3, 0.3]
    result = analyze([build_spans(harm=harm, images=2000)])
    first = lines(result)[0]
    assert "has 3 of 8 blocks (stage1.3 to stage1.5)" in first
    assert "over 1,000 test images that did not choose, this network" in first
    assert "no difference is seen by dropping them" in first
    assert result.verdict["outcome"] == "dispensable span seen"
    choice = result.verdict["findings"]["choices"][0]
    assert choice["affordable_length"] == 3
    span = choice["spans"][2]
    assert (span["first"], span["last"]) == ("stage1.3", "stage1.5")
    assert span["measured_on"]["value"] == 0
    assert span["measured_on"]["interval"][1] <= TOLERANCE


def test_few_images_prove_nothing():
    result = analyze([build_spans(images=100)])
    assert result.verdict["findings"]["choices"][0]["affordable_length"] == 8
    assert result.verdict["outcome"] == "no dispensable span seen"


def test_where_no_block_can_go_it_is_said():
    result = analyze([build_spans(harm=[0.3] * 8)])
    assert "no span, not even of one block, costs at most 0.01 of test error" in lines(result)[0]
    assert "dropping it raises the test error by +0." in lines(result)[0]
    assert result.verdict["outcome"] == "no dispensable span seen"


def test_spans_without_a_transition_come_first():
    result = analyze([build_spans(stages=(3, 3), harm=[0.1, 0, 0, 0, 0, 0.1])])
    choices = result.verdict["findings"]["choices"]
    assert [choice["choice"] for choice in choices] == [WITHIN, ALL]
    assert [choice["affordable_length"] for choice in choices] == [2, 4]
    assert "the longest span without a transition" in lines(result)[0]
    assert choices[1]["spans"][3]["transition"]
    assert not any(span["transition"] for span in choices[0]["spans"])
    assert len(choices[0]["spans"]) == 3


def test_a_network_of_transitions_only_is_read():
    result = analyze([build_spans(stages=(1, 1, 1), harm=[0, 0.1, 0.1])])
    assert result.summary
    assert result.verdict["findings"]["choices"][0]["affordable_length"] == 1


def test_angles_choose_without_labels_and_are_measured_on_the_same_images():
    influence = [0.5, 0.5, 0.02, 0.02, 0.5, 0.5]
    made = build_spans(
        stages=(6,), harm=[0.2, 0.2, 0.2, 0.2, 0, 0], influence=influence, angles=True
    )
    result = analyze([made])
    found = result.dataset.sel(length=2)
    assert found.sel(choice=ALL)["chosen_block"].item() == 4
    assert found.sel(choice=ANGLE)["chosen_block"].item() == 2
    excess = result.verdict["findings"]["angle_excess"]
    expected = result.dataset["measured_on"]
    difference = (expected.sel(choice=ANGLE) - expected.sel(choice=ALL)).mean().item()
    assert excess["value"] == pytest.approx(difference)
    assert excess["interval"][0] > 0
    told = next(line for line in lines(result) if "least angular distance" in line)
    assert "no difference seen" not in told


def test_rankings_are_spearmans_over_the_blocks_of_this_network():
    harm = np.array([0.3, 0.02, 0.2, 0.1, 0.05, 0.15, 0.25, 0.01])
    made = build_spans(harm=harm, images=4000, influence=harm, angles=True)
    result = analyze([made])
    found = result.verdict["findings"]["networks"][0]
    ranked = found["rank_correlations"]["block_influence"]
    assert ranked["value"] == pytest.approx(1)
    assert ranked["over"] == "blocks"
    assert ranked["blocks"] == 8
    told = [line for line in lines(result) if "correlates with the rise" in line]
    assert len(told) == 1, "both angles rank single blocks alike"
    assert "over the 8 blocks of this network" in told[0]
    assert set(found["span_rank_correlations"]) == {"1", "2", "3", "4", "5"}
    overlapping = next(line for line in lines(result) if "spans overlap" in line)
    assert "(2 to 5 blocks)" in overlapping


def test_transitions_have_no_part_in_the_rankings():
    made = build_spans(
        stages=(5, 5),
        images=2000,
        harm=[0.2, 0.1, 0.15, 0.05, 0.01] * 2,
        influence=[0.2, 0.1, 0.15, 0.05, 0.01] * 2,
        angles=True,
    )
    result = analyze([made])
    ranked = result.verdict["findings"]["networks"][0]["rank_correlations"]
    assert ranked["angular_distance"]["blocks"] == 9
    assert ranked["angular_distance"]["stages"] == 2


def test_angles_that_were_not_collected_are_named_with_their_command():
    assert lines(analyze([build_spans()]))[-1].endswith(
        "`resprobe collect` with --quantity +block_influence --quantity +mean_angular_distance "
        "adds what angles say."
    )
    some = lines(analyze([build_spans(influence=[0.1] * 8)]))[-1]
    assert "mean_angular_distance was not measured" in some
    assert "not measured" not in analyze([realistic((8,), images=100)]).summary


def test_worse_than_half_of_chance_is_uninterpretable_and_nothing_is_claimed():
    result = analyze([build_spans("lost", base_error=0.6)])
    assert result.verdict["outcome"] == "uninterpretable"
    (only,) = lines(result)
    assert only.startswith("lost is uninterpretable: its test error 0.600 [0.551, 0.647]")
    assert result.verdict["findings"]["choices"] == []
    assert "rank_correlations" not in result.verdict["findings"]["networks"][0]
    assert list(result.figures) == ["map"]
    assert "choice" not in result.dataset.dims


def test_several_seeds_are_averaged_and_stay_these_networks():
    harm = [0.2, 0.1, 0, 0, 0.1, 0.2]
    made = [build_spans(f"r-seed{i}", seed=i, stages=(6,), harm=harm) for i in range(6)]
    result = analyze(made)
    found = result.dataset
    mean = found["error_increase"].mean("network", skipna=False).values
    assert found["mean_error_increase"].values == pytest.approx(mean, nan_ok=True)
    first = result.verdict["findings"]["choices"][0]["spans"][1]
    assert (first["first"], first["last"]) == ("stage1.2", "stage1.3")
    # even from five seeds on: the span was chosen on these very networks
    assert first["measured_on"]["over"] == "images"
    assert "these 6 networks" in lines(result)[0]
    assert lines(result)[0].startswith("r: ")


def test_an_uninterpretable_seed_is_left_out_of_the_mean():
    good = build_spans("r-seed0", seed=0, harm=[0.1] * 8)
    bad = build_spans("r-seed1", seed=1, base_error=0.7)
    result = analyze([good, bad])
    assert lines(result)[0].startswith("r-seed1 is uninterpretable")
    alone = analyze([good]).dataset
    assert result.dataset["mean_error_increase"].values == pytest.approx(
        alone["mean_error_increase"].values, nan_ok=True
    )
    assert "this network" in lines(result)[1]


def test_a_plain_network_has_units():
    result = analyze([build_spans("p", plain=True, harm=[0.1] * 8)])
    assert "not even of one unit" in lines(result)[0]
    assert "block" not in lines(result)[0]


def test_everything_can_be_written(deep, tmp_path):
    json.dumps(deep.verdict, allow_nan=False)
    path = tmp_path / "dataset.nc"
    deep.dataset.to_netcdf(path, engine="h5netcdf")
    with xr.open_dataset(path, engine="h5netcdf") as stored:
        xr.testing.assert_equal(stored.load(), deep.dataset)
    for name, variable in deep.dataset.data_vars.items():
        assert variable.attrs["long_name"], name
        assert "units" in variable.attrs or "flag_values" in variable.attrs, name


def test_it_gives_the_same_every_time(deep):
    again = analyze([realistic((5, 5), images=600)])
    assert again.summary == deep.summary
    xr.testing.assert_identical(again.dataset, deep.dataset)
