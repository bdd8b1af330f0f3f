"""`resprobe list` and `resprobe inspect` say what there is."""

from __future__ import annotations

import json

import pytest

from resprobe import registry
from resprobe.quantities.quantity import COSTS, all_quantities


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_kind_is_listed_with_all_its_names(resprobe, kind):
    result = resprobe("list", kind)
    assert result.exit_code == 0
    for name in registry.entries(kind):
        assert f"  {name} " in result.stdout
    document = json.loads(resprobe("list", kind, "--json").stdout)
    assert [row["name"] for row in document] == list(registry.entries(kind))


def test_without_a_kind_everything_is_listed(resprobe):
    result = resprobe("list")
    for kind in registry.KINDS:
        assert f"{kind}\n" in result.stdout
    assert set(json.loads(resprobe("list", "--json").stdout)) == set(registry.KINDS)


def test_a_quantity_is_listed_as_it_is_declared(resprobe):
    rows = {row["name"]: row for row in json.loads(resprobe("list", "quantities", "--json").stdout)}
    for name, quantity in all_quantities().items():
        assert rows[name]["units"] == quantity.units
        assert rows[name]["formula"] == quantity.formula
        assert rows[name]["meaning"] == quantity.meaning


@pytest.mark.parametrize("quantity", all_quantities().values(), ids=lambda q: q.name)
def test_every_quantity_says_all_that_its_readers_need(quantity):
    assert quantity.units
    assert quantity.formula
    assert quantity.source
    assert quantity.meaning.endswith(".")
    assert quantity.cost in COSTS
    assert set(quantity.attributes()) == {"units", "long_name", "formula", "source", "exactness"}


def test_a_registered_model_is_inspected_with_its_blocks(resprobe):
    words = ["cifar-resnet", "--model-arg", "depth=20", "--input-shape", "3,32,32"]
    result = resprobe("inspect", *words)
    assert result.exit_code == 0, result.stderr
    assert "9 residual blocks" in result.stdout
    document = json.loads(resprobe("inspect", *words, "--json").stdout)
    assert len(document["blocks"]) == 9
    assert document["parameters"] > 250_000
    assert document["blocks"][0]["output_shape"] == [16, 32, 32]


def test_a_plain_model_is_inspected_with_its_units(resprobe):
    words = ["--model-arg", "depth=8", "--model-arg", "residual=false"]
    result = resprobe("inspect", "cifar-resnet", *words)
    assert result.exit_code == 0, result.stderr
    assert "units of a plain network" in result.stdout


def test_a_run_is_inspected_with_its_groups_rows_and_blocks(collected, resprobe):
    result = resprobe("inspect", collected)
    assert result.exit_code == 0
    assert "/training/step: 8 steps, finished" in result.stdout
    assert "/step-00000008/lesion: 500 samples, finished" in result.stdout
    assert "test error" in result.stdout
    assert "stage1.0" in result.stdout
    document = json.loads(resprobe("inspect", collected, "--json").stdout)
    assert [block["skip"] for block in document["blocks"]] == ["identity", "padded", "padded"]


def test_a_file_is_inspected_as_well(collected, resprobe):
    (path,) = collected.glob("collected/*/norms.h5")
    assert "/norms: 500 samples, finished" in resprobe("inspect", path).stdout


def test_a_run_with_nothing_in_it_says_so(collected, resprobe, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.toml").write_bytes((collected / "recipe.toml").read_bytes())
    result = resprobe("inspect", run)
    assert result.exit_code == 0
    assert "nothing is recorded or collected yet" in result.stdout


def test_the_version_is_printed(resprobe):
    import resprobe as package

    assert resprobe("--version").stdout == f"resprobe, version {package.__version__}\n"
