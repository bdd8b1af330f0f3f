import json

import pytest
from click.testing import CliRunner

from resprobe.cli import demo
from resprobe.cli.main import resprobe_command

NAMES = [f"{label}-seed{seed}" for label in ("h1", "h01", "plain") for seed in (0, 1)]


@pytest.fixture
def small(monkeypatch):
    """The demo's own networks and steps at depth 8, on 200 images, for an epoch."""
    tiny = ("model.depth=8", "data.subset=200", "train.epochs=1", "train.stop_train_accuracy=0.99")
    monkeypatch.setattr(demo, "SETTINGS", tiny)


def run(*arguments):
    return CliRunner().invoke(resprobe_command, ["demo", "--quiet", *arguments])


def test_the_demo_goes_the_whole_way_and_reuses_what_is_finished(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = run()
    assert first.exit_code == 0, first.output
    out = tmp_path / "resprobe-demo"
    assert sorted(path.name for path in out.iterdir()) == sorted([*NAMES, "lesion"])
    for name in NAMES:
        assert f"{name}: did not reach 99% training accuracy after 1 epochs" in first.stdout
    assert (out / "lesion/dataset.nc").exists()
    assert "figure-blocks.png" in first.stdout
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    files = {path: path.stat().st_mtime_ns for path in out.rglob("collected/*/*.h5")}
    again = run("--json")
    assert again.exit_code == 0, again.output
    document = json.loads(again.stdout)
    assert [run.split("/")[-1] for run in document["runs"]] == NAMES
    assert document["summary"]
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    assert files == {path: path.stat().st_mtime_ns for path in out.rglob("collected/*/*.h5")}


def test_a_network_that_diverges_is_left_out_and_named(small, tmp_path, monkeypatch):
    hot = demo.NETWORKS[0].__class__("hot", "resnet-56-digits", ("schedule.learning_rate=1e30",))
    monkeypatch.setattr(demo, "NETWORKS", (demo.NETWORKS[0], hot))
    monkeypatch.setattr(demo, "SEEDS", (0,))
    outcome = run("-o", str(tmp_path / "d"))
    assert outcome.exit_code == 0, outcome.output
    assert "hot-seed0 diverged and is left out" in outcome.stdout
