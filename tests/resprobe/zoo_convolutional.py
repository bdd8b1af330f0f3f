"""Convolutional networks written from their papers, narrow, with random weights.

`NETS` maps a name to what `find_blocks` must say of the net. The counts come from the papers, never
from a run. Keys of a record, of which only `net`, `args` (or `kwargs`) and `skips` (or `blocks`)
are always there:

    net: builds the network, which is then put in eval mode (unless `train` is True)
    args, kwargs: of its forward
    skips: the kind of every block's skip in the order of execution, None where a word is arbitrary
    blocks: their number, where no kinds are given
    activations: "pre" or "post", for all blocks or one for each
    scales: a number for all blocks or one for each
    transitions: the indices of the blocks that change the features' shape
    stages: the number of stages
    names: the blocks' names
    refused: how many additions of two tensors are refused, at least

Names that torch gives to its own attributes (`weight`, `bias`, …) are not used for the nets' own:
`scramble.py` renames everything that this file defines.
"""

import torch
import torch.nn.functional as F
from torch import nn

IDENTITY, PROJECTION = "identity", "projection"
PADDED, POOLED = "padded", "pooled"


def image(size=32, channels=3):
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0))


def conv(wide_in, wide_out, size=3, stride=1, groups=1):
    return nn.Conv2d(wide_in, wide_out, size, stride, size // 2, groups=groups, bias=False)


def conv_bn(wide_in, wide_out, size=3, stride=1, groups=1):
    return nn.Sequential(conv(wide_in, wide_out, size, stride, groups), nn.BatchNorm2d(wide_out))


def conv_bn_act(wide_in, wide_out, size=3, stride=1, groups=1, *, act=nn.ReLU):
    return nn.Sequential(*conv_bn(wide_in, wide_out, size, stride, groups), act())


def head(wide, classes=10):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(wide, classes))


class Excite(nn.Module):
    """Squeeze and excitation (Hu et al. 2018): the channels gated by a small net of their means."""

    def __init__(self, wide, act=nn.ReLU):
        super().__init__()
        self.squeeze = nn.AdaptiveAvgPool2d(1)
        self.down, self.up = nn.Conv2d(wide, 2, 1), nn.Conv2d(2, wide, 1)
        self.act = act()

    def forward(self, x):
        return x * torch.sigmoid(self.up(self.act(self.down(self.squeeze(x)))))


class Basic(nn.Module):
    """He et al. 2015, figure 5 left, with batch normalisation."""

    expansion = 1

    def __init__(self, wide_in, wide, stride=1):
        super().__init__()
        self.first, self.second = conv_bn(wide_in, wide, 3, stride), conv_bn(wide, wide)
        self.relu = nn.ReLU(inplace=True)
        same = stride == 1 and wide_in == wide
        self.shortcut = None if same else conv_bn(wide_in, wide, 1, stride)

    def forward(self, x):
        skip = x
        out = self.second(self.relu(self.first(x)))
        if self.shortcut is not None:
            skip = self.shortcut(x)
        out += skip
        return self.relu(out)


class Bottleneck(nn.Module):
    """He et al. 2015, figure 5 right; stride in the 3×3 convolution, optional groups and SE."""

    expansion = 4

    def __init__(self, wide_in, wide, stride=1, *, groups=1, excite=False, shortcut="strided"):
        super().__init__()
        out = wide * self.expansion
        self.reduce = conv_bn_act(wide_in, wide, 1)
        self.middle = conv_bn_act(wide, wide, 3, stride, groups)
        self.widen = conv_bn(wide, out, 1)
        self.excite = Excite(out) if excite else nn.Identity()
        self.shortcut = nn.Identity()
        if stride > 1 and shortcut == "averaged":  # ResNet-D (He et al. 2018, figure 2c)
            pool = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
            self.shortcut = nn.Sequential(pool, conv_bn(wide_in, out, 1))
        elif stride > 1 or wide_in != out:
            self.shortcut = conv_bn(wide_in, out, 1, stride)

    def forward(self, x):
        return F.relu(
            self.excite(self.widen(self.middle(self.reduce(x)))) + self.shortcut(x), inplace=True
        )


class ResNet(nn.Module):
    def __init__(self, unit, depths, wide=8, **options):
        super().__init__()
        self.stem = nn.Sequential(*conv_bn_act(3, wide, 7, 2), nn.MaxPool2d(3, 2, 1))
        self.stages, wide_in = nn.ModuleList(), wide
        for number, depth in enumerate(depths):
            units, out = [], wide * 2**number
            for place in range(depth):
                stride = 2 if number > 0 and place == 0 else 1
                units.append(unit(wide_in, out, stride, **options))
                wide_in = out * unit.expansion
            self.stages.append(nn.Sequential(*units))
        self.head = head(wide_in)

    def forward(self, x):
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.head(x)


class PreActivation(nn.Module):
    """He et al. 2016: the first norm and ReLU serve both ways where the shape changes."""

    expansion = 1

    def __init__(self, wide_in, wide, stride=1):
        super().__init__()
        self.norm_a, self.conv_a = nn.BatchNorm2d(wide_in), conv(wide_in, wide, 3, stride)
        self.norm_b, self.conv_b = nn.BatchNorm2d(wide), conv(wide, wide)
        same = stride == 1 and wide_in == wide
        self.shortcut = None if same else conv(wide_in, wide, 1, stride)

    def forward(self, x):
        out = F.relu(self.norm_a(x))
        skip = x if self.shortcut is None else self.shortcut(out)
        out = self.conv_b(F.relu(self.norm_b(self.conv_a(out))))
        return out + skip


