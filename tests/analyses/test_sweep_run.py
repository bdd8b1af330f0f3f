"""Sweeps on workers: how runs end, what is repeated, and what is said. Workers are threads here."""

from __future__ import annotations

import errno
import importlib.metadata
import json

import pytest
import xarray as xr
from click.testing import CliRunner
from distributed import LocalCluster
from resprobe_analyses.sweeps import Arm, Collection, run_sweep, to_toml
from resprobe_analyses.sweeps.table import write_table
from resprobe_analyses.sweeps.worker import Ending, Job, _run_held, run_point
from sweeping import attempts, tiny

from resprobe.cli.main import resprobe_command
from resprobe.errors import InputError
from resprobe.store.lock import run_lock


@pytest.fixture(scope="module")
def address():
    """A scheduler with a worker that is a thread: no process has to import torch again."""
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tcp://",
        dashboard_address=None,
        worker_dashboard_address=None,
    ) as cluster:
        yield cluster.scheduler_address


ARMS = (
    Arm("good", "resnet-20-digits"),
    Arm("wild", "resnet-20-digits", {"schedule.learning_rate": 1e30}),
    Arm("lost", "resnet-20-cifar10", {"model.depth": 8, "train.batch_size": 16}),
)


@pytest.fixture(scope="module")
def three_ends(address, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ends")
    (folder / "empty").mkdir()
    sweep = tiny(arms=ARMS)
    told = []
    outcomes = run_sweep(
        sweep, folder / "out", scheduler=address, data_dir=folder / "empty", tell=told.append
    )
    return folder, sweep, outcomes, told


def test_every_run_ends_in_its_own_way_and_the_others_go_on(three_ends):
    good, wild, lost = three_ends[2]
    assert (good.name, good.status, good.attempts) == ("good-seed0", "finished", 1)
    assert set(good.metrics) == {"train_loss", "train_error", "test_loss", "test_error"}
    assert (wild.status, wild.attempts, wild.trained) == ("diverged", 1, False)
    assert "diverged" in wild.message
    assert (lost.status, lost.attempts) == ("failed", 2)
    assert "cifar" in lost.message.lower()


def test_a_failing_run_is_told_of_when_it_is_tried_again(three_ends):
    assert any(line.startswith("lost-seed0 failed and is tried again") for line in three_ends[3])


def test_nothing_that_ended_is_begun_again_unless_it_failed_and_is_asked_for(three_ends, address):
    folder, sweep, outcomes, _ = three_ends
    where = {"scheduler": address, "data_dir": folder / "empty"}
    again = run_sweep(sweep, folder / "out", **where)
    assert again == outcomes
    retried = run_sweep(sweep, folder / "out", **where, retry_failed=True)
    assert [item.attempts for item in retried] == [1, 1, 4]
    assert [item.status for item in retried] == ["finished", "diverged", "failed"]


def test_what_ended_before_a_worker_got_to_it_is_not_begun_again(three_ends):
    """A worker that was given up for lost may end a run that is sent again meanwhile."""
    folder, _, outcomes, _ = three_ends
    before = attempts(folder / "out")
    for outcome in outcomes[:2]:
        version = importlib.metadata.version("resprobe")
        job = Job(folder / "out", outcome.name, 1, (), folder / "empty", version)
        assert run_point(job) == Ending()
    assert attempts(folder / "out") == before


@pytest.mark.parametrize(("refusals", "held"), [(1, True), (2, False)])
def test_a_run_that_is_given_back_between_two_looks_is_held(refusals, held, tmp_path, monkeypatch):
    left = [InputError("in use")] * refusals

    def lock(run):
        if left:
            raise left.pop()
        return run_lock(run)

    monkeypatch.setattr("resprobe_analyses.sweeps.worker.run_lock", lock)
    if held:
        with _run_held(tmp_path):
            assert (tmp_path / ".lock").exists()
    else:  # nobody holds it, and it is refused all the same
        with pytest.raises(InputError, match="in use"), _run_held(tmp_path):
            pass


def test_a_full_disk_is_not_told_as_a_scheduler_that_is_gone(address, tmp_path, monkeypatch):
    full = [OSError(errno.ENOSPC, "No space left on device")]

    def write(*arguments):
        if full:
            raise full.pop()
        write_table(*arguments)

    monkeypatch.setattr("resprobe_analyses.sweeps.run.write_table", write)
    with pytest.raises(OSError, match="No space left"):
        run_sweep(tiny(), tmp_path / "out", scheduler=address)
    (outcome,) = run_sweep(tiny(), tmp_path / "out", scheduler=address)
    assert (outcome.status, outcome.attempts) == ("finished", 1)


def test_the_table_has_a_row_for_every_point(three_ends):
    folder, _, outcomes, _ = three_ends
    with xr.open_dataset(folder / "out" / "sweep.h5", engine="h5netcdf") as table:
        assert table["point"].values.tolist() == [item.name for item in outcomes]
        meanings = table["status"].attrs["flag_meanings"].split()
        assert [meanings[flag] for flag in table["status"].values] == [
            "finished",
            "diverged",
            "failed",
        ]
        assert table["schedule.learning_rate"].values[1] == 1e30
        assert float(table["test_error"][0]) == outcomes[0].metrics["test_error"]
        assert table["test_error"].isnull().values.tolist() == [False, True, True]
    lines = (folder / "out" / "sweep.csv").read_text().splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("point,arm,schedule.learning_rate,")
    assert lines[1].startswith("good-seed0,good,,")


def test_a_sweep_may_grow_and_trains_only_what_is_new(address, tmp_path):
    first = run_sweep(tiny(), tmp_path / "out", scheduler=address)
    measured = Collection(("branch_norm",), samples=20, checkpoint="all")
    grown = tiny(seeds=(0, 1), collections=(measured,))
    kept, new = run_sweep(grown, tmp_path / "out", scheduler=address)
    assert (kept.attempts, new.attempts) == (2, 1)  # the second attempt only measures
    assert kept.metrics == first[0].metrics
    log = (kept.run / "log.txt").read_text()
    assert log.count("training cifar-resnet") == 1
    for outcome in (kept, new):
        assert len(list(outcome.run.glob("collected/*/norms.h5"))) == 1
    assert run_sweep(grown, tmp_path / "out", scheduler=address) == [kept, new]


def test_the_command_says_what_ended_how_and_exits_1_if_a_run_failed(address, tmp_path):
    (tmp_path / "empty").mkdir()
    file = tmp_path / "two.toml"
    file.write_text(to_toml(tiny(arms=(ARMS[0], ARMS[2]))))
    words = ["sweep", str(file), "-o", str(tmp_path / "out"), "--scheduler", address]
    words += ["--data-dir", str(tmp_path / "empty")]
    result = CliRunner().invoke(resprobe_command, [*words, "--json"])
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert [run["status"] for run in document["runs"]] == ["finished", "failed"]
    assert "[2 of 2]" in result.stderr
    result = CliRunner().invoke(resprobe_command, [*words, "--quiet"])
    assert (result.exit_code, result.stderr) == (1, "")
    assert "2 runs, 1 finished, 1 failed" in result.stdout
    assert "--retry-failed" in result.stdout
    assert attempts(tmp_path / "out") == {"good-seed0": 1, "lost-seed0": 2}
