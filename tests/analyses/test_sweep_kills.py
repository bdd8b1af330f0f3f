"""Sweeps whose workers and whose own process are killed: nothing is lost, nothing is repeated."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from resprobe_analyses.sweeps import Arm, Sweep, to_toml
from sweeping import (
    TINY,
    attempts,
    finished,
    kill_a_worker,
    scheduler,
    start_sweep,
    under_way,
    until,
    worker,
)

import resprobe
from resprobe import registry

LONG = {
    **TINY,
    "data.subset": 600,
    "train.epochs": 6,
    "record.every": 1,
    "checkpoint.every_epochs": 1,
}


def sweep_of(seeds):
    return Sweep("long", (Arm("", "resnet-20-digits"),), tuple(range(seeds)), LONG)


def recorded(run):
    with resprobe.open(run) as tree:
        return {
            f"{group}/{name}": variable.values
            for group in ("step", "epoch")
            for name, variable in tree["training"][group].dataset.variables.items()
            if name != "wall_time"
        }


def same_bits(out, folder):
    """Compare all runs of a sweep with trainings that nothing interrupted."""
    train = registry.load("commands", "train")
    for name, weights in finished(out).items():
        alone = folder / name
        words = [str(out / "points" / f"{name}.toml"), "-o", str(alone), "--quiet", "--json"]
        train.main(words, standalone_mode=False)
        assert (alone / "checkpoints" / weights.name).read_bytes() == weights.read_bytes(), name
        expected, found = recorded(alone), recorded(out / "runs" / name)
        assert expected.keys() == found.keys()
        for variable, values in expected.items():
            np.testing.assert_array_equal(values, found[variable], err_msg=variable)


def kill(out, workers, sweep, begin):
    """Kill workers and then the sweep itself, and let it end in a second start.

    Returns:
        Runs that were killed with their worker, and those that were under way when the sweep was
        killed.
    """
    running, victims, pids = begin(), [], []
    for _ in range(workers):
        name, pid = kill_a_worker(out, but=pids)
        victims.append(name)
        pids.append(pid)
    until(lambda: [p for p in under_way(out).values() if p not in pids], "a run after the kills")
    running.send_signal(signal.SIGKILL)
    running.wait()
    before = {name: path.stat().st_mtime_ns for name, path in finished(out).items()}
    counts = attempts(out)
    assert begin().wait() == 0
    after = finished(out)
    assert len(after) == len(sweep.seeds)
    for name, changed in before.items():  # what was finished is as it was
        assert after[name].stat().st_mtime_ns == changed
        assert attempts(out)[name] <= counts[name] + 1
    for name, count in attempts(out).items():
        assert 1 <= count <= 1 + victims.count(name) + 1
    return victims


@pytest.mark.parametrize(("seeds", "workers"), [(2, 1), pytest.param(6, 2, marks=pytest.mark.slow)])
def test_a_sweep_survives_kills_of_its_workers_and_of_itself(seeds, workers, tmp_path, capsys):
    sweep, out = sweep_of(seeds), tmp_path / "out"
    file = tmp_path / "long.toml"
    file.write_text(to_toml(sweep))
    kill(out, workers, sweep, lambda: start_sweep(file, out))
    same_bits(out, tmp_path / "alone")


@pytest.mark.slow
def test_the_same_through_a_scheduler_and_two_workers_started_by_hand(tmp_path, capsys):
    sweep, out = sweep_of(6), tmp_path / "out"
    file = tmp_path / "long.toml"
    file.write_text(to_toml(sweep))
    with (
        scheduler(tmp_path) as address,
        worker(address, name="one"),
        worker(address, name="two"),
    ):
        kill(out, 2, sweep, lambda: start_sweep(file, out, "--scheduler", address))
        same_bits(out, tmp_path / "alone")


def test_the_workers_of_this_machine_end_with_the_sweep(tmp_path):
    file, out = tmp_path / "long.toml", tmp_path / "out"
    file.write_text(to_toml(sweep_of(1)))
    running = start_sweep(file, out)
    (pid,) = until(lambda: list(under_way(out).values()), "a run with a checkpoint")
    running.send_signal(signal.SIGINT)
    assert running.wait() == 1
    until(lambda: not _is_there(pid), "the end of the worker")
    log = (tmp_path / "out.log").read_text()
    assert "the same command goes on from there" in log
    assert "Traceback" not in log
    assert "Warning" not in log


def _is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
