"""CIFAR-type residual networks with an explicit step size on the branch, and their plain twins.

A block is `x_out = I(s + h·F(x))` with `s = skip(x)`. `h` multiplies the branch and nothing else,
as in Chang et al. (2018), appendix C, and in Zhang et al. (2019), Eq. 3.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from resprobe.errors import InputError, UnknownNameError
from resprobe_models.architectures.blocks import Block, Unit
from resprobe_models.architectures.shortcuts import (
    SHORTCUTS,
    ShortcutName,
    make_shortcut,
    normalisation,
)

STAGE_WIDTHS = (16, 32, 64)
STAGE_STRIDES = (1, 2, 2)


def cifar_resnet(
    *,
    depth: int = 20,
    h: float = 1.0,
    activation: Literal["pre", "post"] = "pre",
    reading: Literal["A", "B"] = "B",
    shortcut: ShortcutName = "padded",
    width_factor: float = 1.0,
    batch_norm: bool = True,
    residual: bool = True,
    in_channels: int = 3,
    classes: int = 10,
) -> nn.Module:
    """Build a residual network of three stages for small images, or its plain counterpart.

    Input `(sample, in_channels, height, width)` standardised pixels, any height and width; output
    `(sample, classes)` logits. Stages of widths 16, 32, 64 times `width_factor` and strides 1, 2,
    2 hold `(depth - 2) / 6` blocks of two 3×3 convolutions each; then global average pooling and
    one linear layer with bias. Convolutions have a bias only without batch normalisation.

    Weights: convolutions He normal, fan-out, gain of a ReLU; their biases 0; batch normalisation
    1 and 0; the linear layer as PyTorch does by default.

    Sources: He et al. (2016), "Deep residual learning", Sec. 4.2 (`activation="post"`) and
    "Identity mappings" (`"pre"`); Chang et al. (2018), Table 5 (parameter counts of both readings);
    Zhang et al. (2019) (`"post"` with `shortcut="projection"`).

    Args:
        depth: `6n + 2` with n blocks a stage, 8 or more.
        h: step size on the branch; 1.0 costs no multiplication.
        activation: `"pre"`: `s + h·conv(relu(bn(conv(relu(bn(x))))))`; `"post"`:
            `relu(s + h·bn(conv(relu(bn(conv(x))))))`.
        reading: how the ends of a pre-activation network look. `"B"`: the stem has BN and ReLU,
            the first block skips its own (so both its sides see the same values); `"A"`: the stem
            is a bare convolution, the first block is like all others. Both count the same
            parameters. Without meaning for `"post"`, which takes only the default.
        shortcut: where the shape changes; see `resprobe_models.architectures.shortcuts`. It reads
            the block's input, also with pre-activation.
        width_factor: multiplies the three widths, which must stay whole numbers.
        batch_norm: False leaves out every batch normalisation, also the projection's.
        residual: False gives the plain counterpart: the same layers, no addition and no
            shortcut; the network then names its units in `plain_units`.
        in_channels: channels of an image.
        classes: number of logits.

    Raises:
        InputError: an argument is outside what is listed here.
    """
    _refuse_bad_sizes(depth, h, in_channels=in_channels, classes=classes)
    _refuse_bad_form(activation, reading, shortcut)
    if not residual and h != 1.0:
        raise InputError(
            f"h {h}: a plain network has no branch to scale; leave h out, or set residual to true."
        )
    network = CifarResNet(
        blocks_per_stage=(depth - 2) // 6,
        widths=stage_widths(width_factor),
        h=h,
        post_activation=activation == "post",
        stem_activated=activation == "post" or reading == "B",
        shortcut=shortcut if residual else None,
        batch_norm=batch_norm,
        in_channels=in_channels,
        classes=classes,
    )
    _initialise(network)
    return network


class CifarResNet(nn.Module):
    """The network that `cifar_resnet` builds: `stem`, `stage1` … `stage3`, `final`, `linear`.

    Attributes:
        plain_units: only on a plain network: the module paths of its units, in forward order.
    """

    def __init__(
        self,
        *,
        blocks_per_stage: int,
        widths: tuple[int, ...],
        h: float,
        post_activation: bool,
        stem_activated: bool,
        shortcut: ShortcutName | None,
        batch_norm: bool,
        in_channels: int,
        classes: int,
    ) -> None:
        super().__init__()
        self.stem = Stem(in_channels, widths[0], activated=stem_activated, batch_norm=batch_norm)
        before, stages = widths[0], []
        for number, (width, stride) in enumerate(zip(widths, STAGE_STRIDES, strict=True), start=1):
            units = [
                _unit(
                    width if index else before,
                    width,
                    1 if index else stride,
                    h=h,
                    post_activation=post_activation,
                    # Reading B: the stem already normalised and rectified what block 1 sees.
                    activated=not (stem_activated and number == 1 and index == 0),
                    shortcut=shortcut,
                    batch_norm=batch_norm,
                )
                for index in range(blocks_per_stage)
            ]
            stages.append(nn.Sequential(*units))
            before = width
        self.stage1, self.stage2, self.stage3 = stages
        self.final: nn.Module = nn.Identity() if post_activation else Activation(before, batch_norm)
        self.linear = nn.Linear(before, classes)
        if shortcut is None:
            self.plain_units = tuple(
                name for name, module in self.named_modules() if isinstance(module, Unit)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Give `(sample, classes)` logits of `(sample, channel, height, width)` images."""
        x = self.stem(x)
        x = self.stage3(self.stage2(self.stage1(x)))
        # A mean, not adaptive_avg_pool2d, whose gradient is not deterministic on every device.
        logits: Tensor = self.linear(self.final(x).mean(dim=(2, 3)))
        return logits


