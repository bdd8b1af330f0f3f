"""`resprobe analyze norm-vs-depth` on trained runs, and which analyses run unasked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import xarray as xr
from click.testing import CliRunner

import resprobe.analyze as analyses
from resprobe.cli.main import resprobe_command
from resprobe.errors import InputError
from resprobe.result import Analysis, Result

SETTINGS = (
    "train.epochs=1",
    "train.stop_train_loss=10.0",
    "data.subset=50",
    "model.width_factor=0.25",
    "checkpoint.initial=true",
    "record.every=0",  # the loss reached is then known from the checkpoint alone
)


def invoke(*arguments: object):
    words = [str(argument) for argument in arguments]
    result = CliRunner().invoke(resprobe_command, words, prog_name="resprobe")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Path]:
    """Two depths, measured before and after a short training; not to be changed."""
    folder = tmp_path_factory.mktemp("depths")
    chosen = [word for setting in SETTINGS for word in ("--set", setting)]
    for depth in (8, 14):
        run = folder / f"d{depth}"
        words = ["resnet-20-digits", *chosen, "--set", f"model.depth={depth}", "-o", run]
        assert invoke("train", *words, "--quiet").exit_code == 0
        words = ["--checkpoint", "all", "--quantity", "branch_norm", "--samples", 20, "--quiet"]
        assert invoke("collect", run, *words).exit_code == 0
    return [folder / "d8", folder / "d14"]


def test_depths_are_compared_unasked_and_the_loss_is_that_of_the_checkpoint(runs, tmp_path):
    result = invoke("analyze", *runs, "-o", tmp_path, "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    (found,) = document["analyses"]
    assert found["name"] == "norm-vs-depth"
    nets = found["verdict"]["findings"]["networks"]
    assert [net["blocks"] for net in nets] == [3, 6]
    for net, run in zip(nets, runs, strict=True):
        info = json.loads(max((run / "checkpoints").glob("*.json")).read_text(encoding="utf-8"))
        assert net["train_loss"] == info["metrics"]["train_loss"]
        assert net["excluded"] is None
        assert net["untrained_gamma"] > 0
    assert (tmp_path / "norm-vs-depth" / "figure-depth.png").exists()


def test_one_depth_is_analyzed_only_when_asked_by_name(runs, tmp_path):
    result = invoke("analyze", runs[0], "--json", "-o", tmp_path / "none")
    document = json.loads(result.stdout)
    assert document["analyses"] == []
    told = f"norm-vs-depth, asked by name: run `resprobe analyze norm-vs-depth {runs[0]}`."
    assert document["not_measured"][-1] == told
    lone = runs[0] / "collected" / "step-00000001" / "norms.h5"
    lone = Path(shutil.copy(lone, tmp_path / "net.h5"))
    result = invoke("analyze", "norm-vs-depth", lone)
    assert result.exit_code == 0, result.stderr
    assert "not attempted at this scale" in result.stdout
    assert (tmp_path / "net.analyses" / "norm-vs-depth" / "figure-time.svg").exists()


def offer(monkeypatch, *offered: Analysis) -> None:
    found = {analysis.name: analysis for analysis in offered}
    monkeypatch.setattr(analyses.registry, "entries", lambda kind: found)
    monkeypatch.setattr(analyses.registry, "load", lambda kind, name: found[name])


def refuse(inputs):
    raise InputError("these have different blocks.")


def test_an_analysis_that_refuses_the_inputs_does_not_stop_the_others(runs, tmp_path, monkeypatch):
    empty = Result(xr.Dataset(), {}, {"analysis": "willing"}, "nothing.")
    willing = Analysis("willing", "Takes all.", ("norms",), lambda inputs: empty)
    refusing = Analysis("refusing", "Refuses.", ("norms",), refuse)
    offer(monkeypatch, refusing, willing)
    written, lacking = analyses.analyze(
        None, runs, tmp_path, collector=lambda *_: None, tell=lambda text: None
    )
    assert [item.name for item in written] == ["willing"]
    assert lacking == ["refusing: these have different blocks."]
    offer(monkeypatch, refusing)
    with pytest.raises(InputError, match="different blocks"):
        analyses.analyze(None, runs, tmp_path, collector=lambda *_: None, tell=lambda text: None)
