"""Sums that are no residual blocks, and every way to write one that is.

`DECOYS` maps a description to (net, args, pattern): no block may be found, and where a pattern is
given the reason of some refused addition matches it. `WRITINGS` maps a way of writing `x + f` to
(function of x and f, scale). `mixture` draws a net of both.
"""

import math
import operator

import torch
import torch.nn.functional as F
from torch import nn

WORDS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
PADDING = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]])


def image():
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def points(wide=6):
    return torch.randn(3, wide, generator=torch.Generator().manual_seed(0))


def sequence():
    return torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))


def conv(size=3, stride=1):
    return nn.Conv2d(4, 4, size, stride, size // 2)


class Rule(nn.Module):
    """Two maps, two vectors and a function that combines them: one sum of interest a net."""

    def __init__(self, rule, make, wide=6):
        super().__init__()
        self.rule, self.one, self.two = rule, make(), make()
        self.vector = nn.Parameter(torch.randn(wide))
        self.register_buffer("stored", torch.randn(wide))

    def forward(self, *args):
        return self.rule(self, *args)


def linear():
    return nn.Linear(6, 6)


def words():
    return nn.Embedding(16, 6)


def on_points(rule):
    return lambda: Rule(rule, linear), (points(),)


def on_images(rule):
    return lambda: Rule(rule, conv, 4), (image(),)


def on_words(rule):
    return lambda: Rule(rule, words), (WORDS,)


def gate(net, x):
    return torch.sigmoid(net.one(x) + net.two(x)) * x


def highway(net, x):
    share = torch.sigmoid(net.one(x))
    return share * torch.relu(net.two(x)) + (1 - share) * x


def recurrent_gate(net, x):
    share = torch.sigmoid(net.one(x))
    return (1 - share) * torch.tanh(net.two(x)) + share * x


def glu_sum(net, x):
    first, second = net.one(x), net.two(x)
    return first * torch.sigmoid(second) + second * torch.sigmoid(first)


def attend(scores, x):
    return scores.softmax(-1) @ x


def float_mask(net, x):
    mask = torch.full((5, 5), -1e9).triu(1)
    return attend(net.one(x) @ net.two(x).transpose(1, 2) + mask, x)


def full_mask(net, x, padding):
    mask = torch.zeros(2, 5, 5).masked_fill(padding[:, None, :].expand(2, 5, 5) == 0, -1e9)
    return attend(net.one(x) @ net.two(x).transpose(1, 2) + mask, x)


def bool_mask(net, x, padding):
    mask = (1.0 - padding[:, None, :].bool().float()).expand(-1, 5, -1) * -1e9
    return attend(net.one(x) @ net.two(x).transpose(1, 2) + mask, x)


def mask_of_the_features(net, x):
    mask = (x.abs().sum(-1) == 0).float()[:, None, :].expand(-1, 5, -1) * -1e9
    return attend(net.one(x) @ net.two(x).transpose(1, 2) + mask, x)


def relative_bias(net, x):
    places = torch.arange(5)
    bias = net.vector[(places[None] - places[:, None]).abs()]
    return attend(net.one(x) @ net.two(x).transpose(1, 2) + bias, x)


def new_gelu(net, x):
    x = net.one(x)
    inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))
    return net.two(0.5 * x * (1.0 + torch.tanh(inner)))


def rotary(net, x):
    angles = torch.outer(torch.arange(5.0), 1.0 / 10000 ** (torch.arange(0, 6, 2) / 6))
    angles = torch.cat((angles, angles), -1)
    out = net.one(x)
    left, right = out.chunk(2, -1)
    return net.two(out * angles.cos() + torch.cat((-right, left), -1) * angles.sin())


def norm_by_hand(net, x):
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-5).sqrt()
    return net.one(x * net.vector + net.stored)


def expanded_norm(net, x):
    x = net.one(x)
    return x * net.vector.expand_as(x) + net.stored.expand_as(x)


def counted_positions(net, words):
    places = torch.ones_like(words).cumsum(-1) - 1
    return net.one(words) + net.two(places)


def arranged_positions(net, words):
    return net.one(words) + net.two(torch.arange(words.shape[1]).expand_as(words))


