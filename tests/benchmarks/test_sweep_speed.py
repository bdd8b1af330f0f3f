"""What a sweep gains on two cores and costs. Run: pytest tests/benchmarks -m benchmark -s

Wall time on both sides: a sweep is about several processes. The machine must do nothing else.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest
from dask.system import CPU_COUNT
from resprobe_analyses.sweeps import Arm, Sweep, run_sweep

pytestmark = pytest.mark.benchmark

RUNS = 8
SETTINGS = {"record.every": 0, "train.threads": 1, "train.device": "cpu"}


def sweep(epochs, runs):
    settings = {**SETTINGS, "train.epochs": epochs}
    return Sweep("speed", (Arm("", "resnet-20-digits"),), tuple(range(runs)), settings)


def trained(folder, epochs, seed):
    """Train one run by the command, as a user would one after the other; give its wall time."""
    words = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    words += ["--set", f"train.epochs={epochs}", "--seed", str(seed), "-o", str(folder / str(seed))]
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "resprobe", "train", "resnet-20-digits", *words, "--quiet"],
        check=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return time.perf_counter() - begun


def epochs_of(seconds, folder):
    """Say how many epochs take so long on this machine, from short runs."""
    one, five = trained(folder, 1, 101), trained(folder, 5, 105)
    return max(1, round(seconds * 4 / (five - one)))


@pytest.mark.skipif(CPU_COUNT != 2, reason="the limit is one of two cores")
def test_eight_runs_on_two_cores_take_at_most_six_tenths_of_the_serial_time(tmp_path):
    seconds = float(os.environ.get("RESPROBE_SWEEP_SECONDS", "30"))
    epochs = epochs_of(seconds, tmp_path)
    serial = [trained(tmp_path, epochs, seed) for seed in range(RUNS)]
    begun = time.perf_counter()
    outcomes = run_sweep(sweep(epochs, RUNS), tmp_path / "out")
    together = time.perf_counter() - begun
    assert all(outcome.trained for outcome in outcomes)
    ratio = together / sum(serial)
    print(
        f"\n{RUNS} runs of {sum(serial) / RUNS:.1f} s: {sum(serial):.1f} s one by one, "
        f"{together:.1f} s as a sweep: {ratio:.3f}, limit 0.60"
    )
    assert ratio <= 0.6


@dataclass
class Moments:
    """When runs were sent and when they ended, told by the sweep; nothing is shown."""

    sent: list[float]
    ended_at: list[float]

    def start(self, total, ended):
        pass

    def running(self, names):
        if names:
            self.sent.append(time.perf_counter())

    def ended(self, outcome):
        self.ended_at.append(time.perf_counter())

    def line(self, text):
        pass

    def stop(self):
        pass


def test_scheduling_takes_less_than_two_percent_of_a_run_of_a_minute(tmp_path):
    """From one run's end to the next: what passes beside the attempts' own time on one worker."""
    moments = Moments([], [])
    sizes = sweep(0, 2 * CPU_COUNT + 20)
    outcomes = run_sweep(sizes, tmp_path / "out", progress=moments)
    assert all(outcome.trained for outcome in outcomes)
    whole = moments.ended_at[-1] - moments.sent[0]
    busy = sum(outcome.seconds for outcome in outcomes) / CPU_COUNT
    overhead = (whole - busy) * CPU_COUNT / len(outcomes)
    print(f"\nscheduling: {overhead * 1e3:.0f} ms a run, limit 1200 ms (2 % of a minute)")
    assert overhead <= 0.02 * 60
