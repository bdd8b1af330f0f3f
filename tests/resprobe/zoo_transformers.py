"""Transformers, mixers and their relatives written from their papers; records as in
`zoo_convolutional`.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

IDENTITY, SCALED = "identity", "scaled"
WORDS = torch.tensor([[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8]])
PADDING = torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0]])


def image(size=16):
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def sequence(length=6, wide=8):
    return torch.randn(2, length, wide, generator=torch.Generator().manual_seed(0))


def split_heads(x, heads):
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def join_heads(x):
    return x.transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Vaswani et al. 2017, the softmax written out; `mask` is added to the scores."""

    def __init__(self, wide, heads=2):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(wide, wide) for _ in range(3))
        self.output = nn.Linear(wide, wide)

    def forward(self, x, memory=None, mask=None):
        memory = x if memory is None else memory
        query = split_heads(self.query(x), self.heads)
        key, value = (split_heads(way(memory), self.heads) for way in (self.key, self.value))
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        if mask is not None:
            scores = scores + mask
        return self.output(join_heads(scores.softmax(-1) @ value))


class FusedAttention(nn.Module):
    """One matrix for query, key and value, and the fused kernel."""

    def __init__(self, wide, heads=2, causal=False):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.together, self.output = nn.Linear(wide, 3 * wide), nn.Linear(wide, wide)

    def forward(self, x):
        parts = [split_heads(part, self.heads) for part in self.together(x).chunk(3, -1)]
        out = F.scaled_dot_product_attention(*parts, is_causal=self.causal)
        return self.output(join_heads(out))


def mlp(wide, act=nn.GELU, factor=4):
    return nn.Sequential(
        nn.Linear(wide, factor * wide), act(), nn.Dropout(0.1), nn.Linear(factor * wide, wide)
    )


class PreNorm(nn.Module):
    """Two residual additions, each branch starting with its norm (ViT, GPT-2)."""

    def __init__(self, wide, causal=False, act=nn.GELU):
        super().__init__()
        self.norm_a, self.norm_b = nn.LayerNorm(wide), nn.LayerNorm(wide)
        self.attend, self.mlp = FusedAttention(wide, 2, causal), mlp(wide, act)

    def forward(self, x):
        x = x + self.attend(self.norm_a(x))
        return x + self.mlp(self.norm_b(x))


class LayerScale(nn.Module):
    """CaiT (Touvron et al. 2021): each branch times a learned vector."""

    def __init__(self, wide, start):
        super().__init__()
        self.norm_a, self.norm_b = nn.LayerNorm(wide), nn.LayerNorm(wide)
        self.attend, self.mlp = FusedAttention(wide), mlp(wide)
        self.gain_a = nn.Parameter(torch.full((wide,), start))
        self.gain_b = nn.Parameter(torch.full((wide,), start))

    def forward(self, x):
        x = x + self.gain_a * self.attend(self.norm_a(x))
        return x + self.mlp(self.norm_b(x)) * self.gain_b


class VisionTransformer(nn.Module):
    """Dosovitskiy et al. 2021: class token, learned positions."""

    def __init__(self, layers, wide=8):
        super().__init__()
        self.patches = nn.Conv2d(3, wide, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, wide))
        self.positions = nn.Parameter(torch.randn(1, 17, wide))
        self.layers = nn.Sequential(*layers)
        self.norm, self.classify = nn.LayerNorm(wide), nn.Linear(wide, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), 1) + self.positions
        return self.classify(self.norm(self.layers(x))[:, 0])


class WindowAttention(nn.Module):
    """Liu et al. 2021, attention in windows with a bias for every relative place."""

    def __init__(self, wide, window, heads=2):
        super().__init__()
        self.heads, self.window = heads, window
        self.together, self.output = nn.Linear(wide, 3 * wide), nn.Linear(wide, wide)
        self.table = nn.Parameter(torch.randn((2 * window - 1) ** 2, heads))
        places = torch.stack(torch.meshgrid(*2 * [torch.arange(window)], indexing="ij")).flatten(1)
        steps = (places[:, :, None] - places[:, None, :]).permute(1, 2, 0) + window - 1
        self.register_buffer("lookup", steps[..., 0] * (2 * window - 1) + steps[..., 1])

    def forward(self, x, mask=None):
        parts = [split_heads(part, self.heads) for part in self.together(x).chunk(3, -1)]
        query, key, value = parts
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        bias = self.table[self.lookup.flatten()].reshape(*self.lookup.shape, -1)
        scores = scores + bias.permute(2, 0, 1).unsqueeze(0)
        if mask is not None:
            count = mask.shape[0]
            scores = scores.reshape(-1, count, *scores.shape[1:]) + mask[None, :, None]
            scores = scores.flatten(0, 1)
        return self.output(join_heads(scores.softmax(-1) @ value))