class Activation(nn.Module):
    """Batch normalisation (or none) and ReLU."""

    def __init__(self, width: int, batch_norm: bool) -> None:
        super().__init__()
        self.bn = normalisation(width, batch_norm)

    def forward(self, x: Tensor) -> Tensor:
        """Give an activation of the same shape."""
        return functional.relu(self.bn(x))


class Stem(nn.Module):
    """The first 3×3 convolution, with BN and ReLU behind it where `activated`."""

    def __init__(self, in_channels: int, width: int, *, activated: bool, batch_norm: bool) -> None:
        super().__init__()
        self.conv = _conv3x3(in_channels, width, 1, batch_norm)
        self.activation: nn.Module = Activation(width, batch_norm) if activated else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Give `(sample, width, height, width)` features of images."""
        features: Tensor = self.activation(self.conv(x))
        return features


class PreActivationBranch(nn.Module):
    """`F(x) = conv2(relu(bn2(conv1(relu(bn1(x))))))`, the inner activation optional."""

    def __init__(
        self, source: int, width: int, stride: int, batch_norm: bool, activated: bool
    ) -> None:
        super().__init__()
        self.activation1: nn.Module = Activation(source, batch_norm) if activated else nn.Identity()
        self.conv1 = _conv3x3(source, width, stride, batch_norm)
        self.activation2 = Activation(width, batch_norm)
        self.conv2 = _conv3x3(width, width, 1, batch_norm)

    def forward(self, x: Tensor) -> Tensor:
        """Give F(x)."""
        change: Tensor = self.conv2(self.activation2(self.conv1(self.activation1(x))))
        return change


class PostActivationBranch(nn.Module):
    """`F(x) = bn2(conv2(relu(bn1(conv1(x)))))`."""

    def __init__(self, source: int, width: int, stride: int, batch_norm: bool) -> None:
        super().__init__()
        self.conv1 = _conv3x3(source, width, stride, batch_norm)
        self.activation1 = Activation(width, batch_norm)
        self.conv2 = _conv3x3(width, width, 1, batch_norm)
        self.bn2 = normalisation(width, batch_norm)

    def forward(self, x: Tensor) -> Tensor:
        """Give F(x)."""
        change: Tensor = self.bn2(self.conv2(self.activation1(self.conv1(x))))
        return change


def _unit(
    source: int,
    width: int,
    stride: int,
    *,
    h: float,
    post_activation: bool,
    activated: bool,
    shortcut: ShortcutName | None,
    batch_norm: bool,
) -> nn.Module:
    branch = (
        PostActivationBranch(source, width, stride, batch_norm)
        if post_activation
        else PreActivationBranch(source, width, stride, batch_norm, activated)
    )
    if shortcut is None:
        return Unit(branch, post_activation)
    skip = make_shortcut(shortcut, source, width, stride, batch_norm)
    return Block(branch, skip, h, post_activation)


def _conv3x3(source: int, width: int, stride: int, batch_norm: bool) -> nn.Conv2d:
    return nn.Conv2d(source, width, 3, stride=stride, padding=1, bias=not batch_norm)


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def stage_widths(factor: float) -> tuple[int, ...]:
    """Give the widths of the three stages times `factor`.

    Raises:
        InputError: one of them is no whole number of 1 or more.
    """
    widths = [width * factor for width in STAGE_WIDTHS]
    if not all(math.isfinite(width) and width >= 1 and width == int(width) for width in widths):
        raise InputError(
            f"width_factor {factor}: the widths {', '.join(map(str, STAGE_WIDTHS))} times it must "
            "be whole numbers of 1 or more; 0.5, 1 and 2 are such factors."
        )
    return tuple(int(width) for width in widths)


def _refuse_bad_sizes(depth: int, h: float, **counts: int) -> None:
    if depth < 8 or (depth - 2) % 6:
        below = max(8, depth - (depth - 2) % 6)
        raise InputError(
            f"depth {depth}: expected 6n + 2 with n = 1, 2, …; the nearest are {below} and "
            f"{below + 6}."
        )
    if not math.isfinite(h):
        raise InputError(f"h {h}: expected a finite step size.")
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name} {count}: expected a whole number of 1 or more.")


def _refuse_bad_form(activation: str, reading: str, shortcut: str) -> None:
    for kind, given, known in (
        ("activation", activation, ("pre", "post")),
        ("reading", reading, ("A", "B")),
        ("shortcut", shortcut, SHORTCUTS),
    ):
        if given not in known:
            raise UnknownNameError(kind, given, known)
    if activation == "post" and reading != "B":
        raise InputError(
            f"reading {reading!r} belongs to pre-activation networks: leave it out, or set "
            "activation to 'pre'."
        )
