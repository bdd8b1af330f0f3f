"""Layer cushions: every convolution and linear layer, against dense matrices in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import post_activation, trained_looking
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import resprobe as package
from resprobe.blocks.intervene import Runner
from resprobe.errors import InputError, ViolationError
from resprobe.linalg.cushions import id_entries, layer_cushion, with_identity, without_id_entries
from resprobe.quantities.layer_cushion import LayerCushion

# Sums of a few thousand float64 products, in another order.
EXACT = {"rtol": 1e-12, "atol": 0}
# The stored cushions are float32.
STORED = {"rtol": 2e-7, "atol": 0}


def drawn(shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def measured(model, x, batch=None):
    """Give rows and norms by name, and the layers, of a model's cushions on one batch."""
    with torch.no_grad():
        runner = Runner(model, x)
        measurement = LayerCushion(model, runner.blocks, ("a",))
        measurement.take_layers(runner.layers)
        batch = x if batch is None else batch
        whole = runner.run(batch, see_layer=measurement.see_layer, replays=False)
        rows = measurement.rows(whole, torch.zeros(len(batch), dtype=torch.int64))
    return {**rows, **measurement.totals()}, runner.layers


def dense(function, x):
    """Give the matrix of an affine function of one sample, and x and A x of every sample."""
    x = x.double()
    matrix = torch.func.jacrev(lambda one: function(one[None])[0].flatten())(x[0]).flatten(1)
    matrix = matrix.detach()
    return matrix, x.flatten(1), x.flatten(1) @ matrix.t()


def require(found, layer, exact, removed=None):
    """Compare one layer with what `dense` gave, and with the matrix without ID entries."""
    matrix, x, image = exact
    for suffix, of in (("", matrix), ("_id_removed", removed)):
        if of is None:
            continue
        norm = found[f"layer_frobenius_norm{suffix}"][layer]
        assert norm == pytest.approx(float(of.norm()), rel=1e-12)
        expected = image.norm(dim=1) / (of.norm() * x.norm(dim=1))
        torch.testing.assert_close(
            found[f"layer_cushion{suffix}"][:, layer].double(), expected, **STORED
        )


