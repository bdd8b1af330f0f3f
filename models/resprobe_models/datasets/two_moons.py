"""Two interleaving half circles in the plane: generated, so that nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from resprobe.data import Images

SAMPLES = {"train": 1000, "test": 1000}
NOISE = 0.1
CLASSES = ("upper", "lower")
_STREAMS = {"train": 0, "test": 1}


def load(*, split: Literal["train", "test"], data_dir: Path | None = None) -> Images:
    """Points of two half circles in the plane, 1,000 training and 1,000 test; generated.

    Gives `(sample, 2)` float32. The upper moon is the half circle `(cos t, sin t)`, the lower one
    `(1 - cos t, ½ - sin t)`, t uniform in [0, π); Gaussian noise of standard deviation 0.1 is
    added to both coordinates. The moons alternate. Each split has its own fixed seed. More noise
    on the training points is `data.input_noise`.

    Args:
        split: `"train"` or `"test"`.
        data_dir: not read; the points are generated.
    """
    generator = np.random.default_rng([0, _STREAMS[split]])
    labels = np.arange(SAMPLES[split], dtype=np.int64) % 2
    angle = generator.uniform(0, np.pi, len(labels))
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = np.where(labels[:, None] == 0, upper, np.array([1.0, 0.5]) - upper)
    noisy = points + NOISE * generator.standard_normal(points.shape)
    return Images(noisy.astype(np.float32), labels, CLASSES)
