"""One file of everything: nothing is lost, and it is a file like any other."""

from __future__ import annotations

import numpy as np
import pytest
import stored

import resprobe as package


@pytest.fixture(scope="module")
def exported(collected, resprobe, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "run.h5"
    result = resprobe("export", collected, "-o", out)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == f"next: resprobe check {out}"
    return out


def test_every_group_and_value_is_there(collected, exported):
    run, lone = package.open(collected), package.open(exported)
    groups = {node.path for node in run.leaves}
    assert groups == {node.path for node in lone.leaves}
    for name in groups:
        first, second = run[name].to_dataset().load(), lone[name].to_dataset().load()
        assert set(first.coords) == set(second.coords)
        assert set(first.variables) == set(second.variables)
        for variable in first.variables:
            assert first[variable].dtype == second[variable].dtype
            assert first[variable].dims == second[variable].dims
            np.testing.assert_array_equal(first[variable].values, second[variable].values)
            assert set(first[variable].attrs) == set(second[variable].attrs)
        assert first.attrs == second.attrs


def test_provenance_and_recipe_travel_along(collected, exported):
    run, lone = package.open(collected), package.open(exported)
    assert run.attrs.keys() - lone.attrs.keys() == set()
    assert lone.attrs["recipe"] == run.attrs["recipe"]
    assert lone.attrs["seed"] == run.attrs["seed"]


def test_plain_xarray_opens_it(exported):
    groups = stored.plain_xarray(exported)
    for group in groups.values():
        assert not any(dim.startswith("phony_dim") for dim in group["sizes"])


def test_it_passes_the_check_and_can_be_inspected_and_analyzed(exported, resprobe, tmp_path):
    assert resprobe("check", exported).exit_code == 0
    assert "/step-00000008/lesion" in resprobe("inspect", exported).stdout
    assert resprobe("analyze", "lesion", exported, "-o", tmp_path / "out").exit_code == 0


def test_a_file_is_exported_as_well_as_a_run(collected, resprobe, tmp_path):
    (path,) = collected.glob("collected/*/norms.h5")
    assert resprobe("export", path, "-o", tmp_path / "copy.h5").exit_code == 0
    first, second = package.open(path), package.open(tmp_path / "copy.h5")
    assert first["norms"].to_dataset().load().equals(second["norms"].to_dataset().load())


def test_a_file_that_exists_is_replaced_only_on_request(collected, resprobe, tmp_path):
    out = tmp_path / "out.h5"
    out.write_bytes(b"precious")
    result = resprobe("export", collected, "-o", out)
    assert result.exit_code == 2
    assert "exists" in result.stderr
    assert out.read_bytes() == b"precious"
    assert resprobe("export", collected, "-o", out, "--overwrite").exit_code == 0
    assert resprobe("check", out).exit_code == 0


def test_a_place_that_can_not_be_written_is_bad_input(collected, resprobe, tmp_path):
    result = resprobe("export", collected, "-o", tmp_path / "gone" / "out.h5")
    assert result.exit_code == 2
    assert "can't be written" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_behind(collected, resprobe, tmp_path, monkeypatch):
    import errno
    import os

    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", no_room)
    result = resprobe("export", collected, "-o", tmp_path / "out.h5")
    assert result.exit_code == 1
    assert "no room on the disk" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_run_with_nothing_recorded_names_the_next_command(collected, resprobe, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.toml").write_bytes((collected / "recipe.toml").read_bytes())
    result = resprobe("export", run, "-o", tmp_path / "out.h5")
    assert result.exit_code == 2
    assert f"resprobe collect {run}" in result.stderr