LAYERS = {
    "plain": (lambda: nn.Conv2d(3, 4, 3, padding=1), (3, 6, 5)),
    "without bias": (lambda: nn.Conv2d(3, 2, 3, bias=False), (3, 6, 5)),
    "stride 2, odd size": (lambda: nn.Conv2d(2, 4, 3, 2, 1), (2, 7, 5)),
    "dilated": (lambda: nn.Conv2d(2, 2, 3, padding=2, dilation=2), (2, 6, 5)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2), (4, 5, 4)),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4), (4, 5, 4)),
    "even kernel": (lambda: nn.Conv2d(2, 3, 2), (2, 4, 4)),
    "projection": (lambda: nn.Conv2d(2, 4, 1, 2), (2, 5, 5)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 3, 2, 1, output_padding=1), (3, 4, 3)),
    "transposed, grouped": (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2), (4, 3, 3)),
    "of sequences": (lambda: nn.Conv1d(3, 4, 3, padding=1), (3, 9)),
    "of volumes": (lambda: nn.Conv3d(2, 3, 3, padding=1), (2, 4, 3, 3)),
    "linear": (lambda: nn.Linear(7, 4), (7,)),
    "linear without bias": (lambda: nn.Linear(4, 7, bias=False), (4,)),
    "linear on tokens": (lambda: nn.Linear(4, 3), (5, 4)),
    "linear on tokens without bias": (lambda: nn.Linear(4, 3, bias=False), (5, 4)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_every_kind_of_layer_is_its_dense_matrix(kind):
    make, shape = LAYERS[kind]
    torch.manual_seed(0)
    layer = make().double()
    x = drawn((3, *shape))
    found, layers = measured(nn.Sequential(layer), x)
    assert [one.name for one in layers] == ["0"]
    assert layers[0].kind == ("linear" if isinstance(layer, nn.Linear) else "convolution")
    linear = lambda z: layer(z) - layer(torch.zeros_like(z))  # noqa: E731
    exact = dense(linear, x)
    weight, kept = layer.weight, layer.weight.detach().clone()
    transposed = isinstance(layer, nn.ConvTranspose2d)
    with torch.no_grad():
        weight.copy_(without_id(kept, transposed, getattr(layer, "groups", 1)))
        removed, _, _ = dense(linear, x)
        weight.copy_(kept)
    require(found, 0, exact, removed)
    assert found["layer_weight_norm"][0] == pytest.approx(float(kept.norm()), rel=1e-12)


def without_id(weight, transposed, groups):
    """Set the entries (c, c, centre) to zero in the explicit kernel with one group."""
    out = weight.clone()
    rows, columns = weight.shape[0] // groups, weight.shape[1]
    if any(size % 2 == 0 for size in weight.shape[2:]):
        return out
    for group in range(groups):
        for row in range(rows):
            for column in range(columns):
                # transposed or not, both are the channel's number in the whole kernel
                if group * rows + row == group * columns + column:
                    centre = tuple(size // 2 for size in weight.shape[2:])
                    out[(group * rows + row, column, *centre)] = 0
    return out


@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate"])
def test_other_paddings_belong_to_the_input(mode):
    layer = nn.Conv2d(2, 3, 3, padding=1, padding_mode=mode).double()
    x = drawn((3, 2, 5, 4))
    found, _ = measured(nn.Sequential(layer), x)
    padded = F.pad(x, (1, 1, 1, 1), mode=mode)
    require(found, 0, dense(lambda z: F.conv2d(z, layer.weight), padded))


def test_the_identity_has_the_cushion_of_its_size_and_no_norm_without_id_entries():
    layer = nn.Conv2d(3, 3, 1, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.eye(3)[:, :, None, None])
    found, _ = measured(nn.Sequential(layer), drawn((4, 3, 5, 2)))
    expected = torch.full((4, 1), 1 / math.sqrt(30), dtype=torch.float32)
    torch.testing.assert_close(found["layer_cushion"], expected, **STORED)
    assert found["layer_cushion_id_removed"].isnan().all()


def test_zero_input_and_zero_weight_have_no_cushion():
    layer = nn.Conv2d(2, 2, 3)
    x = drawn((3, 2, 4, 4), dtype=torch.float32)
    x[1] = 0
    assert measured(nn.Sequential(layer), x)[0]["layer_cushion"].isnan().flatten().tolist() == [
        False,
        True,
        False,
    ]
    with torch.no_grad():
        layer.weight.zero_()
    assert measured(nn.Sequential(layer), x)[0]["layer_cushion"].isnan().all()


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.integers(1, 40))
def test_scale_does_not_matter_and_no_cushion_is_above_one(seed, first, second, size):
    a, x = drawn((5, size), seed), drawn((3, size), seed + 1)
    squares = (x @ a.t()).square().sum(1), x.square().sum(1)
    found = layer_cushion(*squares, a.norm())
    assert (found <= 1 + 1e-12).all()
    scaled = layer_cushion(
        (first * second) ** 2 * squares[0], first**2 * squares[1], second * a.norm()
    )
    torch.testing.assert_close(scaled, found, **EXACT)


@settings(max_examples=30)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.booleans())
def test_id_entries_lead_each_channel_to_itself(groups, out, into, taps, transposed):
    shape = (groups * (into if transposed else out), out if transposed else into, taps, 3)
    weight = drawn(shape)
    entries = id_entries(weight, transposed=transposed, groups=groups)
    x = torch.zeros(1, groups * into, 5, 5, dtype=torch.float64)
    x[0, :, 2, 2] = torch.arange(1.0, groups * into + 1)
    operator = F.conv_transpose2d if transposed else F.conv2d
    y = operator(x, entries.double(), padding=(taps // 2, 1), groups=groups)
    if taps % 2 == 0:
        assert not entries.any()
        return
    expected = torch.zeros_like(y)
    for group in range(groups):
        for c in range(groups * into):
            if c // into == group == c // out and c < groups * out:
                expected[0, c, 2, 2] = c + 1
    assert torch.equal(y, expected)
    assert torch.equal(
        with_identity(weight, transposed=transposed, groups=groups), weight + entries.double()
    )
    removed = without_id_entries(weight, transposed=transposed, groups=groups)
    assert torch.equal(removed, weight * ~entries)


class Simplified(nn.Module):
    """Yu & Tomasi's block: one convolution, with a skip or with 1 added to its ID entries."""

    def __init__(self, source, width, stride, shift, *, residual, factor=1.0):
        super().__init__()
        self.conv = nn.Conv2d(source, width, 3, stride, 1)
        self.stride, self.shift, self.residual, self.factor = stride, shift, residual, factor

    def forward(self, x):
        out = self.conv(x)
        if not self.residual:
            return F.relu(out)
        if out.shape != x.shape:
            more = out.shape[1] - x.shape[1]
            x = x[:, :, :: self.stride, :: self.stride]
            x = F.pad(x, (0, 0, 0, 0, self.shift, more - self.shift))
        return F.relu(torch.add(x, out, alpha=self.factor))


def simplified(*, residual=True, shift=0, factor=1.0):
    torch.manual_seed(0)
    made = {"residual": residual, "factor": factor}
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.ReLU(),
        Simplified(4, 4, 1, 0, **made),
        Simplified(4, 6, 2, shift, **made),
        Simplified(6, 6, 1, 0, **made),
    )
    if not residual:
        net.plain_units = ("2", "3", "4")
    return net.double()


@pytest.mark.parametrize(("shift", "factor"), [(0, 1.0), (1, 1.0), (2, 0.5)])
def test_a_skip_around_one_convolution_is_a_part_of_it(shift, factor):
    model, x = simplified(shift=shift, factor=factor), drawn((3, 2, 7, 6))
    found, layers = measured(model, x)
    assert [one.identity for one in layers] == [None, 0, shift, 0]
    assert [one.block for one in layers] == ["", "2", "3", "4"]
    for index in (1, 2, 3):
        with torch.no_grad():
            into = model[: index + 1](x)
        block = model[index + 1]

        def whole(z, block=block):
            out = F.conv2d(z, block.conv.weight, None, block.stride, 1)
            s = z[:, :, :: block.stride, :: block.stride]
            more = out.shape[1] - s.shape[1]
            first = shift if more else 0
            return F.pad(s, (0, 0, 0, 0, first, more - first)) + factor * out

        def alone(z, block=block):
            return factor * F.conv2d(z, block.conv.weight, None, block.stride, 1)

        require(found, index, dense(whole, into), dense(alone, into)[0])


def test_an_equivalent_plain_network_has_the_same_cushions_with_id_entries_kept():
    """Yu & Tomasi 2019, Eq. 1: p(x, T(r)) is r(x, r), T adding 1 to the ID entries."""
    residual, plain = simplified(), simplified(residual=False)
    with torch.no_grad():
        for index in (2, 3, 4):
            plain[index].conv.weight.copy_(with_identity(residual[index].conv.weight))
    x = drawn((3, 2, 7, 6))
    there, _ = measured(residual, x)
    here, layers = measured(plain, x)
    assert [one.identity for one in layers] == [None] * 4
    assert [one.block for one in layers] == ["", "2", "3", "4"]
    for name in ("layer_cushion", "layer_cushion_id_removed"):
        same = there[name].double() / here[name].double() - 1
        removed = name.endswith("removed")
        # rounding of float32, but for what is left of the entries when 1 is taken away
        assert (same[:, 1:].abs().max() > 1e-3) == removed
        assert same[:, 0].abs().max() < 3e-7
    assert (there["layer_cushion_id_removed"] > there["layer_cushion"])[:, 1:].all()


def test_a_branch_of_two_layers_leaves_the_skip_out():
    model = trained_looking(post_activation()).eval().double()
    found, layers = measured(model, drawn((2, 3, 5, 5)))
    assert [one.identity for one in layers] == [None] * len(layers)
    assert [one.name for one in layers] == [
        "0",
        *(f"{block}.conv{conv}" for block in (1, 2, 3) for conv in (1, 2)),
        "6",
    ]
    assert [one.block for one in layers] == ["", "1", "1", "2", "2", "3", "3", ""]
    seen = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(
                lambda m, args, out, name=name: seen.update({name: (m, args[0])})
            )
    with torch.no_grad():
        model(drawn((2, 3, 5, 5)))
    for index, layer in enumerate(layers):
        module, x = seen[layer.name]
        linear = lambda z, module=module: module(z) - module(torch.zeros_like(z))  # noqa: E731
        require(found, index, dense(linear, x))


class Functional(nn.Module):
    """Layers in no module of their own, one called twice, one whose weight is computed."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.kernel = nn.Parameter(torch.randn(3, 3, 3, 3))
        self.shared = nn.Conv2d(3, 3, 1)
        self.normed = weight_norm(nn.Conv2d(3, 3, 3, padding=1))
        self.left = nn.Parameter(torch.randn(4, 3))
        self.register_buffer("blur", torch.ones(3, 1, 3, 3) / 9)

    def forward(self, x):
        x = F.conv2d(x, self.kernel - self.kernel.transpose(0, 1), padding=1)
        x = self.shared(torch.tanh(self.shared(x)))
        x = F.conv2d(self.normed(x), self.blur, padding=1, groups=3)
        return (self.left @ x.mean((2, 3)).t()).t()


def test_functional_shared_and_computed_layers_and_no_fixed_filter():
    model, x = Functional().double(), drawn((4, 3, 5, 5))
    found, layers = measured(model, x)
    assert [one.name for one in layers] == ["model:0", "shared:0", "shared:1", "normed", "model:1"]
    assert [one.parameters for one in layers][::4] == [("kernel",), ("left",)]
    kernel = (model.kernel - model.kernel.transpose(0, 1)).detach()
    require(found, 0, dense(lambda z: F.conv2d(z, kernel, padding=1), x))
    with torch.no_grad():
        first = F.conv2d(x, kernel, padding=1)
        second = model.shared(torch.tanh(model.shared(first)))
        last = F.conv2d(model.normed(second), model.blur, padding=1, groups=3).mean((2, 3))
    weight = model.normed.weight.detach()
    require(found, 3, dense(lambda z: F.conv2d(z, weight, padding=1), second))
    require(found, 4, dense(lambda z: z @ model.left.t(), last))


class SequenceFirst(nn.Module):
    """Linear layers on `(token, sample, feature)`: the samples alternate in the folded axis."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.into, self.out = nn.Linear(4, 6), nn.Linear(6, 4, bias=False)

    def forward(self, x):
        return self.out(torch.tanh(self.into(x.transpose(0, 1).contiguous()))).transpose(0, 1)


@pytest.mark.parametrize(
    "model",
    [
        SequenceFirst(),
        nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True),
        nn.Sequential(nn.Conv1d(4, 4, 3), nn.Flatten(), nn.Linear(12, 2)),
    ],
    ids=["sequence first", "transformer", "flattened"],
)
@pytest.mark.parametrize("samples", [2, 3])
def test_a_sample_stands_alone_wherever_it_lies(model, samples):
    model = model.double().eval()
    shape = (4, 5) if isinstance(model, nn.Sequential) else (5, 4)
    x = drawn((samples, *shape))
    together, layers = measured(model, x)
    counts = {SequenceFirst: 2, nn.TransformerEncoderLayer: 4, nn.Sequential: 2}
    assert len(layers) == counts[type(model)]
    assert not together["layer_cushion"].isnan().any()
    for sample in range(samples):
        alone, _ = measured(model, x, x[sample : sample + 1])
        torch.testing.assert_close(
            alone["layer_cushion"][0], together["layer_cushion"][sample], **STORED
        )


