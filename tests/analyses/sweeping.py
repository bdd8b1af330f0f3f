"""Small sweeps, and processes of dask and of `resprobe sweep` to run and to kill them in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from resprobe_analyses.sweeps import Arm, Sweep

PATIENCE = 300.0
TINY = {
    "model.depth": 8,
    "data.subset": 150,
    "train.epochs": 1,
    "train.batch_size": 32,
    "record.every": 0,
}


PLAIN = (Arm("", "resnet-20-digits"),)


def tiny(*, seeds=(0,), arms=PLAIN, settings=None, **parts):
    """A sweep of runs of a second."""
    return Sweep("tiny", tuple(arms), tuple(seeds), {**TINY, **(settings or {})}, **parts)


def environment(*folders):
    """One thread a process, and `folders` before all others on Python's path."""
    paths = [*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}


# The jobs that a shell runs in the background ignore SIGINT and pass that on.
COMMAND = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from resprobe.cli.main import main; main()"
)


def start_sweep(file, out, *words):
    """Start `resprobe sweep`; its progress goes to a file beside `out`."""
    with Path(f"{out}.log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, "sweep", str(file), "-o", str(out), *words],
            stdout=log,
            stderr=log,
            env=environment(),
        )


def until(found, what):
    """Wait until `found()` gives something, and give it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited in vain for {what}")


def attempts(out):
    return {path.stem: json.loads(path.read_text())["attempts"] for path in _states(out)}


def _states(out):
    return sorted((out / "points").glob("*.json"))


def under_way(out):
    """Runs with a checkpoint that are being trained now: name to the process that does it."""
    found = {}
    for lock in (out / "runs").glob("*/.lock"):
        try:
            pid = json.loads(lock.read_text())["pid"]
        except (OSError, ValueError):  # it has just ended
            continue
        if any(lock.parent.glob("checkpoints/*.json")):
            found[lock.parent.name] = pid
    return found


def finished(out):
    """Names of the runs that are trained to the end, with what their last file's bytes are."""
    found = {}
    for file in sorted((out / "runs").glob("*/checkpoints/*.json")):
        if json.loads(file.read_text())["status"] == "finished":
            found[file.parent.parent.name] = file.with_suffix(".safetensors")
    return found


def kill_a_worker(out, but=()):
    """Kill the process of a run that has a checkpoint, and give the run's name and the process."""
    name, pid = until(
        lambda: next(((n, p) for n, p in under_way(out).items() if p not in but), None),
        "a run with a checkpoint",
    )
    os.kill(pid, signal.SIGKILL)
    return name, pid


@contextmanager
def process(*words, env=None):
    """A process that is ended at the end."""
    running = subprocess.Popen(
        [sys.executable, *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=env or environment(),
    )
    try:
        yield running
    finally:
        running.terminate()
        running.wait()


@contextmanager
def scheduler(folder):
    """A scheduler started by hand; gives its address."""
    file = folder / "scheduler.json"
    words = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file]
    with process("-m", "distributed.cli.dask_scheduler", *words):
        until(file.exists, "the scheduler")
        yield until(lambda: _address(file), "the scheduler's address")


def _address(file):
    try:
        return json.loads(file.read_text())["address"]
    except ValueError:
        return None


@contextmanager
def worker(address, *, name, env=None):
    """A worker started by hand, with the nanny that dask gives it."""
    words = [address, "--name", name, "--nworkers", "1", "--no-dashboard", "--host", "127.0.0.1"]
    with process("-m", "distributed.cli.dask_worker", *words, env=env) as running:
        yield running
