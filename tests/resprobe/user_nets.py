"""A user's own file of networks, as `--model FILE.py:FACTORY` meets it. Tests copy it."""

from typing import NamedTuple

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner = nn.Linear(width, width)

    def forward(self, x):
        return x + torch.relu(self.inner(x))


class Net(nn.Module):
    """Two residual blocks on features."""

    def __init__(self, width: int = 6, classes: int = 3):
        super().__init__()
        self.stem = nn.Linear(4, width)
        self.blocks = nn.Sequential(Block(width), Block(width))
        self.head = nn.Linear(width, classes)

    def features(self, x):
        return self.blocks(self.stem(x))

    def forward(self, x):
        return self.head(self.features(x))


class Pictures(Net):
    """The same on the means of images."""

    def forward(self, x):
        return super().forward(torch.cat([x.mean((2, 3)), x.amax((2, 3))[:, :1]], 1))


class Tokens(nn.Module):
    """The same on tokens that a mask leaves; takes keyword arguments alone."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(9, 4)
        self.net = Net()

    def forward(self, *, input_ids, attention_mask):
        weight = attention_mask[..., None].to(self.embedding.weight.dtype)
        return {"scores": self.net((self.embedding(input_ids) * weight).mean(1))}


class Several(Net):
    """Gives logits and features without saying which is which."""

    def forward(self, x):
        features = self.features(x)
        return features, self.head(features)


class Answer(NamedTuple):
    features: torch.Tensor
    logits: torch.Tensor


class Named(Net):
    """Gives logits by that name."""

    def forward(self, x):
        features = self.features(x)
        return Answer(features, self.head(features))


class Features(Net):
    """Gives no logits: a map of features."""

    def forward(self, x):
        return self.features(x)[:, :, None]


class Shared(Net):
    """Its two blocks have one weight."""

    def __init__(self):
        super().__init__()
        self.blocks[1].inner.weight = self.blocks[0].inner.weight


class Plain(nn.Module):
    """Adds nothing."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(x)


class Refused(Plain):
    """Adds, but no branch to a skip."""

    def forward(self, x):
        return self.head(x) + self.head(x * x) + 1.0


def compiled():
    return torch.compile(Net(), backend="eager")


def parallel():
    return nn.DataParallel(Net())


def precise():
    return Net().double()


def broken():
    raise OSError("no such disk\nand more")