class ShiftedWindows(nn.Module):
    def __init__(self, wide, size, window, shift):
        super().__init__()
        self.size, self.window, self.shift = size, window, shift
        self.norm_a, self.norm_b = nn.LayerNorm(wide), nn.LayerNorm(wide)
        self.attend, self.mlp = WindowAttention(wide, window), mlp(wide)
        mask = None
        if shift:
            areas = torch.zeros(1, size, size, 1)
            cuts = (slice(-window), slice(-window, -shift), slice(-shift, None))
            for number, (rows, columns) in enumerate((r, c) for r in cuts for c in cuts):
                areas[:, rows, columns] = number
            areas = self.cut(areas).squeeze(-1)
            mask = (areas[:, None] != areas[:, :, None]).float() * -100.0
        self.register_buffer("mask", mask)

    def cut(self, x):
        batch, rows, columns, wide = x.shape
        window = self.window
        x = x.reshape(batch, rows // window, window, columns // window, window, wide)
        return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window * window, wide)

    def glue(self, x, batch):
        window, count = self.window, self.size // self.window
        x = x.reshape(batch, count, count, window, window, -1)
        return x.permute(0, 1, 3, 2, 4, 5).reshape(batch, self.size, self.size, -1)

    def forward(self, x):
        skip = x
        x = self.norm_a(x).reshape(x.shape[0], self.size, self.size, -1)
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        x = self.glue(self.attend(self.cut(x), self.mask), x.shape[0])
        if self.shift:
            x = torch.roll(x, (self.shift, self.shift), (1, 2))
        x = skip + x.reshape(skip.shape)
        return x + self.mlp(self.norm_b(x))


class Merge(nn.Module):
    """Swin's patch merging: four neighbours concatenated and reduced, nothing is added."""

    def __init__(self, wide, size):
        super().__init__()
        self.size, self.norm = size, nn.LayerNorm(4 * wide)
        self.reduce = nn.Linear(4 * wide, 2 * wide, bias=False)

    def forward(self, x):
        x = x.reshape(x.shape[0], self.size, self.size, -1)
        x = torch.cat([x[:, r::2, c::2] for c in (0, 1) for r in (0, 1)], -1)
        return self.reduce(self.norm(x.flatten(1, 2)))


