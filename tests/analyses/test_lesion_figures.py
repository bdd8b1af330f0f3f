"""What the lesion figures draw, read from their artists."""

from __future__ import annotations

import io

import numpy as np
import pytest
from lesioned import build_input, demo_inputs
from matplotlib.colors import to_hex, to_rgb
from resprobe_analyses import style
from resprobe_analyses.lesion import analyze


@pytest.fixture(scope="module")
def demo():
    return analyze(demo_inputs(stages=(5, 5, 5)))


def markers(axes):
    """The scatter artists: those whose points have sizes."""
    return [one for one in axes.collections if hasattr(one, "get_sizes")]


def points(artists):
    """Positions, shape (point, 2), from left to right."""
    joined = np.concatenate([np.asarray(one.get_offsets()) for one in artists])
    return joined[np.argsort(joined[:, 0])]


def series(axes, colour):
    """Points of one series, block by block."""
    return points([one for one in markers(axes) if to_hex(one.get_edgecolor()[0]) == colour])


def test_one_network_shows_its_errors_ratios_and_baseline():
    result = analyze([build_input("net", effects={5: 0.2}, every=0.02)])
    upper, lower = result.figures["blocks"].axes
    drawn = series(upper, style.COLOURS[0])
    assert drawn[:, 0] == pytest.approx(np.arange(12))
    assert drawn[:, 1] == pytest.approx(result.dataset["lesion_error"].values[0])
    ratio = series(lower, style.COLOURS[0])[:, 1]
    assert ratio == pytest.approx(result.dataset["branch_shortcut_ratio"].values[0])
    baseline = [line for line in upper.lines if len(set(line.get_ydata())) == 1]
    assert baseline[0].get_ydata()[0] == result.dataset["test_error"].item()


def test_bars_are_the_paired_intervals_at_the_baseline():
    result = analyze([build_input("net", effects={5: 0.2})])
    upper = result.figures["blocks"].axes[0]
    bars = upper.collections[0].get_segments()
    bounds = result.dataset["lesion_error_increase_interval"].values[0]
    expected = np.clip(result.dataset["test_error"].item() + bounds, 0, 1)
    assert np.array([bar[:, 1] for bar in bars]) == pytest.approx(expected)


def test_transitions_are_hollow_and_of_another_shape():
    upper = analyze([build_input("net")]).figures["blocks"].axes[0]
    within, transitions = markers(upper)
    assert len(within.get_offsets()) == 10
    assert points([transitions])[:, 0] == pytest.approx([4, 8])
    assert to_hex(transitions.get_facecolor()[0]) == "#ffffff"
    assert within.get_paths()[0].vertices.shape != transitions.get_paths()[0].vertices.shape


def test_stages_are_bounded_and_named():
    upper, lower = analyze([build_input("net", stages=(3, 4, 5))]).figures["blocks"].axes
    for axes in (upper, lower):
        edges = [x[0] for x in (line.get_xdata() for line in axes.lines) if len(x) == 2]
        assert {2.5, 6.5} <= {float(x) for x in edges}
    assert [text.get_text() for text in upper.texts] == ["stage 1", "stage 2", "stage 3"]
    assert not lower.texts


def test_groups_differ_in_colour_line_and_marker(demo):
    figure = demo.figures["blocks"]
    handles = figure.legends[0].legend_handles[:3]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:3] == [f"{name} (mean of 2 networks)" for name in ("h1", "h01", "plain")]
    for what in ("get_color", "get_linestyle", "get_marker"):
        assert len({str(getattr(handle, what)()) for handle in handles}) == 3


def test_colours_differ_in_grey():
    weights = np.array([0.2126, 0.7152, 0.0722])
    greys = sorted(float(np.array(to_rgb(colour)) @ weights) for colour in style.COLOURS[:4])
    assert np.diff(greys).min() > 0.08


def test_axes_and_titles_say_units_images_and_networks(demo):
    upper, lower = demo.figures["blocks"].axes
    assert "square-root scale" in upper.get_ylabel()
    assert "mean over images" in lower.get_ylabel()
    assert "500 test images" in demo.figures["blocks"].get_suptitle()
    assert "h1, h01, plain" in demo.figures["blocks"].get_suptitle()
    assert "over images" in demo.figures["blocks"].legends[0].get_title().get_text()


def test_limits_hold_every_point_and_no_impossible_error(demo):
    upper, lower = demo.figures["blocks"].axes
    low, high = upper.get_ylim()
    assert low == 0
    assert high <= 1.08
    for axes in (upper, lower):
        bottom, top = axes.get_ylim()
        assert points(markers(axes))[:, 1].min() >= bottom
        assert points(markers(axes))[:, 1].max() <= top


@pytest.mark.parametrize(("spread", "scale"), [(2, "linear"), (40, "log")])
def test_the_ratio_is_logarithmic_only_where_it_spans_decades(spread, scale):
    ratio = np.geomspace(0.02, 0.02 * spread, 12)
    figure = analyze([build_input("net", ratio=ratio)]).figures["blocks"]
    assert figure.axes[1].get_yscale() == scale


def test_several_seeds_of_one_group_are_also_drawn_each():
    made = [build_input(f"r-seed{i}", seed=i, every=0.02) for i in range(2)]
    figure = analyze(made).figures["blocks"]
    assert "each network" in [text.get_text() for text in figure.legends[0].get_texts()]
    faint = [line for line in figure.axes[0].lines if line.get_color() == "0.65"]
    assert len(faint) == 2 * 3


def test_the_ranking_shows_within_stage_blocks_of_residual_groups(demo):
    figure = demo.figures["ranking"]
    assert [axes.get_title().split()[0] for axes in figure.axes] == ["h1", "h01"]
    data = demo.dataset.isel(group=0)
    within = data["transition"].values == 0
    drawn = points(markers(figure.axes[0]))
    x = data["group_branch_shortcut_ratio"].values[within]
    y = data["group_lesion_error_increase"].values[within]
    assert drawn[:, 0] == pytest.approx(np.sort(x))
    assert drawn[:, 1] == pytest.approx(y[np.argsort(x)])


def test_a_plain_network_alone_has_both_figures():
    result = analyze([build_input("p", plain=True, every=0.5)])
    assert set(result.figures) == {"blocks", "ranking"}


def test_an_uninterpretable_network_is_marked_in_the_legend():
    figure = analyze([build_input("lost", base_error=0.7)]).figures["blocks"]
    assert figure.legends[0].get_texts()[0].get_text() == "lost (uninterpretable)"


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_figures_are_written_without_a_warning(demo, kind):
    for figure in demo.figures.values():
        target = io.BytesIO()
        figure.savefig(target, format=kind)
        assert target.tell() > 5000


def test_fifty_four_blocks_keep_apart():
    figure = analyze([build_input("deep", stages=(18, 18, 18))]).figures["blocks"]
    assert figure.get_size_inches()[0] == 12
    assert len(figure.axes[1].get_xticks()) < 20
