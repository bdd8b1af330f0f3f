"""The ways past a branch: what a block adds its branch to."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

ShortcutName = Literal["padded", "pooled", "projection"]
SHORTCUTS = ("padded", "pooled", "projection")


def make_shortcut(
    name: ShortcutName, source: int, width: int, stride: int, batch_norm: bool
) -> nn.Module:
    """Build the shortcut from `source` to `width` channels; the identity where both shapes agree.

    Args:
        name: `"padded"`: every second row and column, missing channels zero (He et al., 2016,
            option A); `"pooled"`: 2×2 averages instead of every second pixel; `"projection"`: 1×1
            convolution and batch normalisation (option B).
        source: channels of the block's input.
        width: channels of the block's output.
        stride: 1 or 2.
        batch_norm: False gives the projection a bias in place of batch normalisation.
    """
    if source == width and stride == 1:
        return nn.Identity()
    if name == "projection":
        return Projection(source, width, stride, batch_norm)
    kind = PaddedShortcut if name == "padded" else PooledShortcut
    return kind(source, width, stride)


class PaddedShortcut(nn.Module):
    """`x[:, :, ::stride, ::stride]` between zero channels.

    The new channels go half before and half after the old ones: with the doubled width of a CIFAR
    network, a quarter of the new width on each side. An odd one goes behind.
    """

    def __init__(self, source: int, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        before = (width - source) // 2
        self.channels = (before, width - source - before)

    def forward(self, x: Tensor) -> Tensor:
        """Give `(sample, width, ⌈height / stride⌉, ⌈width / stride⌉)`."""
        return pad_channels(x[:, :, :: self.stride, :: self.stride], self.channels)


class PooledShortcut(nn.Module):
    """Averages over `stride × stride` pixels between zero channels, placed as when padded."""

    def __init__(self, source: int, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        before = (width - source) // 2
        self.channels = (before, width - source - before)

    def forward(self, x: Tensor) -> Tensor:
        """Give `(sample, width, ⌈height / stride⌉, ⌈width / stride⌉)`."""
        # ceil_mode: at odd sizes a window at the rim averages the pixels that are there, and the
        # result keeps the shape that the branch's strided convolution gives.
        return pad_channels(functional.avg_pool2d(x, self.stride, ceil_mode=True), self.channels)


class Projection(nn.Module):
    """1×1 convolution and batch normalisation; without the latter, a bias."""

    def __init__(self, source: int, width: int, stride: int, batch_norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(source, width, 1, stride=stride, bias=not batch_norm)
        self.bn = normalisation(width, batch_norm)

    def forward(self, x: Tensor) -> Tensor:
        """Give `(sample, width, ⌈height / stride⌉, ⌈width / stride⌉)`."""
        projected: Tensor = self.bn(self.conv(x))
        return projected


def pad_channels(x: Tensor, channels: tuple[int, int]) -> Tensor:
    """Put zero channels before and after the channels of x."""
    return functional.pad(x, (0, 0, 0, 0, *channels))


def normalisation(width: int, batch_norm: bool) -> nn.Module:
    """Give batch normalisation over `width` channels, or the identity."""
    return nn.BatchNorm2d(width) if batch_norm else nn.Identity()