class Swin(nn.Module):
    def __init__(self, wide=8, window=2):
        super().__init__()
        self.patches = nn.Conv2d(3, wide, 2, 2)
        self.layers = nn.Sequential(
            ShiftedWindows(wide, 8, window, 0),
            ShiftedWindows(wide, 8, window, window // 2),
            Merge(wide, 8),
            ShiftedWindows(2 * wide, 4, window, 0),
            ShiftedWindows(2 * wide, 4, window, window // 2),
        )
        self.classify = nn.Linear(2 * wide, 5)

    def forward(self, x):
        return self.classify(self.layers(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


class MixerLayer(nn.Module):
    """Tolstikhin et al. 2021: an MLP over the tokens, then one over the channels."""

    def __init__(self, tokens, wide):
        super().__init__()
        self.norm_a, self.norm_b = nn.LayerNorm(wide), nn.LayerNorm(wide)
        self.over_tokens, self.over_channels = mlp(tokens), mlp(wide)

    def forward(self, x):
        x = x + self.over_tokens(self.norm_a(x).transpose(1, 2)).transpose(1, 2)
        return x + self.over_channels(self.norm_b(x))


class Mixer(nn.Module):
    def __init__(self, layers, wide=8):
        super().__init__()
        self.patches = nn.Conv2d(3, wide, 4, 4)
        self.layers = nn.Sequential(*layers)
        self.classify = nn.Linear(wide, 5)

    def forward(self, x):
        return self.classify(self.layers(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


class Affine(nn.Module):
    """ResMLP's norm: a gain and an offset for every channel."""

    def __init__(self, wide, start=1.0):
        super().__init__()
        self.gain = nn.Parameter(torch.full((wide,), start))
        self.offset = nn.Parameter(torch.zeros(wide))

    def forward(self, x):
        return self.gain * x + self.offset


class ResMLPLayer(nn.Module):
    """Touvron et al. 2021: a linear map over tokens and an MLP, each behind an affine map."""

    def __init__(self, tokens, wide):
        super().__init__()
        self.affine_a, self.affine_b = Affine(wide), Affine(wide)
        self.mix, self.mlp = nn.Linear(tokens, tokens), mlp(wide)
        self.gain_a = nn.Parameter(torch.full((wide,), 0.1))
        self.gain_b = nn.Parameter(torch.full((wide,), 0.1))

    def forward(self, x):
        x = x + self.gain_a * self.mix(self.affine_a(x).transpose(1, 2)).transpose(1, 2)
        return x + self.gain_b * self.mlp(self.affine_b(x))


class GatedMLPLayer(nn.Module):
    """gMLP (Liu et al. 2021): one addition a layer, half of the channels gate the other half."""

    def __init__(self, tokens, wide):
        super().__init__()
        self.norm, self.enter, self.leave = (
            nn.LayerNorm(wide),
            nn.Linear(wide, 4 * wide),
            nn.Linear(2 * wide, wide),
        )
        self.gate_norm, self.gate = nn.LayerNorm(2 * wide), nn.Linear(tokens, tokens)

    def forward(self, x):
        left, right = F.gelu(self.enter(self.norm(x))).chunk(2, -1)
        right = self.gate(self.gate_norm(right).transpose(1, 2)).transpose(1, 2)
        return x + self.leave(left * right)


class PostNorm(nn.Module):
    """Vaswani et al. 2017: the norm comes after the addition; DeepNorm weighs the skip with α."""

    def __init__(self, wide, alpha=1.0):
        super().__init__()
        self.attend, self.mlp, self.alpha = Attention(wide), mlp(wide, nn.ReLU), alpha
        self.norm_a, self.norm_b = nn.LayerNorm(wide), nn.LayerNorm(wide)

    def forward(self, x):
        skip = x if self.alpha == 1.0 else x * self.alpha
        x = self.norm_a(skip + self.attend(x))
        skip = x if self.alpha == 1.0 else x * self.alpha
        return self.norm_b(skip + self.mlp(x))


class Encoder(nn.Module):
    """BERT's embeddings (words, positions, segments, summed and normed) below any layers."""

    def __init__(self, layers, wide=8):
        super().__init__()
        self.words, self.segments = nn.Embedding(16, wide), nn.Embedding(2, wide)
        self.positions = nn.Embedding(32, wide)
        self.norm, self.layers = nn.LayerNorm(wide), nn.Sequential(*layers)
        self.classify = nn.Linear(wide, 5)

    def forward(self, words):
        x = self.words(words) + self.segments(torch.zeros_like(words))
        x = x + self.positions(torch.arange(words.shape[1]))
        return self.classify(self.layers(self.norm(x)))


class Decoder(nn.Module):
    """Word embeddings, sinusoidal positions in a buffer, a causal stack, tied output weights."""

    def __init__(self, layers, wide=8):
        super().__init__()
        self.words, self.layers = nn.Embedding(16, wide), nn.Sequential(*layers)
        angles = torch.arange(32)[:, None] / 10000 ** (torch.arange(0, wide, 2) / wide)
        self.register_buffer("waves", torch.stack((angles.sin(), angles.cos()), -1).flatten(1))
        self.norm = nn.LayerNorm(wide)

    def forward(self, words):
        x = self.words(words) * math.sqrt(8) + self.waves[: words.shape[1]]
        return F.linear(self.norm(self.layers(x)), self.words.weight)


class NewGELU(nn.Module):
    """The tanh approximation written out: a sum of two values of one shape, without parameters."""

    def forward(self, x):
        inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))
        return 0.5 * x * (1.0 + torch.tanh(inner))


class MeanSquareNorm(nn.Module):
    def __init__(self, wide):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(wide))

    def forward(self, x):
        return self.gain * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


def rotate_half(x):
    left, right = x.chunk(2, -1)
    return torch.cat((-right, left), -1)


class RotaryAttention(nn.Module):
    """Llama's: rotated queries and keys, fewer keys than queries, the mask added by hand."""

    def __init__(self, wide, heads=4, groups=2):
        super().__init__()
        self.heads, self.groups = heads, groups
        self.query, self.output = (nn.Linear(wide, wide, bias=False) for _ in range(2))
        part = wide // heads * groups
        self.key, self.value = (nn.Linear(wide, part, bias=False) for _ in range(2))

    def forward(self, x):
        query = split_heads(self.query(x), self.heads)
        key, value = (split_heads(way(x), self.groups) for way in (self.key, self.value))
        size = query.shape[-1]
        speed = 1.0 / 10000 ** (torch.arange(0, size, 2) / size)
        angles = torch.outer(torch.arange(x.shape[1]).float(), speed)
        angles = torch.cat((angles, angles), -1)
        query = query * angles.cos() + rotate_half(query) * angles.sin()
        key = key * angles.cos() + rotate_half(key) * angles.sin()
        key, value = (part.repeat_interleave(self.heads // self.groups, 1) for part in (key, value))
        scores = query @ key.transpose(-1, -2) / math.sqrt(size)
        future = torch.full((x.shape[1], x.shape[1]), -1e9).triu(1)
        return self.output(join_heads((scores + future).softmax(-1) @ value))


class SwiGLU(nn.Module):
    def __init__(self, wide):
        super().__init__()
        self.gate, self.up = (nn.Linear(wide, 3 * wide, bias=False) for _ in range(2))
        self.down = nn.Linear(3 * wide, wide, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class LlamaLayer(nn.Module):
    """Touvron et al. 2023; with `sandwich` each branch also ends in a norm (Gemma 2)."""

    def __init__(self, wide, sandwich=False):
        super().__init__()
        self.norms = nn.ModuleList(MeanSquareNorm(wide) for _ in range(4 if sandwich else 2))
        self.attend, self.mlp, self.sandwich = RotaryAttention(wide), SwiGLU(wide), sandwich

    def forward(self, x):
        branch = self.attend(self.norms[0](x))
        x = x + (self.norms[2](branch) if self.sandwich else branch)
        branch = self.mlp(self.norms[1](x))
        return x + (self.norms[3](branch) if self.sandwich else branch)


class Parallel(nn.Module):
    """GPT-J: attention and MLP of one and the same x are added at once: one block."""

    def __init__(self, wide, writing):
        super().__init__()
        self.norm, self.writing = nn.LayerNorm(wide), writing
        self.attend, self.mlp = FusedAttention(wide, causal=True), mlp(wide)

    def forward(self, x):
        start = self.norm(x)
        attended, thought = self.attend(start), self.mlp(start)
        if self.writing == "x + (a + m)":
            return x + (attended + thought)
        if self.writing == "a + m + x":
            return attended + thought + x
        if self.writing == "x + a + m":
            return x + attended + thought
        return sum([x, attended, thought])


PARALLEL = ("x + (a + m)", "a + m + x", "x + a + m", "sum([x, a, m])")


class ParallelTwoNorms(nn.Module):
    """GPT-NeoX: as GPT-J, with one norm for each way."""

    def __init__(self, wide):
        super().__init__()
        self.norm_a, self.norm_b = nn.LayerNorm(wide), nn.LayerNorm(wide)
        self.attend, self.mlp = FusedAttention(wide, causal=True), mlp(wide)

    def forward(self, x):
        return x + self.attend(self.norm_a(x)) + self.mlp(self.norm_b(x))


class Masked(nn.Module):
    """A decoder whose additive mask is made from the input's padding and expanded to full shape."""

    def __init__(self, depth=2, wide=8, heads=2):
        super().__init__()
        self.words, self.positions = nn.Embedding(16, wide), nn.Embedding(32, wide)
        self.norms = nn.ModuleList(nn.LayerNorm(wide) for _ in range(2 * depth))
        self.attends = nn.ModuleList(Attention(wide, heads) for _ in range(depth))
        self.mlps = nn.ModuleList(mlp(wide) for _ in range(depth))
        self.heads = heads

    def forward(self, words, padding):
        batch, length = words.shape
        places = (padding.cumsum(-1) - 1).clamp(min=0)
        x = self.words(words) + self.positions(places)
        hidden = (1.0 - padding[:, None, None, :].to(x.dtype)) * -1e4
        future = torch.full((length, length), -1e4).triu(1)
        mask = (hidden.expand(batch, 1, length, length) + future).expand(batch, self.heads, -1, -1)
        for number, attend in enumerate(self.attends):
            x = x + attend(self.norms[2 * number](x), None, mask)
            x = x + self.mlps[number](self.norms[2 * number + 1](x))
        return x


class Both(nn.Module):
    """Encoder and decoder of Vaswani et al. 2017 with T5's norms before the branches and T5's
    relative bias: 2 additions in an encoder layer, 3 in a decoder layer.
    """

    def __init__(self, depth=2, wide=8, heads=2):
        super().__init__()
        self.words, self.depth = nn.Embedding(16, wide), depth
        self.distances = nn.Embedding(11, heads)
        self.attends = nn.ModuleList(Attention(wide, heads) for _ in range(3 * depth))
        self.mlps = nn.ModuleList(mlp(wide, nn.ReLU) for _ in range(2 * depth))
        self.norms = nn.ModuleList(MeanSquareNorm(wide) for _ in range(5 * depth + 2))

    def forward(self, words):
        places = torch.arange(words.shape[1])
        bias = self.distances(places[None] - places[:, None] + 5).permute(2, 0, 1)[None]
        norms, attends, mlps = iter(self.norms), iter(self.attends), iter(self.mlps)
        memory = self.words(words)
        for _ in range(self.depth):
            memory = memory + next(attends)(next(norms)(memory), None, bias)
            memory = memory + next(mlps)(next(norms)(memory))
        memory, x = next(norms)(memory), self.words(words.roll(1, 1))
        future = bias + torch.full((words.shape[1],) * 2, -1e9).triu(1)
        for _ in range(self.depth):
            x = x + next(attends)(next(norms)(x), None, future)
            x = x + next(attends)(next(norms)(x), memory)
            x = x + next(mlps)(next(norms)(x))
        return next(norms)(x)


class Shared(nn.Module):
    """ALBERT (Lan et al. 2020): one layer called again and again."""

    def __init__(self, layer, times, wide=8):
        super().__init__()
        self.words, self.layer, self.times = nn.Embedding(16, wide), layer, times

    def forward(self, words):
        x = self.words(words)
        for _ in range(self.times):
            x = self.layer(x)
        return x


class Residual(nn.Module):
    """One addition around any branch."""

    def __init__(self, branch):
        super().__init__()
        self.branch = branch

    def forward(self, x):
        return x + self.branch(x)


class Adapted(nn.Module):
    """LoRA (Hu et al. 2022): W x + (α/r) B A x; B is zero at the start. No residual block."""

    def __init__(self, wide_in, wide, rank=2):
        super().__init__()
        self.frozen = nn.Linear(wide_in, wide).requires_grad_(False)
        self.shrink, self.grow = (
            nn.Linear(wide_in, rank, bias=False),
            nn.Linear(rank, wide, bias=False),
        )
        nn.init.zeros_(self.grow.weight)

    def forward(self, x):
        return self.frozen(x) + self.grow(self.shrink(x)) * 2.0


def adapted(layer):
    for module in list(layer.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                module.add_module(name, Adapted(child.in_features, child.out_features))
    return layer


class ConvolutionModule(nn.Module):
    """Conformer's: norm, pointwise, GLU, depthwise, norm, swish, pointwise."""

    def __init__(self, wide):
        super().__init__()
        self.norm, self.enter = nn.LayerNorm(wide), nn.Conv1d(wide, 2 * wide, 1)
        self.depthwise = nn.Conv1d(wide, wide, 3, padding=1, groups=wide)
        self.batch_norm, self.leave = nn.BatchNorm1d(wide), nn.Conv1d(wide, wide, 1)

    def forward(self, x):
        x = F.glu(self.enter(self.norm(x).transpose(1, 2)), 1)
        return self.leave(F.silu(self.batch_norm(self.depthwise(x)))).transpose(1, 2)


class ConformerLayer(nn.Module):
    """Gulati et al. 2020: half a feed-forward, attention, convolution, half a feed-forward."""

    def __init__(self, wide):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(wide) for _ in range(4))
        self.first, self.last = mlp(wide, nn.SiLU), mlp(wide, nn.SiLU)
        self.attend, self.convolve = FusedAttention(wide), ConvolutionModule(wide)

    def forward(self, x):
        x = x + 0.5 * self.first(self.norms[0](x))
        x = x + self.attend(self.norms[1](x))
        x = x + self.convolve(x)
        x = x + 0.5 * self.last(self.norms[2](x))
        return self.norms[3](x)


class Experts(nn.Module):
    """A mixture of experts: each token runs through its two best, found by the data."""

    def __init__(self, wide, count=3):
        super().__init__()
        self.router = nn.Linear(wide, count, bias=False)
        self.experts = nn.ModuleList(SwiGLU(wide) for _ in range(count))

    def forward(self, x):
        flat = x.flatten(0, 1)
        weights, chosen = self.router(flat).softmax(-1).topk(2, -1)
        out = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            rows, places = torch.where(chosen == number)
            if len(rows):
                out.index_add_(0, rows, expert(flat[rows]) * weights[rows, places, None])
        return out.reshape(x.shape)


class LinearAttention(nn.Module):
    """Katharopoulos et al. 2020, causal, as a recurrent state summed over time."""

    def __init__(self, wide):
        super().__init__()
        self.together, self.output = nn.Linear(wide, 3 * wide), nn.Linear(wide, wide)

    def forward(self, x):
        query, key, value = self.together(x).chunk(3, -1)
        query, key, state, out = F.elu(query) + 1, F.elu(key) + 1, 0, []
        for place in range(x.shape[1]):
            state = state + key[:, place, :, None] * value[:, place, None, :]
            out.append((query[:, place, None, :] @ state)[:, 0])
        return self.output(torch.stack(out, 1))


class CrossLatents(nn.Module):
    """Perceiver-like (Jaegle et al. 2021): learned latents read the input, then themselves."""

    def __init__(self, depth=2, wide=8):
        super().__init__()
        self.latents = nn.Parameter(torch.randn(1, 4, wide))
        self.read, self.norm = Attention(wide), nn.LayerNorm(wide)
        self.read_mlp = nn.Sequential(nn.LayerNorm(wide), mlp(wide))
        self.layers = nn.Sequential(*[PreNorm(wide) for _ in range(depth)])

    def forward(self, x):
        latents = self.latents.expand(x.shape[0], -1, -1)
        out = self.read(self.norm(latents), x)
        out = out + self.read_mlp(out)
        return self.layers(out)


class Modulated(nn.Module):
    """DiT's layer (Peebles & Xie 2023): a condition shifts and scales the normed input of both
    branches and gates their results.
    """

    def __init__(self, wide, repeated):
        super().__init__()
        self.norm_a, self.norm_b = (nn.LayerNorm(wide, elementwise_affine=False) for _ in range(2))
        self.attend, self.mlp = FusedAttention(wide), mlp(wide)
        self.modulate, self.repeated = nn.Linear(wide, 6 * wide), repeated

    def forward(self, x, condition):
        parts = self.modulate(F.silu(condition))[:, None].chunk(6, -1)
        if self.repeated:
            parts = [part.expand(x.shape) for part in parts]
        x = x + parts[2] * self.attend(self.norm_a(x) * (1 + parts[0]) + parts[1])
        return x + parts[5] * self.mlp(self.norm_b(x) * (1 + parts[3]) + parts[4])


class Conditioned(nn.Module):
    def __init__(self, repeated, depth=2, wide=8):
        super().__init__()
        self.entry, self.condition = nn.Linear(wide, wide), nn.Linear(wide, wide)
        self.layers = nn.ModuleList(Modulated(wide, repeated) for _ in range(depth))

    def forward(self, x, condition):
        x, condition = self.entry(x), self.condition(condition)
        for layer in self.layers:
            x = layer(x, condition)
        return x


def torch_encoder(first, layers=2):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=first)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


ID = [IDENTITY]
PRE, POST = {"activations": "pre"}, {"activations": "post"}

NETS = {
    # each layer adds attention and MLP; the positions are one refused addition
    "ViT": {
        "net": lambda: VisionTransformer([PreNorm(8) for _ in range(3)]),
        "args": (image(),),
        "skips": 6 * ID,
        "names": [f"layers.{number}:{call}" for number in range(3) for call in (0, 1)],
        "transitions": [],
        "stages": 1,
        "scales": 1.0,
        "refused": 1,
        **PRE,
    },
    "layer-scale ViT": {
        "net": lambda: VisionTransformer([LayerScale(8, 0.1) for _ in range(2)]),
        "args": (image(),),
        "skips": 4 * ID,
        "scales": 0.1,
        "stages": 1,
        **PRE,
    },
    # two stages of a plain and a shifted layer; patch merging adds nothing
    "Swin": {
        "net": Swin,
        "args": (image(),),
        "skips": 8 * ID,
        "stages": 2,
        "transitions": [],
        "scales": 1.0,
        **PRE,
    },
    "MLP-Mixer": {
        "net": lambda: Mixer([MixerLayer(16, 8) for _ in range(3)]),
        "args": (image(),),
        "skips": 6 * ID,
        **PRE,
    },
    "ResMLP": {
        "net": lambda: Mixer([ResMLPLayer(16, 8) for _ in range(2)]),
        "args": (image(),),
        "skips": 4 * ID,
        "scales": 0.1,
        **PRE,
    },
    "gMLP": {
        "net": lambda: Mixer([GatedMLPLayer(16, 8) for _ in range(3)]),
        "args": (image(),),
        "skips": 3 * ID,
        **PRE,
    },
    "post-norm encoder": {
        "net": lambda: Encoder([PostNorm(8) for _ in range(2)]),
        "args": (WORDS,),
        "skips": 4 * ID,
        "stages": 1,
        "scales": 1.0,
        "refused": 2,
        **POST,
    },
    # Wang et al. 2022: LN(α·x + F(x))
    "DeepNorm encoder": {
        "net": lambda: Encoder([PostNorm(8, 1.5) for _ in range(2)]),
        "args": (WORDS,),
        "skips": 4 * [SCALED],
        "scales": 1.0,
        **POST,
    },
    # two additions a layer whatever torch's fused path does in eval mode
    "torch's encoder, norm last": {
        "net": lambda: torch_encoder(False),
        "args": (sequence(),),
        "skips": 4 * ID,
        **POST,
    },
    "torch's encoder, norm first": {
        "net": lambda: torch_encoder(True),
        "args": (sequence(),),
        "skips": 4 * ID,
        **PRE,
    },
    "torch's encoder in training mode": {
        "net": lambda: torch_encoder(False),
        "train": True,
        "args": (sequence(),),
        "skips": 4 * ID,
        **POST,
    },
    "torch's encoder layer, norm last": {
        "net": lambda: nn.TransformerEncoderLayer(8, 2, 16),
        "args": (sequence(),),
        "skips": 2 * ID,
        "names": ["model:0", "model:1"],
        **POST,
    },
    "torch's encoder layer, norm first": {
        "net": lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True),
        "args": (sequence(),),
        "kwargs": {"src_key_padding_mask": PADDING == 0},
        "skips": 2 * ID,
        **PRE,
    },
    # self attention, cross attention, feed-forward
    "torch's decoder layer, norm last": {
        "net": lambda: nn.TransformerDecoderLayer(8, 2, 16, batch_first=True),
        "args": (sequence(), sequence(5) + 1),
        "skips": 3 * ID,
        **POST,
    },
    "torch's decoder layer, norm first": {
        "net": lambda: nn.TransformerDecoderLayer(8, 2, 16, batch_first=True, norm_first=True),
        "args": (sequence(), sequence(5) + 1),
        "skips": 3 * ID,
        **PRE,
    },
    # 1·2 + 2·3
    "torch's transformer": {
        "net": lambda: nn.Transformer(8, 2, 1, 2, 16, batch_first=True),
        "args": (sequence(), sequence(5)),
        "skips": 8 * ID,
        **POST,
    },
    "GPT-2": {
        "net": lambda: Decoder([PreNorm(8, True, NewGELU) for _ in range(3)]),
        "args": (WORDS,),
        "skips": 6 * ID,
        "scales": 1.0,
        "stages": 1,
        "refused": 4,  # the positions and every NewGELU
        **PRE,
    },
    "Llama": {
        "net": lambda: Decoder([LlamaLayer(8) for _ in range(2)]),
        "args": (WORDS,),
        "skips": 4 * ID,
        "scales": 1.0,
        **PRE,
    },
    "sandwich norms": {
        "net": lambda: Decoder([LlamaLayer(8, True) for _ in range(2)]),
        "args": (WORDS,),
        "skips": 4 * ID,
        **PRE,
    },
    **{
        f"parallel ways as {writing}": {
            "net": lambda writing=writing: Decoder([Parallel(8, writing) for _ in range(3)]),
            "args": (WORDS,),
            "skips": 3 * ID,
            "names": [f"layers.{number}" for number in range(3)],
            "scales": 1.0,
            **PRE,
        }
        for writing in PARALLEL
    },
    "parallel ways with two norms": {
        "net": lambda: Decoder([ParallelTwoNorms(8) for _ in range(2)]),
        "args": (WORDS,),
        "skips": 2 * ID,
        **PRE,
    },
    "mask from the input, expanded": {
        "net": Masked,
        "args": (WORDS, PADDING),
        "skips": 4 * ID,
        "names": [f"model:{number}" for number in range(4)],
        **PRE,
    },
    # 2 encoder layers of 2 and 2 decoder layers of 3
    "encoder and decoder": {
        "net": Both,
        "args": (WORDS,),
        "skips": 10 * ID,
        **PRE,
    },
    "ALBERT": {
        "net": lambda: Shared(PreNorm(8), 3),
        "args": (WORDS,),
        "skips": 6 * ID,
        "names": [f"layer:{number}" for number in range(6)],
        **PRE,
    },
    "one addition called three times": {
        "net": lambda: Shared(Residual(mlp(8)), 3),
        "args": (WORDS,),
        "skips": 3 * ID,
        "names": ["layer:0", "layer:1", "layer:2"],
        **PRE,
    },
    "LoRA": {
        "net": lambda: adapted(Encoder([PostNorm(8), PostNorm(8)])),
        "args": (WORDS,),
        "skips": 4 * ID,
        "refused": 13,  # six adapters a layer and that of the classifier
        **POST,
    },
    # four additions a layer
    "Conformer": {
        "net": lambda: nn.Sequential(nn.Linear(8, 8), ConformerLayer(8), ConformerLayer(8)),
        "args": (sequence(),),
        "skips": 8 * ID,
        "scales": 2 * [0.5, 1.0, 1.0, 0.5],
    },
    "mixture of experts": {
        "net": lambda: Encoder(
            [Residual(nn.Sequential(MeanSquareNorm(8), Experts(8))) for _ in range(2)]
        ),
        "args": (WORDS,),
        "skips": 2 * ID,
        **PRE,
    },
    "linear attention": {
        "net": lambda: Encoder(
            [Residual(nn.Sequential(nn.LayerNorm(8), LinearAttention(8))) for _ in range(2)]
        ),
        "args": (WORDS,),
        "skips": 2 * ID,
        **PRE,
    },
    # the MLP after reading and two layers of two
    "latents that read": {
        "net": CrossLatents,
        "args": (sequence(),),
        "skips": 5 * ID,
        **PRE,
    },
    **{
        f"DiT, condition {'expanded' if expand else 'broadcast'}": {
            "net": lambda expand=expand: Conditioned(expand),
            "args": (sequence(), sequence(1)[:, 0]),
            "skips": 4 * ID,
            "names": [f"layers.{layer}:{call}" for layer in (0, 1) for call in (0, 1)],
            **PRE,
        }
        for expand in (True, False)
    },
}
