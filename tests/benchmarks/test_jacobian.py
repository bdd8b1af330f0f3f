"""What an exact Jacobian of a branch costs, beside plain convolutions and beside autograd.

From the call to all entries in memory: recording, structure and check included, nothing kept
between calls. One thread, process time, the best of five, taking turns.

Run: OMP_NUM_THREADS=1 pytest tests/benchmarks/test_jacobian.py -m benchmark -s
"""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import torch
from timing import interleaved
from torch import nn

from resprobe.linalg import jacobian

pytestmark = pytest.mark.benchmark

STAGES = [(16, 32), (32, 16), (64, 8)]
# Over the fastest plain convolutions; under `torch.autograd.functional.jacobian`.
PLAIN = 1.7
AUTOGRAD = {
    (16, torch.float32): 100,
    (32, torch.float32): 35,
    (64, torch.float32): 14,
    (64, torch.float64): 10,
}
MEGABYTES = 64


def branch(channels, dtype):
    torch.manual_seed(0)
    layers = []
    for _ in range(2):
        norm = nn.BatchNorm2d(channels)
        norm.running_mean.normal_(0, 0.3)
        norm.running_var.uniform_(0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.3)
        layers += [norm, nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1, bias=False)]
    return nn.Sequential(*layers).eval().to(dtype)


def sample(channels, size, dtype):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, channels, size, size, generator=generator, dtype=dtype)


def plain(net, probes, at_once):
    """The two convolutions on as many probes, written into one result."""
    first, second = (layer.weight.detach() for layer in net if isinstance(layer, nn.Conv2d))
    convolve = nn.functional.conv2d

    def run():
        if at_once == len(probes):
            return convolve(convolve(probes, first, padding=1), second, padding=1)
        result = torch.empty_like(probes)
        for start in range(0, len(probes), at_once):
            part = convolve(probes[start : start + at_once], first, padding=1)
            result[start : start + at_once] = convolve(part, second, padding=1)
        return result

    return run


def variants(channels, size, dtype):
    net, x = branch(channels, dtype), sample(channels, size, dtype)
    generator = torch.Generator().manual_seed(2)
    shape = (25 * channels, channels, size, size)
    probes = torch.randn(shape, generator=generator, dtype=dtype)
    return {
        "auto": lambda: jacobian(net, x),
        "linear": lambda: jacobian(net, x, method="linear"),
        **{f"plain {n}": plain(net, probes, n) for n in (25, 50, 100, len(probes))},
        "autograd": lambda: torch.autograd.functional.jacobian(net, x),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("channels", "size"), STAGES)
def test_speed(channels, size, dtype):
    assert torch.get_num_threads() == 1, "set OMP_NUM_THREADS=1"
    runs = variants(channels, size, dtype)
    with torch.no_grad():
        found = jacobian(branch(channels, dtype), sample(channels, size, dtype))
        autograd = runs.pop("autograd")
        times = interleaved(runs, rounds=5)
        best = {name: min(each) for name, each in times.items()}
    needed = AUTOGRAD.get((channels, dtype), 0)
    slow = interleaved({"autograd": autograd}, rounds=2 if needed else 1, warmup=0)
    best["autograd"] = min(slow["autograd"])
    name = min((name for name in best if name.startswith("plain")), key=best.get)
    ratio, gain = best["auto"] / best[name], best["autograd"] / best["auto"]
    limit = PLAIN if dtype == torch.float32 else None
    print(
        f"\n{channels}x{size}x{size} {dtype}: {found.method} {best['auto'] * 1e3:.1f} ms "
        f"(worst {max(times['auto']) * 1e3:.1f}), linear {best['linear'] * 1e3:.1f} ms; {name} "
        f"{best[name] * 1e3:.1f} ms, in one batch {best[f'plain {25 * channels}'] * 1e3:.1f} ms: "
        f"ratio {ratio:.2f} (limit {limit}), linear {best['linear'] / best[name]:.2f}; autograd "
        f"{best['autograd']:.2f} s: {gain:.0f} times (at least {needed})"
    )
    assert limit is None or ratio <= limit
    assert gain >= needed


@pytest.mark.parametrize(("channels", "size"), STAGES)
def test_two_threads_by_the_clock(channels, size):
    runs = variants(channels, size, torch.float32)
    del runs["autograd"]
    torch.set_num_threads(2)
    try:
        best = dict.fromkeys(runs, float("inf"))
        with torch.no_grad():
            for _ in range(6):
                for name, run in runs.items():
                    start = time.perf_counter()
                    run()
                    best[name] = min(best[name], time.perf_counter() - start)
    finally:
        torch.set_num_threads(1)
    fastest = min(time for name, time in best.items() if name.startswith("plain"))
    print(
        f"\n{channels}x{size}x{size} float32, two threads: {best['auto'] * 1e3:.1f} ms, linear "
        f"{best['linear'] * 1e3:.1f} ms, plain {fastest * 1e3:.1f} ms"
    )
    assert best["auto"] > 0


MEMORY = """
import sys, torch
sys.path[:0] = {path!r}
from test_jacobian import branch, sample
from resprobe.linalg import jacobian

def status(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key)) / 1024

channels, size, dtype = {channels}, {size}, {dtype}
jacobian(branch(4, dtype), sample(4, 8, dtype), method={method!r})
net, x = branch(channels, dtype), sample(channels, size, dtype)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before = status("VmRSS")
found = jacobian(net, x, method={method!r})
result = 25 * channels * x.numel() * x.element_size() / 2**20
print(status("VmHWM") - before - result, result)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("method", ["auto", "linear"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("channels", "size"), STAGES)
def test_memory_beside_the_result(channels, size, dtype, method):
    code = MEMORY.format(path=sys.path, channels=channels, size=size, dtype=dtype, method=method)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    extra, result = map(float, done.stdout.split())
    print(
        f"\n{channels}x{size}x{size} {dtype} {method}: {extra:.1f} MB beside the result of "
        f"{result:.1f} MB (limit {MEGABYTES})"
    )
    assert extra <= MEGABYTES
