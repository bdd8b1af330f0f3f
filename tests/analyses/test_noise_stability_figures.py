"""What the figures of noise stability would draw."""

from __future__ import annotations

import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from noisy import INPUT_LEVELS, LAYERS, build_noisy, two_noisy_groups
from resprobe_analyses.noise_stability import analyze
from resprobe_analyses.noise_stability.bound import FACTORS
from resprobe_analyses.noise_stability.drawing import short_layers, stage_labels


@pytest.fixture(scope="module")
def five():
    return analyze(two_noisy_groups(5, error_added=0.25))


def lines(axes, marker):
    return [np.asarray(one.get_ydata()) for one in axes.lines if one.get_marker() == marker]


def texts(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def told(figure):
    return figure.legends[0].get_title().get_text()


def test_the_response_shows_both_groups_for_both_norms_and_the_error_below(five):
    grid = five.figures["response"].axes
    logs = five.dataset["log_output_change"].values
    for place in range(2):
        for marker, members in (("o", slice(0, 5)), ("s", slice(5, 10))):
            (drawn,) = lines(grid[place], marker)
            np.testing.assert_allclose(drawn, np.exp(logs[members, :, place, 0].mean(axis=0)))
            (added,) = lines(grid[2 + place], marker)
            np.testing.assert_allclose(added, 0.25)
        bars = [one for one in grid[place].collections if isinstance(one, LineCollection)]
        assert len(bars) == 2
        assert grid[place].get_yscale() == "log"
        assert [tick.get_text() for tick in grid[2 + place].get_xticklabels()] == list(LAYERS)
    assert grid[0].get_title().endswith("ID entries kept")
    assert grid[1].get_title().endswith("ID entries removed")
    assert texts(five.figures["response"]) == ["res", "plain"]
    assert "over 5 seeds" in told(five.figures["response"])
    assert "noise of 1 %" in grid[0].get_ylabel()
    assert "noise of 5 %" in grid[2].get_ylabel()


def test_the_response_of_two_groups_ends_with_their_ratio_at_equal_noise(five):
    panels = five.figures["response"].axes
    assert len(panels) == 5
    (drawn,) = lines(panels[4], "D")
    np.testing.assert_allclose(drawn, np.exp(five.dataset["equal_noise_log_ratio"].values))
    assert panels[4].get_yscale() == "log"
    assert "res / plain" in panels[4].get_ylabel()
    assert [tick.get_text() for tick in panels[4].get_xticklabels()] == list(LAYERS)
    assert len(analyze([build_noisy()]).figures["response"].axes) == 4


def test_the_prediction_has_a_point_for_each_layer_marked_by_its_stage(five):
    panels = five.figures["prediction"].axes
    assert len(panels) == 4
    for row, members in enumerate((slice(0, 5), slice(5, 10))):
        for place, name in enumerate(("log_cushion_kept", "log_cushion_removed")):
            axes = panels[2 * row + place]
            x = np.exp(five.dataset[name].values[members].mean(axis=0))
            y = np.exp(five.dataset["log_output_change"].values[members, :, place, 0].mean(axis=0))
            for marker, own in (("o", [1, 2]), ("s", [3]), ("x", [0, 4])):
                (points,) = (one for one in axes.lines if one.get_marker() == marker)
                np.testing.assert_allclose(points.get_xdata(), x[own])
                np.testing.assert_allclose(points.get_ydata(), y[own])
            assert axes.get_xscale() == axes.get_yscale() == "log"
            title = axes.get_title(loc="left")
            assert title.startswith("res" if row == 0 else "plain")
            assert "over all layers" in title
            assert "within stages" not in title  # two layers rank nothing
    assert texts(five.figures["prediction"]) == ["stage1", "stage2", "in no block"]


def test_the_factors_stand_beside_the_bound_and_the_gap(five):
    left, right = five.figures["bound"].axes
    ticks = [tick.get_text().replace("\n", " ") for tick in left.get_xticklabels()]
    assert ticks == list(FACTORS)
    assert left.get_ylabel() == r"$\log_{10}$ of the factor"
    assert right.get_yscale() == "log"
    assert "log scale" in right.get_ylabel()
    bounds = five.dataset["bound_value"].values
    for marker, members, gap in (("o", slice(0, 5), 0.2), ("s", slice(5, 10), 0.25)):
        expected = 10 ** np.log10(bounds[members]).mean(axis=0)
        factors = lines(left, marker)  # kept, removed
        np.testing.assert_allclose([10 ** one.sum() for one in factors], expected)
        kept, removed, measured = (float(one[0]) for one in lines(right, marker))
        np.testing.assert_allclose([kept, removed], expected)
        assert measured == pytest.approx(gap)  # once for both norms
    low, high = right.get_ylim()
    assert low < min(0.2, bounds.min()) < max(1, bounds.max()) < high
    assert 1.0 in [one.get_ydata()[0] for one in right.lines if one.get_marker() == "None"]
    assert texts(five.figures["bound"]) == ["res", "plain"]
    assert "no point" not in told(five.figures["bound"])


def test_an_interval_of_the_gap_that_holds_0_is_drawn_down_to_the_axis():
    made = [build_noisy(seed=s, train_error=0.1 * s, test_error=0.3) for s in range(5)]
    right = analyze(made).figures["bound"].axes[1]
    ends = [path.vertices[:, 1] for bars in right.collections for path in bars.get_paths()]
    low, high = right.get_ylim()
    (gap,) = (end for end in ends if 0 < end[0] < low)
    assert 0.1 < gap[1] < high


def test_a_gap_that_is_not_above_0_has_no_point_and_this_is_said():
    found = analyze([build_noisy(train_error=0.3, test_error=0.2)])
    assert len(lines(found.figures["bound"].axes[1], "o")) == 2
    assert "a gap that is unknown or not above 0" in told(found.figures["bound"])


def test_no_line_joins_layers(five):
    joined = [one for axes in five.figures["response"].axes for one in axes.lines]
    assert {one.get_linestyle() for one in joined if len(one.get_ydata()) > 2} == {"None"}


def named(layers, blocks, stage):
    """A group of one network as far as names go."""
    network = SimpleNamespace(layers=layers, blocks=blocks, stage=np.array(stage))
    return SimpleNamespace(members=[SimpleNamespace(network=network)])


def test_a_layer_is_named_by_its_block_where_it_is_alone_in_it():
    layers = ("stem.conv", "stage1.0.a", "stage1.0.b", "stage2.0.branch", "linear")
    blocks = ("", "stage1.0", "stage1.0", "stage2.0", "")
    assert short_layers(named(layers, blocks, [-1, 0, 0, 1, -1])) == [
        "stem.conv", "stage1.0.a", "stage1.0.b", "stage2.0", "linear",
    ]  # fmt: skip


def test_a_stage_is_named_as_its_blocks_are_and_by_its_number_where_they_do_not_tell():
    blocks = ("stage1.0", "stage1.1", "stage2.0", "")
    group = named(blocks, blocks, [0, 0, 1, -1])
    assert stage_labels([group, group]) == {0: "stage1", 1: "stage2"}
    blocks = ("layers.0", "layers.1", "layers.2")
    assert stage_labels([named(blocks, blocks, [0, 0, 1])]) == {
        0: "stage 0 (layers.0–layers.1)", 1: "stage 1 (layers.2)",
    }  # fmt: skip
    assert stage_labels([named(("first", "last"), ("first", "last"), [0, 0])]) == {
        0: "stage 0 (first–last)"
    }


def test_the_response_to_the_input_is_drawn_against_its_level(five):
    change, error = five.figures["input"].axes
    (drawn,) = (one for one in change.lines if one.get_marker() == "o")
    np.testing.assert_allclose(drawn.get_xdata(), np.array(INPUT_LEVELS) / 1.06**0.5)
    expected = np.exp(five.dataset["log_input_change"].values[:5].mean(axis=0))
    np.testing.assert_allclose(drawn.get_ydata(), expected)
    assert change.get_xscale() == change.get_yscale() == "log"
    (added,) = lines(error, "s")
    np.testing.assert_allclose(added, [0, 0, 0.25])


def test_a_group_without_noise_of_the_input_is_left_out_of_its_figure():
    families = ("norms", "interlayer-cushion")
    found = analyze([build_noisy("a"), build_noisy("b", group="h", families=families)])
    assert texts(found.figures["input"]) == ["a"]
    assert texts(found.figures["bound"]) == ["a"]


def test_many_layers_are_counted_and_not_named():
    names = ["stem", *(f"stage1.{i}" for i in range(38)), "head"]
    made = build_noisy(
        layers=names, medians=np.linspace(0.01, 1, 40), families=(), images=8, residual=False
    )
    found = analyze([replace(made, checkpoint={})])
    assert found.figures["response"].axes[2].get_xlabel() == "layer, in the order of execution"
    assert "for these networks and draws of noise" in told(found.figures["response"])


@pytest.mark.parametrize("name", ["response", "prediction", "bound", "input"])
def test_every_figure_can_be_written(five, name):
    target = io.BytesIO()
    five.figures[name].savefig(target, format="svg")
    assert target.getbuffer().nbytes > 5000
