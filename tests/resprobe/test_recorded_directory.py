"""A directory that a Recorder wrote in somebody's loop: an INPUT without a model."""

import json

import pytest
import torch
import xarray as xr
from test_record_edges import record, stack

import resprobe as package


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loop") / "run"
    record(stack(), folder, x=torch.ones(3, 4))
    return folder


def test_it_opens_as_its_file(recorded):
    folder, file = (package.open(path) for path in (recorded, recorded / "training.h5"))
    assert folder.attrs == file.attrs
    assert list(folder.children) == ["training"]
    xr.testing.assert_identical(folder["training/step"].load(), file["training/step"].load())
    folder.close()
    file.close()


def test_it_is_inspected_and_checked(recorded, resprobe):
    result = resprobe("inspect", recorded, "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["groups"][0]["rows"] == "2 steps"
    assert [row["block"] for row in document["blocks"]] == ["0", "1", "2"]
    result = resprobe("check", recorded)
    assert (result.exit_code, "1 files checked" in result.output) == (0, True)


def test_what_an_analysis_lacks_needs_a_model(recorded, resprobe):
    asked = "--model … --weights … --data … -o OUT"
    for path in (recorded, recorded / "training.h5"):
        result = resprobe("analyze", "lesion", path)
        assert result.exit_code == 2
        assert "lacks norms and lesion" in result.stderr
        assert asked in result.stderr
    result = resprobe("analyze", recorded)
    assert result.exit_code == 2
    assert "holds only what was recorded in training, which no analysis reads" in result.stderr
    assert asked in result.stderr


def test_it_can_not_be_collected(recorded, resprobe):
    result = resprobe("collect", recorded)
    assert result.exit_code == 2
    assert "holds what was recorded of a training, but no model" in result.stderr


def test_it_is_exported(recorded, resprobe, tmp_path):
    assert resprobe("export", recorded, "-o", tmp_path / "all.h5").exit_code == 0
    tree = package.open(tmp_path / "all.h5")
    assert tree["training/step"].sizes["step"] == 2
    tree.close()
