"""What the figures draw, read from their artists."""

from __future__ import annotations

import numpy as np
import pytest
from attributed import build
from matplotlib.colors import to_hex
from resprobe_analyses.attribution import analyze, rankings
from resprobe_analyses.attribution.figure_trust import BAND, UNTESTED

HARM = np.linspace(0.4, 0.02, 10)


@pytest.fixture(scope="module", autouse=True)
def few_draws():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rankings, "DRAWS", 100)
        patch.setattr(rankings, "HALVES", 10)
        yield


@pytest.fixture(scope="module")
def result(few_draws):
    return analyze(
        [
            build(
                stages=(10,),
                images=300,
                effects=dict(enumerate(HARM)),
                ratio=HARM,
                weight_norm=np.random.default_rng(0).permutation(10) + 1.0,
                influence=HARM,
                noise=0.1,
            )
        ]
    )


def test_trust_draws_every_correlation_beside_chance_and_the_ceiling(result):
    left, right = result.figures["trust"].axes
    data = result.dataset.sel(network="net", effect="error", ranked_within="stage")
    value = np.sort(data["rank_correlation"].values)
    marks = [line for line in left.lines if line.get_marker() == "o"]
    assert [float(line.get_xdata()[0]) for line in marks] == pytest.approx(value.tolist())
    assert [float(line.get_ydata()[0]) for line in marks] == [0, 1, 2]
    better = data["random_p_holm"].values[np.argsort(data["rank_correlation"].values)] < 0.05
    filled = [to_hex(line.get_markerfacecolor()) != "#ffffff" for line in marks]
    assert filled == better.tolist()
    assert True in filled
    assert False in filled
    bounds = data["rank_correlation_interval"].values
    bars = np.concatenate([np.array(one.get_segments()) for one in left.collections])
    assert np.sort(bars[:, 0, 0]) == pytest.approx(np.sort(bounds[:, 0]))
    (band,) = [patch for patch in left.patches if to_hex(patch.get_facecolor()) == to_hex(BAND)]
    ends = data["random_rank_correlation_interval"].values
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx(tuple(ends))
    ceiling = np.sqrt(float(data["lesion_reliability"]))
    assert any(line.get_xdata()[0] == pytest.approx(ceiling) for line in left.lines)
    cost = result.dataset["chosen_increase"].isel(group=0).sel(share=0.5)
    drawn = [float(one.get_xdata()[0]) for one in right.lines if one.get_marker() == "s"]
    assert sorted(drawn) == pytest.approx(np.sort(cost.values[:3]).tolist())
    lines = [float(one.get_xdata()[0]) for one in right.lines if one.get_marker() != "s"]
    for chooser in ("lesion on other images", "random"):
        assert float(cost.sel(chooser=chooser)) in lines


def test_ranking_draws_a_panel_for_each_predictor_the_best_first(result):
    panels = [axes for axes in result.figures["ranking"].axes if axes.axison]
    data = result.dataset.sel(network="net", effect="error", ranked_within="stage")
    order = np.argsort(-data["rank_correlation"].values)
    assert len(panels) == 3
    for axes, place in zip(panels, order, strict=True):
        drawn = [np.asarray(one.get_offsets()) for one in axes.collections]
        (points,) = [one for one in drawn if len(one) > 1]
        assert points[:, 0] == pytest.approx(data["prediction"].values[place])
        assert points[:, 1] == pytest.approx(data["lesion_error_increase"].values)
    assert panels[0].get_title().startswith("net: +")


def test_kinds_of_branches_are_drawn_apart():
    made = build(stages=(8,), effects={1: 0.3, 4: 0.2}, parameters=[10, 20] * 4)
    figure = analyze([made]).figures["ranking"]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["stage 1, kind 0 of branch", "stage 1, kind 1 of branch"]
    drawn = [one for one in figure.axes[0].collections if one.get_label() in labels]
    assert [len(one.get_offsets()) for one in drawn] == [4, 4]
    assert [to_hex(one.get_facecolor()[0]) == "#ffffff" for one in drawn] == [False, True]


def test_several_groups_share_the_figures(result):
    two = analyze(
        [
            build(name, group=name, stages=(6, 5), images=100, effects=dict(enumerate(HARM)))
            for name in ("a", "b")
        ]
    )
    assert len(two.figures["trust"].axes) == 4
    titles = [axes.get_title() for axes in two.figures["ranking"].axes if axes.axison]
    assert titles[0].startswith("a: ")
    assert any(title.startswith("b: ") for title in titles)
    assert "difference" in two.figures
    assert "difference" not in result.figures


def test_the_mean_of_few_networks_is_marked_as_untested():
    made = [
        build(f"net-seed{seed}", seed=seed, stages=(6, 5), images=100, effects={1: 0.3, 3: 0.2})
        for seed in (0, 1)
    ]
    figure = analyze(made).figures["trust"]
    marks = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert {to_hex(line.get_markerfacecolor()) for line in marks} == {to_hex(UNTESTED)}
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:2] == ["no test below five seeds", "95 % of random rankings of one network"]
    assert sum(line.get_marker() == "|" for line in figure.axes[0].lines) == len(marks)
