"""Several blocks dropped and blocks in another order: numbers, sentences and figures."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from resprobe_analyses.lesion import analyze
from several_lesions import RATES, with_several

from resprobe.errors import InputError

WITHIN = [b for b in range(9) if b not in (3, 6)]


@pytest.fixture(scope="module")
def both():
    return analyze([with_several(again=0.5)])


def test_the_increase_is_the_mean_over_the_sets_with_an_interval_over_images(both):
    data = both.dataset.isel(curve=0)
    rates = np.array(RATES)[WITHIN]
    pairs = [a + b for a, b in combinations(rates, 2)]
    assert data["multi_error_increase"].values == pytest.approx(
        [rates.mean(), np.mean(pairs), rates.sum()]
    )
    assert data["multi_trials"].values.tolist() == [7, 21, 1]
    low, high = data["multi_error_increase_interval"].values.T
    value = data["multi_error_increase"].values
    assert (low < value).all()
    assert (value < high).all()
    assert data["multi_error_increase_range"].values[1].tolist() == pytest.approx(
        [min(pairs), max(pairs)]
    )


def test_harm_that_adds_up_has_no_excess_and_harm_that_does_not_has():
    for extra in (0.0, 0.05, -0.0):
        data = analyze([with_several(extra=extra)]).dataset.isel(curve=0)
        expected = [0.0, extra, 6 * extra]
        assert data["multi_excess"].values == pytest.approx(expected, abs=1e-12)
        single = data["multi_error_increase"].values - expected
        assert data["multi_single_sum"].values == pytest.approx(single)
    (line,) = [
        one
        for one in analyze([with_several(extra=0.05)]).summary.splitlines()
        if "add up to" in one
    ]
    assert "the single lesions of such 7 blocks add up to +0.290" in line
    assert "together they do more harm than one by one (difference +0.300 [" in line
    assert "over 1,000 test images, this network" in line


def test_it_says_where_chance_hides_whether_harm_adds_up():
    summary = analyze([with_several(label="bad", extra=0.0)]).summary
    assert "no difference seen from adding them up" in summary
    given = with_several(label="bad")
    lesion = given.families["lesion"].copy(deep=True)
    lesion["lesion_correct"][:, WITHIN] = 0
    given = type(given)(**{**vars(given), "families": {**given.families, "lesion": lesion}})
    assert "past chance (0.900)" in analyze([given]).summary


def test_sets_with_a_transition_are_told_apart():
    data = analyze([with_several(transitions=True)]).dataset
    assert data["curve_kind"].values.tolist() == ["within stages", "with a transition"]
    assert data["multi_trials"].values.tolist() == [[7, 21, 0], [2, 15, 1]]
    assert np.isnan(data["multi_error_increase"].values[0, 2])


def test_statistics_estimated_anew_stand_beside_those_of_training(both):
    data = both.dataset
    assert data["curve_batch_norm"].values.tolist() == ["as trained", "re-estimated"]
    trained, again = data["multi_error_increase"].values
    assert again == pytest.approx(trained / 2, abs=0.004)  # rounded to whole images
    (line,) = [one for one in both.summary.splitlines() if "estimating BatchNorm" in one]
    assert "lowers the test error after the lesion: with 7 blocks dropped by −0.14" in line
    assert [one["batch_norm"] for one in both.verdict["findings"]["multi"]] == [
        "as trained",
        "re-estimated",
    ]


def test_the_error_by_stage_and_the_difference_of_first_and_last(both):
    data = both.dataset.isel(shuffle=0)
    assert data["shuffled_stage"].values.tolist() == [-1, 1, 2, 3]
    assert data["shuffle_error_increase"].values == pytest.approx([0.24, 0.3, 0.2, 0.1])
    assert data["shuffle_first_minus_last_stage"].item() == pytest.approx(0.2)
    low, high = data["shuffle_first_minus_last_stage_interval"].values
    assert 0.1 < low < 0.2 < high < 0.3
    lines = [one for one in both.summary.splitlines() if "one swap" in one]
    assert "in stage 1, 2 and 3 changes the test error by +0.300 [" in lines[0]
    assert "first minus last stage +0.200 [" in lines[0]
    assert lines[0].endswith("this network: the later stage is milder.")
    worse = analyze([with_several(stage_rates=(0.1, 0.2, 0.3))]).summary
    assert "the later stage is not milder but worse" in worse
    equal = analyze([with_several(stage_rates=(0.2, 0.2, 0.2))]).summary
    assert "this network: no difference seen." in equal


def test_equal_orders_of_several_levels_count_once(both):
    found = both.verdict["findings"]["shuffle"][0]["rank_correlation_with_distance"]
    assert found["orders"] == 5
    assert found["over"] == "orders"


def test_seeds_are_pooled_and_five_give_an_interval_over_seeds():
    two = analyze([with_several(f"net-seed{s}", seed=s) for s in (0, 1)])
    assert two.verdict["findings"]["multi"][0]["networks"] == ["net-seed0", "net-seed1"]
    assert "over 1,000 test images, these 2 networks" in two.summary
    five = analyze(
        [with_several(f"net-seed{s}", seed=s, extra=0.01 * s, images=400) for s in range(5)]
    )
    level = five.verdict["findings"]["multi"][0]["levels"][1]["error_increase"]
    assert (level["over"], level["networks"]) == ("seeds", 5)


def test_other_draws_in_one_group_are_refused():
    first, second = (with_several(f"net-seed{s}", seed=s) for s in (0, 1))
    path = "step-00000100/lesion-multi"
    data = second.tree[path].to_dataset().copy(deep=True)
    data["multi_lesion_dropped"][0, 0] = data["multi_lesion_dropped"][0, 1]
    second.tree[path].dataset = data
    with pytest.raises(InputError, match="measured with different random draws; collect it"):
        analyze([first, second])


def test_what_was_not_measured_is_named_with_its_quantity():
    neither = analyze([with_several(families=())])
    assert "--quantity +multi_lesion_error --quantity +shuffle_error" in neither.summary
    assert set(neither.figures) == {"blocks", "ranking"}
    assert neither.verdict["findings"]["multi"] == []
    assert "curve" not in neither.dataset.dims
    one = analyze([with_several(families=("multi",))])
    assert "Not measured: blocks in another order and how many" in one.summary
    absent = analyze([with_several()]).summary.split("Not measured: ")[1]
    assert absent.startswith("how many blocks can be dropped; `resprobe collect` with --quantity")


def test_the_dataset_can_be_stored(both, tmp_path):
    both.dataset.to_netcdf(tmp_path / "dataset.nc", engine="h5netcdf")
    for name in both.dataset.data_vars:
        assert "long_name" in both.dataset[name].attrs, name


def test_the_curve_shows_its_means_and_the_sums(both):
    (axes,) = both.figures["multi"].axes
    data = both.dataset
    drawn = [line for line in axes.lines if line.get_marker() in ("o", "s")]
    for line, curve in zip(drawn, (0, 1), strict=True):
        base = data["multi_test_error"].values[curve]
        assert line.get_ydata() == pytest.approx(base + data["multi_error_increase"].values[curve])
    # filled and hollow, of another line and marker: also told apart in grey
    assert [to_hex(line.get_markerfacecolor()) == "#ffffff" for line in drawn] == [False, True]
    assert drawn[0].get_linestyle() != drawn[1].get_linestyle()
    crosses = [line for line in axes.lines if line.get_marker() == "x"]
    assert len(crosses) == 2
    labels = [text.get_text() for text in both.figures["multi"].legends[0].get_texts()]
    assert "net, BatchNorm re-estimated" in labels


def test_the_shuffle_shows_every_order_and_the_stages(both):
    left, right = both.figures["shuffle"].axes
    data = both.dataset.isel(shuffle=0)
    points = [line for line in left.lines if line.get_linestyle() == "None"]
    assert sum(len(line.get_xdata()) for line in points) == 2 * 10
    first = points[0]
    base = data["shuffle_test_error"].item()
    orders = data["shuffle_error_increase_by_order"].values[0]
    assert first.get_ydata() == pytest.approx(base + orders[np.isfinite(orders)])
    means = [line.get_ydata() for line in right.lines if line.get_marker() != "None"]
    assert [float(one[0]) for one in means[:4]] == pytest.approx(
        base + data["shuffle_error_increase"].values
    )
    labels = [text.get_text() for text in both.figures["shuffle"].legends[0].get_texts()]
    assert labels[:4] == ["all stages", "stage 1 only", "stage 2 only", "stage 3 only"]
