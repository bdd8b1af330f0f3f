"""What the figures of stability would draw."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from matplotlib.collections import EllipseCollection, LineCollection, PathCollection
from matplotlib.patches import Circle
from matplotlib.text import Text
from resprobe_analyses import statistics
from resprobe_analyses.stability import analyze
from resprobe_analyses.stability.conditions import tallies
from resprobe_analyses.stability.figure_conditions import conditions_figure
from resprobe_analyses.stability.figure_norms import norms_figure
from resprobe_analyses.stability.figure_spectra import spectra_figure
from resprobe_analyses.stability.figure_training import training_figure
from resprobe_analyses.stability.networks import read_groups
from stability_data import build, changed, leaf


@pytest.fixture(scope="module")
def result():
    return analyze([build("r20", shift=-0.5, training=(0, 10, 20), step=20).input])


def panels(figure) -> list:
    return [axes for axes in figure.axes if axes.axison]


def points(axes) -> np.ndarray:
    found = [np.asarray(c.get_offsets()) for c in axes.collections if isinstance(c, PathCollection)]
    return np.concatenate(found)


def bars(axes) -> np.ndarray:
    """Low and high end of every bar, (bar, end); bars without an interval are not drawn."""
    found = [c.get_segments() for c in axes.collections if isinstance(c, LineCollection)]
    return np.array([np.sort(line[:, 1]) for lines in found for line in lines if line.size])


def ticks(axes) -> list[str]:
    return [label.get_text() for label in axes.get_xticklabels()]


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_figures_are_those_of_what_was_measured(result):
    assert list(result.figures) == ["spectra", "norms", "conditions", "lyapunov", "training"]
    bare = analyze([build(spectrum=False, lyapunov=False).input])
    assert list(bare.figures) == ["norms", "conditions"]


def test_the_spectra_hold_every_eigenvalue_and_the_circle(result):
    drawn = panels(result.figures["spectra"])
    places = [0, 1, 2, 4, 5, 7, 8]
    assert [axes.get_title() for axes in drawn] == [f"stage{p // 3 + 1}.{p % 3}" for p in places]
    data = result.dataset.isel(network=0)
    for axes, place in zip(drawn, places, strict=True):
        cell = data.isel(position=place)
        expected = np.column_stack(
            [cell["eigenvalue_real"].values.ravel(), cell["eigenvalue_imag"].values.ravel()]
        )
        found = points(axes)
        assert np.sort(found.view(complex).ravel()) == pytest.approx(
            np.sort(expected.view(complex).ravel())
        )
        (circle,) = (patch for patch in axes.patches if isinstance(patch, Circle))
        assert (circle.center, circle.radius) == ((-1.0, 0), 1)
        low, high = axes.get_xlim()
        assert low <= found[:, 0].min()
        assert found[:, 0].max() <= high


def test_discs_have_the_radius_of_the_error(result):
    axes = panels(result.figures["spectra"])[0]
    discs = [c for c in axes.collections if isinstance(c, EllipseCollection)]
    drawn = np.concatenate([disc.get_widths() for disc in discs]) / 2
    expected = result.dataset.isel(network=0, position=0)["eigenvalue_error"].values.ravel()
    assert np.sort(drawn) == pytest.approx(np.sort(expected))
    title = result.figures["spectra"].legends[0].get_title().get_text()
    assert "residual × norm × condition number, largest radius" in title


def test_what_did_not_converge_is_hollow_and_in_the_legend():
    made = build(stages=(2,), images=2)
    data = leaf(made, "spectrum")
    data["jacobian_eigenvalue_converged"][0, 0, 0, 0] = 0
    data["jacobian_eigenvalue_condition"][1, 0, 0, 1] = np.nan
    figure = spectra_figure(read_groups([changed(made, "spectrum", data)]))
    marks = [c for c in panels(figure)[0].collections if isinstance(c, PathCollection)]
    hollow = [c for c in marks if np.allclose(c.get_facecolor()[0, :3], 1)]
    assert [len(c.get_offsets()) for c in hollow] == [1]
    assert "not converged" in legend(figure)
    assert "(the last where it was computed)" in figure.legends[0].get_title().get_text()


def test_many_blocks_are_put_together_by_parts_of_stages():
    made = build("deep", stages=(18, 18, 18), images=2, size=6)
    drawn = panels(spectra_figure(read_groups([made.input])))
    assert len(drawn) == 12
    assert drawn[0].get_title() == "stage 1\nstage1.0–stage1.4"
    assert drawn[4].get_title() == "stage 2\nstage2.1–stage2.5"
    assert len(points(drawn[0])) == 5 * 2 * 12


def test_several_groups_have_a_row_each_and_plain_ones_the_unit_circle():
    inputs = [build("r", group="r").input, build("p", group="p", plain=True).input]
    drawn = panels(spectra_figure(read_groups(inputs)))
    assert [axes.get_title() for axes in drawn] == [
        f"{label}, stage {stage}\nstage{stage}.{int(stage > 1)}–stage{stage}.2"
        for label in "rp"
        for stage in (1, 2, 3)
    ]
    centres = [next(p for p in axes.patches if isinstance(p, Circle)).center[0] for axes in drawn]
    assert centres == [-1.0] * 3 + [0.0] * 3


def test_norms_are_medians_with_transitions_hollow(result):
    axes = result.figures["norms"].axes
    assert len(axes) == 4
    data = result.dataset.isel(network=0)
    for panel, name in zip(
        axes, ("spectral_abscissa", "log_norm", "spectral_norm", "spectral_radius"), strict=True
    ):
        found = points(panel)
        drawn = found[np.isfinite(found).all(axis=1)]
        expected = data[name].values.ravel()
        assert np.sort(drawn[:, 1]) == pytest.approx(np.sort(expected[np.isfinite(expected)]))
        spread = data[f"{name}_spread"].transpose("part", "position", "bound").values
        assert bars(panel) == pytest.approx(spread[np.isfinite(spread).all(axis=-1)])
    shaded = [p.get_x() for p in axes[1].patches]
    assert shaded == [2.5, 5.5]
    assert not axes[2].patches
    assert legend(result.figures["norms"]) == [
        "branch Jacobian",
        "whole block",
        "transition",
        "not square: no eigenvalues, no log norm",
    ]


def test_conditions_are_shares_with_exact_intervals(result):
    axes = result.figures["conditions"].axes
    data = result.dataset.isel(network=0)
    for panel, name in zip(axes, ("eq5", "euler", "contraction"), strict=True):
        cell = data.sel(condition=name)
        drawn = points(panel)
        assert drawn[:, 1] == pytest.approx(cell["share_holding"].values, nan_ok=True)
        tested = np.isfinite(cell["share_holding"].values)
        assert bars(panel) == pytest.approx(cell["share_holding_interval"].values[tested])


def test_several_networks_of_a_group_have_no_interval_below_five_seeds():
    inputs = [
        build(f"a-seed{s}", group="a", seed=s, stages=(3,), images=4, shift=-0.5).input
        for s in range(5)
    ]
    few = conditions_figure(read_groups(inputs[:4]))
    assert all(not bars(axes).size for axes in few.axes)
    assert "no interval" in few.legends[0].get_title().get_text()
    groups = read_groups(inputs)
    figure = conditions_figure(groups)
    shares = np.array([tallies(net)["eq5"].share for net in groups[0].networks])
    mean, low, high = statistics.student_interval(shares)
    assert points(figure.axes[0])[:, 1] == pytest.approx(mean)
    spread = np.isfinite(low)
    expected = np.clip(np.column_stack([low, high]), 0, 1)[spread]
    assert spread.any()
    assert bars(figure.axes[0]) == pytest.approx(expected)
    assert "over seeds" in figure.legends[0].get_title().get_text()


def test_exponents_are_lines_over_depth(result):
    drawn = panels(result.figures["lyapunov"])
    assert [axes.get_title() for axes in drawn] == [
        "stage 1: stage1.0–stage1.2",
        "stage 2: stage2.1–stage2.2",
        "stage 3: stage3.1–stage3.2",
    ]
    assert ticks(drawn[1]) == ["stage2.1", "stage2.2"]
    data = result.dataset.isel(network=0)
    for axes, blocks in zip(drawn, ([0, 1, 2], [4, 5], [7, 8]), strict=True):
        curves = [line for line in axes.lines if line.get_marker() != "None"]
        assert len(curves) == 6
        cell = data.isel(position=blocks)
        for number, curve in enumerate(curves[:4]):
            assert curve.get_ydata() == pytest.approx(cell["lyapunov_exponents"].values[:, number])
            assert curve.get_xdata() == pytest.approx(np.arange(1, len(blocks) + 1))
        assert curves[4].get_ydata() == pytest.approx(cell["perturbation_growth"].values)
        assert curves[5].get_ydata() == pytest.approx(cell["growth_bound"].values)
    assert legend(result.figures["lyapunov"])[0] == "leading exponent"
    title = result.figures["lyapunov"].legends[0].get_title().get_text()
    assert "exponents are ordered at the last block of a run" in title


def test_training_draws_every_block_and_the_median_of_each_stage(result):
    axes = result.figures["training"].axes
    data = result.dataset.isel(network=0).sel(part="branch")
    assert len(axes) == 4
    thin = [line for line in axes[2].lines if line.get_linewidth() < 1]
    thick = [line for line in axes[2].lines if line.get_linewidth() > 1]
    assert len(thin) == 9
    for place, line in enumerate(thin):
        assert line.get_ydata() == pytest.approx(
            data["training_spectral_norm"].isel(position=place).values
        )
    for blocks, line in zip(([0, 1, 2], [4, 5], [7, 8]), thick, strict=True):
        values = data["training_spectral_norm"].isel(position=blocks).values
        assert line.get_ydata() == pytest.approx(np.median(values, axis=1))
    assert len({line.get_color() for line in thick}) == 3
    assert "4 fixed samples" in result.figures["training"].get_suptitle()
    assert legend(result.figures["training"])[1] == "stage 2 (stage2.0–stage2.2)"


def test_few_blocks_are_named_on_the_axis_and_many_counted_with_stages_named_by_blocks(result):
    names = [f"stage{stage}.{place}" for stage in (1, 2, 3) for place in (0, 1, 2)]
    for figure in ("norms", "conditions"):
        lowest = result.figures[figure].axes[-1]
        assert ticks(lowest) == names
        assert lowest.get_xlabel() == "block"
    deep = norms_figure(read_groups([build("deep", stages=(18, 18), images=2, size=6).input]))
    assert deep.axes[-1].get_xlabel() == "block (position in the network)"
    assert [text.get_text() for text in deep.axes[0].texts] == [
        "stage 1\nstage1.0–stage1.17",
        "stage 2\nstage2.0–stage2.17",
    ]
    narrow = norms_figure(read_groups([build(stages=(1,) * 20, images=2, size=6).input]))
    assert [text.get_text() for text in narrow.axes[0].texts][:2] == ["stage 1", "stage 2"]


def test_a_logarithmic_axis_says_so():
    branches = [np.diag([0.01 * 10**power, 0.001]) for power in range(3)]
    made = build(stages=(3,), images=2, branches=branches, plain=True, training=(0, 5))
    groups = read_groups([made.input])
    assert norms_figure(groups).axes[2].get_ylabel().endswith("(log scale)")
    assert training_figure(groups).axes[2].get_title().endswith("(log scale)")


def test_figures_of_plain_networks_have_units():
    inputs = [
        build(name, group=name, plain=True, images=2, size=6, training=(0, 5)).input
        for name in "pq"
    ]
    for figure in analyze(inputs).figures.values():
        written = [text.get_text() for text in figure.findobj(Text)]
        assert not [one for one in written if re.search(r"(?i)\b(branch|block)(es|s)?\b", one)]
        assert [one for one in written if re.search(r"(?i)\bunit", one)]


@pytest.mark.parametrize(("stages", "kind"), [((1,), "png"), ((3, 2), "svg")])
def test_figures_are_written_without_a_warning(stages, kind):
    made = build(stages=stages, images=2, size=6, training=(0, 5))
    for figure in analyze([made.input]).figures.values():
        target = io.BytesIO()
        figure.savefig(target, format=kind, dpi=40)
        assert target.tell() > 3000
