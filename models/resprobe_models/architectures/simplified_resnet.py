"""Simplified residual networks of single convolutions, and the plain ones that equal them.

A block is `x_out = relu(s + conv(x))`, without normalisation. Its skip is itself a convolution: the
one whose weight is 1 at the ID entries, positions (c, c, centre), and 0 elsewhere. So a residual
network is the plain one with 1 added to its ID entries.
"""

from __future__ import annotations

from torch import Tensor, nn

from resprobe.errors import InputError
from resprobe.linalg.cushions import id_entries
from resprobe_models.architectures.blocks import Block, Unit
from resprobe_models.architectures.cifar_resnet import STAGE_STRIDES, Stem, stage_widths
from resprobe_models.architectures.shortcuts import pad_channels
from resprobe_models.initialisation import Fan, Scheme, initialise_convolutions


def simplified_resnet(
    *,
    depth: int = 20,
    initialisation: Scheme | None = None,
    fan: Fan = "in",
    width_factor: float = 1.0,
    residual: bool = True,
    in_channels: int = 3,
    classes: int = 10,
) -> nn.Module:
    """Build a residual network of single convolutions without normalisation, or its plain twin.

    Input `(sample, in_channels, height, width)` standardised pixels, any height and width; output
    `(sample, classes)` logits. A 3×3 convolution with ReLU, three stages of widths 16, 32, 64 times
    `width_factor` and strides 1, 2, 2 with `(depth - 2) / 3` blocks of one 3×3 convolution each,
    global average pooling and one linear layer; everything has a bias. Where the shape changes,
    the skip is `x[:, :, ::2, ::2]` with zero channels behind.

    Weights: convolutions, the stem too, as `initialisation` says; the linear layer as PyTorch does
    by default (with Kaiming's, Table 3's sums of large weights would come out higher than
    printed); all biases 0.

    Source: Yu and Tomasi (2019), "Identity connections in residual nets improve noise stability",
    Secs. 2 and 3, Eqs. 1, 3 and 4, Figs. 4 and 5.

    Args:
        depth: `3N + 2` with N blocks a stage, 5 or more.
        initialisation: `"kwi"`, weights of standard deviation √(2/S), or `"hmwi"`, 1/S; left out,
            what the paper gives each: HMWI to a residual network, KWI to a plain one.
        fan: what S counts; `"in"`: 9 times the input channels, as printed; `"out"`: 9 times the
            output channels.
        width_factor: multiplies the three widths, which must stay whole numbers.
        residual: False gives the plain counterpart: the same layers, no addition; the network then
            names its units in `plain_units`.
        in_channels: channels of an image.
        classes: number of logits.

    Raises:
        InputError: an argument is outside what is listed here.
    """
    _refuse_bad_sizes(depth, in_channels=in_channels, classes=classes)
    network = SimplifiedResNet(
        blocks_per_stage=(depth - 2) // 3,
        widths=stage_widths(width_factor),
        residual=residual,
        in_channels=in_channels,
        classes=classes,
    )
    if initialisation is None:
        initialisation = "hmwi" if residual else "kwi"
    initialise_convolutions(network, initialisation, fan)
    nn.init.zeros_(network.linear.bias)
    return network


class SimplifiedResNet(nn.Module):
    """The network that `simplified_resnet` builds: `stem`, `stage1` … `stage3`, `linear`.

    A residual network and its plain twin have the same parameters under the same names.

    Attributes:
        plain_units: only on a plain network: the module paths of its units, in forward order.
    """

    def __init__(
        self,
        *,
        blocks_per_stage: int,
        widths: tuple[int, ...],
        residual: bool,
        in_channels: int,
        classes: int,
    ) -> None:
        super().__init__()
        self.stem = Stem(in_channels, widths[0], activated=True, batch_norm=False)
        before, stages = widths[0], []
        for width, stride in zip(widths, STAGE_STRIDES, strict=True):
            blocks = [
                _block(width if index else before, width, 1 if index else stride, residual)
                for index in range(blocks_per_stage)
            ]
            stages.append(nn.Sequential(*blocks))
            before = width
        self.stage1, self.stage2, self.stage3 = stages
        self.linear = nn.Linear(before, classes)
        if not residual:
            self.plain_units = tuple(
                name for name, module in self.named_modules() if isinstance(module, Unit)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Give `(sample, classes)` logits of `(sample, channel, height, width)` images."""
        x = self.stage3(self.stage2(self.stage1(self.stem(x))))
        # A mean, not adaptive_avg_pool2d, whose gradient is not deterministic on every device.
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits

    def id_entries(self) -> dict[str, Tensor]:
        """Give the ID entries of the convolution of every block.

        Returns:
            Name of the weight, as in `state_dict`, to a mask of its shape `(D, C, 3, 3)`: true at
            (c, c, 1, 1) for c < min(C, D). The stem has no skip and is left out.
        """
        names = [
            f"{name}.branch.weight"
            for name, module in self.named_modules()
            if isinstance(module, Block | Unit)
        ]
        return {name: id_entries(self.get_parameter(name)) for name in names}


class IdentityByConvolution(nn.Module):
    """`x[:, :, ::stride, ::stride]` with zero channels behind.

    What a 3×3 convolution of that stride and padding 1 gives whose weight is 1 at its ID entries
    and 0 elsewhere.
    """

    def __init__(self, source: int, width: int, stride: int) -> None:
        super().__init__()
        self.stride, self.missing = stride, width - source

    def forward(self, x: Tensor) -> Tensor:
        """Give `(sample, width, ⌈height / stride⌉, ⌈width / stride⌉)`."""
        return pad_channels(x[:, :, :: self.stride, :: self.stride], (0, self.missing))


def _block(source: int, width: int, stride: int, residual: bool) -> nn.Module:
    branch = nn.Conv2d(source, width, 3, stride=stride, padding=1)
    if not residual:
        return Unit(branch, post_activation=True)
    same = source == width and stride == 1
    skip = nn.Identity() if same else IdentityByConvolution(source, width, stride)
    return Block(branch, skip, 1.0, post_activation=True)


def _refuse_bad_sizes(depth: int, **counts: int) -> None:
    if depth < 5 or (depth - 2) % 3:
        below = max(5, depth - (depth - 2) % 3)
        raise InputError(
            f"depth {depth}: expected 3N + 2 with N = 1, 2, …; the nearest are {below} and "
            f"{below + 3}."
        )
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name} {count}: expected a whole number of 1 or more.")
