"""Networks from differential equations, recurrent and reversible nets, and unusual ways of writing
ordinary ones; records as in `zoo_convolutional`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

IDENTITY, PROJECTION, SCALED = "identity", "projection", "scaled"


def points(wide=8):
    return torch.randn(3, wide, generator=torch.Generator().manual_seed(0))


def sequence(length=5, wide=6):
    return torch.randn(2, length, wide, generator=torch.Generator().manual_seed(0))


def image():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Hamiltonian(nn.Module):
    """Chang et al. 2018, equation 9 (Verlet): y += h·Kᵀσ(K z), z -= h·Kᵀσ(K y)."""

    def __init__(self, depth, wide=8, step=0.1):
        super().__init__()
        self.entry, self.leave = nn.Conv2d(3, wide, 3, padding=1), nn.Linear(wide, 5)
        self.kernels = nn.ParameterList(
            0.1 * torch.randn(wide // 2, wide // 2, 3, 3) for _ in range(2 * depth)
        )
        self.step = step

    def force(self, x, kernel):
        return F.conv_transpose2d(torch.tanh(F.conv2d(x, kernel, padding=1)), kernel, padding=1)

    def forward(self, x):
        y, z = self.entry(x).chunk(2, 1)
        for first, second in zip(self.kernels[::2], self.kernels[1::2], strict=True):
            y = y + self.step * self.force(z, first)
            z = z - self.step * self.force(y, second)
        return self.leave(torch.cat((y, z), 1).mean((2, 3)))


class SimpleVerlet(nn.Module):
    """Haber & Ruthotto 2018: y += h·σ(K z + b), z -= h·σ(Kᵀ y + c), in place."""

    def __init__(self, depth, wide=8, step=0.2):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(wide // 2, wide // 2) for _ in range(depth))
        self.entry, self.step = nn.Linear(wide, wide), step

    def forward(self, x):
        y, z = (part.clone() for part in self.entry(x).chunk(2, 1))
        for layer in self.layers:
            y += self.step * torch.tanh(layer(z))
            z -= self.step * torch.tanh(y @ layer.weight)
        return torch.cat((y, z), 1)


class TwoStep(nn.Module):
    """Chang et al. 2018, equations 12 and 14: leapfrog and midpoint, each needs two states.

    The first step is an Euler step, which has the same form as a residual block.
    """

    def __init__(self, depth, rule, wide=8, step=0.1):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(wide, wide) for _ in range(depth))
        self.entry, self.rule, self.step = nn.Linear(wide, wide), rule, step

    def force(self, x, layer):
        return -F.linear(torch.tanh(layer(x)), layer.weight.t())

    def forward(self, x):
        before = self.entry(x)
        now = before + self.step * self.force(before, self.layers[0])
        for layer in self.layers[1:]:
            if self.rule == "leapfrog":
                after = 2 * now - before + self.step**2 * self.force(now, layer)
            else:
                after = before + 2 * self.step * self.force(now, layer)
            before, now = now, after
        return now


class Coupling(nn.Module):
    """RevNet (Gomez et al. 2017): y₁ = x₁ + F(x₂), y₂ = x₂ + G(y₁) on halves of the channels."""

    def __init__(self, wide):
        super().__init__()
        half = wide // 2
        self.f, self.g = (
            nn.Sequential(nn.BatchNorm2d(half), nn.ReLU(), nn.Conv2d(half, half, 3, padding=1))
            for _ in range(2)
        )

    def forward(self, x):
        left, right = x.chunk(2, 1)
        left = left + self.f(right)
        right = right + self.g(left)
        return torch.cat((left, right), 1)


class Hidden(nn.Module):
    """Residual MLP for tables; where the width changes the skip is a linear map."""

    def __init__(self, wide_in, wide):
        super().__init__()
        self.enter, self.leave = nn.Linear(wide_in, 2 * wide), nn.Linear(2 * wide, wide)
        self.shortcut = nn.Linear(wide_in, wide, bias=False) if wide_in != wide else nn.Identity()

    def forward(self, x):
        return self.shortcut(x) + self.leave(F.relu(self.enter(x)))


class Simple(nn.Module):
    """x + F(x), as plain as can be."""

    def __init__(self, wide=8):
        super().__init__()
        self.enter, self.leave = nn.Linear(wide, wide), nn.Linear(wide, wide)

    def forward(self, x):
        return x + self.leave(torch.tanh(self.enter(x)))


class Elman(nn.Module):
    def __init__(self, wide_in, wide):
        super().__init__()
        self.wide, self.from_input, self.from_state = (
            wide,
            nn.Linear(wide_in, wide),
            nn.Linear(wide, wide),
        )

    def forward(self, x):
        state = torch.zeros(x.shape[0], self.wide)
        for place in range(x.shape[1]):
            state = torch.tanh(self.from_input(x[:, place]) + self.from_state(state))
        return state


class Gated(nn.Module):
    """Cho et al. 2014, h = (1 - z)·n + z·h."""

    def __init__(self, wide_in, wide):
        super().__init__()
        self.wide, self.from_input, self.from_state = (
            wide,
            nn.Linear(wide_in, 3 * wide),
            nn.Linear(wide, 3 * wide),
        )

    def forward(self, x):
        state = torch.zeros(x.shape[0], self.wide)
        for place in range(x.shape[1]):
            inputs = self.from_input(x[:, place]).chunk(3, -1)
            states = self.from_state(state).chunk(3, -1)
            reset, update = (torch.sigmoid(inputs[i] + states[i]) for i in (0, 1))
            new = torch.tanh(inputs[2] + reset * states[2])
            state = (1 - update) * new + update * state
        return state


class LongShort(nn.Module):
    """Hochreiter & Schmidhuber 1997 with a forget gate: c = f·c + i·g."""

    def __init__(self, wide_in, wide):
        super().__init__()
        self.wide, self.from_input, self.from_state = (
            wide,
            nn.Linear(wide_in, 4 * wide),
            nn.Linear(wide, 4 * wide),
        )

    def forward(self, x):
        state = cell = torch.zeros(x.shape[0], self.wide)
        for place in range(x.shape[1]):
            gates = self.from_input(x[:, place]) + self.from_state(state)
            into, forget, new, out = gates.chunk(4, -1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(into) * torch.tanh(new)
            state = torch.sigmoid(out) * torch.tanh(cell)
        return state


class Recurrent(nn.Module):
    """torch's own recurrent layers, alone or each with a residual addition around it (GNMT)."""

    def __init__(self, kind, depth, residual, wide=6):
        super().__init__()
        self.layers = nn.ModuleList(kind(wide, wide, batch_first=True) for _ in range(depth))
        self.residual = residual

    def forward(self, x):
        for layer in self.layers:
            out, _ = layer(x)
            x = x + out if self.residual else out
        return x


