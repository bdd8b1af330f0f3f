"""Passes whose branches have taps."""

from __future__ import annotations

import torch

from resprobe.blocks.intervene import Runner


def images(samples=3, seed=1, size=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((samples, 3, size, size), generator=generator, dtype=torch.float64)


def tapped(model, args, kwargs=None, **options):
    """Give the pass over a batch, and its taps."""
    with torch.no_grad():
        runner = Runner(model, args, kwargs, **options)
        runner.find_samples()
        whole = runner.run(args, kwargs, states=True, taps=True)
    return whole, whole.taps()