class WideResNet(nn.Module):
    """WRN-d-k (Zagoruyko & Komodakis 2016): d = 6n + 4, 16k, 32k and 64k channels."""

    def __init__(self, depth, factor, wide=4):
        super().__init__()
        self.stem = conv(3, wide)
        self.groups, wide_in = nn.Sequential(), wide
        for number in range(3):
            for place in range((depth - 4) // 6):
                stride = 2 if number > 0 and place == 0 else 1
                self.groups.append(PreActivation(wide_in, wide * factor * 2**number, stride))
                wide_in = wide * factor * 2**number
        self.norm, self.head = nn.BatchNorm2d(wide_in), head(wide_in)

    def forward(self, x):
        return self.head(F.relu(self.norm(self.groups(self.stem(x)))))


class Pyramid(nn.Module):
    """PyramidNet unit (Han et al. 2017): pooled and zero-padded shortcut, growing width."""

    def __init__(self, wide_in, wide, stride):
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(wide_in),
            conv(wide_in, wide, 3, stride),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            conv(wide, wide),
            nn.BatchNorm2d(wide),
        )
        self.pool = nn.AvgPool2d(2) if stride > 1 else nn.Identity()

    def forward(self, x):
        out, skip = self.body(x), self.pool(x)
        zeros = torch.zeros(
            out.shape[0], out.shape[1] - skip.shape[1], *out.shape[2:], dtype=x.dtype
        )
        return out + torch.cat((skip, zeros), dim=1)


class SlicedOptionA(nn.Module):
    """He et al. 2015, option A: every second pixel, the channels padded with zeros."""

    def __init__(self, wide_in, wide):
        super().__init__()
        self.first, self.second = conv_bn(wide_in, wide, 3, 2), conv_bn(wide, wide)
        self.missing = wide - wide_in

    def forward(self, x):
        out = self.second(F.relu(self.first(x)))
        half = self.missing // 2
        return F.relu(out + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, self.missing - half)))


class PooledSkip(nn.Module):
    """Half the resolution at equal width: the shortcut is a pooling and nothing else."""

    def __init__(self, wide, pool):
        super().__init__()
        self.body = nn.Sequential(*conv_bn_act(wide, wide, 3, 2), *conv_bn(wide, wide))
        self.pool = pool(2)

    def forward(self, x):
        return self.pool(x) + self.body(x)


class RegNetUnit(nn.Module):
    """The Y block of Radosavovic et al. 2020: 1×1, grouped 3×3, SE, 1×1, no bottleneck."""

    def __init__(self, wide_in, wide, stride):
        super().__init__()
        self.a, self.b = conv_bn_act(wide_in, wide, 1), conv_bn_act(wide, wide, 3, stride, 4)
        self.excite, self.c = Excite(wide), conv_bn(wide, wide, 1)
        same = stride == 1 and wide_in == wide
        self.shortcut = nn.Identity() if same else conv_bn(wide_in, wide, 1, stride)

    def forward(self, x):
        return F.relu(self.shortcut(x) + self.c(self.excite(self.b(self.a(x)))))


def regnet(depths=(1, 2, 3), widths=(8, 16, 24)):
    units, wide_in = [], 8
    for depth, wide in zip(depths, widths, strict=True):
        units += [RegNetUnit(wide_in, wide, 2)]
        units += [RegNetUnit(wide, wide, 1) for _ in range(depth - 1)]
        wide_in = wide
    return nn.Sequential(conv_bn_act(3, 8, 3, 2), *units, head(wide_in))


class Inverted(nn.Module):
    """MobileNetV2's inverted residual, with SE the MBConv of EfficientNet."""

    def __init__(self, wide_in, wide, *, size, stride, expand, act, excite):
        super().__init__()
        inner = wide_in * expand
        layers = [] if expand == 1 else [conv_bn_act(wide_in, inner, 1, act=act)]
        layers.append(conv_bn_act(inner, inner, size, stride, inner, act=act))
        if excite:
            layers.append(Excite(inner, nn.SiLU))
        layers.append(conv_bn(inner, wide, 1))
        self.layers = nn.Sequential(*layers)
        self.skips = stride == 1 and wide_in == wide

    def forward(self, x):
        return x + self.layers(x) if self.skips else self.layers(x)


def inverted_net(table, act, excite, stem=8, last=16):
    units, wide_in = [], stem
    for expand, wide, depth, stride, size in table:
        for place in range(depth):
            step = stride if place == 0 else 1
            unit = Inverted(
                wide_in, wide, size=size, stride=step, expand=expand, act=act, excite=excite
            )
            units.append(unit)
            wide_in = wide
    return nn.Sequential(
        conv_bn_act(3, stem, 3, 2, act=act), *units, conv_bn_act(wide_in, last, 1), head(last)
    )


def mobilenet_v2():
    # Sandler et al. 2018, table 2 (t, c/4, n, s): blocks with skip Σ(n - 1) = 1 + 2 + 3 + 2 + 2
    rows = [(1, 4, 1, 1), (6, 6, 2, 2), (6, 8, 3, 2), (6, 16, 4, 2), (6, 24, 3, 1), (6, 40, 3, 2)]
    table = [(*row, 3) for row in [*rows, (6, 80, 1, 1)]]
    return inverted_net(table, nn.ReLU6, excite=False)


