"""What weight noise costs beside running the whole network for every change of a weight.

Run: pytest tests/benchmarks -m benchmark -s
"""

from __future__ import annotations

import pytest
import torch
from resprobe_models.architectures.simplified_resnet import simplified_resnet
from timing import interleaved, line, ratio

from resprobe.blocks.intervene import Runner
from resprobe.quantities.trials import Trials
from resprobe.quantities.weight_noise import WeightNoise

pytestmark = pytest.mark.benchmark

SAMPLES, LEVELS, DRAWS, NORMS = 125, (0.1,), 2, 2
CLASSES = tuple("0123456789")


def test_weight_noise_costs_less_than_whole_passes():
    """Every layer of a residual network of depth 20 on 16×16 images, both norms."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = simplified_resnet(depth=20, width_factor=0.5).eval()
    x = torch.randn(SAMPLES, 3, 16, 16)
    labels = torch.zeros(SAMPLES, dtype=torch.int64)
    with torch.no_grad():
        runner = Runner(model, x[:2])
        trials = Trials(count=DRAWS, noise_levels=LEVELS)
        measurement = WeightNoise(model, runner.blocks, CLASSES, trials)
        measurement.take_layers(runner.layers)
        # a layer outside of residual blocks has one norm; the floor counts the same changes
        changes = sum(NORMS if layer.identity is not None else 1 for layer in runner.layers)
        assert changes == 2 * 18 + 2
        passes = changes * len(LEVELS) * DRAWS

        def whole() -> None:
            for _ in range(passes):
                model(x)

        times = interleaved(
            {
                "whole passes": whole,
                "weight noise": lambda: measurement.rows(
                    runner.run(x, layers=True, replays=False), labels
                ),
            },
            rounds=7,
            warmup=1,
        )
    print()
    print(line("weight noise, all layers, depth 20", times, "weight noise", "whole passes", 0.7))
    assert ratio(times, "weight noise", "whole passes")[1] <= 0.7