def segments(net, words):
    return net.one(words) + net.two(torch.zeros_like(words))


def given_segments(net, words, kinds):
    return net.one(words) + net.two(kinds)


def sines(net, x):
    places = torch.arange(5.0)[:, None] / 10000 ** (torch.arange(6) / 6)
    return net.one(x) + places.sin().expand(2, -1, -1)


def pyramid(net, x):
    deep = net.one(F.max_pool2d(x, 2))
    return net.two(x) + F.interpolate(deep, scale_factor=2)


def pointwise_lateral(net, x):
    lateral = F.conv2d(x, net.one.weight[:, :, 1:2, 1:2])
    deep = net.two(F.max_pool2d(torch.relu(net.one(x)), 2))
    return lateral + F.interpolate(deep, scale_factor=2, mode="bilinear", align_corners=False)


def identity_lateral(net, x):
    deep = net.two(F.max_pool2d(torch.relu(net.one(x)), 2))
    return x + F.interpolate(deep, scale_factor=2)


def resolutions(net, x):
    high, low = net.one(x), net.two(F.avg_pool2d(x, 2))
    return F.avg_pool2d(high, 2) + low


def shifted_mean(net, x):
    before = F.pad(x, (0, 0, 1, -1))
    return net.one(x * net.vector + before * (1 - net.vector))


def modulated(net, x):
    condition = x.mean(1, keepdim=True)
    return x * (1 + net.one(condition)) + net.two(condition).expand_as(x)


def neighbours(net, x, edges):
    return net.one(x + x[edges[0]][edges[1]])


