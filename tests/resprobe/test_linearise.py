"""Every rule of `linearise` against the dense Jacobian by torch.autograd in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from linearised import EPS, TOLERANCE, checked, path_of, relative
from torch import nn

from resprobe.blocks.path import Path
from resprobe.blocks.program import record
from resprobe.errors import InputError
from resprobe.linalg import linearise as linearise_module
from resprobe.linalg.linear_map import Autodiff
from resprobe.linalg.linearise import linearise
from resprobe.linalg.precision import full_precision
from resprobe.linalg.steps import Convolution, Diagonal, Maximum, Other, Rearrangement, Sum


class Function(nn.Module):
    """A function as a module, with parts that it may use."""

    def __init__(self, function, *parts):
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)

    def forward(self, x):
        return self.function(x, *self.parts)


def images(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def built(module):
    """In float64 and evaluation mode, with statistics that are not those of a fresh module."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    return module.double().eval()


def kinds(found):
    return [type(step) for step in found.steps]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(7)


# -- convolutions ------------------------------------------------------------------------------


@st.composite
def convolutions(draw):
    axes = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 2]))
    numbers = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(axes))  # noqa: E731
    options = {
        "kernel_size": numbers(1, 3),
        "stride": numbers(1, 3),
        "padding": numbers(0, 2),
        "dilation": numbers(1, 2),
        "groups": groups,
    }
    size = numbers(2, 7 if axes < 3 else 4)
    transposed = draw(st.booleans())
    if transposed:
        options["output_padding"] = tuple(
            draw(st.integers(0, max(s, d) - 1))
            for s, d in zip(options["stride"], options["dilation"], strict=True)
        )
        kind = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[axes - 1]
    else:
        options["padding_mode"] = draw(
            st.sampled_from(["zeros", "circular", "reflect", "replicate"])
        )
        kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    return kind, options, size


@settings(max_examples=40, deadline=None)
@given(drawn=convolutions())
def test_a_convolution_of_any_geometry_is_its_own_jacobian(drawn):
    kind, options, size = drawn
    layer = built(kind(2 * options["groups"], 4, **options))
    x = images(2, 2 * options["groups"], *size)
    try:
        layer(x)
    except RuntimeError:
        assume(False)  # the kernel is larger than the image, or the padding wraps around twice
    found = checked(layer, x)
    padded = options.get("padding_mode", "zeros") != "zeros"
    assert kinds(found) in ([Convolution], [Rearrangement, Convolution][not padded :])


def test_a_long_batch_of_probes_is_taken_in_pieces():
    # A probe has 8 * 64 * 64 * 8 bytes, half of what is taken at once.
    layer = built(nn.Conv2d(8, 8, 3, padding=1, stride=2))
    found = linearise(path_of(layer, images(2, 8, 64, 64)))
    v = images(3, 2, 8, 64, 64)
    expected = torch.stack([F.conv2d(one, layer.weight, None, 2, 1) for one in v]).detach()
    assert relative(found.matvec(v), expected) <= TOLERANCE
    u = torch.randn_like(expected)
    assert float((expected * u).sum()) == pytest.approx(
        float((v * found.rmatvec(u)).sum()), rel=1e4 * EPS
    )


def test_a_weight_that_depends_on_the_input_is_no_convolution():
    module = Function(lambda x: F.conv2d(x, x.mean((2, 3), keepdim=True)))
    found = checked(module, images(1, 3, 4, 4))
    assert Other in kinds(found)


# -- pointwise ---------------------------------------------------------------------------------

POINTWISE = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "elu": F.elu,
    "celu": F.celu,
    "selu": F.selu,
    "mish": F.mish,
    "leaky_relu": F.leaky_relu,
    "rrelu": lambda x: F.rrelu(x, training=False),
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "hardtanh": F.hardtanh,
    "relu6": F.relu6,
    "clamp": lambda x: x.clamp(-0.5, 0.5),
    "softplus": F.softplus,
    "softsign": F.softsign,
    "softshrink": F.softshrink,
    "logsigmoid": F.logsigmoid,
    "exp": torch.exp,
    "log": lambda x: torch.log(x.abs() + 1),
    "sqrt": lambda x: torch.sqrt(x * x + 1),
    "rsqrt": lambda x: torch.rsqrt(x.square() + 1),
    "power": lambda x: x**3,
    "abs": torch.abs,
    "sin": torch.sin,
    "neg": lambda x: -x,
    "multiple": lambda x: 0.17 * x,
    "quotient": lambda x: x / 3,
    "reciprocal": lambda x: 1 / (x.square() + 1),
    "shifted": lambda x: 3 - x,
    "threshold": lambda x: torch.where(x > 0.1, x, x * 0.5),
    "masked": lambda x: x.masked_fill(x > 0.2, 0.0),
    "square": lambda x: x * x,
    "ratio": lambda x: x / (x.square() + 1),
    "larger": lambda x: torch.maximum(x, -2 * x),
    "lerp": lambda x: torch.lerp(x, x.square(), 0.3),
    "addcmul": lambda x: torch.addcmul(x, x.sin(), x.cos(), value=0.5),
}


