"""A network for handwritten digits of 8×8 pixels."""

import torch
from torch import nn


class Unit(nn.Module):
    """Two convolutions, added to what came in."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        stride = 1 if before == width else 2
        self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.way = nn.Identity() if before == width else nn.Conv2d(before, width, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.way(x) + self.norm2(self.conv2(y)))


class Digits(nn.Module):
    """A stem that knows where a pixel is, units at 8×8 and at 4×4 pixels, and a linear layer."""

    def __init__(self, width: int = 12, units: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.place = nn.Parameter(torch.zeros(width, 8, 8))
        self.fine = nn.Sequential(*(Unit(width, width) for _ in range(units)))
        self.coarse = nn.Sequential(
            Unit(width, 2 * width), *(Unit(2 * width, 2 * width) for _ in range(units - 1))
        )
        self.last = nn.Linear(2 * width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x) + self.place)
        return self.last(self.coarse(self.fine(x)).mean((2, 3)))
