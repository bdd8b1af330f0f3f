"""What layer cushions cost beside plain inference. Run: pytest tests/benchmarks -m benchmark -s"""

from __future__ import annotations

import pytest
import torch
from test_collecting import CLASSES, batch, network
from timing import interleaved, line, ratio

from resprobe.blocks.intervene import Runner
from resprobe.quantities.layer_cushion import LayerCushion
from resprobe.session import BATCH

pytestmark = pytest.mark.benchmark

IMAGES = 10_000


def test_cushions_of_all_layers_cost_little_more_than_inference():
    torch.set_num_threads(1)
    model, x = network(), batch(BATCH)
    labels = torch.zeros(len(x), dtype=torch.int64)
    with torch.no_grad():
        runner = Runner(model, x[:2])
        measurement = LayerCushion(model, runner.blocks, CLASSES)
        measurement.take_layers(runner.layers)
        assert len(runner.layers) == 20
        times = interleaved(
            {
                "inference": lambda: model(x),
                "cushions": lambda: measurement.rows(
                    runner.run(x, see_layer=measurement.see_layer, replays=False), labels
                ),
            },
            rounds=IMAGES // BATCH,
        )
    print()
    print(line("layer cushions, ResNet-20, 10,000 images", times, "cushions", "inference", 1.15))
    assert ratio(times, "cushions", "inference")[1] <= 1.15
