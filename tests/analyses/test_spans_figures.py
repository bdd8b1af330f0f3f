"""What the figures of spans would draw."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.collections import PathCollection, QuadMesh
from resprobe_analyses.spans import analyze, drawing
from resprobe_analyses.spans.effects import ALL
from spanned_lesions import build_spans, realistic


@pytest.fixture(scope="module")
def deep():
    return analyze([realistic((5, 5), images=600)])


def cells(figure) -> QuadMesh:
    (mesh,) = (c for c in figure.axes[0].collections if isinstance(c, QuadMesh))
    return mesh


def points(axes) -> list[np.ndarray]:
    return [np.asarray(c.get_offsets()) for c in axes.collections if isinstance(c, PathCollection)]


def test_the_map_holds_every_span_and_is_blank_past_the_end(deep):
    drawn = cells(deep.figures["map"]).get_array()
    expected = deep.dataset["mean_error_increase"].values.T  # lengths go upwards
    assert np.array_equal(np.ma.getmaskarray(drawn), np.isnan(expected))
    assert drawn.compressed() == pytest.approx(expected[~np.isnan(expected)])


def test_the_map_marks_the_chosen_spans_and_the_transitions(deep):
    axes = deep.figures["map"].axes[0]
    chosen, transitions = points(axes)
    choice = deep.dataset.isel(choice=0)
    lengths = choice["length"].values[choice["chosen_block"].values >= 0]
    assert np.round(chosen[:, 1]) == pytest.approx(lengths)
    assert chosen[:, 0] == pytest.approx(choice["chosen_block"].sel(length=lengths).values)
    assert transitions[:, 0] == pytest.approx([5])
    legend = [text.get_text() for text in deep.figures["map"].legends[0].get_texts()]
    assert legend == [
        "least harmful within stages, chosen on 300 images",
        "transition, and the spans that hold it",
    ]


def test_the_dotted_lines_part_spans_that_hold_a_transition(deep):
    axes = deep.figures["map"].axes[0]
    wall, stair = (line.get_xydata() for line in axes.lines if line.get_linestyle() == ":")
    assert wall.tolist() == [[5.5, 0.5], [5.5, 5.5]]
    holds = deep.dataset["span_transition"].values
    steps = {round(x - 0.5): y for x, y in stair[0::2]}
    assert list(steps) == [5, 4, 3, 2, 1, 0]
    for first, height in steps.items():
        column = [bool(holds[first, k]) for k in range(10 - first)]
        assert column == [k + 1 > height for k in range(10 - first)]


def test_the_colour_bar_has_units_and_says_its_scale(deep):
    label = deep.figures["map"].axes[1].get_ylabel()
    assert "(fraction)" in label
    assert "square-root scale" in label


def test_shades_darken_evenly_in_grey_and_are_never_blank():
    greys = drawing.shades()(np.linspace(0, 1, 50))[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(greys) < 0).all()
    assert greys[0] < 0.9
    assert greys[0] - greys[-1] > 0.6


def test_cells_hold_their_numbers_where_there_are_few():
    few = analyze([build_spans(stages=(4,), harm=[0.1, 0.2, 0, 0.1])]).figures["map"].axes[0]
    numbers = [text.get_text() for text in few.texts if text.get_text()[:5] != "stage"]
    assert len(numbers) == 10
    many = analyze([build_spans(stages=(20,), images=50)]).figures["map"].axes[0]
    assert [text.get_text() for text in many.texts] == ["stage 1"]


def test_the_lengths_show_the_images_that_did_not_choose(deep):
    axes = deep.figures["lengths"].axes[0]
    curves = [line for line in axes.lines if line.get_marker() in {"o", "s", "^"}]
    assert len(curves) == deep.dataset.sizes["choice"] == 3
    for curve, name in zip(curves, deep.dataset["choice"].values, strict=True):
        measured = deep.dataset["measured_on"].sel(choice=name).dropna("length")
        assert curve.get_ydata() == pytest.approx(measured.values)
        assert np.round(curve.get_xdata()) == pytest.approx(measured["length"].values)
    (crosses,) = points(axes)
    chosen_on = deep.dataset["chosen_on"].isel(choice=0).dropna("length")
    assert crosses[:, 1] == pytest.approx(chosen_on.values)
    assert "300 test images" in deep.figures["lengths"].get_suptitle()


def test_choices_differ_in_colour_line_and_marker(deep):
    handles = deep.figures["lengths"].legends[0].legend_handles[:3]
    for what in ("get_color", "get_linestyle", "get_marker"):
        assert len({str(getattr(handle, what)()) for handle in handles}) == 3


def test_angles_show_within_stage_blocks_and_spans(deep):
    blocks, spans = deep.figures["angles"].axes[:2]
    data = deep.dataset.isel(network=0)
    within = data["transition"].values == 0
    drawn = np.concatenate(points(blocks))
    assert drawn[:, 0] == pytest.approx(data["block_influence"].values[within])
    assert drawn[:, 1] == pytest.approx(data["error_increase"].values[within, 0])
    known = np.isfinite(data["mean_angular_distance"].values)
    (drawn,) = points(spans)
    assert drawn[:, 0] == pytest.approx(data["mean_angular_distance"].values[known])


def test_figures_need_no_angles():
    assert list(analyze([build_spans()]).figures) == ["map", "lengths"]
    only = analyze([build_spans(influence=np.linspace(0.1, 0.2, 8))])
    assert list(only.figures) == ["map", "lengths", "angles"]
    assert len(only.figures["angles"].axes) == 1


def test_a_network_without_transitions_has_one_least_harmful_choice():
    assert analyze([build_spans()]).dataset["choice"].values.tolist() == [ALL]


@pytest.mark.parametrize("stages", [(1,), (2,), (18, 18, 18)])
@pytest.mark.parametrize("kind", ["svg", "png"])
def test_figures_of_any_depth_are_written_without_a_warning(stages, kind):
    result = analyze([realistic(stages, images=60)])
    for figure in result.figures.values():
        target = io.BytesIO()
        figure.savefig(target, format=kind)
        assert target.tell() > 3000
