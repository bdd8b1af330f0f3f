"""A residual block with an explicit step size on its branch, and its plain counterpart."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """`s + h·F(x)`, behind it a ReLU with post-activation."""

    def __init__(
        self, branch: nn.Module, shortcut: nn.Module, h: float, post_activation: bool
    ) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut
        self.h, self.post_activation = h, post_activation

    def forward(self, x: Tensor) -> Tensor:
        """Give the block's output."""
        change = self.branch(x)
        if self.h != 1.0:
            change = self.h * change
        out: Tensor = self.shortcut(x) + change
        return functional.relu(out) if self.post_activation else out

    def extra_repr(self) -> str:
        """Show the step size in the printed module tree."""
        return f"h={self.h}"


class Unit(nn.Module):
    """The plain counterpart of a block: its branch without the addition."""

    def __init__(self, branch: nn.Module, post_activation: bool) -> None:
        super().__init__()
        self.branch, self.post_activation = branch, post_activation

    def forward(self, x: Tensor) -> Tensor:
        """Give the unit's output."""
        out: Tensor = self.branch(x)
        return functional.relu(out) if self.post_activation else out
