"""What the figures of noise stability would draw."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from noisy import INPUT_LEVELS, LAYERS, build_noisy, two_noisy_groups
from resprobe_analyses.noise_stability import analyze
from resprobe_analyses.noise_stability.bound import FACTORS


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
    assert texts(five.figures["prediction"]) == ["stage 1", "stage 2", "in no block"]


def test_the_factors_stand_beside_the_bound_and_the_gap(five):
    (axes,) = five.figures["bound"].axes
    assert [tick.get_text().replace("\n", " ") for tick in axes.get_xticklabels()] == [
        *FACTORS, "bound", "measured gap",
    ]  # fmt: skip
    heights = np.array([patch.get_height() for patch in axes.patches]).reshape(4, 8)
    np.testing.assert_allclose(heights[:, :6].sum(axis=1), heights[:, 6])
    np.testing.assert_allclose(heights[:2, 7], np.log10(0.2))
    np.testing.assert_allclose(heights[2:, 7], np.log10(0.25))
    kept = np.log10(five.dataset["bound_value"].values[:5, 0]).mean()
    assert heights[0, 6] == pytest.approx(kept)
    assert len({patch.get_hatch() for patch in axes.patches[::8]}) == 3  # kept bars are filled
    assert len(texts(five.figures["bound"])) == 4
    assert "no bar" not in told(five.figures["bound"])


def test_a_gap_that_is_not_above_0_has_no_bar_and_this_is_said():
    found = analyze([build_noisy(train_error=0.3, test_error=0.2)])
    assert "a gap that is unknown or not above 0" in told(found.figures["bound"])


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
    assert texts(found.figures["bound"]) == ["a, ID entries kept", "a, ID entries removed"]


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