@pytest.mark.parametrize("name", POINTWISE)
def test_a_pointwise_function_is_one_product_for_each_operand(name):
    function = POINTWISE[name]
    found = checked(Function(function), images(3, 2, 3, 2))
    allowed = {Diagonal, Sum, Other} if name == "logsigmoid" else {Diagonal, Sum}
    assert set(kinds(found)) <= allowed


def test_products_that_follow_each_other_are_one():
    module = built(nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.SiLU()))
    assert kinds(checked(module, images(3, 2, 3, 3))) == [Convolution, Diagonal]


def test_prelu_and_frozen_batch_norm_are_products():
    scale, bias = images(1, 3, 1, 1), images(1, 3, 1, 1)
    module = built(Function(lambda x, p: p(x * scale + bias), nn.PReLU(3)))
    assert kinds(checked(module, images(2, 3, 2, 2))) == [Diagonal]


# -- sums, broadcasting --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.add(x, x.sin(), alpha=0.5),
        lambda x: torch.sub(x, x.sin(), alpha=2),
        lambda x: torch.rsub(x, x.sin(), alpha=3),
        lambda x: x + x,
        lambda x: x - x.mean((2, 3), keepdim=True),
        lambda x: x.mean(1, keepdim=True) + x,
        lambda x: x * x.mean((1, 2, 3)).view(-1, 1, 1, 1),
        lambda x: x * x[:, :1].sigmoid() + x[:, :, :1] * 3,
        lambda x: x.sum((2, 3), keepdim=True) / (1 + x.square()),
    ],
)
def test_sums_and_products_of_values_that_depend_on_the_input(function):
    found = checked(Function(function), images(2, 3, 4, 4))
    assert set(kinds(found)) <= {Diagonal, Sum, Rearrangement}


def test_an_output_of_several_operands_is_their_sum():
    module = Function(lambda x: (x.sin(), x.square()))
    x = images(2, 3)
    program = record(module, (x,))
    terms = list(zip([ref.value for ref in program.output], (2.0, -0.5), strict=True))
    found = linearise(Path(program, program.inputs[0], terms))
    v = images(2, 2, 3)
    assert relative(found.matvec(v), v * (2 * x.cos() - x)) <= TOLERANCE
    assert relative(found.rmatvec(v), v * (2 * x.cos() - x)) <= TOLERANCE


def test_what_does_not_depend_on_the_input_has_the_zero_map():
    found = linearise(path_of(Function(torch.ones_like), images(2, 3)))
    v = images(4, 2, 3)
    assert not found.matvec(v).any()
    assert not found.rmatvec(v).any()


def test_the_identity_gives_a_copy():
    found = linearise(path_of(Function(lambda x: x.view(x.shape)), images(2, 3)))
    v = images(4, 2, 3)
    assert torch.equal(found.matvec(v), v)
    assert found.matvec(v).data_ptr() != v.data_ptr()
    assert found.steps == ()


# -- pooling, moving, resizing -------------------------------------------------------------------


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(2),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.MaxPool2d((3, 2), stride=1, dilation=2),
        nn.MaxPool2d(2, ceil_mode=True),
    ],
)
def test_max_pooling_takes_each_place_of_a_maximum(pool):
    found = checked(pool, images(2, 3, 7, 6))
    assert kinds(found) == [Maximum]
    assert len(found.steps[0].kernel) == len(found.steps[0].stride) == 2


def test_max_pooling_along_one_axis_and_three():
    assert Maximum in kinds(checked(nn.MaxPool1d(2), images(2, 3, 6)))
    assert kinds(checked(nn.MaxPool3d(2), images(2, 2, 4, 4, 4))) == [Maximum]


