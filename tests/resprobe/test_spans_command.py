"""Spans of a run: collected, resumed, checked, analyzed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from spanned import Classifier, drawn
from stored import plain_xarray

import resprobe as package
from resprobe.blocks.intervene import Runner
from resprobe.quantities.angular_distance import AngularDistance
from resprobe.quantities.lesion_span import LesionSpan
from resprobe.quantities.spans import inside, spans

LAST = "step-00000008"
FAMILIES = ("lesion-span", "angular-distance")
ASKED = ("--quantity", "+span_lesion_error", "--quantity", "+mean_angular_distance")


def family(run, name):
    with package.open(run / "collected" / LAST / f"{name}.h5") as tree:
        return tree[name].to_dataset().load()


@pytest.fixture(scope="module")
def spanned(collected, resprobe, tmp_path_factory) -> Path:
    """The collected run with both families of spans; not to be changed."""
    run = Path(shutil.copytree(collected, tmp_path_factory.mktemp("spanned") / "run"))
    result = resprobe("collect", run, *ASKED, "--quiet")
    assert result.exit_code == 0, result.output
    return run


def test_spans_of_one_block_are_the_lesions_to_the_bit(spanned):
    lesion, span = family(spanned, "lesion"), family(spanned, "lesion-span").isel(length=0)
    for name in ("lesion_correct", "lesion_loss", "lesion_error"):
        assert span[f"span_{name}"].values.tobytes() == lesion[name].values.tobytes(), name
    for name in ("correct", "test_loss", "test_error"):
        assert span[name].values.tobytes() == lesion[name].values.tobytes(), name


def test_totals_follow_from_the_rows(spanned):
    data = family(spanned, "lesion-span")
    right = data["span_lesion_correct"].values
    assert (right[:, ~inside(3)] == -1).all()
    assert np.isin(right[:, inside(3)], [0, 1]).all()
    np.testing.assert_array_equal(np.isnan(data["span_lesion_loss"].values).any(axis=0), ~inside(3))
    expected = np.where(inside(3), (right == 0).mean(axis=0), np.nan)
    np.testing.assert_allclose(data["span_lesion_error"].values, expected, rtol=1e-12)
    data = family(spanned, "angular-distance")
    rows = data["angular_distance"].values.astype(np.float64)
    np.testing.assert_allclose(data["mean_angular_distance"].values, rows.mean(axis=0), rtol=1e-12)
    error = rows.std(axis=0, ddof=1) / np.sqrt(500)
    np.testing.assert_allclose(
        data["mean_angular_distance_stderr"].values, error, rtol=1e-9, atol=1e-15
    )


def test_the_file_says_what_its_numbers_mean_and_passes_the_check(spanned, resprobe):
    data = family(spanned, "lesion-span")
    assert data["length"].values.tolist() == [1, 2, 3]
    assert data["length"].dtype == np.int64
    correct = data["span_lesion_correct"]
    assert correct.attrs["flag_values"].tolist() == [-1, 0, 1]
    assert correct.attrs["flag_meanings"] == "past_the_end wrong right"
    assert resprobe("check", spanned).exit_code == 0
    for name in FAMILIES:
        groups = plain_xarray(spanned / "collected" / LAST / f"{name}.h5")
        assert groups[f"/{name}"]["sizes"] == {"sample": 500, "block": 3, "length": 3}
        assert groups[f"/{name}"]["values"]["length"] == [1, 2, 3]


def test_a_transition_has_no_angle_but_a_lesion(spanned):
    data = family(spanned, "angular-distance")
    known = np.isfinite(data["mean_angular_distance"].values)
    assert np.argwhere(known).tolist() == [[0, 0]]
    assert np.isfinite(family(spanned, "lesion-span")["span_lesion_error"].values[0]).all()


class StoppedError(Exception):
    """Ends a collection in its middle, as a signal would."""


@pytest.mark.parametrize("name", FAMILIES)
def test_an_interrupted_collection_goes_on_to_the_same_bits(
    run, spanned, resprobe, monkeypatch, name
):
    from resprobe.store.writer import Writer

    append, calls = Writer.append, []

    def append_once(self, group, rows):
        if calls:
            raise StoppedError
        calls.append(group)
        append(self, group, rows)

    quantity = {"lesion-span": "span_lesion_loss", "angular-distance": "angular_distance"}[name]
    words = ("collect", run, "--quantity", quantity, "--quiet")
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "append", append_once)
        with pytest.raises(StoppedError):
            resprobe(*words)
    assert (run / "collected" / LAST / f"{name}.h5.partial").exists()
    assert resprobe(*words).exit_code == 0
    first, second = family(run, name), family(spanned, name)
    for variable in second.variables:
        assert first[variable].values.tobytes() == second[variable].values.tobytes(), variable


def test_of_a_recorded_pass_spans_are_those_of_the_blocks_themselves():
    model, x = Classifier(), drawn((5, 6), 3)
    labels = torch.arange(5) % 3
    with torch.no_grad():
        runner = Runner(model, x)
        lesions = LesionSpan(model, runner.blocks, ("a", "b", "c"))
        rows = lesions.rows(runner.run(x), labels)
        angles = AngularDistance(model, runner.blocks, ("a", "b", "c"))
        distance = angles.rows(runner.run(x, replays=False, states=True), labels)
        states = [x]
        for block in model.blocks:
            states.append(block(states[-1]))
        for first, last in spans(4):
            outputs = model(x, dropped=range(first, last + 1))
            loss = torch.nn.functional.cross_entropy(outputs, labels, reduction="none")
            found = rows["span_lesion_loss"][:, first, last - first]
            torch.testing.assert_close(found, loss.float())
            cosine = torch.cosine_similarity(states[first], states[last + 1], dim=1)
            found = distance["angular_distance"][:, first, last - first]
            torch.testing.assert_close(found, (cosine.acos() / torch.pi).float())


def test_analyze_runs_it_where_spans_were_collected(spanned, resprobe, tmp_path):
    run = Path(shutil.copytree(spanned, tmp_path / "run"))
    result = resprobe("analyze", run)
    assert result.exit_code == 0, result.stderr
    folder = run / "analyses" / "spans"
    assert {path.name for path in folder.iterdir()} >= {
        "dataset.nc",
        "verdict.json",
        "summary.txt",
        "figure-map.svg",
        "figure-map.png",
    }
    assert f"spans: {folder}" in result.stdout
    assert "not measured: spans" not in result.stdout
    verdict = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
    assert verdict["images"] == 500


def test_what_was_not_measured_is_said_with_the_command_for_it(measured, resprobe):
    result = resprobe("analyze", measured)
    command = f"resprobe collect {measured} --quantity +span_lesion_correct"
    told = f"not measured: spans needs lesion-span: run `{command}`."
    assert told in result.stdout.splitlines()
    assert resprobe(*command.split()[1:], "--quiet").exit_code == 0
    result = resprobe("analyze", measured)
    assert "not measured: spans" not in result.stdout
    assert (measured / "analyses" / "spans" / "summary.txt").exists()


def test_a_named_analysis_collects_what_it_lacks(measured, resprobe):
    result = resprobe("analyze", "spans", measured)
    assert result.exit_code == 0, result.stderr
    assert "lacks what" in result.stderr
    assert (measured / "collected" / LAST / "lesion-span.h5").exists()
    assert not (measured / "collected" / LAST / "angular-distance.h5").exists()


def test_a_file_of_a_run_names_the_same_command(measured, resprobe):
    result = resprobe("analyze", "spans", measured / "collected" / LAST / "norms.h5")
    assert result.exit_code == 2
    assert f"`resprobe collect {measured} --quantity +span_lesion_correct`" in result.stderr


def numbers(folder: Path) -> xr.Dataset:
    """Give the analysis' dataset without the name of the network."""
    with xr.open_dataset(folder / "dataset.nc", engine="h5netcdf") as data:
        return data.load().drop_vars("network")


def test_an_exported_file_is_analyzed_like_its_run(spanned, resprobe, tmp_path):
    exported = tmp_path / "all.h5"
    assert resprobe("export", spanned, "-o", exported).exit_code == 0
    for path, out in ((spanned, tmp_path / "a"), (exported, tmp_path / "b")):
        assert resprobe("analyze", "spans", path, "-o", out).exit_code == 0
    found = numbers(tmp_path / "a")
    xr.testing.assert_identical(found, numbers(tmp_path / "b"))
    for name in ("block_influence", "mean_angular_distance"):
        assert found[name].notnull().any(), name


def test_a_lone_file_holds_spans_and_is_analyzed(trained, resprobe, weights_of, tmp_path):
    lone = tmp_path / "net.h5"
    words = [*weights_of(trained), "--samples", 50, "-o", lone, "--quiet"]
    assert resprobe("collect", *words, *ASKED).exit_code == 0
    result = resprobe("analyze", lone)
    assert result.exit_code == 0, result.stderr
    found = numbers(tmp_path / "net.analyses" / "spans")
    assert found["mean_angular_distance"].notnull().any()