DECOYS = {
    "bias by hand": (*on_points(lambda net, x: x @ net.one.weight.t() + net.vector), None),
    "bias of one sample's shape": (
        *on_images(lambda net, x: net.one(x) + net.vector[:, None, None]),
        None,
    ),
    "expanded bias": (
        *on_points(lambda net, x: x @ net.one.weight.t() + net.vector.expand(3, 6)),
        "parameter|constant|input",
    ),
    "repeated bias": (
        *on_points(lambda net, x: x @ net.one.weight.t() + net.vector.repeat(3, 1)),
        "parameter|constant|input",
    ),
    "bias added to the input": (*on_points(lambda net, x: net.one(x + net.vector)), None),
    "expanded bias added to the input": (
        *on_points(lambda net, x: net.one(x + net.vector.expand_as(x))),
        "parameter|constant|input",
    ),
    "computed offset": (
        *on_points(lambda net, x: x + net.one(net.vector).expand_as(x)),
        "parameter|constant|input",
    ),
    "positions in a parameter": (*on_points(lambda net, x: net.one(x) + net.vector), None),
    "positions in a buffer": (
        *on_points(lambda net, x: x + net.stored.expand_as(x)),
        "parameter|constant|input",
    ),
    "positions from arange": (*on_words(arranged_positions), "parameter|constant|input"),
    "positions counted by ones_like and cumsum": (*on_words(counted_positions), None),
    "sinusoidal positions": (*on_points(sines)[:1], (sequence(),), "parameter|constant|input"),
    "segments of zeros": (*on_words(segments), None),
    "segments that are given": (
        on_words(given_segments)[0],
        (WORDS, PADDING),
        None,
    ),
    "x + 0": (*on_points(lambda net, x: net.one(x + 0)), None),
    "x + zeros_like(x)": (*on_points(lambda net, x: net.one(x) + torch.zeros_like(x)), None),
    "x + new_zeros": (*on_points(lambda net, x: net.one(x + x.new_zeros(x.shape))), None),
    "mean of two branches, halved": (
        *on_images(lambda net, x: (net.one(x) + torch.relu(net.two(net.one(x)))) / 2),
        None,
    ),
    "mean of two branches, weighted": (
        *on_images(lambda net, x: 0.5 * net.one(x) + 0.5 * net.two(x)),
        None,
    ),
    "mean of two branches, stacked": (
        *on_images(lambda net, x: torch.stack((net.one(x), net.two(x))).mean(0)),
        None,
    ),
    "mean of two pointwise branches": (
        lambda: Rule(lambda net, x: 0.5 * (net.one(x) + net.two(x)), lambda: conv(1), 4),
        (image(),),
        None,
    ),
    "sum of two deep branches": (
        *on_images(lambda net, x: torch.relu(net.one(x)) + torch.relu(net.two(x))),
        "branch|deep|operand|side",
    ),
    "sum of two equal branches": (*on_images(lambda net, x: net.one(x) + net.two(x)), None),
    "gate of two sums": (*on_points(gate), None),
    "highway": (*on_points(highway), None),
    "gate of a GRU": (*on_points(recurrent_gate), None),
    "sum of gated branches": (*on_points(glu_sum), None),
    "torch's GRU cell": (lambda: nn.GRUCell(6, 6), (points(),), None),
    "torch's LSTM cell": (lambda: nn.LSTMCell(6, 6), (points(),), None),
    "causal mask": (on_points(float_mask)[0], (sequence(),), None),
    "mask of full shape": (on_points(full_mask)[0], (sequence(), PADDING), None),
    "mask from a boolean, expanded": (on_points(bool_mask)[0], (sequence(), PADDING), None),
    "mask from the features": (on_points(mask_of_the_features)[0], (sequence(),), None),
    "relative bias": (on_points(relative_bias)[0], (sequence(),), None),
    "x + relu(x)": (*on_points(lambda net, x: net.one(x + torch.relu(x))), "parameter|operand"),
    "x + softmax(x)": (*on_points(lambda net, x: net.one(x + x.softmax(-1))), None),
    "x + x": (*on_points(lambda net, x: net.one(x + x)), None),
    "polynomial": (*on_points(lambda net, x: net.one(x + 0.1 * x * x)), None),
    "GELU by hand": (*on_points(new_gelu), None),
    "rotation": (on_points(rotary)[0], (sequence(),), None),
    "norm by hand": (*on_points(norm_by_hand), None),
    "norm by hand, expanded": (*on_points(expanded_norm), None),
    "batch norm by hand": (
        *on_images(
            lambda net, x: net.one(x) * net.vector[:, None, None] + net.stored[:, None, None]
        ),
        None,
    ),
    "feature pyramid": (*on_images(pyramid), None),
    "feature pyramid with a pointwise lateral": (*on_images(pointwise_lateral), None),
    "feature pyramid with the features themselves": (*on_images(identity_lateral), None),
    "two resolutions": (*on_images(resolutions), None),
    "F(x) - x": (*on_points(lambda net, x: net.two(torch.relu(net.one(x))) - x), None),
    "centring": (*on_points(lambda net, x: net.one(x - x.mean(-1, keepdim=True))), None),
    "distance of two encodings": (
        *on_points(lambda net, x: (net.one(x) - net.two(x)).abs()),
        None,
    ),
    "weighted mean with the place before": (on_points(shifted_mean)[0], (sequence(),), None),
    "shift and scale by a condition": (on_points(modulated)[0], (sequence(),), None),
    "sum with the neighbours": (
        on_points(neighbours)[0],
        (points(), torch.tensor([[1, 2, 0], [2, 0, 1]])),
        None,
    ),
    "fused multiply-add": (
        *on_points(lambda net, x: torch.addcmul(x, net.one(x), net.vector)),
        "fused",
    ),
    "sum over the samples": (*on_points(lambda net, x: net.one(x) + x.mean(0)), None),
}


def into_a_given_tensor(x, f):
    out = torch.empty_like(x)
    torch.add(x, f, out=out)
    return out


def into_the_branch(x, f):
    f += x
    return f


def by_method_in_place(x, f):
    return f.add_(x)


def into_a_copy(x, f):
    out = x.clone()
    out += f
    return out


def into_a_slice(x, f):
    out = f.clone()
    out[:] += x
    return out


