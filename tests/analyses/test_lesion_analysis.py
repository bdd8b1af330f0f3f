"""What the lesion analysis finds, says and writes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from lesioned import build_input, demo_inputs
from resprobe_analyses import ENTRIES, statistics
from resprobe_analyses.lesion import ANALYSIS, analyze
from resprobe_analyses.lesion.words import signed_number


@pytest.fixture(scope="module")
def demo():
    return analyze(demo_inputs(stages=(5, 5, 5)))


def lines(result) -> list[str]:
    return result.summary.split("\n")


def test_the_registered_object_is_this_analysis():
    assert ENTRIES["lesion"] == "resprobe_analyses.lesion:ANALYSIS"
    assert (ANALYSIS.name, ANALYSIS.families) == ("lesion", ("norms", "lesion"))
    assert ANALYSIS.function is analyze


def test_numbers_are_those_of_the_recorded_pairs():
    made = build_input(effects={1: 0.1, 4: 0.3}, every=0.01)
    lesion, found = made.families["lesion"], analyze([made]).dataset
    whole = lesion["correct"].values == 0
    after = lesion["lesion_correct"].values == 0
    assert found["test_error"].item() == pytest.approx(whole.mean())
    assert found["lesion_error"].values[0] == pytest.approx(after.mean(axis=0))
    for block in range(after.shape[1]):
        gained, lost = np.sum(after[:, block] & ~whole), np.sum(~after[:, block] & whole)
        bounds = statistics.paired_difference_interval(gained, lost, whole.size)
        one = found.isel(network=0, block=block)
        assert one["images_gained"].item() == gained
        assert one["lesion_error_increase"].item() == pytest.approx((gained - lost) / whole.size)
        assert one["lesion_error_increase_interval"].values == pytest.approx(bounds)
        assert one["mcnemar_p"].item() == pytest.approx(statistics.mcnemar_p(gained, lost))
    within = lesion["transition"].values == 0
    mean = (after[:, within].mean(axis=1) - whole).mean()
    assert found["group_within"].item() == pytest.approx(mean)


def test_nothing_seen_is_said():
    result = analyze([build_input("net")])
    assert result.verdict["outcome"] == "no difference seen"
    first, second, third, absent, fourth, fifth = lines(result)
    assert first.startswith("net: no difference seen by dropping one of 10 within-stage blocks")
    assert "over 400 test images, this network" in first
    assert second.startswith("net: no difference seen for any single one of 12 blocks")
    assert "no difference seen" in third
    assert absent.startswith("Not measured: several blocks dropped at once")
    assert fourth == "net: no two blocks of a stage differ in both ‖G‖/‖s‖ and the error increase."
    assert "the weight norm" in fifth


def test_the_one_block_that_matters_is_named_with_its_interval():
    result = analyze([build_input("net", effects={6: 0.15})])
    found = result.dataset.isel(network=0, block=6)
    low, high = found["lesion_error_increase_interval"].values
    named = f"stage2.2 by {signed_number(found['lesion_error_increase'].item(), 3)} "
    named += f"[{signed_number(low, 3)}, {signed_number(high, 3)}]"
    told = [line for line in lines(result) if "the lesion of 1 of 12 blocks changes" in line]
    assert len(told) == 1
    assert named in told[0]
    assert result.verdict["outcome"] == "difference seen"
    assert result.verdict["findings"]["networks"][0]["changed_blocks"] == ["stage2.2"]


def test_a_lesion_that_helps_is_not_called_harm():
    made = build_input("net", base_error=0.2)
    lesion = made.families["lesion"].copy(deep=True)
    lesion["lesion_correct"][:] = 1
    result = analyze([replace(made, families={**made.families, "lesion": lesion})])
    assert "lowers the test error by −0.200" in lines(result)[0]


def test_transitions_are_told_apart():
    result = analyze([build_input("net", effects={4: 0.3, 8: 0.3}, every=0.01)])
    told = next(line for line in lines(result) if "one transition (its shortcut stays)" in line)
    findings = result.verdict["findings"]["groups"][0]
    assert findings["transition_increase"]["value"] > 0.2
    assert findings["within_stage_increase"]["value"] < 0.02
    assert findings["transition_minus_within_stage"]["interval"][0] > 0.2
    assert "against a within-stage block +0." in told


def test_no_transitions_and_only_transitions_are_both_read():
    flat = analyze([build_input("flat", stages=(6,), effects={2: 0.2})])
    assert "transition" not in flat.summary
    assert np.isnan(flat.dataset["group_transition"].item())
    steps = analyze([build_input("steps", stages=(1, 1, 1), effects={1: 0.2})])
    assert "one transition" in steps.summary


def test_worse_than_half_of_chance_is_uninterpretable_and_nothing_is_claimed():
    result = analyze([build_input("lost", base_error=0.6, effects={3: 0.3})])
    assert result.verdict["outcome"] == "uninterpretable"
    assert result.verdict["uninterpretable"] == ["lost"]
    assert "changed_blocks" not in result.verdict["findings"]["networks"][0]
    (only,) = lines(result)
    assert only.startswith("lost is uninterpretable: its test error 0.600 [0.551, 0.647]")
    assert "(0.900 / 2)" in only
    assert list(result.figures) == ["blocks"]


def test_half_of_chance_depends_on_the_largest_class():
    made = build_input("skewed", base_error=0.12)
    families = {
        name: data.assign_coords(
            label=("sample", (np.arange(data.sizes["sample"]) % 5 == 0).astype(np.int64))
        )
        for name, data in made.families.items()
    }
    result = analyze([replace(made, families=families)])
    assert result.dataset["chance_error"].item() == pytest.approx(0.2)
    assert result.verdict["uninterpretable"] == ["skewed"]


def test_an_uninterpretable_seed_is_left_out_of_its_group():
    good, bad = build_input("r-seed0", seed=0), build_input("r-seed1", seed=1, base_error=0.7)
    result = analyze([good, bad])
    assert result.verdict["findings"]["groups"][0]["networks"] == ["r-seed0"]
    assert lines(result)[0].startswith("r-seed1 is uninterpretable")
    assert "this network" in lines(result)[1]


def test_two_seeds_are_these_two_networks_with_an_interval_over_images():
    made = [build_input(f"r-seed{i}", seed=i, effects={1: 0.1, 2: 0.05}) for i in range(2)]
    result = analyze(made)
    assert "these 2 networks" in lines(result)[0]
    found = result.dataset
    assert found["group_interval_over"].item() == "images"
    mean = found["lesion_error_increase"].mean("network").values
    assert found["group_lesion_error_increase"].values[0] == pytest.approx(mean)
    told = [line for line in lines(result) if "McNemar" in line]
    assert [line.split(":")[0] for line in told] == ["r-seed0", "r-seed1"]


def test_five_seeds_give_intervals_over_seeds():
    made = [
        build_input(f"r-seed{i}", seed=i, effects={1: 0.1, 2: 0.05, 6: 0.08, 7: 0.03}, every=0.01)
        for i in range(5)
    ]
    result = analyze(made)
    assert "over 5 seeds" in lines(result)[0]
    found = result.dataset
    expected = statistics.student_interval(found["lesion_error_increase"].values)
    bounds = found["group_lesion_error_increase_interval"].values[0]
    assert bounds == pytest.approx(np.stack(expected[1:], axis=-1), nan_ok=True)
    assert "t test with Holm" in result.summary
    assert "stage1.1" in result.verdict["findings"]["groups"][0]["changed_blocks"]
    correlations = result.verdict["findings"]["groups"][0]["rank_correlations"]
    assert correlations["branch_shortcut_ratio"]["over"] == "seeds"


def test_four_seeds_are_counted_network_by_network():
    made = [build_input(f"r-seed{i}", seed=i, effects={1: 0.1, 2: 0.001}) for i in range(4)]
    told = next(line for line in lines(analyze(made)) if "McNemar" in line)
    assert "1, 1, 1, 1 of 12 blocks" in told
    assert told.endswith("in all of them: stage1.1.")


def test_size_and_damage_in_one_order_correlate_and_a_random_ranking_stands_beside():
    stages, blocks = (8, 8), 16
    ratio = np.tile(np.linspace(0.1, 0.8, 8), 2)
    made = build_input(
        "net",
        stages=stages,
        images=1000,
        ratio=ratio,
        weight_norm=np.resize([1.0, 2.0], blocks),
        effects={i: 0.02 + 0.15 * float(ratio[i]) for i in range(blocks)},
    )
    result = analyze([made])
    found = result.verdict["findings"]["networks"][0]["rank_correlations"]
    ratio_found, weight_found = found["branch_shortcut_ratio"], found["weight_norm"]
    assert ratio_found["value"] > 0.9
    assert ratio_found["blocks"] == 15  # the transition is left out
    assert ratio_found["p"] < 0.001
    assert ratio_found["random"][1] < 0.6 < ratio_found["interval"][0]
    assert abs(weight_found["value"]) < 0.4
    told = [line for line in lines(result) if "random rankings" in line]
    assert "(p < 0.001)" in told[0]
    assert "no relation seen" in told[1]


def test_two_groups_of_one_architecture_are_compared_block_by_block():
    first = build_input("a", group="a", effects={2: 0.2, 5: 0.05})
    second = build_input("b", group="b", effects={5: 0.05})
    result = analyze([first, second])
    (found,) = result.verdict["findings"]["differences"]
    assert found["quantity"] == "lesion_error_increase"
    assert found["changed_blocks"] == ["stage1.2"]
    assert found["paired_seeds"] == [0]
    assert found["mean"]["interval"][0] > 0
    increase = result.dataset["lesion_error_increase"]
    difference = (increase.isel(network=0) - increase.isel(network=1)).values
    told = result.dataset["lesion_error_increase_difference"].sel(contrast="a − b")
    assert told.values == pytest.approx(difference)
    (line,) = [line for line in lines(result) if line.startswith("a against b: ")]
    assert line.startswith("a against b: the error increase by a lesion differs by +0.0")
    assert "1 of 12 blocks differs (Holm, 5 %): stage1.2 by +0.1" in line
    assert "difference" in result.figures
    assert "difference" not in analyze([first]).figures


def test_a_plain_group_is_compared_with_plain_groups_block_by_block():
    made = [
        build_input(label, group=label, plain=plain, every=0.05, draw=draw)
        for draw, (label, plain) in enumerate((("p", True), ("r", False), ("q", True)))
    ]
    found = analyze(made).verdict["findings"]
    assert [(one["first"], one["second"]) for one in found["differences"]] == [("p", "q")]
    pairs = [(one["first"], one["second"]) for one in found["contrasts"]]
    assert pairs == [("p", "r"), ("q", "r")]


def test_equal_groups_show_no_difference_and_no_winner():
    result = analyze([build_input("a", group="a", draw=1), build_input("b", group="b", draw=2)])
    (line,) = [line for line in lines(result) if line.startswith("a against b: ")]
    assert line.startswith("a against b: no difference seen in the error increase by a lesion")
    assert "no difference seen for any single one of 12 blocks" in line


def test_five_pairs_of_seeds_are_compared_over_seeds():
    made = [
        build_input(f"{name}-seed{i}", group=name, seed=i, effects={2: rate, 6: 0.02}, draw=draw)
        for name, rate, draw in (("a", 0.2, 1), ("b", 0.1, 2))
        for i in range(5)
    ]
    result = analyze(made)
    (found,) = result.verdict["findings"]["differences"]
    assert found["over"] == "seeds"
    assert "over 5 pairs of equal seeds" in result.summary
    assert "stage1.2" in found["changed_blocks"]


def test_groups_without_equal_seeds_are_averaged():
    first, second = build_input("a", group="a", seed=None), build_input("b", group="b", seed=3)
    result = analyze([first, second])
    assert result.verdict["findings"]["differences"][0]["paired_seeds"] == []


def test_a_plain_group_is_the_contrast_of_the_residual_ones(demo):
    told = [line for line in lines(demo) if line.startswith("Without skips one lesion")]
    assert len(told) == 2
    assert all("paired by seed (0, 1)" in line for line in told)
    plain = demo.verdict["findings"]["contrasts"]
    assert [(c["first"], c["second"]) for c in plain] == [("plain", "h1"), ("plain", "h01")]
    assert all(c["difference"]["interval"][0] > 0.4 for c in plain)
    groups = {g["group"]: g for g in demo.verdict["findings"]["groups"]}
    assert groups["plain"]["within_stage_lesion_error"]["interval"][0] > 0.5
    assert groups["h1"]["within_stage_lesion_error"]["interval"][1] < 0.1


def test_a_plain_network_that_stands_a_lesion_is_no_contrast():
    result = analyze([build_input("r", group="r"), build_input("p", group="p", plain=True, draw=1)])
    assert "with skips 0.030" in result.summary
    assert "no difference seen: 0.000 [" in result.summary


def test_the_summary_is_short_and_every_line_a_sentence(demo):
    assert len(lines(demo)) <= 25
    assert all(line.endswith(".") for line in lines(demo))
    many = [
        build_input(f"{name}-seed{i}", group=name, seed=i, images=100)
        for name in "abcde"
        for i in range(3)
    ]
    told = lines(analyze(many))
    assert len(told) == 25
    assert "further findings are in verdict.json" in told[-1]


def test_the_verdict_is_json(demo):
    text = json.dumps(demo.verdict, allow_nan=False)
    assert json.loads(text) == demo.verdict
    assert {"analysis", "inputs", "findings", "uninterpretable", "outcome"} <= demo.verdict.keys()
    json.dumps(analyze([build_input()]).verdict, allow_nan=False)


def test_the_dataset_survives_netcdf(demo, tmp_path):
    path = tmp_path / "dataset.nc"
    demo.dataset.to_netcdf(path, engine="h5netcdf")
    with xr.open_dataset(path, engine="h5netcdf") as read:
        xr.testing.assert_equal(read.load(), demo.dataset)
        assert read["lesion_error_increase"].attrs["units"] == "1"


def test_every_number_has_units_and_meaning(demo):
    assert set(demo.dataset.sizes) == {
        "network",
        "block",
        "group",
        "predictor",
        "contrast",
        "bound",
    }
    for name, variable in demo.dataset.data_vars.items():
        assert variable.attrs["long_name"], name
        assert variable.dtype.kind in "fiU", name
        if variable.dtype.kind == "f":
            assert variable.attrs["units"] == "1", name


def test_the_same_inputs_give_the_same_numbers(demo):
    again = analyze(demo_inputs(stages=(5, 5, 5)))
    xr.testing.assert_identical(again.dataset, demo.dataset)
    assert again.summary == demo.summary