class WaveNet(nn.Module):
    """van den Oord et al. 2016: a residual way, and the sum of all layers' second outputs."""

    def __init__(self, depth=3, wide=6):
        super().__init__()
        self.dilated = nn.ModuleList(
            nn.Conv1d(wide, 2 * wide, 3, padding=2**number, dilation=2**number)
            for number in range(depth)
        )
        self.onward, self.outward = (
            nn.ModuleList(nn.Conv1d(wide, wide, 1) for _ in range(depth)) for _ in range(2)
        )
        self.last = nn.Conv1d(wide, 4, 1)

    def forward(self, x):
        x, total = x.transpose(1, 2), None
        for dilated, onward, outward in zip(self.dilated, self.onward, self.outward, strict=True):
            left, right = dilated(x).chunk(2, 1)
            gated = torch.tanh(left) * torch.sigmoid(right)
            x = x + onward(gated)
            share = outward(gated)
            total = share if total is None else total + share
        return self.last(F.relu(total))


class Forecaster(nn.Module):
    """N-BEATS (Oreshkin et al. 2020): each block takes its backcast off, forecasts are summed."""

    def __init__(self, depth=3, wide=8, horizon=4):
        super().__init__()
        self.bodies = nn.ModuleList(
            nn.Sequential(nn.Linear(wide, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU())
            for _ in range(depth)
        )
        self.backs = nn.ModuleList(nn.Linear(16, wide) for _ in range(depth))
        self.fores = nn.ModuleList(nn.Linear(16, horizon) for _ in range(depth))

    def forward(self, x):
        total = None
        for body, back, fore in zip(self.bodies, self.backs, self.fores, strict=True):
            inner = body(x)
            x = x - back(inner)
            total = fore(inner) if total is None else total + fore(inner)
        return torch.cat((total, x), 1)


class GraphConvolution(nn.Module):
    """Messages summed over edges by index_add, then x + ReLU(W·messages)."""

    def __init__(self, depth=3, wide=8):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(wide, wide) for _ in range(depth))
        self.entry = nn.Linear(wide, wide)

    def forward(self, nodes, edges):
        x = self.entry(nodes)
        for layer in self.layers:
            gathered = torch.zeros_like(x).index_add(0, edges[1], x[edges[0]])
            x = x + torch.relu(layer(gathered))
        return x


