"""What norms and eigenvalues of a branch cost. Run: pytest tests/benchmarks -m benchmark -s"""

from __future__ import annotations

import statistics

import pytest
import torch
from sklearn.datasets import load_digits
from timing import interleaved
from torch import nn

from resprobe.blocks.path import Path
from resprobe.blocks.program import record
from resprobe.linalg.lanczos import log_norms, spectral_norms
from resprobe.linalg.linearise import linearise
from resprobe.linalg.spectra import leading_eigenvalues

pytestmark = pytest.mark.benchmark

STAGE_3 = (64, 8, 8)
# The two norms together, a sample and block at stage 3 in float32 on one thread.
LIMIT_MS = 20
TRAINED = 200


class Block(nn.Module):
    """A residual block, BN-ReLU-conv-BN-ReLU-conv, between a stem and a classifier."""

    def __init__(self, channels):
        super().__init__()
        norms = [nn.BatchNorm2d(channels) for _ in range(2)]
        convolutions = [nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2)]
        order = (norms[0], nn.ReLU(), convolutions[0], norms[1], nn.ReLU(), convolutions[1])
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.branch = nn.Sequential(*order)
        self.classifier = nn.Linear(channels, 10)
        for convolution in convolutions:
            nn.init.kaiming_normal_(convolution.weight)

    def forward(self, x):
        x = self.stem(x)
        return self.classifier((x + self.branch(x)).relu().mean((2, 3)))


def digits():
    data = load_digits()
    images = torch.from_numpy(data.images).float()[:, None] / 8 - 1
    return images, torch.from_numpy(data.target)


def branch_and_input(samples, *, steps):
    """A branch of 64×8×8 and its input on digits, after so many steps of training.

    As initialised its singular values crowd below the largest one; training makes some stand out.
    """
    torch.manual_seed(0)
    model, (images, labels) = Block(STAGE_3[0]), digits()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        rows = torch.randint(len(images), (64,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
        optimizer.step()
    with torch.no_grad():
        return model.eval().branch, model.stem(images[:samples])


def linear_branch(samples, *, steps):
    module, x = branch_and_input(samples, steps=steps)
    with torch.no_grad():
        program = record(module, (x,))
    return linearise(Path(program, program.inputs[0], [(program.output.value, 1.0)]))


@pytest.mark.parametrize("steps", [TRAINED, 0])
def test_log_norm_and_spectral_norm_of_32_samples_at_stage_3(steps):
    torch.set_num_threads(1)
    samples = 32
    linear = linear_branch(samples, steps=steps)
    v = torch.randn(1, samples, *STAGE_3)
    found = {}

    def both():
        found["norm"] = spectral_norms(linear)
        found["log"] = log_norms(linear, found["norm"].values)

    times = interleaved(
        {"both": both, "products": lambda: linear.rmatvec(linear.matvec(v))}, rounds=5, warmup=1
    )
    cost = {name: 1e3 * min(each) / samples for name, each in times.items()}
    print(
        f"\nlog norm and spectral norm, after {steps} steps of training: "
        f"{cost['both']:.1f} ms a sample (limit {LIMIT_MS}); a product with J and one with its "
        f"transpose {cost['products']:.2f} ms"
    )
    for name, extremes in found.items():
        assert extremes.converged.all()
        print(f"  {name}: residuals at most {extremes.residuals.max():.1e}")
    if steps:
        assert cost["both"] <= LIMIT_MS


@pytest.mark.parametrize("which", ["largest_magnitude", "rightmost"])
def test_six_leading_eigenvalues_at_stage_3(which):
    torch.set_num_threads(1)
    samples = 2
    linear = linear_branch(samples, steps=TRAINED)
    norms = spectral_norms(linear).values
    found = {}

    def leading():
        found["values"] = leading_eigenvalues(linear, 6, which, norms=norms)

    times = interleaved({"leading": leading}, rounds=3, warmup=1)
    seconds = statistics.median(times["leading"]) / samples
    values = found["values"]
    print(
        f"\nsix by {which}: {seconds:.2f} s a sample, {values.products.tolist()} products, "
        f"residuals at most {values.residuals.max():.1e}"
    )
    assert values.converged.all()
