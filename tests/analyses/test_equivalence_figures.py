"""What the figures of equivalence would draw."""

from __future__ import annotations

import io

import numpy as np
import pytest
from equivalent_networks import build_pair, build_single, seeds
from matplotlib.collections import PolyCollection
from resprobe_analyses.equivalence import analyze


@pytest.fixture(scope="module")
def pairs():
    return analyze(
        [
            *seeds(5, noise=0.3, zeros=(40,)),
            *seeds(2, label="single", dtype="float32", grows=0.5),
            *seeds(2, label="control", control=True, grows=1e9),
        ]
    )


@pytest.fixture(scope="module")
def two():
    plain = seeds(5, build_single, label="plain", residual=False, gap=-0.02, weights=(0, 9))
    return analyze([*seeds(5, build_single, label="res", weights=(0, 9)), *plain])


def texts(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_figures_are_those_that_the_data_allow(pairs, two):
    # the weights of float32 stand beside those of float64
    assert set(pairs.figures) == {"divergence", "weights", "training", "difference"}
    assert set(two.figures) == {"weights", "training"}
    assert set(analyze([build_single(weights=(0,))]).figures) == {"weights"}


def test_the_losses_show_every_seed_and_the_mean_line_of_each_group(pairs):
    losses, _ = pairs.figures["divergence"].axes
    thin = [np.asarray(line.get_ydata()) for line in losses.lines if line.get_marker() == "."]
    assert len(thin) == 9
    drawn = np.abs(pairs.dataset["loss_distance"].values)
    assert np.isnan(thin[0][39])  # the first seed of "pair", before both controls: equal losses
    np.testing.assert_allclose(np.nan_to_num(thin[0]), drawn[2])
    ticks = [one.get_segments() for one in losses.collections]
    assert [len(own) for own in ticks] == [1] * 5 + [0] * 4
    assert ticks[0][0][0][0] == 40
    title = pairs.figures["divergence"].legends[0].get_title().get_text()
    assert title.endswith("ticks at the bottom: the losses are equal")
    fitted = [line for line in losses.lines if line.get_marker() in "os^"]
    assert [line.get_marker() for line in fitted] == ["o", "s", "^"]
    means = pairs.dataset
    for line, group in zip(fitted, ("pair", "single", "control"), strict=True):
        own = means.sel(pair_group=group)
        ends = np.log10(np.asarray(line.get_ydata())[[0, -1]])
        start = float(own["mean_log10_loss_start"])
        np.testing.assert_allclose(ends, [start, start + 199 * float(own["mean_log10_loss_slope"])])
    assert losses.get_yscale() == "log"


def test_the_weights_are_drawn_beside_the_largest_with_the_roundings(pairs):
    _, weights = pairs.figures["divergence"].axes
    lines = [line for line in weights.lines if len(line.get_xdata()) > 2]
    levels = [line.get_ydata()[0] for line in weights.lines if len(line.get_xdata()) == 2]
    assert levels == [2.0**-53, 2.0**-24]
    unit = np.where(pairs.dataset["dtype"] == "float32", 2.0**-24, 2.0**-53)
    expected = pairs.dataset["weight_multiple"].values * unit[:, None]
    for line, own in zip(lines, [*expected[2:], *expected[:2]], strict=True):
        np.testing.assert_allclose(line.get_ydata(), own)
    told = [text.replace("\n", " ") for text in texts(pairs.figures["divergence"])]
    assert "control (negative control, float64, 2 seeds)" in told


def test_losses_that_never_differ_are_told_and_leave_the_axis_linear():
    found = analyze([build_pair(zeros=range(1, 201))])
    losses, weights = found.figures["divergence"].axes
    assert losses.get_yscale() == "linear"
    assert [text.get_text() for text in losses.texts] == ["exactly 0 at every step"]
    assert weights.get_yscale() == "log"


def test_histograms_are_means_of_the_networks_before_and_after(two):
    figure = two.figures["weights"]
    axes = np.array(figure.axes).reshape(2, 2)
    assert [one.get_title(loc="left") for one in axes[0]] == ["before training", "step 9"]
    for row, name in enumerate(("weight_histogram", "id_entry_histogram")):
        counts = two.dataset[name]
        for column in (0, 1):
            steps = [
                line for line in axes[row, column].lines if line.get_drawstyle() == "steps-mid"
            ]
            for line, group in zip(steps, ("plain", "res"), strict=True):
                own = counts.isel(state=column).values[two.dataset["group"].values == group]
                drawn = np.asarray(line.get_ydata())
                np.testing.assert_allclose(np.where(drawn < 0.01, 0, drawn), own.mean(axis=0))
    written = [text.get_text() for text in axes[0, 1].texts]
    last = two.dataset["weight_table"].sel(statistic="above 0.7").isel(state=1)
    for text, group in zip(written, ("plain", "res"), strict=True):
        count = float(last[two.dataset["group"].values == group].mean())
        assert text == f"above 0.7: {count:g}"
    assert texts(figure) == ["plain (5 networks)", "res (transferred, 5 networks)"]


def test_histograms_show_partners_and_reach_as_far_as_their_counts():
    figure = analyze([build_pair()]).figures["weights"]
    assert texts(figure) == ["pair (transferred, 1 network)", "partner of pair (1 network)"]
    axes = np.array(figure.axes).reshape(2, 2)
    for own in axes.ravel():
        steps = [line for line in own.lines if line.get_drawstyle() == "steps-mid"]
        assert len(steps) == 2
        assert {line.get_marker() for line in own.lines} == {"None"}
    for row in axes:
        drawn = [line for own in row for line in own.lines if line.get_drawstyle() == "steps-mid"]
        filled = np.concatenate(
            [line.get_xdata()[np.asarray(line.get_ydata()) > 0.5] for line in drawn]
        )
        limits = (filled.min() - 0.05, filled.max() + 0.05)
        np.testing.assert_allclose(row[0].get_xlim(), limits)
        np.testing.assert_allclose(row[1].get_xlim(), limits)
    assert axes[1, 0].get_xlim() != axes[0, 0].get_xlim()


def test_one_checkpoint_has_one_column():
    for place, title in ((0, "before training"), (9, "step 9")):
        drawn = analyze([build_single(weights=(place,))]).figures["weights"].axes
        assert [axes.get_title(loc="left") for axes in drawn] == [title, ""]


def test_a_network_without_starting_weights_is_drawn_at_the_end_only():
    found = analyze([build_single(weights=(0, 9)), build_single("late", weights=(9,), seed=1)])
    axes = np.array(found.figures["weights"].axes).reshape(2, 2)
    drawn = [[line.get_drawstyle() for line in one.lines].count("steps-mid") for one in axes[0]]
    assert drawn == [1, 1]  # one group: a mean of one network before, of two after
    late = analyze(
        [build_single("late", weights=(9,), residual=False), build_single(weights=(0, 9))]
    )
    axes = np.array(late.figures["weights"].axes).reshape(2, 2)
    drawn = [[line.get_drawstyle() for line in one.lines].count("steps-mid") for one in axes[0]]
    assert drawn == [1, 2]
    (told,) = [one for one in late.verdict["findings"]["weights"] if one["group"] == "late"]
    assert [state["when"] for state in told["states"]] == ["end"]


def test_training_shows_both_networks_of_every_seed_and_their_difference(two):
    curves, difference = two.figures["training"].axes
    by_marker = {
        marker: [line for line in curves.lines if line.get_marker() == marker] for marker in "os"
    }
    for marker, group in (("o", "res"), ("s", "plain")):
        own = two.dataset["group"].values == group
        for line, loss, error in zip(
            by_marker[marker],
            two.dataset["train_loss"].values[own],
            two.dataset["test_error"].values[own],
            strict=True,
        ):
            np.testing.assert_array_equal(line.get_xdata(), loss)
            np.testing.assert_array_equal(line.get_ydata(), error)
    mean = difference.lines[-1]
    assert len(difference.lines) == 1 + 5 + 1  # zero, each seed, their mean
    assert {line.get_marker() for line in difference.lines} == {"None"}
    assert difference.get_ylim()[1] >= 0.002
    np.testing.assert_allclose(mean.get_ydata(), -0.02)
    assert any(isinstance(one, PolyCollection) for one in difference.collections)
    assert curves.xaxis_inverted()
    assert difference.xaxis_inverted()
    title = two.figures["training"].legends[0].get_title().get_text()
    assert title == "thin: each seed; band: 95 % interval over seeds"


def test_every_side_has_its_row(pairs):
    titles = [axes.get_title(loc="left") for axes in pairs.figures["training"].axes]
    assert titles[::2] == ["pair", "single", "control (negative control)"]
    told = [f"residual minus plain, {count} seeds" for count in (5, 2, 2)]
    assert titles[1::2] == told
    one = analyze([build_pair()]).figures["training"].axes[1]
    assert one.get_title(loc="left") == "residual minus plain, 1 seed"
    assert [text.get_text() for text in one.texts] == ["equal at every level"]
    assert len(one.lines) == 2  # zero and the mean, which is the one seed


@pytest.mark.parametrize("name", ["divergence", "weights", "training"])
def test_every_figure_can_be_written(pairs, name):
    target = io.BytesIO()
    pairs.figures[name].savefig(target, format="svg")
    assert target.getbuffer().nbytes > 5000