def efficientnet_b0():
    # Tan & Le 2019, table 1, channels/4: blocks with skip Σ(n - 1) = 1 + 1 + 2 + 2 + 3
    table = [
        (1, 4, 1, 1, 3),
        (6, 6, 2, 2, 3),
        (6, 10, 2, 2, 5),
        (6, 20, 3, 2, 3),
        (6, 28, 3, 1, 5),
        (6, 48, 4, 2, 5),
        (6, 80, 1, 1, 3),
    ]
    return inverted_net(table, nn.SiLU, excite=True)


class ConvNeXtUnit(nn.Module):
    """Liu et al. 2022: depthwise 7×7, LayerNorm and MLP with channels last, layer scale."""

    def __init__(self, wide, gain):
        super().__init__()
        self.depthwise = nn.Conv2d(wide, wide, 7, padding=3, groups=wide)
        self.norm = nn.LayerNorm(wide, eps=1e-6)
        self.up, self.down = nn.Linear(wide, 4 * wide), nn.Linear(4 * wide, wide)
        self.gain = nn.Parameter(gain * torch.ones(wide))

    def forward(self, x):
        out = self.depthwise(x).permute(0, 2, 3, 1)
        out = self.gain * self.down(F.gelu(self.up(self.norm(out))))
        return x + out.permute(0, 3, 1, 2)


class ChannelNorm(nn.Module):
    """ConvNeXt's LayerNorm over channels first, written by hand as in the authors' code."""

    def __init__(self, wide):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(wide))
        self.offset = nn.Parameter(torch.zeros(wide))

    def forward(self, x):
        centred = x - x.mean(1, keepdim=True)
        x = centred / torch.sqrt(centred.pow(2).mean(1, keepdim=True) + 1e-6)
        return self.factor[:, None, None] * x + self.offset[:, None, None]


def convnext(depths=(1, 2, 3, 1), gain=1e-6):
    layers, wide_in = [nn.Conv2d(3, 4, 4, 4), ChannelNorm(4)], 4
    for number, depth in enumerate(depths):
        if number:
            layers += [ChannelNorm(wide_in), nn.Conv2d(wide_in, 2 * wide_in, 2, 2)]
            wide_in *= 2
        layers += [ConvNeXtUnit(wide_in, gain) for _ in range(depth)]
    return nn.Sequential(*layers, head(wide_in))


class DenseLayer(nn.Module):
    """DenseNet-BC (Huang et al. 2017): features are concatenated, nothing is added."""

    def __init__(self, wide_in, growth):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.BatchNorm2d(wide_in), nn.ReLU(), conv(wide_in, 4 * growth, 1)),
            *(nn.BatchNorm2d(4 * growth), nn.ReLU(), conv(4 * growth, growth)),
        )

    def forward(self, x):
        return torch.cat([x, self.body(x)], 1)


