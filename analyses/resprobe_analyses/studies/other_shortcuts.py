"""Shortcuts of other residual networks where channels double, for which T is not the map."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from resprobe_analyses.studies.equivalent_networks import doubles, id_entries_of

if TYPE_CHECKING:
    from torch import Tensor, nn

Shortcut = Callable[["Tensor", int], "Tensor"]


def averages(x: Tensor, channels: int) -> Tensor:
    """Give averages of 2×2 pixels, with zero channels behind up to `channels`."""
    from torch.nn import functional

    pooled = functional.avg_pool2d(x, 2)
    return functional.pad(pooled, (0, 0, 0, 0, 0, channels - x.shape[1]))


def padded_on_both_sides(x: Tensor, channels: int) -> Tensor:
    """Give every second pixel, with as many zero channels before as behind."""
    from torch.nn import functional

    missing = channels - x.shape[1]
    before = missing // 2
    return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, before, missing - before))


OTHER_SHORTCUTS: Mapping[str, Shortcut] = {
    "averages of 2×2 pixels": averages,
    "zero channels on both sides": padded_on_both_sides,
}


def with_shortcut(network: nn.Module, shortcut: Shortcut) -> None:
    """Give the blocks of a simplified residual network that double the channels another shortcut.

    Args:
        network: changed in place.
        shortcut: called with the block's input and the number of channels of its output.
    """
    import torch

    class Other(torch.nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.channels = channels

        def forward(self, x: Tensor) -> Tensor:
            return shortcut(x, self.channels)

    for name, entries in id_entries_of(network).items():
        if doubles(entries):
            block = network.get_submodule(name.rsplit(".", 2)[0])
            block.shortcut = Other(entries.shape[0])
