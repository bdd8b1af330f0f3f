"""What the figures of norm-vs-depth would draw."""

from __future__ import annotations

import io

import numpy as np
import pytest
from depth_networks import build_network, power_law
from matplotlib.collections import PathCollection
from resprobe_analyses.norm_vs_depth import analyze
from resprobe_analyses.norm_vs_depth.curves import curves_of
from resprobe_analyses.norm_vs_depth.figure_time import ALONE, looks
from resprobe_analyses.norm_vs_depth.networks import read_networks

DEPTHS = (3, 6, 9, 15, 24)


@pytest.fixture(scope="module")
def drawn():
    exponents = [-1.05, -0.98, -1.0, -0.96, -1.02]
    return analyze(power_law(exponents, DEPTHS, untrained=[0.02, 0.0, 0.01, -0.01, 0.03]))


@pytest.fixture(scope="module")
def stepped():
    return analyze(
        [
            build_network(d, s, lambda j, h=h: h * (4 + np.sin(j * h)), h=h)
            for s in range(2)
            for d, h in ((6, 1.0), (12, 0.5))
        ]
    )


def lines(axes, **looked_for):
    """Lines whose getters give the asked values."""
    return [
        line
        for line in axes.lines
        if all(getattr(line, f"get_{name}")() == value for name, value in looked_for.items())
    ]


def test_every_seed_is_a_line_over_depth(drawn):
    axes = drawn.figures["depth"].axes[0]
    assert axes.get_xscale() == axes.get_yscale() == "log"
    data = drawn.dataset.isel(step_size=0).sel(version="all blocks")
    seeds = lines(axes, color="0.65", linestyle="-")
    assert len(seeds) == 5
    for line, gammas in zip(seeds, data["trained_gamma_by_depth"].values, strict=True):
        assert line.get_xdata() == pytest.approx(DEPTHS)
        assert line.get_ydata() == pytest.approx(gammas)
    assert len(lines(axes, color="0.65")) == 10  # and as many before training


def test_the_fitted_line_has_the_mean_slope_and_the_guide_minus_one(drawn):
    axes = drawn.figures["depth"].axes[0]
    exponent = float(drawn.dataset["trained_exponent"][0, 0])
    laws = [line for line in axes.lines if line.get_zorder() == 2]
    guide = lines(axes, color="0.3")
    slopes = [np.diff(np.log(line.get_ydata()))[0] / np.log(2) for line in (*laws, *guide)]
    untrained = float(drawn.dataset["untrained_exponent"][0, 0])
    assert slopes == pytest.approx([untrained, exponent, -1])


def test_means_are_filled_trained_and_hollow_untrained(drawn):
    axes = drawn.figures["depth"].axes[0]
    marks = [line for line in axes.lines if line.get_linestyle() == "None"]
    hollow, filled = (line.get_markerfacecolor() for line in marks)
    assert hollow == "white"
    assert filled != "white"
    means = drawn.dataset["trained_gamma_by_depth"][0, 0].mean("seed")
    assert marks[1].get_ydata() == pytest.approx(means.values)
    assert marks[0].get_marker() != marks[1].get_marker()


def test_both_versions_have_one_range_of_depths(drawn):
    first, second = drawn.figures["depth"].axes
    assert first.get_xlim() == second.get_xlim()
    assert (first.get_title(), second.get_title()) == ("all blocks", "without stage-first blocks")
    legend = [text.get_text() for text in drawn.figures["depth"].legends[0].get_texts()]
    assert "slope −1, Eq. 5" in legend
    assert "untrained: mean and power law" in legend
    assert "12 test images" in drawn.figures["depth"].get_suptitle()


def test_untrained_batch_norm_is_named_in_the_legend():
    normalised = {"model": {"batch_norm": True}}
    result = analyze(power_law([-1.0], (3, 6), untrained=[0.5], recipe=normalised))
    legend = [text.get_text() for text in result.figures["depth"].legends[0].get_texts()]
    assert "untrained (BatchNorm at mean 0, variance 1)" in legend


