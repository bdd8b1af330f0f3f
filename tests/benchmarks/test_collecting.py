"""What collecting costs beside plain inference. Run: pytest tests/benchmarks -m benchmark -s"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from bare_loop import resnet
from timing import interleaved, line, ratio

from resprobe.blocks.intervene import Runner
from resprobe.collect import collect
from resprobe.data import Images
from resprobe.quantities.lesion import Lesion
from resprobe.quantities.norms import Norms
from resprobe.session import BATCH
from resprobe.source import Source

pytestmark = pytest.mark.benchmark

CLASSES = tuple("0123456789")


def network(depth=20, width=16, channels=3):
    torch.manual_seed(0)
    return resnet(depth, width, channels).eval()


def batch(samples, channels=3, size=32):
    return torch.randn(samples, channels, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "net", "shape", "rounds"),
    [
        ("ResNet-20 on 32x32", (20, 16, 3), (BATCH, 3, 32), 5),
        ("depth 56 on 16x16", (56, 8, 1), (BATCH, 1, 16), 5),
    ],
)
def test_a_lesion_sweep_takes_the_time_predicted_from_its_blocks(name, net, shape, rounds):
    torch.set_num_threads(1)
    model, x = network(*net), batch(*shape)
    labels = torch.zeros(len(x), dtype=torch.int64)
    with torch.no_grad():
        runner = Runner(model, x[:2])
        measurement = Lesion(model, runner.blocks, CLASSES)
        parts = list(model)
        inputs = [x]
        for part in parts:
            inputs.append(part(inputs[-1]))
        places = [int(block.name) for block in runner.blocks]
        variants = {
            "whole": lambda: model(x),
            "sweep": lambda: measurement.rows(runner.run(x), labels),
        }
        for place, part in enumerate(parts):
            variants[f"part {place}"] = lambda part=part, at=inputs[place]: part(at)
        times = interleaved(variants, rounds=rounds, warmup=1)
        predicted = []
        for turn in range(rounds):
            of_part = [times[f"part {place}"][turn] for place in range(len(parts))]
            suffixes = sum(sum(of_part[place + 1 :]) for place in places)
            predicted.append(times["whole"][turn] + suffixes)
        times["predicted"] = predicted
        print()
        print(line(f"lesion sweep, {name}", times, "sweep", "predicted", 1.05))
        naive = [times["whole"][turn] * (1 + len(places)) for turn in range(rounds)]
        print(line("  of the naive sweep", {**times, "naive": naive}, "sweep", "naive", 1.0))
        assert ratio(times, "sweep", "predicted")[1] <= 1.05


def test_norms_cost_little_more_than_inference():
    torch.set_num_threads(1)
    model, x = network(), batch(BATCH)
    labels = torch.zeros(len(x), dtype=torch.int64)
    with torch.no_grad():
        runner = Runner(model, x[:2])
        measurement = Norms(model, runner.blocks, CLASSES)
        times = interleaved(
            {
                "inference": lambda: model(x),
                "norms": lambda: measurement.rows(
                    runner.run(x, see=measurement.see, replays=False), labels
                ),
            },
            rounds=12,
        )
    print()
    print(line("norms of all blocks, ResNet-20", times, "norms", "inference", 1.15))
    assert ratio(times, "norms", "inference")[1] <= 1.15


def peak_memory(samples, folder):
    """Collect both families in this process; give its peak memory in MB."""
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    images = Images(
        generator.integers(0, 255, (samples, 3, 8, 8), dtype=np.uint8),
        generator.integers(0, 10, samples),
        CLASSES,
    )
    source = Source(
        network(8, 16), images, [0.5] * 3, [0.25] * 3, torch.device("cpu"), torch.float32, "w"
    )
    source.attributes["data_fingerprint"] = images.fingerprint()
    collect(source, Path(folder), {"norms": "hook", "lesion": "lesion"})
    # Not ru_maxrss: a child inherits its parent's.
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path):
    peaks = []
    for samples in (1_000, 10_000, 40_000):
        done = subprocess.run(
            [sys.executable, __file__, str(samples), str(tmp_path / str(samples))],
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(float(done.stdout))
    # The pixels themselves take 0.2, 1.9 and 7.7 MB.
    print(f"\npeak memory of 1,000, 10,000, 40,000 samples: {peaks} MB")
    assert peaks[2] - peaks[0] < 30


if __name__ == "__main__":
    print(peak_memory(int(sys.argv[1]), sys.argv[2]))
