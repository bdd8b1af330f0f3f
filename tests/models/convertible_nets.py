"""A user's own file of networks with blocks of single layers, and of others. Tests copy it."""

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations


class Layers(nn.Module):
    """`relu(s + h·(A x + b))` with linear layers, or `relu(A x + b)`."""

    def __init__(self, h: float = 1.0, residual: bool = True, width: int = 5):
        super().__init__()
        torch.manual_seed(3)
        self.stem = nn.Linear(12, width)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(3))
        self.head = nn.Linear(width, 3)
        self.h, self.residual = h, residual

    def forward(self, x):
        x = self.stem(x.flatten(1))
        for layer in self.blocks:
            x = functional.relu(x + self.h * layer(x) if self.residual else layer(x))
        return self.head(x)


def plain_layers(width: int = 5):
    return Layers(residual=False, width=width)


class Moody(Layers):
    """Runs another operation on large batches, or draws random numbers."""

    def __init__(self, mood: str = "large"):
        super().__init__()
        self.mood = mood

    def forward(self, x):
        if self.mood == "random":
            return super().forward(functional.dropout(x, 0.5, training=True))
        return super().forward(x.clone() if len(x) > 4 else x)


class Tokens(nn.Module):
    """Linear layers on `(sample, token, feature)`, the last without a bias, weights used directly.

    The second block subtracts its branch; the third keeps its weight as `(in, out)`.
    """

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.three = nn.Parameter(torch.randn(4, 4) / 2)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = x.flatten(2)
        x = torch.tanh(x + self.one(x) / 4)
        x = torch.tanh(x - self.two(x))
        x = torch.tanh(torch.add(x, x @ self.three, alpha=0.5))
        return self.head(x.mean(1))


class Convolutions(nn.Module):
    """Blocks with a step size: the same shape, then stride 2 with channels on both sides, grouped.

    Additions and multiplications partly in place, as people write them.
    """

    def __init__(self, h: float = 0.3, residual: bool = True):
        super().__init__()
        torch.manual_seed(5)
        self.one = nn.Conv2d(3, 3, 3, padding=1)
        self.two = nn.Conv2d(3, 6, 3, padding=1, stride=2)
        self.three = nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=2, bias=False)
        self.head = nn.Linear(6, 3)
        self.register_buffer("h", torch.tensor(h))
        self.residual = residual

    def forward(self, x):
        if not self.residual:
            for layer in (self.one, self.two, self.three):
                x = functional.relu(layer(x))
            return self.head(x.mean((2, 3)))
        x = functional.relu(x + self.one(x).mul_(self.h))
        s = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 2))
        x = functional.relu_(self.h * self.two(x) + s)
        out = self.three(x) * 2.0
        out += x
        return self.head(functional.relu(out).mean((2, 3)))


def plain_convolutions():
    return Convolutions(residual=False)


def forgotten_skip():
    """Give a plain counterpart whose last block is none: it keeps its skip."""
    network = Convolutions(residual=False)

    def forward(x):
        x = functional.relu(network.two(functional.relu(network.one(x))))
        return network.head(functional.relu(x + network.three(x)).mean((2, 3)))

    network.forward = forward
    return network


def _odd_places(block, x):
    """The middle of the kernel stands on even places."""
    return functional.pad(x[:, :, 1::2, 1::2], (0, 0, 0, 0, 0, 3)) + block.conv(x)


def _cut(block, x):
    return x + block.conv(functional.pad(x, (0, 1, 0, 0)))[:, :, :, :-1]


# Blocks that are no single layer, or that are one but for something.
KINDS = {
    "single": lambda block, x: x + block.conv(x),
    "even": lambda block, x: x + block.conv(x),
    "computed": lambda block, x: x + block.conv(x),
    "norm": lambda block, x: x + block.norm(block.conv(x)),
    "two": lambda block, x: x + block.second(functional.relu(block.conv(x))),
    "activation": lambda block, x: x + block.conv(functional.relu(x)),
    "projection": lambda block, x: block.project(x) + functional.relu(block.conv(x)),
    "pooled": lambda block, x: functional.avg_pool2d(x, 2) + block.conv(x),
    "scaled": lambda block, x: 2 * x + block.conv(x),
    "branches": lambda block, x: x + block.conv(x) + block.second(x),
    "gain": lambda block, x: x + block.gain * block.conv(x),
    "zero": lambda block, x: x + 0.0 * block.conv(x),
    "shared": lambda block, x: block.conv(x + block.conv(x)),
    "before": lambda block, x: x + block.conv(0.5 * x),
    "turned": lambda block, x: x.transpose(2, 3) + block.conv(x),
    "strided": _odd_places,
    "cut": _cut,
}


class Block(nn.Module):
    """One block of a kind of `KINDS`."""

    def __init__(self, kind: str):
        super().__init__()
        torch.manual_seed(6)
        width = 6 if kind in ("projection", "strided") else 3
        stride = 2 if width == 6 or kind == "pooled" else 1
        # Dilated, a kernel of even size keeps the size of the features.
        kernel, dilation = (2, 2) if kind == "even" else (3, 1)
        self.kind = kind
        self.conv = nn.Conv2d(3, width, kernel, padding=1, stride=stride, dilation=dilation)
        self.second = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.project = nn.Conv2d(3, 6, 1, stride=2)
        self.gain = nn.Parameter(torch.tensor(0.5))
        if kind == "computed":
            parametrizations.weight_norm(self.conv)

    def forward(self, x):
        return KINDS[self.kind](self, x)


class Refused(nn.Module):
    """A block of `kind` between a stem and a linear layer."""

    def __init__(self, kind: str = "single"):
        super().__init__()
        torch.manual_seed(7)
        self.stem = nn.Conv2d(3, 3, 3, padding=1)
        self.block = Block(kind)
        self.head = nn.Linear(6 if kind in ("projection", "strided") else 3, 3)

    def forward(self, x):
        x = functional.relu(self.stem(x))
        return self.head(functional.relu(self.block(x)).mean((2, 3)))