class Functional(nn.Module):
    """Everything in the root's forward, from parameters and functions."""

    def __init__(self, depth=3, wide=8):
        super().__init__()
        self.ups = nn.ParameterList(0.1 * torch.randn(2 * wide, wide) for _ in range(depth))
        self.downs = nn.ParameterList(0.1 * torch.randn(wide, 2 * wide) for _ in range(depth))
        self.offsets = nn.ParameterList(torch.zeros(2 * wide) for _ in range(depth))

    def forward(self, x):
        for up, down, offset in zip(self.ups, self.downs, self.offsets, strict=True):
            x = x + F.gelu(F.layer_norm(x, x.shape[-1:]) @ up.t() + offset) @ down.t()
        return x


class InPlace(nn.Module):
    """`out += x`, then a ReLU that overwrites the sum: the input of the next block."""

    def __init__(self, wide=4):
        super().__init__()
        self.a, self.b = nn.Conv2d(wide, wide, 3, padding=1), nn.Conv2d(wide, wide, 3, padding=1)
        self.norm_a, self.norm_b = nn.BatchNorm2d(wide), nn.BatchNorm2d(wide)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.relu(self.norm_a(self.a(x)))
        out = self.norm_b(self.b(out))
        out += x
        return self.relu(out)


class PreInPlace(nn.Module):
    """The input itself is overwritten by a ReLU before it is added: y = ReLU(x) is the skip."""

    def __init__(self, wide=4):
        super().__init__()
        self.a, self.b = nn.Conv2d(wide, wide, 3, padding=1), nn.Conv2d(wide, wide, 3, padding=1)

    def forward(self, x):
        F.relu_(x)
        return self.b(F.relu_(self.a(x))).add_(x)


class Checkpointed(nn.Module):
    def __init__(self, reentrant, depth=3):
        super().__init__()
        self.entry, self.reentrant = nn.Linear(8, 8), reentrant
        self.blocks_of_it = nn.ModuleList(Simple() for _ in range(depth))

    def forward(self, x):
        x = self.entry(x)
        for unit in self.blocks_of_it:
            x = checkpoint(unit, x, use_reentrant=self.reentrant)
        return x


class Guarded(nn.Module):
    """What runs depends on the data: here the first way is taken and the loop makes two turns."""

    def __init__(self, wide=8):
        super().__init__()
        self.taken, self.other = Simple(wide), nn.Linear(wide, wide)

    def forward(self, x):
        turns = 0
        while x.abs().max() > 0 and turns < 2:
            x = self.taken(x) if torch.isfinite(x).all() else self.other(x)
            turns += 1
        return x


class ByKeyword(nn.Module):
    def __init__(self, wide=8):
        super().__init__()
        self.first, self.second = Simple(wide), Simple(wide)

    def forward(self, *, features, mask=None):
        out = self.first(features)
        return self.second(out if mask is None else out * mask)


@dataclass
class Answer:
    logits: torch.Tensor
    trace: list


class Pair(NamedTuple):
    logits: torch.Tensor
    extra: dict


