"""Activation contraction: by hand, against modules that are asked themselves, and as collected."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import STYLES, post_activation, trained_looking
from torch import nn

import resprobe as package
from resprobe.blocks.intervene import Runner
from resprobe.errors import InputError, ViolationError
from resprobe.linalg.transfer import to_plain
from resprobe.quantities.activation_contraction import ActivationContraction, contraction
from resprobe.registry import load

# float32 as stored
STORED = {"rtol": 2e-7, "atol": 0}


def drawn(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def measured(model, x, batch=None):
    """Give the contractions `(sample, layer)` of a model on one batch, and the layers' names."""
    with torch.no_grad():
        runner = Runner(model, x)
        measurement = ActivationContraction(model, runner.blocks, ("a",))
        measurement.take_layers(runner.layers)
        batch = x if batch is None else batch
        whole = runner.run(batch, see_activation=measurement.see_activation, replays=False)
        rows = measurement.rows(whole, torch.zeros(len(batch), dtype=torch.int64))
    return rows["activation_contraction"], [layer.name for layer in runner.layers]


def ratio(x, y):
    return (x.flatten(1).norm(dim=1) / y.flatten(1).norm(dim=1)).detach()


def require(found, expected):
    torch.testing.assert_close(found.double(), expected, **STORED)


def test_two_numbers_by_hand():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
        model[0].bias.copy_(torch.tensor([1.0, -1.0]))
    x = torch.tensor([[2.0, -3.0], [-2.0, 5.0], [-3.0, -3.0], [-1.0, 1.0]], dtype=torch.float64)
    found, names = measured(model, x)
    assert names == ["0", "2"]
    # with the bias: (3, -4), (-1, 4), (-2, -4) and (0, 0)
    require(found[:2, 0], torch.tensor([5 / 3, math.sqrt(17) / 4], dtype=torch.float64))
    assert found[2, 0] == math.inf
    assert found[3, 0].isnan()
    assert found[:, 1].isnan().all()


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 30), st.floats(1e-3, 1e3))
def test_a_relu_takes_away_and_its_scale_does_not_matter(seed, size, scale):
    x = drawn((4, size), seed)
    found = contraction(x, F.relu(x))
    assert (found >= 1).all()
    torch.testing.assert_close(contraction(scale * x, F.relu(scale * x)), found, rtol=1e-12, atol=0)
    assert (contraction(x, x) == 1).all()


ACTIVATIONS = {
    "relu": nn.ReLU(),
    "relu in place": nn.ReLU(inplace=True),
    "leaky relu": nn.LeakyReLU(0.2),
    "relu6": nn.ReLU6(),
    "gelu": nn.GELU(),
    "silu in place": nn.SiLU(inplace=True),
    "tanh": nn.Tanh(),
    "softplus": nn.Softplus(),
    "prelu": nn.PReLU(),
}


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_every_activation_is_found(kind):
    torch.manual_seed(0)
    conv, act = nn.Conv2d(2, 3, 3), ACTIVATIONS[kind]
    model = nn.Sequential(conv, act).double()
    x = drawn((3, 2, 5, 4))
    found, _ = measured(model, x)
    between = conv(x)
    require(found[:, 0], ratio(between, act(between.clone())))


class Either(nn.Module):
    """A layer that an activation reads beside something else; or a gate."""

    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.kind = nn.Linear(4, 4), kind

    def forward(self, x):
        y = self.layer(x)
        if self.kind == "gate":
            return y * torch.sigmoid(y)
        if self.kind == "skip first":
            return torch.add(y, torch.relu(y))
        if self.kind == "two":
            return torch.tanh(y) + torch.relu(y)
        return torch.relu(torch.softmax(y, 1))


def test_beside_others_the_first_activation_counts_and_a_gate_is_none():
    x = drawn((3, 4))
    for kind, activation in (("skip first", torch.relu), ("two", torch.tanh)):
        model = Either(kind).double()
        y = model.layer(x)
        require(measured(model, x)[0][:, 0], ratio(y, activation(y)))
    for kind in ("gate", "softmax between"):
        assert measured(Either(kind).double(), x)[0].isnan().all()


@pytest.mark.parametrize("style", STYLES)
def test_a_normalisation_between_belongs_to_what_the_activation_reads(style):
    model, x = trained_looking(post_activation(style)).eval().double(), drawn((3, 3, 5, 5))
    found, names = measured(model, x)
    seen = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(
                lambda m, args, out, name=name: seen.update({name: out.clone()})
            )
    with torch.no_grad():
        model(x)
    for index, name in enumerate(names):
        if name.endswith("conv1"):
            normalised = seen[name.replace("conv", "bn")]
            require(found[:, index], ratio(normalised, F.relu(normalised)))
        else:  # the stem and the second layer lead into an addition, the last one to the logits
            assert found[:, index].isnan().all()
    assert sum(name.endswith("conv1") for name in names) == 3