def test_blocks_have_a_panel_for_each_depth_with_stages_marked(drawn):
    figure = drawn.figures["blocks"]
    panels = [axes for axes in figure.axes if axes.axison]
    assert len(panels) == len(DEPTHS)
    for axes, depth in zip(panels, DEPTHS, strict=True):
        assert axes.get_title().startswith(f"{depth} blocks, h = 1 (mean of 5 networks)")
        walls = [line.get_xdata()[0] for line in lines(axes, color="0.6")]
        assert walls == pytest.approx([depth // 3 - 0.5, 2 * depth // 3 - 0.5])
        points = [np.asarray(c.get_offsets()) for c in axes.collections if is_points(c)]
        assert sum(len(part) for part in points) == 2 * depth  # input and branch norm


def is_points(collection) -> bool:
    return isinstance(collection, PathCollection)


def test_the_input_of_a_transition_belongs_to_the_stage_before(drawn):
    axes = drawn.figures["blocks"].axes[2]  # 9 blocks
    states = [line.get_xdata().tolist() for line in axes.lines if line.get_linestyle() == "--"]
    branches = [
        line.get_xdata().tolist()
        for line in axes.lines
        if line.get_linestyle() == "-" and line.get_linewidth() == 1.2
    ]
    assert states == [[0, 1, 2, 3], [4, 5, 6], [7, 8]]
    assert branches == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_forces_of_two_step_sizes_fall_on_each_other(stepped):
    axes = stepped.figures["time"].axes[0]
    by_look = {}
    for line in axes.lines:
        by_look.setdefault(line.get_color(), []).append(line.get_xydata())
    coarse, fine = (np.concatenate(parts) for parts in by_look.values())
    assert coarse[:, 0] == pytest.approx(np.arange(6))
    assert fine[:, 0] == pytest.approx(0.5 * np.arange(12))
    assert coarse[:, 1] == pytest.approx(4 + np.sin(np.arange(6)))
    assert fine[::2] == pytest.approx(coarse)
    labels = [text.get_text() for text in stepped.figures["time"].legends[0].get_texts()]
    assert labels[:2] == ["d = 6, h = 1 (2 networks)", "d = 12, h = 0.5 (2 networks)"]


def test_curves_differ_in_colour_line_and_marker(stepped):
    handles = stepped.figures["time"].legends[0].legend_handles[:2]
    for what in ("get_color", "get_linestyle", "get_marker"):
        assert len({str(getattr(handle, what)()) for handle in handles}) == 2


def test_one_network_has_no_figure_over_depth():
    result = analyze([build_network(9, untrained=1.0)])
    assert set(result.figures) == {"blocks", "time"}


def test_networks_that_do_not_count_are_drawn_and_named():
    result = analyze([build_network(9, loss=0.5, status="reached_cap")])
    assert "not compared" in result.figures["blocks"].axes[0].get_title()


def test_figures_can_be_written(stepped):
    stepped.figures["time"].savefig(io.BytesIO(), format="svg")  # has the mathematical labels


def test_curves_that_share_their_time_stand_out_and_no_two_look_alike():
    kinds = [(3, 1.0), (6, 1.0), (9, 1.0), (12, 1.0), (15, 1.0), (18, 1.0), (6, 0.5), (12, 0.25)]
    curves = curves_of(read_networks([build_network(d, h=h, label=f"{d}-{h}") for d, h in kinds]))
    found = looks(curves)
    assert len({(look.colour, str(look.line), look.marker) for look in found}) == len(kinds)
    bright = [
        curve.blocks for curve, look in zip(curves, found, strict=True) if look.colour != ALONE
    ]
    assert bright == [3, 6, 12]  # each with d·h = 3
    alone = looks(curves[:6])
    assert ALONE not in {look.colour for look in alone}
