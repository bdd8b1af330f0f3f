"""Attribution of branches: on paper, against captum on a model with real taps, by its integral."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch
from captum.attr import LayerConductance, LayerGradientXActivation, LayerIntegratedGradients
from nets import linear_stack, post_activation, trained_looking
from tapped import images, tapped
from torch import nn

from resprobe.quantities.attribution_methods import (
    gradient_x_activation,
    integrated_gradients,
    layer_conductance,
)

# Sums of some hundred numbers of size one in float64, in another order.
ROUNDING = {"rtol": 1e-11, "atol": 1e-12}


# -- on paper --------------------------------------------------------------------------------------


class Added(nn.Module):
    """x + h·Wx with the product made by the addition."""

    def __init__(self, linear, h):
        super().__init__()
        self.linear, self.h = linear, h

    def forward(self, x):
        return torch.add(x, self.linear(x), alpha=self.h)


@pytest.mark.parametrize("writing", ["scaled branch", "scaled by the addition"])
def test_of_a_linear_network_all_three_are_matrix_products(writing):
    h, target = 0.5, torch.tensor([0, 5, 3])
    model = linear_stack(width=6, blocks=4, h=h)
    if writing == "scaled by the addition":
        model = nn.Sequential(*[Added(block.linear, block.h) for block in model])
    weights = [block.linear.weight.detach() for block in model]
    x = torch.randn((3, 6), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    states = [x]
    for weight in weights:
        states.append(states[-1] + h * states[-1] @ weight.T)
    branches = [h * state @ weight.T for state, weight in zip(states, weights, strict=False)]
    rows = torch.eye(6, dtype=torch.float64)[target]
    through = []  # e_y' Π (1 + hW) over the blocks that follow
    for index in range(4):
        follow = rows
        for weight in reversed(weights[index + 1 :]):
            follow = follow + h * follow @ weight
        through.append((follow * branches[index]).sum(1))
    direct = torch.stack([(rows * branch).sum(1) for branch in branches], 1)

    _, taps = tapped(model, x)
    conductance = layer_conductance(taps, target, steps=1)
    product = gradient_x_activation(taps, target)
    joint = integrated_gradients(taps, target, steps=2)
    for found in (conductance, product):
        torch.testing.assert_close(found.blocks, torch.stack(through, 1), **ROUNDING)
    # captum's weights of the points are float32, and so is their sum
    torch.testing.assert_close(joint.blocks, direct, rtol=2e-7, atol=1e-12)
    torch.testing.assert_close(
        joint.blocks.sum(1), (rows * (states[-1] - x)).sum(1), rtol=1e-6, atol=0
    )
    assert conductance.delta.abs().max() < 1e-12
    assert joint.delta.abs().max() < 1e-6
    assert product.delta.isnan().all()


# -- against captum on a model whose branches are outputs of modules -------------------------------


class Tapped(nn.Module):
    """The layers of `post_activation` with a module behind each branch, and a gate before it."""

    def __init__(self, model):
        super().__init__()
        self.stem, self.blocks, self.head = model[0], model[1:-3], model[-3:]
        self.taps = nn.ModuleList(nn.Identity() for _ in self.blocks)

    def forward(self, x, gate=None):
        x = self.stem(x)
        for block, tap in zip(self.blocks, self.taps, strict=True):
            out = torch.relu(block.bn1(block.conv1(x)))
            out = block.bn2(block.conv2(out))
            out = tap(out if gate is None else gate * out)
            x = torch.relu(x + out)
        return self.head(x)


@pytest.fixture(scope="module")
def convolutional():
    model = trained_looking(post_activation(blocks=3)).double().eval()
    x, target = images(), torch.tensor([1, 4, 2])
    return model, Tapped(model), x, target, tapped(model, x)[1]


def by_block(parts):
    return torch.stack([part.detach().flatten(1).sum(1) for part in parts], 1)


def test_conductance_is_the_mean_of_captums_there_and_back(convolutional):
    _, own, x, target, taps = convolutional
    steps = 8  # captum rounds its points to float32

    def captum(start, end):
        # its other choices of points leave out the ends of the path
        options = {"target": target, "n_steps": steps, "method": "riemann_trapezoid"}
        methods = [LayerConductance(own, tap) for tap in own.taps]
        return by_block([one.attribute(end, start, **options) for one in methods])

    zero = torch.zeros_like(x)
    expected = (captum(zero, x) - captum(x, zero)) / 2
    found = layer_conductance(taps, target, steps=steps)
    torch.testing.assert_close(found.blocks, expected, **ROUNDING)


def test_all_branches_together_are_captums_list_of_layers(convolutional):
    _, own, x, target, taps = convolutional
    gate = torch.ones((len(x), 1, 1, 1), dtype=torch.float64)
    with warnings.catch_warnings():
        # of captum: that layers follow each other, and that it sets requires_grad
        warnings.simplefilter("ignore")
        method = LayerIntegratedGradients(lambda gate, x: own(x, gate), list(own.taps))
        parts, delta = method.attribute(
            gate, torch.zeros_like(gate), target=target, additional_forward_args=(x,), n_steps=9,
            internal_batch_size=len(x), return_convergence_delta=True,
        )  # fmt: skip
    found = integrated_gradients(taps, target, steps=9)
    torch.testing.assert_close(found.blocks, by_block(parts), **ROUNDING)
    torch.testing.assert_close(found.delta, delta, **ROUNDING)


def test_the_product_is_captums(convolutional):
    _, own, x, target, taps = convolutional
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = LayerGradientXActivation(own, list(own.taps)).attribute(x, target=target)
    found = gradient_x_activation(taps, target)
    torch.testing.assert_close(found.blocks, by_block(parts), **ROUNDING)


# -- against the integral --------------------------------------------------------------------------


class Smooth(nn.Module):
    """A residual network of tanh, whose path integral is smooth."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(5, 5) for _ in range(3))
        self.double()

    def branches(self, x):
        found = []
        for layer in self.layers:
            found.append(torch.tanh(layer(x)))
            x = x + found[-1]
        return found

    def after(self, index, x, branch):
        """Give the logits from the input and one branch, the others being computed."""
        for number, layer in enumerate(self.layers):
            x = x + (branch if number == index else torch.tanh(layer(x)))
        return x

    def forward(self, x):
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return x


