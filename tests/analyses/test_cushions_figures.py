"""What the figures of cushions would draw."""

from __future__ import annotations

import io

import numpy as np
import pytest
from cushioned import LAYERS, build_cushions, two_groups
from matplotlib.collections import LineCollection
from resprobe_analyses.cushions import analyze
from resprobe_analyses.cushions.drawing import average
from resprobe_analyses.cushions.effects import MEDIAN


@pytest.fixture(scope="module")
def five():
    return analyze(two_groups(5))


def lines(axes, marker):
    return [np.asarray(one.get_ydata()) for one in axes.lines if one.get_marker() == marker]


def bars(axes):
    return [c for c in axes.collections if isinstance(c, LineCollection)]


def texts(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_layers_show_medians_and_minima_of_both_groups(five):
    (axes,) = five.figures["layers"].axes
    quantiles = five.dataset["layer_cushion"].values[:, :, 0]
    for marker, members in (("o", slice(0, 5)), ("s", slice(5, 10))):
        (drawn,) = lines(axes, marker)
        expected = np.exp(np.log(quantiles[members, :, MEDIAN]).mean(axis=0))
        np.testing.assert_allclose(drawn, expected)
    assert [len(one) for one in lines(axes, "_")] == [5, 5]
    assert axes.get_yscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list(LAYERS)
    assert texts(five.figures["layers"]) == ["res, median", "plain, median", "minimum"]


def test_every_norm_has_a_line_in_the_panel_of_each_group(five):
    panels = five.figures["norms"].axes
    assert [axes.get_title(loc="left") for axes in panels] == ["res", "plain"]
    for axes in panels:
        kept, removed, weight = (np.asarray(line.get_ydata()) for line in axes.lines)
        assert (removed > kept).all()
        np.testing.assert_allclose(weight / kept, [16, 8, 4, 2, 1])
    assert len(texts(five.figures["norms"])) == 3


def test_the_groups_show_every_seed_the_mean_and_its_interval(five):
    (axes,) = five.figures["groups"].axes
    found = five.verdict["findings"]["layers"]
    for norm, marker in (("kept", "o"), ("removed", "s")):
        (drawn,) = lines(axes, marker)
        np.testing.assert_allclose(drawn, found[norm]["mean"])
    assert len(lines(axes, ".")) == 2 * 5
    assert "+1: res above plain" in axes.get_ylabel()
    assert "intervals over 5 seeds" in five.figures["groups"].legends[0].get_title().get_text()
    alone = analyze(two_groups(1)).figures["groups"]
    assert alone.legends[0].get_title().get_text() == "one network each: no interval"
    few = analyze(two_groups(2)).figures["groups"]
    assert "the 2 seeds, too few" in few.legends[0].get_title().get_text()


def test_interlayer_cushions_show_both_modes_and_every_span(five):
    blocks, spans = five.figures["interlayer"].axes
    medians = five.dataset["interlayer_cushion"].values[..., MEDIAN]
    for number, (mode, marker) in enumerate(((0, "o"), (1, "s"))):
        drawn = next(one for one in lines(blocks, marker) if len(one) == 3)
        np.testing.assert_allclose(drawn, np.exp(np.log(medians[:5, :, 0, mode]).mean(axis=0)))
        assert number == mode
    assert blocks.get_yscale() == "log"
    assert [len(one) for one in lines(spans, "o")] == [3, 2, 1]
    assert [len(one) for one in lines(spans, "^")] == [3, 2, 1]
    assert len(bars(spans)) == 6
    assert len(texts(five.figures["interlayer"])) == 5


def test_a_single_network_has_no_groups_and_a_linear_axis_where_cushions_are_alike():
    found = analyze([build_cushions(medians=[0.03] * 5)])
    assert set(found.figures) == {"layers", "norms"}
    (axes,) = found.figures["layers"].axes
    assert axes.get_yscale() == "linear"
    assert axes.get_ylim()[0] == 0


def test_a_range_below_a_decade_is_linear_and_a_logarithmic_axis_says_so(five):
    alike = analyze([build_cushions(blocks=np.linspace(0.4, 1.2, 3))])
    blocks, _ = alike.figures["interlayer"].axes
    assert blocks.get_yscale() == "linear"
    assert "log" not in blocks.get_ylabel()
    for figure in (five.figures["interlayer"], five.figures["layers"], five.figures["norms"]):
        assert figure.axes[0].get_yscale() == "log"
        assert figure.axes[0].get_ylabel().endswith("(log scale)")
    axes = five.figures["layers"].axes[0]
    low, high = axes.get_ylim()
    shown = [tick for tick in axes.get_yticks() if low <= tick <= high]
    assert len(shown) >= 3
    assert axes.yaxis.get_major_formatter()(0.05, None) == "0.05"


def test_blocks_are_named_where_few_and_counted_where_many_or_of_other_names():
    few = analyze([build_cushions(blocks=[1.0] * 3)]).figures["interlayer"].axes[0]
    assert [one.get_text() for one in few.get_xticklabels()] == ["stage1.0", "stage1.1", "stage2.0"]
    many = analyze([build_cushions(blocks=[1.0] * 20, stages=(10, 10), images=4)])
    axes = many.figures["interlayer"].axes[0]
    assert axes.get_xlabel() == "block (position in the network)"
    assert [one.get_text() for one in axes.texts][1] == "stage 2\nstage2.0–stage2.9"
    other = build_cushions("b", group="h", blocks=[1.0] * 3, stages=(1, 2))
    both = analyze([build_cushions(blocks=[1.0] * 3), other])
    assert both.figures["interlayer"].axes[0].get_xlabel() == "block (position in the network)"


def test_many_layers_are_counted_and_not_named():
    names = [f"layer{i}" for i in range(40)]
    found = analyze([build_cushions(layers=names, medians=np.linspace(0.1, 1, 40))])
    (axes,) = found.figures["layers"].axes
    assert axes.get_xlabel() == "layer, in the order of execution"


def test_a_layer_without_a_cushion_leaves_a_gap():
    found = analyze([build_cushions(medians=(0.05, np.nan, 0.03, 0.04, 0.3))])
    (drawn,) = lines(found.figures["layers"].axes[0], "o")
    assert np.isnan(drawn).tolist() == [False, True, False, False, False]


def test_means_over_networks_are_geometric_and_plain_where_one_is_zero():
    found = average([np.array([1.0, 0.0]), np.array([4.0, 4.0])])
    np.testing.assert_allclose(found, [2.0, 2.0])


@pytest.mark.parametrize("name", ["layers", "norms", "groups", "interlayer"])
def test_every_figure_can_be_written(five, name):
    target = io.BytesIO()
    five.figures[name].savefig(target, format="svg")
    assert target.getbuffer().nbytes > 5000