class ThreeSamples(SequenceFirst):
    """Takes no other number of samples, so where they lie in a folded axis can't be told."""

    def forward(self, x):
        assert len(x) == 3
        return torch.tanh(self.out(torch.tanh(self.into(x[:, 0])))) + super().forward(x)[:, 0]


def test_a_layer_whose_samples_can_not_be_told_apart_is_left_out():
    _, layers = measured(ThreeSamples().double(), drawn((3, 5, 4)))
    assert [(one.name, one.fold.copies) for one in layers] == [("out", 1), ("into", 1)][::-1]


def test_all_tokens_are_in_the_map_of_a_linear_layer():
    model, x = SequenceFirst().double(), drawn((3, 5, 4))
    found, _ = measured(model, x)
    require(found, 0, dense(lambda z: z @ model.into.weight.t(), x))


class Either(nn.Module):
    """Goes another way where the numbers are large."""

    def __init__(self, *, leaves_out):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 2)
        self.leaves_out = leaves_out

    def forward(self, x):
        y = x + (x if self.leaves_out and bool(x.max() > 9) else torch.tanh(self.first(x)))
        return self.last(y if bool(x.max() < 9) else 2 * y)


def test_on_another_way_the_layers_are_found_again():
    model, x = Either(leaves_out=False).double(), drawn((3, 4))
    found, layers = measured(model, x, 10 * torch.ones_like(x))
    assert [one.name for one in layers] == ["first", "last"]
    y = 2 * (10 + torch.tanh(model.first(10 * torch.ones_like(x)))).detach()
    require(found, 1, dense(lambda z: z @ model.last.weight.t(), y))


