"""Weight decay toward the identity, against training r = p - ρ with ordinary decay, in float64.

The second implementation takes torch's own optimizers on parameters that the plain weights are made
of anew in every step; nothing of the trainer is in it.
"""

import numpy as np
import pytest
import torch
from resprobe_models import optimizers
from resprobe_models.architectures.simplified_resnet import simplified_resnet
from resprobe_models.interruption import Wish
from resprobe_models.loop import Step, Training
from resprobe_models.recipe import TrainTable, apply_overrides, load_recipe
from resprobe_models.setup import make_setup
from torch import nn
from torch.func import functional_call

from resprobe.errors import InputError

STEPS, RATE, DECAY = 6, 0.01, 0.3


def plain():
    torch.manual_seed(0)
    sizes = {"depth": 5, "width_factor": 0.125, "in_channels": 1, "classes": 3}
    return simplified_resnet(residual=False, **sizes).double()


def batch(number):
    generator = torch.Generator().manual_seed(number)
    images = torch.randn(4, 1, 8, 8, dtype=torch.float64, generator=generator)
    return images, torch.arange(4) % 3


def trained(model, rates=lambda _: RATE, **keys):
    """Take the trainer's steps; give the gradients that were there after each."""
    table = TrainTable(**keys)
    optimizer = optimizers.make_optimizer(table, rates(0), model)
    no_cast = lambda: torch.autocast("cpu", enabled=False)  # noqa: E731  # a new one each time
    take = Step(Training(model, optimizer, rates, no_cast, table.clip_norm), Wish())
    left = []
    for number in range(STEPS):
        images, labels = batch(number)
        take(images, labels, len(labels))
        left.append([item.grad.clone() for item in model.parameters()])
    return left


def shifted(name, decay, rates, **keys):
    """Train r = p - ρ by torch's own rule and its decay; give p after the last step."""
    model = plain()
    ones = {key: mask.double() for key, mask in model.id_entries().items()}
    start = {key: value.detach().clone() for key, value in model.named_parameters()}
    r = {key: nn.Parameter(value - ones.get(key, 0)) for key, value in start.items()}
    rule = getattr(torch.optim, optimizers.RULES[name].name)
    theirs = rule(r.values(), lr=rates(0), weight_decay=decay, **keys)
    for number in range(STEPS):
        images, labels = batch(number)
        theirs.param_groups[0]["lr"] = rates(number)
        theirs.zero_grad()
        p = {key: value + ones.get(key, 0) for key, value in r.items()}
        torch.autograd.backward(
            nn.functional.cross_entropy(functional_call(model, p, images), labels)
        )
        theirs.step()
    return {key: (value + ones.get(key, 0)).detach() for key, value in r.items()}


def largest(one, other):
    return max((one[key] - other[key]).abs().max().item() for key in other)


@pytest.mark.parametrize("name", optimizers.RULES)
def test_it_is_ordinary_decay_of_the_shifted_parameters(name):
    rates = lambda step: RATE * (0.1 if step >= 3 else 1)  # noqa: E731  # decoupled decay takes it
    keys = {"momentum": 0.9} if name in ("sgd", "rmsprop") else {}
    table = {"optimizer": name, "weight_decay": 2 * DECAY, "wd_scale": 0.5, **keys}
    model = plain()
    trained(model, rates, decay_toward="identity", **table)
    ours = {key: value.detach() for key, value in model.named_parameters()}
    expected = shifted(name, DECAY, rates, **keys)
    # Every step rounds weights of size 1 a few times, on both sides.
    assert largest(ours, expected) < 4 * STEPS * np.finfo(np.float64).eps
    other = plain()
    trained(other, rates, decay_toward="zero", **table)
    assert largest(dict(other.named_parameters()), expected) > 1e-4


@pytest.mark.parametrize("name", optimizers.RULES)
def test_the_gradients_after_a_step_are_those_of_the_loss_to_the_bit(name):
    left = trained(plain(), optimizer=name, weight_decay=DECAY, decay_toward="identity")
    model = plain()
    images, labels = batch(0)
    torch.autograd.backward(nn.functional.cross_entropy(model(images), labels))
    for ours, item in zip(left[0], model.parameters(), strict=True):
        assert torch.equal(ours, item.grad)


def test_clipping_comes_before_it():
    clipped = trained(
        plain(), clip_norm=1e-3, weight_decay=DECAY, decay_toward="identity", optimizer="sgd"
    )
    for gradients in clipped:
        norm = torch.sqrt(sum(item.square().sum() for item in gradients)).item()
        assert norm == pytest.approx(1e-3, rel=1e-5)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_without_decay_it_changes_no_bit(name):
    models = [plain(), plain()]
    for model, toward in zip(models, ("zero", "identity"), strict=True):
        trained(model, optimizer=name, weight_decay=0.0, decay_toward=toward)
    for ours, other in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(ours, other)


def test_the_scale_multiplies_the_decay():
    models = [plain(), plain()]
    trained(models[0], weight_decay=0.5, wd_scale=0.0078125)
    trained(models[1], weight_decay=0.5 / 128)
    for ours, other in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(ours, other)


def test_a_parameter_without_a_gradient_does_not_decay():
    for name in ("sgd", "adamw"):
        model = plain()
        optimizer = optimizers.make_optimizer(
            TrainTable(optimizer=name, weight_decay=DECAY, decay_toward="identity"), RATE, model
        )
        before = [item.detach().clone() for item in model.parameters()]
        optimizer.step()
        assert all(map(torch.equal, before, model.parameters()))


class TestRefused:
    def test_a_residual_network(self):
        recipe = load_recipe("simplified-resnet-20-digits")
        with pytest.raises(InputError, match="weight decay does not reach them; give zero"):
            apply_overrides(recipe, ["train.decay_toward=identity"])

    def test_a_network_without_id_entries(self, tiny):
        recipe = tiny("train.decay_toward=identity", name="plain-20-digits")
        with pytest.raises(InputError, match="it has no method id_entries"):
            make_setup(recipe)

    @pytest.mark.parametrize("name", ["stem.weight", "linear.weight"])
    def test_id_entries_that_fit_no_parameter(self, name):
        model = plain()
        model.id_entries = lambda: {name: torch.ones(2, 2, dtype=torch.bool)}
        with pytest.raises(InputError, match=f"id_entries names {name} with a mask of shape"):
            optimizers.make_optimizer(TrainTable(decay_toward="identity"), RATE, model)
