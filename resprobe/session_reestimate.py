"""Estimate the statistics of BatchNorm anew, from training images."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resprobe.blocks.intervene import Runner
    from resprobe.blocks.passes import Pass
    from resprobe.quantities.family import Reestimating
    from resprobe.session import Progress
    from resprobe.source import Source


def reestimate(
    measurement: Reestimating,
    runner: Runner,
    images: Source,
    size: int,
    progress: Progress | None,
    *,
    only_first: bool = False,
) -> int:
    """Let a measurement take the statistics.

    Args:
        measurement: of a family.
        runner: of the network.
        images: of training.
        size: most images at once.
        progress: told after every batch.
        only_first: stop after the first batch.

    Returns:
        How many batches there are.
    """
    import torch

    count, order = len(images.images), np.arange(len(images.images))
    batches = -(-count // size)
    edges = [count * number // batches for number in range(batches + 1)]

    def passes() -> Iterator[Callable[[], Pass]]:
        for start, stop in pairwise(edges[:2] if only_first else edges):
            args, kwargs, _ = images.inputs(start, stop, order)
            yield partial(runner.run, args, kwargs, functions=measurement.needs_functions)
            if progress is not None:
                progress(f"{measurement.family_name}: training images", stop, count)

    with torch.no_grad():
        measurement.reestimate(passes())
    return batches
