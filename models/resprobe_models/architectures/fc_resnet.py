"""Fully connected residual networks with an explicit step size, and their plain twins.

A block is `x_out = x + h·F(x)` with `F(x) = W₂·relu(W₁·x + b₁) + b₂` and no normalisation.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from resprobe.errors import InputError
from resprobe_models.architectures.blocks import Block, Unit


def fc_resnet(
    *,
    depth: int = 20,
    width: int = 8,
    h: float = 1.0,
    residual: bool = True,
    in_features: int = 2,
    classes: int = 2,
) -> nn.Module:
    """Build a fully connected residual network, or its plain counterpart.

    Input `(sample, …)` with `in_features` numbers a sample, an image is flattened; output
    `(sample, classes)` logits. One affine map to `width`, `(depth - 2) / 2` blocks of two affine
    maps each, one affine map to the logits.

    Weights: as PyTorch draws them by default. (He normal ones double the variance in every block
    where nothing normalises, and nine blocks with h = 1 diverge at a rate of 0.01.)

    Source: Zhang et al. (2019), Sec. 4.2, Fig. 4, of whose network only the two affine maps a
    block are printed; the form of the ends and the weights are our own choice.

    Args:
        depth: number of affine maps: `2n + 2` with n blocks, 4 or more.
        width: features in every block.
        h: step size on the branch; 1.0 costs no multiplication.
        residual: False gives the plain counterpart: the same maps, no addition; the network then
            names its units in `plain_units`.
        in_features: numbers of a sample.
        classes: number of logits.

    Raises:
        InputError: an argument is outside what is listed here.
    """
    _refuse_bad_sizes(depth, h, width=width, in_features=in_features, classes=classes)
    if not residual and h != 1.0:
        raise InputError(
            f"h {h}: a plain network has no branch to scale; leave h out, or set residual to true."
        )
    return FcResNet(
        blocks=(depth - 2) // 2,
        width=width,
        h=h if residual else None,
        in_features=in_features,
        classes=classes,
    )


class FcResNet(nn.Module):
    """The network that `fc_resnet` builds: `stem`, `blocks`, `linear`.

    Attributes:
        plain_units: only on a plain network: the module paths of its units, in forward order.
    """

    def __init__(
        self, *, blocks: int, width: int, h: float | None, in_features: int, classes: int
    ) -> None:
        super().__init__()
        self.stem = nn.Linear(in_features, width)
        self.blocks = nn.Sequential(*(_block(width, h) for _ in range(blocks)))
        self.linear = nn.Linear(width, classes)
        if h is None:
            self.plain_units = tuple(f"blocks.{index}" for index in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        """Give `(sample, classes)` logits of `(sample, …)` features."""
        logits: Tensor = self.linear(self.blocks(self.stem(x.flatten(start_dim=1))))
        return logits


class AffineBranch(nn.Module):
    """`F(x) = W₂·relu(W₁·x + b₁) + b₂`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Give F(x)."""
        change: Tensor = self.linear2(functional.relu(self.linear1(x)))
        return change


def _block(width: int, h: float | None) -> nn.Module:
    branch = AffineBranch(width)
    if h is None:
        return Unit(branch, post_activation=False)
    return Block(branch, nn.Identity(), h, post_activation=False)


def _refuse_bad_sizes(depth: int, h: float, **counts: int) -> None:
    if depth < 4 or depth % 2:
        below = max(4, depth - depth % 2)
        raise InputError(
            f"depth {depth}: expected 2n + 2 with n = 1, 2, …; the nearest are {below} and "
            f"{below + 2}."
        )
    if not math.isfinite(h):
        raise InputError(f"h {h}: expected a finite step size.")
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name} {count}: expected a whole number of 1 or more.")
