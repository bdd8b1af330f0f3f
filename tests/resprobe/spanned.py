"""A pass of which every state is given, and naive references for what spans of blocks do."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from nets import LinearBlock
from torch import nn


@dataclass(frozen=True)
class Place:
    """As much of a block as the families of states read."""

    index: int
    feature_axis: int
    follows: bool = True


class GivenPass:
    """Answers as a recorded pass does: states from a list, lesioned outputs from a function."""

    def __init__(self, states=(), axis=1, *, output=None, lesion_span=None):
        self.blocks = [Place(index, axis) for index in range(max(len(states) - 1, 0))]
        self.output = output
        self.lesion_span = lesion_span
        self._states = list(states)

    def input(self, block):
        return self._states[block.index]

    def block_output(self, block):
        return self._states[block.index + 1]


class Classifier(nn.Module):
    """A linear residual stack with logits: every lesion is a matrix product."""

    def __init__(self, width=6, blocks=4, classes=3, h=0.5):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList([LinearBlock(width, h) for _ in range(blocks)])
        self.head = nn.Linear(width, classes)
        self.double()

    def forward(self, x, dropped=()):
        for index, block in enumerate(self.blocks):
            x = x if index in dropped else block(x)
        return self.head(x)


def vectors(state, axis):
    """Give the feature vectors of one sample's state as a list of lists of floats."""
    moved = state.double().movedim(axis - 1 if axis > 0 else axis, -1)
    return moved.reshape(-1, moved.shape[-1]).tolist()


def cosine(a, b):
    """Give the cosine of two lists of floats; None where one of them is zero."""
    scale = math.sqrt(math.fsum(v * v for v in a)) * math.sqrt(math.fsum(v * v for v in b))
    return math.fsum(v * w for v, w in zip(a, b, strict=True)) / scale if scale else None


def naive_mean(x, y, axis, of_cosine):
    """Average a function of the cosine over the positions of each sample, one by one."""
    means = []
    for one, other in zip(x, y, strict=True):
        pairs = zip(vectors(one, axis), vectors(other, axis), strict=True)
        cosines = [c for c in (cosine(a, b) for a, b in pairs) if c is not None]
        values = [of_cosine(max(-1.0, min(1.0, c))) for c in cosines]
        means.append(math.fsum(values) / len(values) if values else math.nan)
    return torch.tensor(means, dtype=torch.float64)


def turned(x, angle):
    """Rotate the first two of the last axis' features by an angle."""
    c, s = math.cos(angle), math.sin(angle)
    out = x.clone()
    out[..., 0] = c * x[..., 0] - s * x[..., 1]
    out[..., 1] = s * x[..., 0] + c * x[..., 1]
    return out


def drawn(shape, seed, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