MOVING = {
    "avg_pool": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, (3, 2)),
    "global": lambda x: F.adaptive_avg_pool2d(x, 1),
    "mean": lambda x: x.mean((2, 3)),
    "sum": lambda x: x.sum(1),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "bilinear": lambda x: F.interpolate(x, size=(5, 7), mode="bilinear"),
    "zeros around": lambda x: F.pad(x, (1, 2, 0, 1), value=3.0),
    "cropped": lambda x: F.pad(x, (-1, 1, 0, -1)),
    "reflected": lambda x: F.pad(x, (1, 2, 2, 1), mode="reflect"),
    "replicated": lambda x: F.pad(x, (1, 2, 2, 1), mode="replicate"),
    "circular": lambda x: F.pad(x, (1, 2, 2, 1), mode="circular"),
    "strided": lambda x: x[:, :, ::2, 1::2],
    "one row": lambda x: x[:, :, 1],
    "cat": lambda x: torch.cat((x[:, 1:], 2 * x.flip(3), torch.ones_like(x)), 1),
    "stack": lambda x: torch.stack((x, x.transpose(2, 3)), 1),
    "split": lambda x: x.split([1, 2], 1)[1],
    "chunked": lambda x: torch.cat(x.chunk(3, 1)[::-1], 1),
    "unbound": lambda x: x.unbind(1)[1] - x.unbind(1)[0],
    "rolled": lambda x: x.roll((1, -1), (2, 3)),
    "indexed": lambda x: x[:, [2, 0, 0]],
    "index_select": lambda x: x.index_select(3, torch.tensor([3, 3, 1])),
    "gathered": lambda x: x.gather(3, torch.zeros(2, 3, 4, 2, dtype=torch.int64)),
    "flattened": lambda x: x.flatten(1),
    "permuted": lambda x: x.permute(0, 2, 3, 1).reshape(2, -1, 6),
    "unfolded": lambda x: F.unfold(x, 2),
    "folded": lambda x: F.fold(F.unfold(x, 2), (4, 4), 2),
    "shuffled": lambda x: F.pixel_unshuffle(x, 2),
    "channels": lambda x: F.channel_shuffle(x, 3),
    "repeated": lambda x: x.repeat(1, 2, 1, 1),
    "expanded": lambda x: x[:, :, :1].expand(2, 3, 5, 4),
    "lower": lambda x: x.tril(),
    "cumulated": lambda x: x.cumsum(2),
}


@pytest.mark.parametrize("name", MOVING)
def test_what_moves_cuts_pads_or_averages_is_a_rearrangement(name):
    found = checked(Function(MOVING[name]), images(2, 3, 4, 4))
    assert set(kinds(found)) <= {Rearrangement, Diagonal, Sum}
    for step in found.steps:
        if isinstance(step, Rearrangement):  # nothing cancels: a sum of ones is no zero
            ones = [torch.ones(2, 3, 4, 4, dtype=torch.float64) for _ in step.inputs]
            if len(found.steps) == 1:
                assert (step.apply(*ones) >= 0).all()


def test_rearrangements_that_lead_only_to_each_other_are_one():
    module = Function(lambda x: F.pad(F.pad(x, (1, 1)), (0, 0, 2, 0)).flip(2).sin())
    assert kinds(checked(module, images(2, 3, 4, 4))) == [Rearrangement, Diagonal]


# -- everything else -----------------------------------------------------------------------------