class Wrapped(nn.Module):
    """The result of two blocks inside a tuple, a dictionary, a dataclass, a named tuple."""

    def __init__(self, kind, wide=8):
        super().__init__()
        self.first, self.second, self.kind = Simple(wide), Simple(wide), kind

    def forward(self, x):
        inner = self.first(x)
        x = self.second(inner)
        if self.kind == "tuple":
            return x, (inner, None, 3)
        if self.kind == "dictionary":
            return {"logits": x, "inner": [inner]}
        if self.kind == "dataclass":
            return Answer(x, [inner])
        return Pair(x, {"inner": inner})


class TupleUnit(nn.Module):
    """A unit that takes and gives a tuple, as decoder layers with caches do."""

    def __init__(self, wide=8):
        super().__init__()
        self.inner = nn.Linear(wide, wide)

    def forward(self, state):
        x, count = state
        return x + torch.tanh(self.inner(x)), count + 1


class Tuples(nn.Module):
    def __init__(self, depth=2):
        super().__init__()
        self.units = nn.Sequential(*[TupleUnit() for _ in range(depth)])

    def forward(self, x):
        return self.units((x, 0))[0]


class Square(torch.autograd.Function):
    """A function with its own backward pass."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


class OwnFunction(nn.Module):
    def __init__(self, wide=8):
        super().__init__()
        self.enter, self.leave = nn.Linear(wide, wide), nn.Linear(wide, wide)

    def forward(self, x):
        return x + self.leave(Square.apply(self.enter(x)))


class Scaled(nn.Module):
    """A leaky skip: a·x + F(x)."""

    def __init__(self, factor, wide=8):
        super().__init__()
        self.inner, self.factor = Simple(wide), factor

    def forward(self, x):
        return self.factor * x + torch.tanh(self.inner.enter(x))


class Nested(nn.Module):
    """An outer addition around inner residual blocks (residual in residual, RCAN)."""

    def __init__(self, depth, wide=8):
        super().__init__()
        self.inner = nn.Sequential(*[Simple(wide) for _ in range(depth)], nn.Linear(wide, wide))

    def forward(self, x):
        return x + self.inner(x)


class Hyper(nn.Module):
    """The branch's matrix is computed from a parameter vector by another layer."""

    def __init__(self, wide=8):
        super().__init__()
        self.code, self.maker = nn.Parameter(torch.randn(3)), nn.Linear(3, wide * wide)
        self.wide = wide

    def forward(self, x):
        matrix = self.maker(self.code).reshape(self.wide, self.wide)
        return x + torch.tanh(F.linear(x, matrix))


class AfterNorm(nn.Module):
    """The skip leaves behind the norm: n + F(n) with n = norm(x)."""

    def __init__(self, wide=8):
        super().__init__()
        self.norm, self.inner = nn.LayerNorm(wide), nn.Linear(wide, wide)

    def forward(self, x):
        x = self.norm(x)
        return x + torch.relu(self.inner(x))


class ChannelsLast(nn.Module):
    """The sum is formed in another order of the axes than the block's input and output have."""

    def __init__(self, wide=4):
        super().__init__()
        self.up, self.down = nn.Linear(wide, 2 * wide), nn.Linear(2 * wide, wide)

    def forward(self, x):
        x = x.permute(0, 2, 3, 1)
        return (x + self.down(F.gelu(self.up(x)))).permute(0, 3, 1, 2)


class AdditiveCoupling(nn.Module):
    """NICE (Dinh et al. 2015): one half is shifted by a net of the other, then they swap."""

    def __init__(self, wide=8):
        super().__init__()
        half = wide // 2
        self.shift = nn.Sequential(nn.Linear(half, 16), nn.ReLU(), nn.Linear(16, half))

    def forward(self, x):
        left, right = x.chunk(2, -1)
        return torch.cat((right + self.shift(left), left), -1)


class AffineCoupling(nn.Module):
    """RealNVP (Dinh et al. 2017): the half is also multiplied by a net, so nothing is skipped."""

    def __init__(self, wide=8):
        super().__init__()
        half = wide // 2
        self.shift, self.stretch = (
            nn.Sequential(nn.Linear(half, 16), nn.ReLU(), nn.Linear(16, half)) for _ in range(2)
        )

    def forward(self, x):
        left, right = x.chunk(2, -1)
        return torch.cat((right * torch.exp(self.stretch(left)) + self.shift(left), left), -1)