def densenet(depths=(2, 3), growth=4):
    layers, wide = [conv_bn_act(3, 8, 3, 2)], 8
    for depth in depths:
        for _ in range(depth):
            layers.append(DenseLayer(wide, growth))
            wide += growth
        layers.append(nn.Sequential(nn.BatchNorm2d(wide), conv(wide, wide // 2, 1)))
        layers.append(nn.AvgPool2d(2))
        wide //= 2
    return nn.Sequential(*layers, head(wide))


def vgg():
    layers, wide_in = [], 3
    for wide in (4, "pool", 8, "pool", 16, 16, "pool"):
        if wide == "pool":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(wide_in, wide, 3, padding=1), nn.ReLU(inplace=True)]
            wide_in = wide
    classifier = [nn.Flatten(), nn.Linear(16 * 16, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 10)]
    return nn.Sequential(*layers, *classifier)


class InceptionUnit(nn.Module):
    """Inception-ResNet-A (Szegedy et al. 2016, figures 10, 20): ways joined and scaled."""

    def __init__(self, wide, factor):
        super().__init__()
        self.short = conv_bn_act(wide, 4, 1)
        self.longer = nn.Sequential(conv_bn_act(wide, 4, 1), conv_bn_act(4, 4))
        self.longest = nn.Sequential(conv_bn_act(wide, 4, 1), conv_bn_act(4, 6), conv_bn_act(6, 8))
        self.join = nn.Conv2d(16, wide, 1)
        self.factor = factor

    def forward(self, x):
        ways = torch.cat((self.short(x), self.longer(x), self.longest(x)), 1)
        return F.relu(x + self.factor * self.join(ways))


class UNet(nn.Module):
    """Residual U-Net whose encoder features are added to the upsampled decoder (LinkNet)."""

    def __init__(self, wide=4, upsample="interpolate"):
        super().__init__()
        self.stem = conv_bn_act(3, wide)
        self.encoders = nn.ModuleList([Basic(wide, wide), Basic(wide, 2 * wide, 2)])
        self.bottom = Basic(2 * wide, 4 * wide, 2)
        self.ups = nn.ModuleList()
        for wide_in in (4 * wide, 2 * wide):
            if upsample == "interpolate":
                up = nn.Sequential(nn.Upsample(scale_factor=2), conv(wide_in, wide_in // 2, 1))
            elif upsample == "shuffle":
                up = nn.Sequential(conv(wide_in, 2 * wide_in, 1), nn.PixelShuffle(2))
            else:
                up = nn.ConvTranspose2d(wide_in, wide_in // 2, 2, 2)
            self.ups.append(up)
        self.decoders = nn.ModuleList([Basic(2 * wide, 2 * wide), Basic(wide, wide)])
        self.out = nn.Conv2d(wide, 1, 1)

    def forward(self, x):
        x, kept = self.stem(x), []
        for encoder in self.encoders:
            x = encoder(x)
            kept.append(x)
        x = self.bottom(x)
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            x = decoder(up(x) + kept.pop())
        return self.out(x)


class FeaturePyramid(nn.Module):
    """Lin et al. 2017 on a ResNet-18: 1×1 laterals plus the upsampled level above."""

    def __init__(self, wide=4):
        super().__init__()
        self.bottom_up = ResNet(Basic, (2, 2, 2, 2), wide)
        widths = [wide * 2**number for number in range(4)]
        self.laterals = nn.ModuleList(nn.Conv2d(width, 6, 1) for width in widths)
        self.smooth = nn.ModuleList(nn.Conv2d(6, 6, 3, padding=1) for _ in widths)

    def forward(self, x):
        x, levels = self.bottom_up.stem(x), []
        for stage in self.bottom_up.stages:
            x = stage(x)
            levels.append(x)
        top, out = None, []
        for level, lateral, smooth in zip(
            levels[::-1], self.laterals[::-1], self.smooth, strict=True
        ):
            this = lateral(level)
            if top is not None:
                this = this + F.interpolate(top, size=this.shape[-2:], mode="nearest")
            top = this
            out.append(smooth(top))
        return out


class HighResolution(nn.Module):
    """HRNet (Wang et al. 2019): parallel resolutions, every one fused into every other."""

    def __init__(self, wide=4):
        super().__init__()
        self.stem = conv_bn_act(3, wide, 3, 2)
        self.opening = Basic(wide, wide)
        self.lower = conv_bn_act(wide, 2 * wide, 3, 2)
        self.high_blocks = nn.ModuleList(
            nn.Sequential(Basic(wide, wide), Basic(wide, wide)) for _ in range(2)
        )
        self.low_blocks = nn.ModuleList(
            nn.Sequential(Basic(2 * wide, 2 * wide), Basic(2 * wide, 2 * wide)) for _ in range(2)
        )
        self.down = nn.ModuleList(conv_bn(wide, 2 * wide, 3, 2) for _ in range(2))
        self.up = nn.ModuleList(conv_bn(2 * wide, wide, 1) for _ in range(2))
        self.head = head(2 * wide)

    def forward(self, x):
        high = self.opening(self.stem(x))
        low = self.lower(high)
        for number in range(2):
            high, low = self.high_blocks[number](high), self.low_blocks[number](low)
            risen = F.interpolate(self.up[number](low), scale_factor=2, mode="nearest")
            sunk = self.down[number](high)
            high, low = F.relu(high + risen), F.relu(sunk + low)
        return self.head(low)


class HourglassUnit(nn.Module):
    """The pre-activation bottleneck of Newell et al. 2016."""

    def __init__(self, wide):
        super().__init__()
        half = wide // 2
        self.body = nn.Sequential(
            *(nn.BatchNorm2d(wide), nn.ReLU(), nn.Conv2d(wide, half, 1)),
            *(nn.BatchNorm2d(half), nn.ReLU(), nn.Conv2d(half, half, 3, padding=1)),
            *(nn.BatchNorm2d(half), nn.ReLU(), nn.Conv2d(half, wide, 1)),
        )

    def forward(self, x):
        return x + self.body(x)


class Hourglass(nn.Module):
    """Newell et al. 2016: at each level a unit beside the way down and up; 3n + 1 units."""

    def __init__(self, level, wide):
        super().__init__()
        self.beside, self.before, self.after = (HourglassUnit(wide) for _ in range(3))
        self.inner = Hourglass(level - 1, wide) if level > 1 else HourglassUnit(wide)

    def forward(self, x):
        low = self.after(self.inner(self.before(F.max_pool2d(x, 2))))
        return self.beside(x) + F.interpolate(low, scale_factor=2)


class PoolFormerUnit(nn.Module):
    """Yu et al. 2022: the token mixer is a pooling minus its input, without any matrix."""

    def __init__(self, wide, gain=1e-5):
        super().__init__()
        self.norm_a, self.norm_b = nn.GroupNorm(1, wide), nn.GroupNorm(1, wide)
        self.pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        self.mlp = nn.Sequential(
            nn.Conv2d(wide, 2 * wide, 1), nn.GELU(), nn.Conv2d(2 * wide, wide, 1)
        )
        self.gain_a = nn.Parameter(gain * torch.ones(wide))
        self.gain_b = nn.Parameter(gain * torch.ones(wide))

    def forward(self, x):
        mixed = self.norm_a(x)
        x = x + self.gain_a[:, None, None] * (self.pool(mixed) - mixed)
        return x + self.gain_b[:, None, None] * self.mlp(self.norm_b(x))


class FrozenNorm(nn.Module):
    """Batch normalisation with everything in buffers, as detectors use it: x·scale + offset."""

    def __init__(self, wide):
        super().__init__()
        self.register_buffer("factor", torch.ones(wide))
        self.register_buffer("offset", torch.zeros(wide))
        self.register_buffer("centre", torch.zeros(wide))
        self.register_buffer("spread", torch.ones(wide))

    def forward(self, x):
        factor = (
            self.factor.reshape(1, -1, 1, 1) * (self.spread.reshape(1, -1, 1, 1) + 1e-5).rsqrt()
        )
        offset = self.offset.reshape(1, -1, 1, 1) - self.centre.reshape(1, -1, 1, 1) * factor
        return x * factor + offset


class FrozenBasic(nn.Module):
    expansion = 1

    def __init__(self, wide_in, wide, stride=1):
        super().__init__()
        self.conv_a, self.norm_a = conv(wide_in, wide, 3, stride), FrozenNorm(wide)
        self.conv_b, self.norm_b = conv(wide, wide), FrozenNorm(wide)
        self.shortcut = None
        if stride > 1 or wide_in != wide:
            self.shortcut = nn.Sequential(conv(wide_in, wide, 1, stride), FrozenNorm(wide))

    def forward(self, x):
        out = self.norm_b(self.conv_b(F.relu(self.norm_a(self.conv_a(x)))))
        return F.relu(out + (x if self.shortcut is None else self.shortcut(x)))


class Standardised(nn.Conv2d):
    """Weight standardisation (Qiao et al. 2019): the kernel is computed at every call."""

    def forward(self, x):
        kernel = self.weight
        kernel = kernel - kernel.mean(dim=(1, 2, 3), keepdim=True)
        kernel = kernel / (kernel.std(dim=(1, 2, 3), keepdim=True) + 1e-5)
        return F.conv2d(x, kernel, self.bias, self.stride, self.padding)


class StandardisedUnit(nn.Module):
    """Big Transfer's unit (Kolesnikov et al. 2020): group norm and standardised weights."""

    expansion = 1

    def __init__(self, wide_in, wide, stride=1):
        super().__init__()
        self.norm_a, self.norm_b = nn.GroupNorm(2, wide_in), nn.GroupNorm(2, wide)
        self.conv_a = Standardised(wide_in, wide, 3, stride, 1, bias=False)
        self.conv_b = Standardised(wide, wide, 3, 1, 1, bias=False)
        self.shortcut = None
        if stride > 1 or wide_in != wide:
            self.shortcut = Standardised(wide_in, wide, 1, stride, bias=False)

    def forward(self, x):
        out = F.relu(self.norm_a(x))
        skip = x if self.shortcut is None else self.shortcut(out)
        return self.conv_b(F.relu(self.norm_b(self.conv_a(out)))) + skip


class WeightNormed(nn.Module):
    """Salimans & Kingma 2016: direction and length are the parameters, no other norm."""

    expansion = 1

    def __init__(self, wide_in, wide, stride=1):
        super().__init__()
        normed = nn.utils.parametrizations.weight_norm
        self.conv_a = normed(nn.Conv2d(wide_in, wide, 3, stride, 1))
        self.conv_b = normed(nn.Conv2d(wide, wide, 3, 1, 1))
        self.shortcut = None
        if stride > 1 or wide_in != wide:
            self.shortcut = normed(nn.Conv2d(wide_in, wide, 1, stride))

    def forward(self, x):
        out = self.conv_b(F.relu(self.conv_a(F.relu(x))))
        return out + (x if self.shortcut is None else self.shortcut(x))


class Survival(nn.Module):
    """Stochastic depth (Huang et al. 2016): eval multiplies by the survival probability."""

    def __init__(self, chance, rescaled):
        super().__init__()
        self.chance, self.rescaled = chance, rescaled

    def forward(self, x):
        if self.training:
            mask = torch.rand(x.shape[0], 1, 1, 1) < self.chance
            return x * mask / (self.chance if self.rescaled else 1.0)
        return x if self.rescaled else self.chance * x


class DroppedUnit(nn.Module):
    def __init__(self, wide, chance, rescaled):
        super().__init__()
        layers = [*conv_bn_act(wide, wide), nn.Dropout(0.3), *conv_bn(wide, wide)]
        self.body = nn.Sequential(*layers, Survival(chance, rescaled))

    def forward(self, x):
        return F.relu(x + self.body(x))


class ShakeShake(nn.Module):
    """Gastaldi 2017: two branches mixed by a random weight, in eval by 1/2; one skip."""

    def __init__(self, wide_in, wide, stride=1):
        super().__init__()
        self.left, self.right = (
            nn.Sequential(*conv_bn_act(wide_in, wide, 3, stride), *conv_bn(wide, wide))
            for _ in range(2)
        )
        self.near = self.far = None
        if stride > 1:
            self.near, self.far = conv(wide_in, wide // 2, 1), conv(wide_in, wide - wide // 2, 1)
            self.norm = nn.BatchNorm2d(wide)

    def forward(self, x):
        start = F.relu(x)
        mix = torch.rand(x.shape[0], 1, 1, 1) if self.training else 0.5
        out = mix * self.left(start) + (1 - mix) * self.right(start)
        if self.near is None:
            return x + out
        near = self.near(F.avg_pool2d(start, 1, 2))
        far = self.far(F.avg_pool2d(F.pad(start, (-1, 1, -1, 1)), 1, 2))
        return self.norm(torch.cat((near, far), 1)) + out


class RepVGGUnit(nn.Module):
    """Ding et al. 2021, training form: 3×3 and 1×1 and, where the shape allows, the norm alone."""

    def __init__(self, wide_in, wide, stride=1):
        super().__init__()
        self.dense, self.point = (
            conv_bn(wide_in, wide, 3, stride),
            conv_bn(wide_in, wide, 1, stride),
        )
        same = stride == 1 and wide_in == wide
        self.only_norm = nn.BatchNorm2d(wide) if same else None

    def forward(self, x):
        if self.only_norm is None:
            return F.relu(self.dense(x) + self.point(x))
        return F.relu(self.dense(x) + self.point(x) + self.only_norm(x))


class ReZeroUnit(nn.Module):
    """Bachlechner et al. 2020: x + α·F(x) with α = 0 at the start."""

    def __init__(self, wide):
        super().__init__()
        self.body = nn.Sequential(conv(wide, wide), nn.ReLU(), conv(wide, wide))
        self.alpha = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return x + self.alpha * self.body(x)


class EnhancedUnit(nn.Module):
    """EDSR's unit (Lim et al. 2017): no norm, branch times 0.1."""

    def __init__(self, wide):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(wide, wide, 3, padding=1), nn.ReLU(True), nn.Conv2d(wide, wide, 3, padding=1)
        )

    def forward(self, x):
        return x + self.body(x).mul(0.1)


class SuperResolution(nn.Module):
    """EDSR: the units and one skip around all of them, then a pixel shuffle."""

    def __init__(self, depth=3, wide=8):
        super().__init__()
        self.entry = nn.Conv2d(3, wide, 3, padding=1)
        self.body = nn.Sequential(
            *[EnhancedUnit(wide) for _ in range(depth)], nn.Conv2d(wide, wide, 3, padding=1)
        )
        self.tail = nn.Sequential(
            nn.Conv2d(wide, 4 * wide, 3, padding=1), nn.PixelShuffle(2), nn.Conv2d(wide, 3, 1)
        )

    def forward(self, x):
        x = self.entry(x)
        return self.tail(self.body(x) + x)


class Denoiser(nn.Module):
    """DnCNN (Zhang et al. 2017): the net estimates the noise, which is taken off the input."""

    def __init__(self):
        super().__init__()
        self.noise = nn.Sequential(
            conv_bn_act(3, 8), conv_bn_act(8, 8), nn.Conv2d(8, 3, 3, padding=1)
        )

    def forward(self, x):
        return x - self.noise(x)


class NormFree(nn.Module):
    """NFNet's unit (Brock et al. 2021): x + α·F(β·act(x)); in transitions the skip leaves later."""

    def __init__(self, wide_in, wide, stride, beta):
        super().__init__()
        self.a, self.b = conv(wide_in, wide, 3, stride), conv(wide, wide)
        self.point = conv(wide_in, wide, 1) if stride > 1 or wide_in != wide else None
        self.factor, self.beta, self.alpha = stride, beta, 0.2

    def forward(self, x):
        start = F.relu(x) * self.beta
        skip = x
        if self.point is not None:
            skip = self.point(F.avg_pool2d(start, 2) if self.factor > 1 else start)
        return self.b(F.relu(self.a(start))) * self.alpha + skip


class ConvMixerUnit(nn.Module):
    """Trockman & Kolter 2022: a residual depthwise convolution, then a pointwise one without."""

    def __init__(self, wide):
        super().__init__()
        self.depthwise, self.norm_a = conv(wide, wide, 5, groups=wide), nn.BatchNorm2d(wide)
        self.pointwise = nn.Sequential(nn.Conv2d(wide, wide, 1), nn.GELU(), nn.BatchNorm2d(wide))

    def forward(self, x):
        return self.pointwise(x + self.norm_a(F.gelu(self.depthwise(x))))


class TimedUnit(nn.Module):
    """A diffusion U-Net's unit (Ho et al. 2020): the time's code is added inside the branch."""

    def __init__(self, wide_in, wide, repeated):
        super().__init__()
        self.norm_a, self.norm_b = nn.GroupNorm(2, wide_in), nn.GroupNorm(2, wide)
        self.a, self.b = conv(wide_in, wide), conv(wide, wide)
        self.time, self.repeated = nn.Linear(6, wide), repeated
        self.shortcut = nn.Identity() if wide_in == wide else nn.Conv2d(wide_in, wide, 1)

    def forward(self, x, code):
        out = self.a(F.silu(self.norm_a(x)))
        shift = self.time(F.silu(code))[:, :, None, None]
        out = out + (shift.expand(out.shape) if self.repeated else shift)
        return self.shortcut(x) + self.b(F.silu(self.norm_b(out)))


class Diffusion(nn.Module):
    def __init__(self, repeated):
        super().__init__()
        self.entry, self.units = conv(3, 4), nn.ModuleList()
        for wide_in, wide in ((4, 4), (4, 8), (8, 8)):
            self.units.append(TimedUnit(wide_in, wide, repeated))

    def forward(self, x, time):
        angles = time[:, None] * torch.exp(-torch.arange(3.0))[None]
        code, x = torch.cat((angles.sin(), angles.cos()), 1), self.entry(x)
        for unit in self.units:
            x = unit(x, code)
        return x


def stacked(*units, wide=8, act=nn.ReLU):
    return nn.Sequential(conv_bn_act(3, wide, 3, 2, act=act), *units)


ID, PR = [IDENTITY], [PROJECTION]
POST = {"activations": "post"}
PRE = {"activations": "pre"}

NETS = {
    # He et al. 2015, table 1: 2+2+2+2 and 3+4+6+3 blocks; bottlenecks widen in the first stage too
    "ResNet-18": {
        "net": lambda: ResNet(Basic, (2, 2, 2, 2)),
        "args": (image(),),
        "skips": 2 * ID + 3 * (PR + ID),
        "transitions": [2, 4, 6],
        "stages": 4,
        "scales": 1.0,
        "refused": 0,
        **POST,
    },
    "ResNet-50": {
        "net": lambda: ResNet(Bottleneck, (3, 4, 6, 3), 4),
        "args": (image(),),
        "skips": PR + 2 * ID + PR + 3 * ID + PR + 5 * ID + PR + 2 * ID,
        "transitions": [0, 3, 7, 13],
        "stages": 4,
        "scales": 1.0,
        "refused": 0,
        **POST,
    },
    "ResNet-18 in training mode": {
        "net": lambda: ResNet(Basic, (2, 2, 2, 2)),
        "train": True,
        "args": (image(64),),
        "skips": 2 * ID + 3 * (PR + ID),
        "stages": 4,
        **POST,
    },
    "ResNet-D": {
        "net": lambda: ResNet(Bottleneck, (2, 2, 2), 4, shortcut="averaged"),
        "args": (image(),),
        "skips": 3 * (PR + ID),
        "transitions": [0, 2, 4],
        "stages": 3,
        **POST,
    },
    "ResNeXt": {
        "net": lambda: ResNet(Bottleneck, (2, 2, 2), 8, groups=4),
        "args": (image(),),
        "skips": 3 * (PR + ID),
        "stages": 3,
        **POST,
    },
    "SE-ResNet": {
        "net": lambda: ResNet(Bottleneck, (2, 2), 4, excite=True),
        "args": (image(),),
        "skips": 2 * (PR + ID),
        "stages": 2,
        **POST,
    },
    # d = 6n + 4: WRN-16-2 has n = 2 blocks in each of 3 groups, every group widens
    "WRN-16-2": {
        "net": lambda: WideResNet(16, 2),
        "args": (image(16),),
        "skips": 3 * (PR + ID),
        "transitions": [0, 2, 4],
        "stages": 3,
        **PRE,
    },
    "pre-activation ResNet-18": {
        "net": lambda: ResNet(PreActivation, (2, 2, 2, 2)),
        "args": (image(),),
        "skips": 2 * ID + 3 * (PR + ID),
        "transitions": [2, 4, 6],
        "stages": 4,
        **PRE,
    },
    # every unit is wider than the one before
    "PyramidNet": {
        "net": lambda: stacked(Pyramid(8, 10, 1), Pyramid(10, 12, 2), Pyramid(12, 14, 1)),
        "args": (image(),),
        "skips": 3 * [PADDED],
        "transitions": [0, 1, 2],
        **PRE,
    },
    "ResNet with option A": {
        "net": lambda: stacked(Basic(8, 8), SlicedOptionA(8, 16), Basic(16, 16)),
        "args": (image(),),
        "skips": [IDENTITY, PADDED, IDENTITY],
        "transitions": [1],
        "stages": 2,
        **POST,
    },
    "pooled shortcuts": {
        "net": lambda: stacked(PooledSkip(8, nn.AvgPool2d), PooledSkip(8, nn.MaxPool2d)),
        "args": (image(),),
        "skips": 2 * [POOLED],
        "transitions": [0, 1],
        "stages": 2,
        **PRE,
    },
    "RegNet-Y": {
        "net": regnet,
        "args": (image(),),
        "skips": PR + PR + ID + PR + 2 * ID,
        "transitions": [0, 1, 3],
        "stages": 3,
        **POST,
    },
    "MobileNetV2": {
        "net": mobilenet_v2,
        "args": (image(),),
        "skips": 10 * ID,
        "transitions": [],
        "stages": 5,
        **PRE,
    },
    "EfficientNet-B0": {
        "net": efficientnet_b0,
        "args": (image(),),
        "skips": 9 * ID,
        "transitions": [],
        "stages": 5,
        **PRE,
    },
    "ConvNeXt": {
        "net": convnext,
        "args": (image(),),
        "skips": 7 * ID,
        "scales": 1e-6,
        "transitions": [],
        "stages": 4,
        **PRE,
    },
    "DenseNet": {"net": densenet, "args": (image(),), "skips": []},
    "VGG": {"net": vgg, "args": (image(),), "skips": []},
    "Inception-ResNet": {
        "net": lambda: stacked(*(InceptionUnit(8, factor) for factor in (0.1, 0.2, 0.1))),
        "args": (image(),),
        "skips": 3 * ID,
        "scales": [0.1, 0.2, 0.1],
        "stages": 1,
        **POST,
    },
    # 2 encoders, the bottom, 2 decoders; the two additions between encoder and decoder are none
    **{
        f"U-Net ({upsample})": {
            "net": lambda upsample=upsample: UNet(4, upsample),
            "args": (image(16),),
            "skips": ID + 2 * PR + 2 * ID,
            "names": ["encoders.0", "encoders.1", "bottom", "decoders.0", "decoders.1"],
            "transitions": [1, 2],
            "stages": 5,
            "refused": 2,
            **POST,
        }
        for upsample in ("interpolate", "shuffle", "transposed")
    },
    # ResNet-18's 8; three laterals are added to the level above
    "feature pyramid": {
        "net": FeaturePyramid,
        "args": (image(64),),
        "skips": 2 * ID + 3 * (PR + ID),
        "names": [f"bottom_up.stages.{stage}.{place}" for stage in range(4) for place in (0, 1)],
        "refused": 3,
        **POST,
    },
    # 1 + 2 modules of (2 high + 2 low); two fusions a module
    "HRNet": {
        "net": HighResolution,
        "args": (image(16),),
        "skips": 9 * ID,
        "names": [
            "opening",
            *("high_blocks.0.0", "high_blocks.0.1", "low_blocks.0.0", "low_blocks.0.1"),
            *("high_blocks.1.0", "high_blocks.1.1", "low_blocks.1.0", "low_blocks.1.1"),
        ],
        "refused": 4,
        **POST,
    },
    # n = 2 levels: 3·2 + 1 units, 2 merges
    "hourglass": {
        "net": lambda: stacked(Hourglass(2, 8)),
        "args": (image(16),),
        "skips": 7 * ID,
        "names": [
            *("1.before", "1.inner.before", "1.inner.inner", "1.inner.after", "1.inner.beside"),
            *("1.after", "1.beside"),
        ],
        "refused": 2,
        **PRE,
    },
    "PoolFormer": {
        "net": lambda: nn.Sequential(
            nn.Conv2d(3, 8, 7, 4, 2), PoolFormerUnit(8), PoolFormerUnit(8)
        ),
        "args": (image(),),
        "skips": 4 * ID,
        "scales": 1e-5,
        "stages": 1,
        **PRE,
    },
    "frozen norms": {
        "net": lambda: ResNet(FrozenBasic, (2, 2, 2)),
        "args": (image(),),
        "skips": 2 * ID + 2 * (PR + ID),
        "transitions": [2, 4],
        "stages": 3,
        "scales": 1.0,
        **POST,
    },
    "weight-standardised ResNet": {
        "net": lambda: ResNet(StandardisedUnit, (2, 2)),
        "args": (image(),),
        "skips": 2 * ID + PR + ID,
        "stages": 2,
        **PRE,
    },
    "weight-normed ResNet": {
        "net": lambda: ResNet(WeightNormed, (2, 2)),
        "args": (image(),),
        "skips": 2 * ID + PR + ID,
        "stages": 2,
        **PRE,
    },
    "stochastic depth and dropout in eval": {
        "net": lambda: stacked(DroppedUnit(8, 0.9, True), DroppedUnit(8, 0.8, False)),
        "args": (image(16),),
        "skips": 2 * ID,
        "scales": [1.0, 0.8],
        **POST,
    },
    "shake-shake": {
        "net": lambda: stacked(ShakeShake(8, 8), ShakeShake(8, 8)),
        "args": (image(16),),
        "skips": 2 * ID,
        "stages": 1,
        **PRE,
    },
    "shake-shake with its shortcut": {
        "net": lambda: stacked(ShakeShake(8, 8), ShakeShake(8, 16, 2), ShakeShake(16, 16)),
        "args": (image(16),),
        "skips": ID + PR + ID,
        "stages": 2,
        **PRE,
    },
    # with a stride there are only 3×3 and 1×1, which has the form of a projection shortcut;
    # what the norm alone is called (identity, scaled) is left open
    "RepVGG": {
        "net": lambda: stacked(RepVGGUnit(8, 16, 2), RepVGGUnit(16, 16), RepVGGUnit(16, 16)),
        "args": (image(16),),
        "skips": [PROJECTION, None, None],
        "transitions": [0],
        "stages": 1,
        **POST,
    },
    "ReZero": {
        "net": lambda: stacked(ReZeroUnit(8), ReZeroUnit(8)),
        "args": (image(16),),
        "skips": 2 * ID,
        "scales": 0.0,
        **PRE,
    },
    # three units and the skip around them
    "EDSR": {
        "net": SuperResolution,
        "args": (image(8),),
        "skips": 4 * ID,
        "scales": [0.1, 0.1, 0.1, 1.0],
        **PRE,
    },
    "DnCNN": {
        "net": Denoiser,
        "args": (image(8),),
        "skips": ID,
        "scales": -1.0,
        **PRE,
    },
    "NFNet": {
        "net": lambda: stacked(NormFree(8, 16, 2, 1.0), NormFree(16, 16, 1, 0.9)),
        "args": (image(16),),
        "skips": PR + ID,
        "scales": 0.2,
        **PRE,
    },
    "ConvMixer": {
        "net": lambda: stacked(ConvMixerUnit(8), ConvMixerUnit(8), act=nn.GELU),
        "args": (image(16),),
        "skips": 2 * ID,
        "names": ["1", "2"],
        **PRE,
    },
    **{
        f"units of a diffusion U-Net ({'expanded' if expand else 'broadcast'} time)": {
            "net": lambda expand=expand: Diffusion(expand),
            "args": (image(8), torch.tensor([0.1, 0.7])),
            "skips": ID + PR + ID,
            "names": ["units.0", "units.1", "units.2"],
            **PRE,
        }
        for expand in (True, False)
    },
}