class Attention(nn.Module):
    """Self-attention as vision transformers write it."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        n, tokens, width = x.shape
        qkv = self.qkv(x).reshape(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*qkv.unbind(0))
        return self.out(mixed.transpose(1, 2).reshape(n, tokens, width))


OTHERS = {
    "linear": (nn.Linear(4, 3), (2, 4), "linear layer"),
    "linear without bias": (nn.Linear(4, 3, bias=False), (2, 5, 4), "matrix product"),
    "gram": (Function(lambda x: x @ x.mT), (2, 3, 4), "matrix product"),
    "softmax": (nn.Softmax(-1), (2, 3, 4), "softmax"),
    "log-softmax": (nn.LogSoftmax(-1), (2, 3, 4), "log-softmax"),
    "layer norm": (nn.LayerNorm(4), (2, 3, 4), "LayerNorm"),
    "group norm": (nn.GroupNorm(2, 4), (2, 4, 3), "GroupNorm"),
    "instance norm": (nn.InstanceNorm2d(3), (2, 3, 4, 4), "BatchNorm"),
    "rms norm": (nn.RMSNorm(4), (2, 3, 4), None),
    "attention": (Attention(8, 2), (2, 5, 8), "attention"),
    "bicubic": (nn.Upsample(scale_factor=2, mode="bicubic"), (2, 2, 3, 3), "bicubic"),
    "glu": (nn.GLU(1), (2, 4, 3), "glu"),
    "adaptive max": (nn.AdaptiveMaxPool2d(2), (2, 3, 5, 5), "adaptive_max_pool2d"),
    "largest": (Function(lambda x: x.amax((2, 3))), (2, 3, 4, 4), "amax"),
    "norm": (Function(lambda x: x / x.norm(dim=1, keepdim=True)), (2, 3, 4), "norm"),
    "einsum": (Function(lambda x: torch.einsum("nct,ndt->ncd", x, x.sin())), (2, 3, 4), "product"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_everything_else_is_applied_by_its_own_derivative(name):
    module, shape, why = OTHERS[name]
    found = checked(module.double().eval(), images(*shape))
    others = [step.why for step in found.steps if isinstance(step, Other)]
    assert why is None or any(why in one for one in others)


# -- whole blocks --------------------------------------------------------------------------------


class SqueezeExcite(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.second = nn.Conv2d(width, 2, 1), nn.Conv2d(2, width, 1)

    def forward(self, x):
        pooled = F.adaptive_avg_pool2d(x, 1)
        return x * self.second(F.relu(self.first(pooled), inplace=True)).sigmoid()


def written_channels(x):
    out = torch.zeros_like(x)
    out[:, :, ::2] = x[:, :, ::2].sin()
    out[:, 0] += x[:, 1]
    out.mul_(x)
    return out


def written_view(x):
    y = x * 2
    rows = y.view(y.shape[0], -1)
    rows[:, ::3].relu_()
    return y + rows.view_as(y)


def written_piece(x):
    y = x.sin()
    part = y.narrow(1, 1, 1)
    part.copy_(x[:, :1] * 3)
    part.zero_()
    y.transpose(2, 3)[:, :, 1].add_(x[:, :, 0], alpha=2)
    y[:, 2].fill_(1.5)
    return y


def written_parts(x):
    gates = list((x * 2).unsafe_chunk(3, 1))
    gates[0].sigmoid_()
    gates[2].tanh_()
    return gates[0] * gates[1] + gates[2]


def written_layout(x):
    y = x.sin()
    rows = y[:, :2]
    rows.transpose_(2, 3).mul_(2)
    whole = x * 3
    whole.transpose_(1, 2)
    return y.sum(1) + rows[:, 1] + whole[:, 0, 0, None]


def option_a(x):
    return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 2))


def in_place_block(x, conv, bn):
    out = bn(conv(x))
    out += x
    return F.relu_(out)


BLOCKS = {
    "squeeze-and-excite": lambda: SqueezeExcite(3),
    "in place": lambda: Function(
        in_place_block, nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
    ),
    "written channels": lambda: Function(written_channels),
    "written view": lambda: Function(written_view),
    "written piece": lambda: Function(written_piece),
    "written parts": lambda: Function(written_parts),
    "written layout": lambda: Function(written_layout),
    "option A": lambda: Function(option_a),
    "pre-activation": lambda: nn.Sequential(
        nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4),
        nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
    ),
    "dropout": lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.Dropout(), nn.Dropout2d()),
}  # fmt: skip


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_with_writes_views_and_gates(name):
    checked(built(BLOCKS[name]()), images(3, 3, 4, 4))


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_a_transformer_layer(norm_first, batch_first):
    layer = nn.TransformerEncoderLayer(
        8, 2, 12, norm_first=norm_first, batch_first=batch_first, activation="gelu"
    )
    layer = layer.double().eval()
    x = images(2, 5, 8)
    if batch_first:
        checked(layer, x)
    else:
        checked(
            Function(lambda z, layer: layer(z.transpose(0, 1)).transpose(0, 1), layer).eval(), x
        )


def test_tokens_before_samples():
    layer = nn.TransformerEncoderLayer(8, 2, 12, norm_first=True).double().eval()
    tokens = images(5, 3, 8)
    path = path_of(layer, tokens, axis=1)
    found = linearise(path)
    assert (path.samples, path.input_shape, path.output_shape) == (3, (5, 8), (5, 8))
    outside = layer(tokens).transpose(0, 1)
    assert relative(path(path.point()), outside.detach()) <= TOLERANCE
    second = Autodiff(path, path.point())
    v = images(2, 3, 5, 8)
    assert relative(found.matvec(v), second.matvec(v)) <= TOLERANCE
    assert relative(found.rmatvec(v), second.rmatvec(v)) <= TOLERANCE
    alone = found.sample(1)
    assert relative(alone.matvec(v[:, 1:2]), second.matvec(v)[:, 1:2]) <= TOLERANCE
    assert relative(alone.rmatvec(v[:, 1:2]), second.rmatvec(v)[:, 1:2]) <= TOLERANCE


# -- samples ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x - x.mean(0, keepdim=True),
        lambda x: x + x.flip(0),
        lambda x: 2 * x + 1e-4 * x.roll(1, 0),
        lambda x: x * x.softmax(0),
        lambda x: x.transpose(0, 1).cumsum(1).transpose(0, 1),
    ],
    ids=["mean", "flip", "roll", "softmax", "cumsum"],
)
def test_samples_that_depend_on_each_other_are_refused(function):
    with pytest.raises(InputError, match="mixes the samples"):
        linearise(path_of(Function(function), images(3, 2, 4)))
    # A batch of one has nothing to mix.
    checked(Function(function), images(1, 2, 4))


def test_as_many_tokens_in_front_as_there_are_samples_are_not_taken_for_them():
    scale = torch.arange(1.0, 4.0, dtype=torch.float64).view(3, 1, 1)

    def in_front(x):
        return (x.transpose(0, 1) * scale).transpose(0, 1).tanh()

    checked(Function(in_front), images(3, 3, 5))


def test_group_norm_of_images_with_the_channels_last():
    images_last = images(2, 4, 3, 5).to(memory_format=torch.channels_last)
    module = built(nn.Sequential(nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4)))
    checked(module, images_last)


def test_probes_whose_tensors_are_large_are_taken_a_few_at_a_time(monkeypatch):
    def written_out(x):
        return (x @ x.mT).softmax(-1) @ x

    def fused(x):
        x = x.unsqueeze(1)
        return F.scaled_dot_product_attention(x, x, x).squeeze(1)

    v = images(7, 2, 9, 3)
    for function in (written_out, fused):
        path = path_of(Function(function), images(2, 9, 3))
        monkeypatch.undo()
        whole = linearise(path)
        monkeypatch.setattr(linearise_module, "_ROOM", 2 * 2 * 9 * 9 * 8)  # two probes' scores
        few = linearise(path)
        assert few._probes == 2
        assert relative(few.matvec(v), whole.matvec(v)) <= TOLERANCE
        assert relative(few.rmatvec(v), whole.rmatvec(v)) <= TOLERANCE


def test_products_on_an_accelerator_are_of_full_float32_and_the_flags_are_set_back():
    def flags():
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    before = flags()
    with full_precision(torch.device("cuda")):
        assert flags() == (False, False)
    assert flags() == before


# -- BatchNorm on each sample alone --------------------------------------------------------------


def test_batch_norm_in_training_mode_is_a_batch_of_one():
    module = built(
        nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3))
    )
    twin = built(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)))
    twin.load_state_dict(module.state_dict())
    twin.train()
    checked(
        module, images(3, 3, 5, 5), batch_norm="train",
        function=lambda z: torch.cat([twin(one) for one in z.split(1)]),
    )  # fmt: skip


def test_batch_norm_that_mixes_samples_is_refused():
    module = built(nn.BatchNorm2d(3)).train()
    with pytest.raises(InputError, match="training mode"):
        linearise(path_of(module, images(3, 3, 4, 4)))


# -- laws ----------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    probes=st.integers(1, 4),
    samples=st.integers(1, 3),
    size=st.integers(3, 6),
    seed=st.integers(0, 2**16),
)
def test_the_transpose_is_the_adjoint(probes, samples, size, seed):
    torch.manual_seed(seed)
    module = built(BLOCKS["pre-activation"]())
    found = linearise(path_of(module, images(samples, 3, size, size)))
    v = images(probes, samples, *found.input_shape)
    u = images(probes, samples, *found.output_shape)
    pushed, pulled = found.matvec(v), found.rmatvec(u)
    left, right = (pushed * u).flatten(1).sum(1), (v * pulled).flatten(1).sum(1)
    scale = pushed.flatten(1).norm(dim=1) * u.flatten(1).norm(dim=1)
    assert ((left - right).abs() <= TOLERANCE * scale).all()


def test_the_map_is_in_the_dtype_of_its_point():
    module = built(BLOCKS["pre-activation"]()).float()
    found = linearise(path_of(module, images(2, 3, 6, 6).float()))
    assert found.dtype == torch.float32
    assert found.matvec(torch.ones(1, 2, 3, 6, 6)).dtype == torch.float32