class Garbage(nn.Module):
    """Many short-lived tensors, so that their Python ids come again."""

    def __init__(self, depth=20, wide=8):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(wide, wide) for _ in range(depth))

    def forward(self, x):
        for layer in self.layers:
            for _ in range(3):
                torch.tanh(x)
            x = x + layer(torch.tanh(x)).tanh()
        return x


ID = [IDENTITY]
PRE, POST = {"activations": "pre"}, {"activations": "post"}

NETS = {
    # two halves a layer, the second is taken off
    "Hamiltonian net": {
        "net": lambda: Hamiltonian(3),
        "args": (image(),),
        "skips": 6 * ID,
        "names": [f"model:{number}" for number in range(6)],
        "scales": 3 * [0.1, -0.1],
        "stages": 1,
        **PRE,
    },
    "Verlet in place": {
        "net": lambda: SimpleVerlet(3),
        "args": (points(),),
        "skips": 6 * ID,
        "scales": 3 * [0.2, -0.2],
        **PRE,
    },
    # Euler's first step and two more; what 2x - x' is called is left open
    "leapfrog": {
        "net": lambda: TwoStep(3, "leapfrog"),
        "args": (points(),),
        "skips": [IDENTITY, None, None],
    },
    "midpoint": {
        "net": lambda: TwoStep(3, "midpoint"),
        "args": (points(),),
        "skips": 3 * ID,
        **PRE,
    },
    "RevNet": {
        "net": lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Coupling(8), Coupling(8)),
        "args": (image(),),
        "skips": 4 * ID,
        "names": ["1:0", "1:1", "2:0", "2:1"],
        "scales": 1.0,
        **PRE,
    },
    "residual MLP": {
        "net": lambda: nn.Sequential(Hidden(8, 8), Hidden(8, 6), Hidden(6, 6), nn.Linear(6, 2)),
        "args": (points(),),
        "skips": [IDENTITY, PROJECTION, IDENTITY],
        "transitions": [1],
        "stages": 2,
        **PRE,
    },
    "RNN by hand": {"net": lambda: Elman(6, 4), "args": (sequence(),), "skips": []},
    "GRU by hand": {"net": lambda: Gated(6, 4), "args": (sequence(),), "skips": []},
    "LSTM by hand": {"net": lambda: LongShort(6, 4), "args": (sequence(),), "skips": []},
    **{
        f"torch's {kind.__name__}": {
            "net": lambda kind=kind: Recurrent(kind, 2, False),
            "args": (sequence(),),
            "skips": [],
        }
        for kind in (nn.RNN, nn.LSTM, nn.GRU)
    },
    **{
        f"residual {kind.__name__}": {
            "net": lambda kind=kind: Recurrent(kind, 3, True),
            "args": (sequence(),),
            "skips": 3 * ID,
            "names": ["model:0", "model:1", "model:2"],
            **PRE,
        }
        for kind in (nn.LSTM, nn.GRU)
    },
    # three layers; the sum of the second outputs has two additions
    "WaveNet": {
        "net": WaveNet,
        "args": (sequence(),),
        "skips": 3 * ID,
        "refused": 2,
        **PRE,
    },
    "N-BEATS": {
        "net": Forecaster,
        "args": (points(),),
        "skips": 3 * ID,
        "scales": -1.0,
        "refused": 2,
        **PRE,
    },
    "graph convolution": {
        "net": GraphConvolution,
        "args": (points(), torch.tensor([[0, 1, 2, 0], [1, 2, 0, 2]])),
        "skips": 3 * ID,
        **PRE,
    },
    "functional": {
        "net": Functional,
        "args": (points(),),
        "skips": 3 * ID,
        "names": ["model:0", "model:1", "model:2"],
        "scales": 1.0,
        **PRE,
    },
    "ReLU in place after +=": {
        "net": lambda: nn.Sequential(nn.Conv2d(3, 4, 1), InPlace(), InPlace(), InPlace()),
        "args": (image(),),
        "skips": 3 * ID,
        "names": ["1", "2", "3"],
        "refused": 0,
        **POST,
    },
    "ReLU in place before": {
        "net": lambda: nn.Sequential(nn.Conv2d(3, 4, 1), PreInPlace(), PreInPlace()),
        "args": (image(),),
        "skips": 2 * ID,
        "names": ["1", "2"],
        **PRE,
    },
    **{
        f"checkpointed, {'reentrant' if reentrant else 'not reentrant'}": {
            "net": lambda reentrant=reentrant: Checkpointed(reentrant),
            "args": (points(),),
            "skips": 3 * ID,
            "names": [f"blocks_of_it.{number}" for number in range(3)],
            **PRE,
        }
        for reentrant in (True, False)
    },
    "guard on the data": {
        "net": Guarded,
        "args": (points(),),
        "skips": 2 * ID,
        "names": ["taken:0", "taken:1"],
        **PRE,
    },
    "keywords only": {
        "net": ByKeyword,
        "kwargs": {"features": points(), "mask": torch.ones(8)},
        "skips": 2 * ID,
        "names": ["first", "second"],
        **PRE,
    },
    **{
        f"a {shape} as output": {
            "net": lambda shape=shape: Wrapped(shape),
            "args": (points(),),
            "skips": 2 * ID,
            "names": ["first", "second"],
            **PRE,
        }
        for shape in ("tuple", "dictionary", "dataclass", "named tuple")
    },
    "tuples between the units": {
        "net": Tuples,
        "args": (points(),),
        "skips": 2 * ID,
        "names": ["units.0", "units.1"],
        **PRE,
    },
    "a function of one's own": {
        "net": lambda: nn.Sequential(OwnFunction(), OwnFunction()),
        "args": (points(),),
        "skips": 2 * ID,
        **PRE,
    },
    "weighted skip": {
        "net": lambda: nn.Sequential(nn.Linear(8, 8), Scaled(0.9), Scaled(0.9)),
        "args": (points(),),
        "skips": 2 * [SCALED],
        "scales": 1.0,
        **PRE,
    },
    "residual in residual": {
        "net": lambda: nn.Sequential(nn.Linear(8, 8), Nested(2), Nested(1)),
        "args": (points(),),
        "skips": 5 * ID,
        "names": ["1.inner.0", "1.inner.1", "1", "2.inner.0", "2"],
        **PRE,
    },
    "weights made by a net": {
        "net": lambda: nn.Sequential(nn.Linear(8, 8), Hyper(), Hyper()),
        "args": (points(),),
        "skips": 2 * ID,
        **PRE,
    },
    "tensors that come and go": {
        "net": Garbage,
        "args": (points(),),
        "skips": 20 * ID,
        **PRE,
    },
    "in double precision": {
        "net": lambda: nn.Sequential(nn.Linear(8, 8), Simple(), Simple()).double(),
        "args": (points().double(),),
        "skips": 2 * ID,
        **PRE,
    },
    "skip behind the norm": {
        "net": lambda: nn.Sequential(nn.Linear(8, 8), AfterNorm(), AfterNorm()),
        "args": (points(),),
        "skips": 2 * ID,
        **PRE,
    },
    # what a skip through a permutation is called is left open
    "sum with the channels last": {
        "net": lambda: nn.Sequential(nn.Conv2d(3, 4, 1), ChannelsLast(), ChannelsLast()),
        "args": (image(),),
        "skips": [None, None],
        "names": ["1", "2"],
        **PRE,
    },
    "additive coupling": {
        "net": lambda: nn.Sequential(nn.Linear(8, 8), AdditiveCoupling(), AdditiveCoupling()),
        "args": (points(),),
        "skips": 2 * ID,
        **PRE,
    },
    "affine coupling": {
        "net": lambda: nn.Sequential(nn.Linear(8, 8), AffineCoupling(), AffineCoupling()),
        "args": (points(),),
        "skips": [],
    },
}
