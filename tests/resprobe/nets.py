"""Small networks with every feature that the block recorder must live with."""

import torch
import torch.nn.functional as F
from torch import nn


class Basic(nn.Module):
    """Post-activation block; `style` says how the addition is written."""

    def __init__(self, width, style="functional"):
        super().__init__()
        self.style = style
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        identity = x
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.style == "functional":
            return F.relu(identity + out)
        if self.style == "iadd":
            out += identity
            return self.relu(out)
        if self.style == "torch.add":
            return self.relu(torch.add(out, identity))
        if self.style == "into the skip":
            identity = identity.clone()
            identity.add_(out)
            return F.relu_(identity)
        raise ValueError(self.style)


STYLES = ("functional", "iadd", "torch.add", "into the skip")


def post_activation(style="functional", width=4, blocks=3):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        *[Basic(width, style) for _ in range(blocks)],
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 5),
    )


class LinearBlock(nn.Module):
    """x + h·Wx, whose forward and lesions are matrix products that can be written down."""

    def __init__(self, width, h):
        super().__init__()
        self.linear = nn.Linear(width, width, bias=False)
        self.h = h

    def forward(self, x):
        return x + self.h * self.linear(x)


def linear_stack(width=6, blocks=4, h=0.5):
    torch.manual_seed(0)
    return nn.Sequential(*[LinearBlock(width, h) for _ in range(blocks)]).double()


def trained_looking(model, seed=1):
    """Give running statistics and affine parameters that are not those of a fresh net."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(0.1 * torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=generator))
            with torch.no_grad():
                module.weight.copy_(0.5 + torch.rand(module.num_features, generator=generator))
                module.bias.copy_(0.1 * torch.randn(module.num_features, generator=generator))
    return model