def twins():
    """Give a residual network of single convolutions and the plain one that equals it."""
    build = load("models", "simplified-resnet")
    torch.manual_seed(0)
    residual = build(depth=8, width_factor=0.25).double()
    with torch.no_grad():
        for name, parameter in residual.named_parameters():
            if name.endswith("bias"):
                parameter.copy_(0.3 * torch.randn(parameter.shape))
    plain = build(depth=8, width_factor=0.25, residual=False).double()
    plain.load_state_dict(to_plain(residual.state_dict(), residual.id_entries()))
    return residual, plain


def test_a_skip_that_is_a_part_of_the_layer_is_in_what_the_activation_reads():
    residual, plain = twins()
    x = drawn((3, 3, 8, 8))
    there, names = measured(residual, x)
    here, _ = measured(plain, x)
    torch.testing.assert_close(there, here, rtol=1e-6, atol=0, equal_nan=True)
    with torch.no_grad():
        y = x
        units = [
            plain.stem.conv,
            *(u.branch for s in (1, 2, 3) for u in plain.get_submodule(f"stage{s}")),
        ]
        for index, unit in enumerate(units):
            y = unit(y)
            require(there[:, index], ratio(y, F.relu(y)))
            y = F.relu(y)
    assert there[:, -1].isnan().all()
    assert len(names) == len(units) + 1


class Tokens(nn.Module):
    """Linear layers on tokens; the samples come first, or alternate in the folded axis."""

    def __init__(self, *, first):
        super().__init__()
        torch.manual_seed(0)
        self.into, self.out, self.first = nn.Linear(4, 6), nn.Linear(6, 4), first

    def forward(self, x):
        x = x if self.first else x.transpose(0, 1).contiguous()
        x = self.out(F.gelu(self.into(x)))
        return x if self.first else x.transpose(0, 1)


@pytest.mark.parametrize("first", [True, False])
def test_a_sample_stands_alone_wherever_its_tokens_lie(first):
    model, x = Tokens(first=first).double(), drawn((3, 5, 4))
    found, _ = measured(model, x)
    y = model.into(x)
    require(found[:, 0], ratio(y, F.gelu(y)))
    for sample in range(3):
        alone, _ = measured(model, x, x[sample : sample + 1])
        torch.testing.assert_close(alone[0], found[sample], **STORED, equal_nan=True)


class AnotherWay(nn.Module):
    """Adds where the numbers are large; may leave its activation out there."""

    def __init__(self, *, leaves_out):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.leaves_out = nn.Linear(4, 4), leaves_out

    def forward(self, x):
        large = bool(x.max() > 9)
        y = self.first(2 * x if large else x)
        return x + (y if large and self.leaves_out else torch.relu(y))


def test_on_another_way_the_activations_are_found_again():
    model, x = AnotherWay(leaves_out=False).double(), drawn((3, 4))
    found, _ = measured(model, x, 10 + x)
    y = model.first(2 * (10 + x))
    require(found[:, 0], ratio(y, torch.relu(y)))


def test_an_activation_that_does_not_run_any_more_is_told():
    model, x = AnotherWay(leaves_out=True).double(), drawn((3, 4))
    with pytest.raises(ViolationError, match=r"leaves out the activation after first"):
        measured(model, x, 10 + x)


def test_a_network_without_layers_is_refused():
    with pytest.raises(InputError, match="no convolution or linear layer"):
        ActivationContraction(None, (), ("a",)).take_layers(())


def test_a_run_holds_it_for_every_sample_and_layer(measured_run):
    (path,) = measured_run.glob("collected/*/activation-contraction.h5")
    with package.open(path) as tree:
        data = tree["activation-contraction"].to_dataset().load()
    values = data["activation_contraction"]
    assert values.dims == ("sample", "layer")
    assert values.dtype == np.float32
    followed = np.isfinite(values.values).all(0)
    names = data["layer"].values
    assert {str(name).rsplit(".", 1)[-1] for name in names[followed]} == {"conv", "conv1"}
    assert np.isnan(values.values[:, ~followed]).all()
    assert (values.values[:, followed] >= 1).all()


@pytest.fixture
def measured_run(run, resprobe):
    asked = ("--quantity", "activation_contraction", "--samples", "30")
    assert resprobe("collect", run, *asked, "--quiet").exit_code == 0
    assert resprobe("check", run).exit_code == 0
    return run
