"""The directory of a sweep as an INPUT: it stands for its runs that were trained to the end."""

from __future__ import annotations

import json
import shutil

import pytest
import xarray as xr
from test_analyze_command import other_seed, written

import resprobe as package
from resprobe.errors import InputError


@pytest.fixture
def sweep(measured, tmp_path):
    """A sweep of two trained runs, one that was cut and one that was not begun."""
    folder = tmp_path / "sweep"
    runs = folder / "runs"
    runs.mkdir(parents=True)
    (folder / "sweep.toml").write_text("")
    other_seed(measured, tmp_path).rename(runs / "seed1")
    shutil.copytree(measured, runs / "seed0")
    shutil.copytree(measured, runs / "seed2")
    for path in (runs / "seed2" / "checkpoints").glob("step-*[0-9].json"):
        info = json.loads(path.read_text())
        path.write_text(json.dumps({**info, "status": "running"}))
    (runs / "seed3").mkdir()
    return folder


def test_a_sweep_stands_for_its_trained_runs_and_says_which_it_left_out(sweep, resprobe, tmp_path):
    result = resprobe("analyze", "lesion", sweep)
    assert result.exit_code == 0, result.stderr
    assert f"{sweep}: left out, because not trained to the end: seed2, seed3" in result.stderr
    written(sweep / "analyses" / "lesion")
    named = [sweep / "runs" / "seed0", sweep / "runs" / "seed1"]
    assert resprobe("analyze", "lesion", *named, "-o", tmp_path / "named").exit_code == 0
    with (
        xr.open_dataset(sweep / "analyses" / "lesion" / "dataset.nc", engine="h5netcdf") as one,
        xr.open_dataset(tmp_path / "named" / "dataset.nc", engine="h5netcdf") as other,
    ):
        assert one.identical(other)


def test_a_sweep_and_one_of_its_runs_are_refused_together(sweep, resprobe):
    result = resprobe("analyze", "lesion", sweep, sweep / "runs" / "seed0")
    assert result.exit_code == 2
    assert "is given twice" in result.stderr


def test_a_sweep_without_a_trained_run_is_refused(sweep, resprobe):
    for name in ("seed0", "seed1"):
        shutil.rmtree(sweep / "runs" / name)
    result = resprobe("analyze", sweep)
    assert result.exit_code == 2
    assert "resprobe sweep" in result.stderr


def test_check_looks_at_every_run_of_a_sweep(sweep, resprobe):
    whole = resprobe("check", sweep, "--json")
    assert whole.exit_code == 0, whole.stdout
    files = json.loads(whole.stdout)["files"]
    assert {name for name in ("seed0", "seed1", "seed2") if f"/{name}/" in str(files)} == {
        "seed0",
        "seed1",
        "seed2",
    }
    (weights,) = list((sweep / "runs" / "seed1" / "checkpoints").glob("*8.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100])
    damaged = resprobe("check", sweep)
    assert damaged.exit_code == 1
    assert str(weights) in damaged.stdout


def test_what_takes_one_run_names_a_run_of_the_sweep(sweep, resprobe):
    result = resprobe("inspect", sweep)
    assert result.exit_code == 2
    assert str(sweep / "runs" / "seed0") in result.stderr
    with pytest.raises(InputError, match="one of the runs of this sweep"):
        package.open(sweep)
