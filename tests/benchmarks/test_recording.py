"""What recording costs beside a bare training step. Run: pytest tests/benchmarks -m benchmark -s"""

from __future__ import annotations

import contextlib

import pytest
import torch
import torch.nn.functional as F
from bare_loop import resnet
from timing import interleaved, line, ratio

from resprobe import Recorder

pytestmark = pytest.mark.benchmark

NETS = {
    "ResNet-20, batch 128": ((20, 16, 3), (128, 3, 32, 32), 30),
    "depth 56 digits, batch 64": ((56, 8, 1), (64, 1, 16, 16), 60),
}
NORMS = ("input_norm", "branch_norm")


class Stepper:
    """One training step of a net of its own, recorded or not."""

    def __init__(self, net, shape, stack, out=None, quantities=None):
        torch.manual_seed(0)
        self.net = resnet(*net).train()
        self.optimizer = torch.optim.SGD(
            self.net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4
        )
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(shape, generator=generator)
        self.y = torch.randint(0, 10, shape[:1], generator=generator)
        self.recorder = None
        if out is not None:
            self.recorder = stack.enter_context(
                Recorder(self.net, out, optimizer=self.optimizer, quantities=quantities)
            )

    def __call__(self):
        logits = self.net(self.x)
        loss = F.cross_entropy(logits, self.y)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        accuracy = (logits.detach().argmax(1) == self.y).double().mean()
        if self.recorder is not None:
            self.recorder.step(loss, accuracy)


@pytest.mark.parametrize(
    ("name", "limit", "norms_limit"),
    [("ResNet-20, batch 128", 1.06, 1.03), ("depth 56 digits, batch 64", 1.15, 1.15)],
)
def test_the_whole_list_at_every_step_stays_below_its_limit(name, limit, norms_limit, tmp_path):
    net, shape, rounds = NETS[name]
    torch.set_num_threads(1)
    with contextlib.ExitStack() as stack:
        variants = {
            "bare": Stepper(net, shape, stack),
            "norms": Stepper(net, shape, stack, tmp_path / "norms", NORMS),
            "all": Stepper(net, shape, stack, tmp_path / "all"),
        }
        times = interleaved(variants, rounds=rounds)
    print()
    print(line(f"{name}: everything at every step", times, "all", "bare", limit))
    print(line(f"{name}: norms alone", times, "norms", "bare", norms_limit))
    assert ratio(times, "all", "bare")[1] <= limit
    assert ratio(times, "norms", "bare")[1] <= norms_limit
    parameters = [list(v.net.parameters()) for v in variants.values()]
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(*parameters, strict=True))
