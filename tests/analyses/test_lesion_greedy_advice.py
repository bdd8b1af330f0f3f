"""How many blocks can be dropped within a loss of accuracy: numbers, sentences and the figure."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from lesioned import build_input
from resprobe_analyses import statistics
from resprobe_analyses.lesion import analyze
from resprobe_analyses.lesion.effects import effects
from resprobe_analyses.lesion.findings_greedy import greedy_json
from resprobe_analyses.lesion.greedy import greedy
from resprobe_analyses.lesion.networks import read_groups
from resprobe_analyses.lesion.sentences_greedy import greedy_lines

from resprobe.errors import InputError

HALF = 1000
# Wrong images of each half with 0, 1, … blocks dropped, of which five are.
CHOSE = (60, 58, 63, 75, 100, 300)
TESTED = (50, 52, 64, 90, 130, 350)
ORDER = (4, 2, 7, 0, 5)
PARAMETERS, FLOPS = 10_000, 2_000_000


def with_greedy(label="net", *, group="g", seed=0, chose=CHOSE, tested=TESTED, order=ORDER):
    """A network whose errors only grow: with more blocks dropped the same images err, and more."""
    given = build_input(label, group=group, seed=seed, images=400, effects={2: 0.1, 9: 0.2})
    lesion = given.families["lesion"]
    blocks, drops = lesion.sizes["block"], len(order)
    ranks = np.tile(np.arange(HALF), 2)
    limits = np.repeat([chose, tested], HALF, axis=0)
    correct = (ranks[:, None] >= limits).astype(np.int8)
    filled = {
        "greedy_lesion": order,
        "greedy_lesion_parameters": [100 * (drop + 1) for drop in range(drops)],
        "greedy_lesion_flops": [50_000 * (drop + 1) for drop in range(drops)],
    }
    padded = np.full((2 * HALF, blocks), -1, np.int8)
    padded[:, :drops] = correct[:, 1:]
    data = xr.Dataset(
        {
            "correct": ("sample", correct[:, 0]),
            "greedy_lesion_correct": (("sample", "drop"), padded),
            "greedy_lesion_drops": ((), drops),
            "model_parameters": ((), PARAMETERS),
            "model_flops": ((), FLOPS),
            **{
                name: ("drop", np.array([*values, *[-1] * (blocks - drops)]))
                for name, values in filled.items()
            },
        },
        coords={
            **{
                name: lesion[name]
                for name in ("block", "stage", "index", "index_in_stage", "skip", "transition")
            },
            "sample": np.arange(2 * HALF),
            "sample_half": ("sample", np.repeat([0, 1], HALF).astype(np.int8)),
            "drop": np.arange(blocks),
        },
    )
    tree = xr.DataTree.from_dict({"step-00000100/lesion-greedy": data})
    return replace(given, tree=tree)


@pytest.fixture(scope="module")
def one():
    return analyze([with_greedy()])


def advice(result, network=0):
    return result.verdict["findings"]["greedy"][network]["advice"]


def read(given):
    """Without the other numbers and without figures."""
    return greedy({given.label: given}, effects(read_groups([given])))


def advised(given):
    (found,) = greedy_json(read(given))["greedy"]
    return found["advice"]


def lines(result):
    return [line for line in result.summary.splitlines() if " within " in line and "point" in line]


def test_the_largest_set_within_each_loss_is_advised(one):
    names = one.dataset["block"].values
    assert [found["allowed_loss"] for found in advice(one)] == [0.005, 0.01, 0.02, 0.05]
    # 60 wrong images: 58 and 63 are within 5 more, 75 within 20, 100 within 50
    sizes = [len(found["blocks"]) for found in advice(one)]
    assert sizes == [2, 2, 3, 4]
    for found, size in zip(advice(one), sizes, strict=True):
        assert found["blocks"] == [names[block] for block in ORDER[:size]]
        assert found["validation_error_increase"] == pytest.approx((CHOSE[size] - 60) / HALF)
        assert found["parameters_saved"] == 100 * size
        assert found["parameters_saved_share"] == pytest.approx(0.01 * size)
        assert found["flops_saved"] == 50_000 * size
        assert found["flops_saved_share"] == pytest.approx(0.025 * size)
        told = found["test_error_increase"]
        gained = TESTED[size] - 50
        low, high = statistics.paired_difference_interval(gained, 0, HALF)
        assert told["value"] == pytest.approx(gained / HALF)
        assert told["interval"] == pytest.approx([float(low), float(high)])


def test_a_set_further_on_may_be_milder_than_one_before():
    found = advised(with_greedy(chose=(60, 75, 64, 90, 100, 300)))
    assert [len(one["blocks"]) for one in found] == [2, 2, 2, 4]


def test_the_test_half_says_whether_the_promise_is_kept():
    lossless = with_greedy("a", group="a", tested=(50, 50, 50, 50, 50, 400))
    kept = advised(lossless)
    assert [found["promise"] for found in kept] == ["kept"] * 4
    found = advised(with_greedy())
    bounds = [one["test_error_increase"]["interval"] for one in found]
    expected = [
        "kept" if high <= loss else "broken" if low > loss else "open"
        for (low, high), loss in zip(bounds, (0.005, 0.01, 0.02, 0.05), strict=True)
    ]
    assert [one["promise"] for one in found] == expected
    assert set(expected) == {"open", "broken"}


def test_the_sentences_say_the_numbers_of_the_verdict(one):
    length, brief = lines(one)
    found = {one["allowed_loss"]: one for one in advice(one)}
    told = found[0.01]
    assert length.startswith("net: 2 of 12 blocks can be dropped within 1 point of accuracy (")
    assert f"({', '.join(told['blocks'])})" in length
    chose = "the error rises by 0.3 points from 6.0 % on the 1,000 images that chose them"
    assert f"{chose}, which is optimistic" in length
    low, high = told["test_error_increase"]["interval"]
    told = f"+1.4 [+{100 * low:.1f}, +{100 * high:.1f}] points"
    assert f"changes by {told} on 1,000 others" in length
    assert "so whether the promise is kept there is open" in length
    assert "it saves 200 parameters (2.0 %) and 100,000 FLOPs an image (5.0 %" in length
    assert re.search(r"of the 2 whose single lesions harm least \d (is|are) among them\.$", length)
    assert "within 0.5 points the same 2 (broken)" in brief
    assert "within 5 points 4 (test images +8.0" in brief
    assert "10.0 % of the FLOPs" in brief
    assert "Not measured: several" in one.summary
    assert "greedy_lesion" not in one.summary


def test_a_gain_is_no_rise_and_less_than_an_image_is_said():
    first, _ = greedy_lines(
        read(with_greedy(chose=(60, 40, 63, 75, 100, 300), order=(4, 2, 7, 0, 5)))
    )
    assert "the error rises by 0.3 points from 6.0 %" in first
    first = greedy_lines(read(with_greedy(chose=(60, 40, 300), tested=TESTED[:3], order=(4, 2))))[0]
    assert "the error falls by 2.0 points from 6.0 % on the" in first
    assert "less than one" not in first
    few = with_greedy(chose=(6, 600), tested=(5, 50), order=(4,))
    path = "step-00000100/lesion-greedy"
    keep = [*range(0, HALF, 100), *range(HALF, 2 * HALF, 100)]
    few.tree[path].dataset = few.tree[path].to_dataset().isel(sample=keep)
    first = greedy_lines(read(few))[0]
    assert (
        "within 1 point of accuracy, which is less than one of the 10 images that chose (10.0 "
        "points); the first" in first
    )


def test_a_network_that_misses_every_block_is_told_so():
    missed = with_greedy(chose=(60, 120, 500), tested=TESTED[:3], order=(4, 2))
    assert greedy_lines(read(missed)) == [
        "net: no block can be dropped within 1 point of accuracy; the first, stage2.0, raises the "
        "error on the 1,000 images that chose it by 6.0 points from 6.0 %."
    ]
    assert advised(with_greedy(chose=(60,), tested=(50,), order=()))[3]["blocks"] == []


def test_single_lesions_that_harm_least_are_counted(one):
    increase = one.dataset["lesion_error_increase"].values[0]
    for found in advice(one):
        size = len(found["blocks"])
        mildest = set(np.argsort(increase, kind="stable")[:size])
        assert found["among_least_harmful_alone"] == len(mildest & set(ORDER[:size]))


def test_several_seeds_say_which_blocks_recur():
    made = [
        with_greedy("g-seed0", seed=0),
        with_greedy("g-seed1", seed=1, order=(2, 9, 7, 0, 5)),
        build_input("g-seed2", seed=2, images=400),
    ]
    result = analyze(made)
    (found,) = result.verdict["findings"]["greedy_recurrence"]
    assert found["networks"] == ["g-seed0", "g-seed1"]
    names = result.dataset["block"].values
    times = found["advice"][1]["times_dropped"]
    assert times == {names[2]: 2, names[4]: 1, names[9]: 1}
    assert f"in all of them: {names[2]}; in none: 9 of 12." in result.summary
    counts = result.dataset["group_greedy_times_dropped"].sel(group="g", allowed_loss=0.01)
    assert counts.values[[2, 4, 9]].tolist() == [2, 1, 1]
    assert result.dataset["advised_drops"].values.tolist() == [[2, 2, 3, 4]] * 2 + [[-1] * 4]
    assert (result.dataset["advised_dropped"].values[2] == -1).all()
    assert np.isnan(result.dataset["greedy_test_error"].values[2]).all()


def test_the_dataset_holds_what_the_figure_draws(one, tmp_path):
    data = one.dataset.isel(network=0)
    assert data["greedy_block"].values[:6].tolist() == [
        "",
        *(str(data["block"].values[block]) for block in ORDER),
    ]
    assert data["greedy_validation_error"].values == pytest.approx(np.array(CHOSE) / HALF)
    assert data["greedy_test_error"].values == pytest.approx(np.array(TESTED) / HALF)
    (axes,) = one.figures["greedy"].axes
    tested, chosen_by = (line.get_ydata() for line in axes.lines[:2])
    # up to the first set beyond 5 points on both halves
    assert tested == pytest.approx(100 * data["greedy_test_error_increase"].values)
    assert chosen_by == pytest.approx((np.array(CHOSE) - 60) / 10)
    limits = {line.get_ydata()[0] for line in axes.lines[2:]}
    assert limits == {0, 0.5, 1, 2, 5}
    rings = axes.collections[-1].get_offsets()
    assert rings.tolist() == pytest.approx(np.array([[2, 0.3], [3, 1.5], [4, 4.0]]))
    assert [tick.get_text() for tick in axes.get_xticklabels()][1] == "stage2.0"
    json.dumps(one.verdict, allow_nan=False)
    one.dataset.to_netcdf(tmp_path / "dataset.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "dataset.nc", engine="h5netcdf") as read:
        xr.testing.assert_equal(read.load(), one.dataset)
    for name in one.dataset.data_vars:
        assert one.dataset[name].attrs["long_name"], name


def test_uninterpretable_networks_get_no_advice():
    given = with_greedy()
    worse = given.families["lesion"].assign(correct=("sample", np.zeros(400, np.int8)))
    result = analyze([replace(given, families={**given.families, "lesion": worse})])
    assert result.verdict["findings"]["greedy"] == []
    assert "greedy" not in result.figures
    assert "nothing is said about blocks, dropped alone or several of them." in result.summary


def test_other_blocks_or_a_missing_variable_are_refused():
    given, path = with_greedy(), "step-00000100/lesion-greedy"
    data = given.tree[path].to_dataset()
    given.tree[path].dataset = data.drop_vars("model_flops")
    with pytest.raises(InputError, match="no variable 'model_flops' with the dimensions \\(\\)"):
        analyze([given])
    names = [f"other{index}" for index in range(data.sizes["block"])]
    given.tree[path].dataset = data.assign_coords(block=names)
    with pytest.raises(InputError, match="lesion-greedy and lesion have different blocks"):
        analyze([given])