def test_a_layer_that_does_not_run_any_more_is_told():
    model, x = Either(leaves_out=True).double(), drawn((3, 4))
    with pytest.raises(ViolationError, match=r"leaves out the layer first|other residual blocks"):
        measured(model, x, 10 * torch.ones_like(x))


def test_a_network_without_layers_is_refused():
    measurement = LayerCushion(None, (), ("a",))
    with pytest.raises(InputError, match="no convolution or linear layer"):
        measurement.take_layers(())


def test_a_run_holds_it_for_every_sample_and_layer(measured, resprobe):
    asked = ("--quantity", "layer_cushion")
    assert resprobe("collect", measured, *asked, "--quiet").exit_code == 0
    (path,) = measured.glob("collected/*/layer-cushion.h5")
    with package.open(path) as tree:
        data = tree["layer-cushion"].to_dataset().load()
    blocks = {str(name) for name in data["layer_block"].values}
    assert data["layer_cushion"].dims == ("sample", "layer")
    assert data["layer_cushion"].dtype == np.float32
    assert data["layer_frobenius_norm"].dims == ("layer",)
    assert data.sizes["sample"] == 500
    assert (data["layer_kind"].values == "linear").sum() == 1
    with package.open(path.with_name("norms.h5")) as tree:
        assert blocks == {"", *tree["norms"]["block"].values}
    assert np.isfinite(data["layer_cushion"].values).all()
    assert (data["layer_cushion"] <= data["layer_cushion_id_removed"]).all()
    assert (data["layer_weight_norm"] < data["layer_frobenius_norm"])[:-1].all()
