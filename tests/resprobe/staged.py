"""A network of two stages whose blocks can be dropped and exchanged in the running model."""

from __future__ import annotations

import torch
from nets import Basic, trained_looking
from torch import nn

from resprobe.blocks.intervene import Runner

SHAPE = (3, 8, 8)
CLASSES = tuple("01234")


class Down(nn.Module):
    """A transition: half the size, twice the channels."""

    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, 2 * width, 3, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(2 * width)
        self.projection = nn.Conv2d(width, 2 * width, 1, 2, bias=False)

    def forward(self, x, dropped=False):
        s = self.projection(x)
        return torch.relu(s) if dropped else torch.relu(s + self.bn(self.conv(x)))


class Staged(nn.Module):
    """Blocks 0 to 2 of one shape, 3 a transition, 4 and 5 of the next shape; dropout at the end."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))
        widths = (4, 4, 4, None, 8, 8)
        self.blocks = nn.ModuleList(Basic(w) if w else Down(4) for w in widths)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(8, len(CLASSES))
        self.dropped: tuple[int, ...] = ()
        self.order: tuple[int, ...] = tuple(range(len(widths)))

    def forward(self, x):
        x = self.stem(x)
        for place in self.order:
            block = self.blocks[place]
            if place not in self.dropped:
                x = block(x)
            elif isinstance(block, Down):
                x = block(x, dropped=True)
            else:
                x = torch.relu(x)  # the activation is not part of the branch
        return self.head(self.dropout(x.mean((2, 3))))


def staged(seed=0):
    """Give a network in evaluation mode whose running statistics fit no batch."""
    torch.manual_seed(seed)
    return trained_looking(Staged().double()).eval()


def images(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *SHAPE, generator=generator, dtype=torch.float64)


def runner_of(net):
    return Runner(net, images(4, seed=9))


def slow_statistics(net, batches):
    """Estimate all running statistics as torch does: a loop in training mode, no momentum."""
    norms = {name: m for name, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)}
    saved = {name: value.clone() for name, value in net.state_dict().items()}
    try:
        for module in norms.values():
            module.train()
            module.momentum = None
            module.reset_running_stats()
        with torch.no_grad():
            for batch in batches:
                net(batch)
        return {n: (m.running_mean.clone(), m.running_var.clone()) for n, m in norms.items()}
    finally:
        net.load_state_dict(saved)
        for module in norms.values():
            module.momentum = 0.1
        net.eval()
