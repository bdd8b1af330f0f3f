"""How differences are named, said and drawn."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from resprobe_analyses.difference import (
    Compared,
    GroupValues,
    Items,
    NetworkValues,
    compare_groups,
    difference_lines,
    differences_figures,
    differences_json,
    with_differences,
)

NORM = Compared("branch_norm", "‖G‖", ratio=True, symbol=r"$\Vert G\Vert$")
LOSS = Compared("loss", "the loss", units="nat")
LAYER = Compared("cushion", "the cushion", dim="layer")


def groups(blocks=6, factors=(1.0, 1.0), images=50, changed=(), labels=("a", "b", "c")):
    """Networks that differ by a factor in some blocks, and by noise in all."""
    flags = np.isin(np.arange(blocks), (blocks // 2,))
    items = Items(tuple(f"s.{i}" for i in range(blocks)), np.cumsum(flags), flags)
    generator = np.random.default_rng(3)
    made = []
    for label, factor in zip(labels, factors, strict=False):
        scale = np.where(np.isin(np.arange(blocks), changed), factor, 1.0)
        values = np.exp(0.1 * generator.normal(size=(images, blocks))) * scale
        made.append(GroupValues(label, items, [NetworkValues(0, values)]))
    return made


@pytest.fixture(scope="module")
def two():
    found = groups(factors=(1.5, 1.0), changed=(1, 3))
    return [*compare_groups(found, NORM), *compare_groups(found, LOSS)]


def test_a_dataset_gets_named_numbers_and_is_written(two, tmp_path):
    data = with_differences(xr.Dataset({"x": ("block", np.arange(6.0))}), two)
    found = data.sel(contrast="a − b")
    assert found["branch_norm_difference"].values == pytest.approx(two[0].change.value)
    assert found["branch_norm_difference_low"].values == pytest.approx(two[0].change.low)
    assert found["branch_norm_difference_high"].values == pytest.approx(two[0].change.high)
    assert found["branch_norm_difference_p_holm"].values == pytest.approx(two[0].p_holm)
    assert found["branch_norm_difference_mean"].item() == pytest.approx(two[0].mean.value)
    assert data["loss_difference"].attrs["units"] == "nat"
    assert data["branch_norm_difference"].attrs["units"] == "1"
    assert all(data[name].attrs["long_name"] for name in data.data_vars if name != "x")
    data.to_netcdf(tmp_path / "d.nc", engine="h5netcdf")
    json.dumps(differences_json(two), allow_nan=False)
    assert differences_json(two)[0]["changed_blocks"] == ["s.1", "s.3"] or differences_json(two)[0][
        "changed_blocks"
    ] == ["s.3", "s.1"]


def test_contrasts_that_a_dataset_has_are_kept_and_extended(two):
    data = xr.Dataset(
        {"kind": ("contrast", np.array(["plain"])), "mean": ("contrast", [0.5])},
        coords={"contrast": ["p − a"]},
    )
    found = with_differences(data, two)
    assert list(found["contrast"].values) == ["p − a", "a − b"]
    assert list(found["kind"].values) == ["plain", ""]
    assert found["mean"].sel(contrast="p − a").item() == 0.5
    assert np.isnan(found["branch_norm_difference"].sel(contrast="p − a")).all()
    assert with_differences(data, []) is data


def test_networks_of_several_depths_share_one_axis_of_blocks():
    shallow, deep = (
        compare_groups(groups(n, (1.2, 1.0), labels=labels), NORM)
        for n, labels in ((3, ("a", "b")), (5, ("c", "d")))
    )
    found = with_differences(xr.Dataset(), [*shallow, *deep])["branch_norm_difference"]
    assert list(found["block"].values) == [f"s.{i}" for i in range(5)]
    assert np.isfinite(found.sel(contrast="c − d")).all()
    assert np.isnan(found.sel(contrast="a − b").values[3:]).all()


def test_a_sentence_names_the_mean_the_scope_and_the_blocks_that_changed(two):
    norm, loss = difference_lines(two)
    assert norm.startswith("a against b: ‖G‖ is 1.")
    assert "times as large on average over 5 within-stage blocks" in norm
    assert "over 50 test images, these 2 networks" in norm
    assert "2 of 6 blocks differ (Holm, 5 %): s." in norm
    assert "s.3 (transition) 1." in norm
    assert "the loss differs by +0." in loss
    assert " nat on average" in loss


def test_where_nothing_differs_it_is_said():
    (line,) = difference_lines(compare_groups(groups(factors=(1, 1)), NORM))
    assert "no difference seen: ‖G‖ is" in line
    assert "no difference seen for any single one of 6 blocks" in line
    (line,) = difference_lines(compare_groups(groups(factors=(1, 1)), LOSS))
    assert "no difference seen in the loss: it differs by" in line


def test_a_contrast_has_three_lines_at_most_and_three_contrasts_are_told():
    found = groups(factors=(1.5, 1.0), changed=(1,))
    many = [
        one
        for number in range(5)
        for one in compare_groups(found, Compared(f"q{number}", f"quantity {number}"))
    ]
    lines = difference_lines(many)
    assert len(lines) == 3
    assert lines[-1].endswith("In the figure and in verdict.json also: quantity 3, quantity 4.")
    four = groups(factors=(1, 1, 1, 1), labels=("a", "b", "c", "d"))
    lines = difference_lines(compare_groups(four, NORM))
    assert len(lines) == 4
    assert lines[-1] == "3 further comparisons of two groups are in verdict.json."


def test_numbers_without_images_have_no_interval_and_no_test():
    items = Items(("x", "y"))
    made = [
        GroupValues(name, items, [NetworkValues(0, np.array([n, 2.0]))])
        for name, n in (("a", 1.0), ("b", 3.0))
    ]
    (line,) = difference_lines(compare_groups(made, LAYER))
    assert "the cushion differs by −1.0" in line
    assert "over 2 layers (these 2 networks, no interval)" in line
    assert "no test for any single one of 2 layers" in line


def drawn_points(axes) -> list[tuple[float, float, bool]]:
    """Where marks are, and whether they are filled."""
    found = []
    for one in axes.collections:
        if isinstance(one, PathCollection) and len(one.get_offsets()):
            filled = to_hex(one.get_facecolor()[0]) != "#ffffff"
            found += [(float(x), float(y), filled) for x, y in np.asarray(one.get_offsets())]
    return sorted(found)


def test_every_block_is_drawn_and_filled_where_it_differs(two):
    figure = differences_figures(two)["difference"]
    assert len(figure.axes) == 2
    for axes, one in zip(figure.axes, two, strict=True):
        points = drawn_points(axes)
        assert [x for x, _, _ in points] == pytest.approx(range(6))
        assert [y for _, y, _ in points] == pytest.approx(one.change.value)
        assert [i for i, (_, _, filled) in enumerate(points) if filled] == sorted(one.changed)
        bars = [c for c in axes.collections if isinstance(c, LineCollection)]
        assert sum(len(c.get_segments()) for c in bars) == 6
    assert figure.axes[0].get_ylabel() == r"$\Vert G\Vert$, first / second"
    assert figure.axes[1].get_ylabel() == "difference of the loss (nat)"
    assert "a against b" in figure.get_suptitle()


def test_two_contrasts_of_54_blocks_lie_side_by_side_in_other_looks():
    found = compare_groups(groups(54, (1.5, 1.0, 1.2), changed=(4,)), NORM)[:2]
    figure = differences_figures(found)["difference"]
    (axes,) = figure.axes
    assert len(drawn_points(axes)) == 108
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:2] == ["a / b", "a / c"]
    handles = figure.legends[0].legend_handles[:2]
    assert len({handle.get_marker() for handle in handles}) == 2
    assert len({handle.get_linestyle() for handle in handles}) == 2
    figure.draw_without_rendering()


def test_architectures_have_columns_of_their_own_and_what_is_left_out_is_said():
    found = [
        one
        for n in (3, 4, 5, 6)
        for one in compare_groups(groups(n, (1.1, 1.0), labels=(f"a{n}", f"b{n}")), NORM)
    ]
    figure = differences_figures(found)["difference"]
    assert len(figure.axes) == 3
    assert "3 of 4 comparisons" in figure.get_suptitle().replace("\n", " ")
    four = compare_groups(groups(factors=(1, 1, 1, 1), labels=("a", "b", "c", "d")), NORM)
    (axes,) = differences_figures(four)["difference"].axes
    assert len(drawn_points(axes)) == 18
    assert differences_figures([]) == {}


@pytest.mark.parametrize("count", [20, 31])
def test_layers_are_named_on_the_axis_or_in_the_sentence_by_their_position(count):
    items = Items(tuple(f"stage1.{i}.conv" for i in range(count)))
    values = np.arange(count, dtype=float)
    made = [
        GroupValues(name, items, [NetworkValues(0, sign * values)])
        for name, sign in (("a", 1), ("b", -1))
    ]
    found = compare_groups(made, LAYER)
    (axes,) = differences_figures(found)["difference"].axes
    ticks = [tick.get_text() for tick in axes.get_xticklabels()]
    (line,) = difference_lines(found)
    assert (f"stage1.{count - 1}.conv" in ticks) == (count == 20)
    assert (f"stage1.{count - 1}.conv (position {count - 1})" in line) == (count == 31)
    assert axes.get_xlabel() == ("layer" if count == 20 else "layer (position in the network)")


def test_one_outstanding_block_leaves_the_others_to_be_seen():
    made = groups(20, (1.0, 1.0))
    array = made[0].networks[0].values
    array[:, 4] += 50
    (found,) = compare_groups(made, LOSS)
    (axes,) = differences_figures([found])["difference"].axes
    assert axes.get_yscale() == "asinh"
    assert axes.get_ylabel().replace("\n", " ").endswith("asinh scale")
    ticks = [tick for tick in axes.get_yticks() if tick]
    assert min(map(abs, ticks)) < 0.1
    assert {-tick for tick in ticks} == set(ticks)