def integral(model, x, target):
    """∫ ∂f/∂G·dG/dα dα by Gauss-Legendre with exact derivatives of both, a sample at a time."""
    points, weights = np.polynomial.legendre.leggauss(16)
    found = torch.zeros((len(x), len(model.layers)), dtype=torch.float64)
    for number, sample in enumerate(x):
        for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
            at = point * sample
            branches, moved = torch.func.jvp(model.branches, (at,), (sample,))
            for index, branch in enumerate(branches):

                def logit(branch, at=at, index=index, number=number):
                    return model.after(index, at, branch)[target[number]]

                gradient = torch.func.grad(logit)(branch.detach())
                found[number, index] += weight * (gradient * moved[index]).sum().detach()
    return found


def test_conductance_converges_to_the_integral_with_the_square_of_the_steps():
    model, target = Smooth(), torch.tensor([0, 3])
    x = 2 * torch.randn((2, 5), generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    exact = integral(model, x, target)
    _, taps = tapped(model, x)
    errors, deltas = [], []
    for steps in (20, 40, 80):
        found = layer_conductance(taps, target, steps=steps)
        errors.append(float((found.blocks - exact).norm()))
        deltas.append(float(found.delta.norm()))
    for values in (errors, deltas):
        rates = [np.log2(a / b) for a, b in itertools.pairwise(values)]
        np.testing.assert_allclose(rates, 2, atol=0.1)
    assert errors[-1] < 1e-3 * float(exact.norm())


# -- what is left behind --------------------------------------------------------------------------


def test_nothing_is_left_on_the_model():
    model = trained_looking(post_activation(blocks=2)).eval()
    model[0].weight.requires_grad_(False)
    wanted = [p.requires_grad for p in model.parameters()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    x, target = images().float(), torch.tensor([0, 1, 2])
    _, taps = tapped(model, x)
    layer_conductance(taps, target, steps=2)
    integrated_gradients(taps, target, steps=2)
    gradient_x_activation(taps, target)
    assert [p.requires_grad for p in model.parameters()] == wanted
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not any(tap._forward_hooks for tap in taps.taps)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not x.requires_grad


def test_a_frozen_network_has_the_same_attributions(convolutional):
    _, _, x, target, taps = convolutional
    frozen = trained_looking(post_activation(blocks=3)).double().eval().requires_grad_(False)
    _, others = tapped(frozen, x)
    for method in (gradient_x_activation, lambda *given: layer_conductance(*given, steps=2)):
        assert torch.equal(method(taps, target).blocks, method(others, target).blocks)


def test_memory_is_that_of_a_few_points_however_many_there_are(convolutional):
    """The recorded views say how many samples there are, so a pass can't hold several points."""
    _, _, x, target, taps = convolutional
    seen = []
    handle = taps.taps[0].register_forward_hook(lambda *given: seen.append(len(given[2])))
    layer_conductance(taps, target, steps=11)
    handle.remove()
    assert seen == [len(x)] * 12
