"""Two groups of networks in the analysis of spans."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from resprobe_analyses import statistics
from resprobe_analyses.spans import analyze
from spanned_lesions import build_spans, without_figures


@pytest.fixture(scope="module")
def inputs():
    harms = [0.3, 0.0, 0.0, 0.0, 0.05, 0.0], [0.0, 0.0, 0.0, 0.0, 0.05, 0.0]
    influences = [0.2, 0.1, 0.1, 0.1, 0.1, 0.3], [0.1] * 6
    return [
        build_spans(name, group=name, stages=(3, 3), harm=harm, influence=influence)
        for name, harm, influence in zip(("after", "before"), harms, influences, strict=True)
    ]


@pytest.fixture(scope="module")
def result(inputs):
    return analyze(inputs)


def test_lesions_of_single_blocks_are_compared_image_by_image(inputs, result):
    data = result.dataset.sel(contrast="after − before")
    changes = [
        (one["correct"].values[:, None] - one["span_lesion_correct"].values[:, :, 0]).astype(float)
        for one in (given.families["lesion-span"] for given in inputs)
    ]
    for block in range(6):
        by_image = changes[0][:, block] - changes[1][:, block]
        value, low, high = statistics.mean_change_interval(by_image)
        cell = data.isel(block=block)
        assert cell["single_lesion_error_increase_difference"].item() == pytest.approx(value)
        assert cell["single_lesion_error_increase_difference_low"].item() == pytest.approx(low)
        assert cell["single_lesion_error_increase_difference_high"].item() == pytest.approx(high)


def test_influence_is_compared_where_blocks_keep_their_shape(result):
    found = result.dataset["block_influence_difference"].values[0]
    assert found[[0, 1, 2, 4, 5]] == pytest.approx([0.1, 0, 0, 0, 0.2], abs=1e-6)
    assert np.isnan(found[3])
    lesion, influence = result.verdict["findings"]["differences"]
    assert lesion["changed_blocks"] == ["stage1.0"]
    assert set(influence["changed_blocks"]) == {"stage1.0", "stage2.2"}


def test_each_group_keeps_its_spans_and_each_network_its_numbers(inputs, result):
    for place, given in enumerate(inputs):
        alone = without_figures([given])
        data = result.dataset.isel(group=place, network=place)
        assert list(data["choice"].values) == list(alone.dataset["choice"].values)
        for name in ("chosen_block", "measured_on", "mean_error_increase"):
            assert np.array_equal(data[name], alone.dataset[name], equal_nan=True)
        assert np.array_equal(
            data["error_increase"], alone.dataset["error_increase"].isel(network=0), equal_nan=True
        )
        assert set(alone.summary.splitlines()) < set(result.summary.splitlines())
    assert list(result.dataset["network_group"].values) == ["after", "before"]
    assert result.verdict["inputs"] == ["after", "before"]
    assert result.verdict["findings"]["second"]["group"] == "before"
    assert {"map", "lengths", "map-2", "lengths-2", "difference"} <= set(result.figures)
    json.dumps(result.verdict, allow_nan=False)


def test_the_differences_come_first_and_are_said_once(inputs, result):
    lines = result.summary.splitlines()
    assert lines[0].startswith("after against before: the error increase by the lesion of one")
    assert lines[1].startswith("after against before: block influence differs")
    # with lesions of their own, the analysis of lesions says it
    lesioned = []
    for given in inputs:
        groups = {name: node.to_dataset() for name, node in given.tree.children.items()}
        tree = xr.DataTree.from_dict({**groups, "lesion": xr.Dataset({"x": 1})})
        lesioned.append(replace(given, tree=tree))
    assert without_figures(lesioned).summary.splitlines() == lines[1:]


def test_a_group_that_can_not_be_interpreted_is_left_out_of_the_lesions_alone(inputs, tmp_path):
    bad = build_spans("bad", group="bad", stages=(3, 3), base_error=0.8, influence=[0.1] * 6)
    result = without_figures([inputs[0], bad])
    assert "bad is uninterpretable" in result.summary
    assert [one["quantity"] for one in result.verdict["findings"]["differences"]] == [
        "block_influence"
    ]
    assert (result.dataset["chosen_block"].isel(group=1).values < 0).all()
    result.dataset.to_netcdf(tmp_path / "d.nc", engine="h5netcdf")


def test_angles_of_single_blocks_are_compared_image_by_image(inputs):
    def turned(given, factor):
        data = given.families["lesion-span"]
        generator = np.random.default_rng(1)
        angles = factor + 0.01 * generator.random((data.sizes["sample"], 6, 6))
        added = xr.Dataset(coords=data.coords).assign(
            angular_distance=(("sample", "block", "length"), angles),
            mean_angular_distance=(("block", "length"), angles.mean(axis=0)),
        )
        groups = {name: node.to_dataset() for name, node in given.tree.children.items()}
        return replace(given, tree=xr.DataTree.from_dict({**groups, "angular-distance": added}))

    result = without_figures([turned(inputs[0], 0.3), turned(inputs[1], 0.2)])
    found = result.dataset["block_angular_distance_difference"].values
    assert found == pytest.approx(np.full((1, 6), 0.1))
    assert "angular distance of a block differs" not in result.summary  # the influence says it