WRITINGS = {
    "x + f": (lambda x, f: x + f, 1.0),
    "f + x": (lambda x, f: f + x, 1.0),
    "torch.add(x, f)": (torch.add, 1.0),
    "torch.add(f, x)": (lambda x, f: torch.add(f, x), 1.0),
    "torch.add(input=, other=)": (lambda x, f: torch.add(input=x, other=f), 1.0),
    "x.add(f)": (lambda x, f: x.add(f), 1.0),
    "x.__add__(f)": (lambda x, f: x.__add__(f), 1.0),
    "f += x": (into_the_branch, 1.0),
    "out = x.clone(); out += f": (into_a_copy, 1.0),
    "f.add_(x)": (by_method_in_place, 1.0),
    "operator.add": (operator.add, 1.0),
    "operator.iadd(f, x)": (lambda x, f: operator.iadd(f, x), 1.0),
    "torch.add(out=)": (into_a_given_tensor, 1.0),
    "out[:] += x": (into_a_slice, 1.0),
    "sum([x, f])": (lambda x, f: sum([x, f]), 1.0),
    "sum((f, x))": (lambda x, f: sum((f, x)), 1.0),
    "torch.stack([x, f]).sum(0)": (lambda x, f: torch.stack([x, f]).sum(0), 1.0),
    "torch.stack([f, x], 1).sum(1)": (lambda x, f: torch.stack([f, x], 1).sum(1), 1.0),
    "x - (-f)": (lambda x, f: x - (-f), 1.0),
    "x - f": (lambda x, f: x - f, -1.0),
    "torch.sub(x, f)": (torch.sub, -1.0),
    "x.sub(f, alpha=0.5)": (lambda x, f: x.sub(f, alpha=0.5), -0.5),
    "torch.add(x, f, alpha=2)": (lambda x, f: torch.add(x, f, alpha=2), 2.0),
    "x.add(f, alpha=0.5)": (lambda x, f: x.add(f, alpha=0.5), 0.5),
    "x + 0.1 * f": (lambda x, f: x + 0.1 * f, 0.1),
    "x + f / 4": (lambda x, f: x + f / 4, 0.25),
    "x + f * tensor(0.5)": (lambda x, f: x + f * torch.tensor(0.5), 0.5),
    "x.add_(f) on a copy, scaled": (lambda x, f: x.clone().add_(f, alpha=3), 3.0),
}


class Ways(nn.Module):
    """A branch from `wide` to `wide_out` channels, with sums of its own that are no blocks."""

    KINDS = ("plain", "excited", "gated", "two ways", "curve by hand", "norm by hand", "tokens")

    def __init__(self, kind, wide, wide_out, stride):
        super().__init__()
        self.kind = kind
        self.enter = nn.Conv2d(wide, wide, 3, stride, 1)
        self.other = nn.Conv2d(wide, wide, 3, stride, 1)
        self.leave = nn.Conv2d(wide, wide_out, 1)
        self.vector = nn.Parameter(torch.randn(wide))
        self.offset = nn.Parameter(torch.randn(wide))

    def forward(self, x):
        out, vector = self.enter(x), self.vector[:, None, None]
        if self.kind == "excited":
            out = out * torch.sigmoid(out.mean((2, 3), keepdim=True) * vector)
        elif self.kind == "gated":
            out = torch.tanh(out) * torch.sigmoid(self.other(x))
        elif self.kind == "two ways":
            out = (torch.relu(out) + torch.tanh(self.other(x))) / 2
        elif self.kind == "curve by hand":
            out = 0.5 * out * (1 + torch.tanh(0.8 * (out + 0.04 * out**3)))
        elif self.kind == "norm by hand":
            centred = out - out.mean(1, keepdim=True)
            out = centred * (centred.pow(2).mean(1, keepdim=True) + 1e-5).rsqrt()
            out = torch.relu(out * vector + self.offset[:, None, None].expand_as(out))
        elif self.kind == "tokens":
            tokens = out.flatten(2).transpose(1, 2)
            scores = tokens @ tokens.transpose(1, 2) + torch.full((1, 1), 0.1)
            out = (scores.softmax(-1) @ tokens).transpose(1, 2).reshape(out.shape)
        else:
            out = torch.relu(out)
        return self.leave(out)


