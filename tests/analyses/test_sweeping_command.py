"""What `resprobe sweep` says: of bad input in one sentence, and of how it goes."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from resprobe_analyses.sweeps import PointOutcome, to_toml
from resprobe_analyses.sweeps.progress import LiveBar, Quiet, make_progress
from sweeping import tiny

from resprobe.cli.main import resprobe_command


def invoke(*words):
    return CliRunner().invoke(resprobe_command, ["sweep", *map(str, words)])


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(to_toml(tiny()))
    return path


def refused(result, said):
    assert result.exit_code == 2
    assert result.stdout == ""
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("Error:")]) == 1


def test_without_dask_it_names_what_to_install(file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    refused(invoke(file, "-o", tmp_path / "out"), 'pip install "resprobe[distributed]"')
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_not_there_is_refused(tmp_path):
    refused(invoke(tmp_path / "no.toml", "-o", tmp_path / "out"), "No such file")


def test_no_runs_on_a_device_are_refused(file, tmp_path):
    refused(invoke(file, "-o", tmp_path / "out", "--runs-per-device", 0), "--runs-per-device 0")


def test_a_file_in_the_place_of_the_directory_is_refused(file, tmp_path):
    (tmp_path / "out").write_text("")
    refused(invoke(file, "-o", tmp_path / "out"), "is a file")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def outcome(status, message=""):
    metrics = {"test_error": 0.25} if status == "finished" else {}
    return PointOutcome("seed0", Path("run"), "", {}, 0, status, 2, 1.5, metrics, message)


@pytest.mark.parametrize(("status", "code"), [("finished", 0), ("failed", 1), ("diverged", 1)])
def test_the_exit_status_says_whether_every_run_ended_well(
    status, code, file, tmp_path, monkeypatch
):
    ends = [outcome("finished"), outcome(status, "the loss is not finite")]
    monkeypatch.setattr("resprobe_analyses.sweeps.run_sweep", lambda *_, **__: ends)
    result = invoke(file, "-o", tmp_path / "out")
    assert result.exit_code == code
    assert ("the loss is not finite" in result.stdout) == (code == 1)


def test_a_terminal_gets_a_bar_that_counts_and_a_line_for_each_end():
    stream = Terminal()
    bar = make_progress(stream=stream)
    assert isinstance(bar, LiveBar)
    bar.start(4, 1)
    bar.running(["seed0", "seed1"])
    bar.ended(outcome("finished"))
    bar.ended(outcome("failed", "no [memory]"))
    bar.running(["seed1"])
    bar.stop()
    text = stream.getvalue()
    assert "seed0: finished at attempt 2, test error 0.2500, 1.5 s" in text
    assert "no [memory]" in text
    assert "3/4" in text
    assert "1 running, 1 failed" in text


def test_a_pipe_gets_a_line_for_each_end():
    stream = io.StringIO()
    lines = make_progress(stream=stream)
    lines.start(4, 1)
    lines.running(["seed0"])
    lines.ended(outcome("finished"))
    assert stream.getvalue() == "[2 of 4] seed0: finished at attempt 2, test error 0.2500, 1.5 s\n"
    assert isinstance(make_progress(quiet=True, stream=Terminal()), Quiet)