class Drawn(nn.Module):
    """A residual block put together from what was drawn."""

    SKIPS = ("identity", "projection", "pooled", "padded", "scaled")
    ENDS = ("nothing", "relu", "relu in place", "gelu")

    def __init__(self, wide, *, branch, skip, combine, factor, end):
        super().__init__()
        self.skip, self.combine, self.factor, self.end = skip, combine, factor, end
        self.wide_out = wide + 2 if skip in ("padded", "projection") else wide
        self.branch = Ways(branch, wide, self.wide_out, 2 if skip == "pooled" else 1)
        self.point = nn.Conv2d(wide, self.wide_out, 1) if skip == "projection" else None
        self.gain = nn.Parameter(torch.full((self.wide_out, 1, 1), 0.25))

    def forward(self, x):
        out = self.branch(x)
        if self.factor == "number":
            out = 0.1 * out
        elif self.factor == "layer scale":
            out = self.gain * out
        if self.skip == "projection":
            x = self.point(x)
        elif self.skip == "pooled":
            x = F.avg_pool2d(x, 2)
        elif self.skip == "padded":
            x = F.pad(x, (0, 0, 0, 0, 1, 1))
        elif self.skip == "scaled":
            x = 0.9 * x
        out = self.combine(x, out)
        if self.end == "relu in place":
            return torch.relu_(out)
        return {"nothing": lambda x: x, "relu": torch.relu, "gelu": F.gelu}[self.end](out)


class Distraction(nn.Module):
    """Between the blocks: sums that are none, and an activation that belongs to no block."""

    KINDS = (
        *("nothing", "activation", "positions", "average", "gate", "zero", "polynomial"),
        *("resolutions", "frozen norm", "two ways"),
    )

    def __init__(self, kind, wide, size):
        super().__init__()
        self.kind = kind
        self.one, self.two = (nn.Conv2d(wide, wide, 3, padding=1) for _ in range(2))
        self.places = nn.Parameter(torch.randn(1, wide, size, size))
        self.register_buffer("factor", torch.rand(wide, 1, 1))

    def forward(self, x):
        return {
            "nothing": lambda: x,
            "activation": lambda: torch.relu(x),
            "positions": lambda: x + self.places.expand_as(x),
            "average": lambda: (x + F.max_pool2d(x, 3, 1, 1)) / 2,
            "gate": lambda: x * torch.sigmoid(self.one(x) + self.two(x)),
            "zero": lambda: x + 0 + torch.zeros_like(x),
            "polynomial": lambda: x + 0.1 * x * x,
            "resolutions": lambda: (
                x + F.interpolate(self.one(F.avg_pool2d(x, 2)), size=x.shape[-2:])
            ),
            "frozen norm": lambda: x * self.factor + self.factor.expand_as(x),
            "two ways": lambda: torch.relu(self.one(x)) + torch.relu(self.two(x)),
        }[self.kind]()


def mixture(draw, depth=5):
    """Draw a net of blocks and distractions.

    Args:
        draw: a `random.Random`.
        depth: how many blocks.

    Returns:
        The net for `image()`, its blocks' `(name, skip, activation, scale)`, and a description.
    """
    layers, blocks, said, wide, size = [nn.Conv2d(4, 4, 1)], [], [], 4, 8
    for _ in range(depth):
        kind = draw.choice(Distraction.KINDS if size > 1 else ("nothing", "positions"))
        layers.append(Distraction(kind, wide, size))
        skips = Drawn.SKIPS if size > 1 else ("identity", "projection", "padded")
        branch, skip, end = draw.choice(Ways.KINDS), draw.choice(skips), draw.choice(Drawn.ENDS)
        writing = draw.choice([*WRITINGS])
        combine, scale = WRITINGS[writing]
        factor = draw.choice(("none", "number", "layer scale")) if scale == 1.0 else "none"
        scale *= {"none": 1.0, "number": 0.1, "layer scale": 0.25}[factor]
        unit = Drawn(wide, branch=branch, skip=skip, combine=combine, factor=factor, end=end)
        wide, size = unit.wide_out, size // 2 if skip == "pooled" else size
        blocks.append((str(len(layers)), skip, "pre" if end == "nothing" else "post", scale))
        said.append(f"{kind}; {skip} {writing} {branch} {factor} {end}")
        layers.append(unit)
    return nn.Sequential(*layers).eval(), blocks, said
