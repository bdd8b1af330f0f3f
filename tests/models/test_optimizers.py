"""Update rules, clipping and warm-up: torch's own steps, and a resume that keeps every moment."""

import inspect

import numpy as np
import pytest
import torch
from resprobe_models import optimizers
from resprobe_models.interruption import Wish
from resprobe_models.loop import Step, Training
from resprobe_models.recipe import ScheduleTable, TrainTable, apply_overrides, load_recipe
from resprobe_models.schedule import learning_rates
from torch import nn

from resprobe.errors import InputError


class Scaled(nn.Sequential):
    """With a gain of no dimension, which has the shape of an optimizer's counters."""

    def __init__(self, *modules):
        super().__init__(*modules)
        self.gain = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return self.gain * super().forward(x)


def network():
    torch.manual_seed(0)
    return Scaled(nn.Flatten(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def batch():
    torch.manual_seed(1)
    return torch.randn(8, 2, 3, dtype=torch.float64), torch.arange(8) % 3


def steps(count, keys, *, rate=0.05, model=None, made=None):
    """Take steps as the trainer does; give the network and the optimizer."""
    table = TrainTable(**keys)
    model = model or network()
    optimizer = made or optimizers.make_optimizer(table, rate, model)
    no_cast = lambda: torch.autocast("cpu", enabled=False)  # noqa: E731  # a new one each time
    training = Training(model, optimizer, lambda _: rate, no_cast, table.clip_norm)
    take = Step(training, Wish())
    for _ in range(count):
        take(*batch(), 8)
    return model, optimizer


def gradient_norm(model):
    images, labels = batch()
    loss = nn.functional.cross_entropy(model(images), labels)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    return torch.sqrt(sum(g.square().sum() for g in gradients)).item()


@pytest.mark.parametrize("name", optimizers.RULES)
def test_a_rule_takes_the_steps_of_torch(name):
    rule = optimizers.RULES[name]
    stepped, _ = steps(4, {"optimizer": name, "weight_decay": 0.01})
    model = network()
    own = {"momentum": 0.9} if name == "sgd" else {}
    theirs = getattr(torch.optim, rule.name)(model.parameters(), lr=0.05, weight_decay=0.01, **own)
    for _ in range(4):
        images, labels = batch()
        theirs.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model(images), labels))
        theirs.step()
    for ours, expected in zip(stepped.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, expected)


@pytest.mark.parametrize("name", sorted(set(optimizers.RULES) - {"sgd"}))
def test_the_defaults_are_those_of_torch(name):
    rule = optimizers.RULES[name]
    parameters = inspect.signature(getattr(torch.optim, rule.name)).parameters
    assert {key: parameters[key].default for key in rule.defaults} == dict(rule.defaults)


@pytest.mark.parametrize("name", optimizers.RULES)
def test_the_state_comes_back_so_that_the_next_steps_are_the_same(name, tmp_path):
    whole, _ = steps(5, {"optimizer": name})
    half, optimizer = steps(2, {"optimizer": name})
    stored = {k: v.clone() for k, v in optimizers.state_by_name(half, optimizer).items()}
    again = network()
    again.load_state_dict(half.state_dict())
    restored = optimizers.make_optimizer(TrainTable(optimizer=name), 0.05, again)
    optimizers.load_state(tmp_path, again, restored, stored)
    if "step.gain" in stored:
        assert restored.state[again.gain]["step"].dtype == torch.float32
    resumed, _ = steps(3, {"optimizer": name}, model=again, made=restored)
    for ours, expected in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, expected)


def test_a_state_of_another_network_or_with_a_hole_is_refused(tmp_path):
    model, optimizer = steps(1, {"optimizer": "adam"})
    stored = optimizers.state_by_name(model, optimizer)
    assert sorted(stored)[0] == "exp_avg.1.bias"
    for name, words in (
        ("exp_avg.9.bias", "holds the optimizer's exp_avg.9.bias of shape"),
        ("exp_avg.1.bias", r"of shape \(4,\), which fits no"),
    ):
        with pytest.raises(InputError, match=words):
            optimizers.load_state(tmp_path, model, optimizer, {**stored, name: torch.zeros(4)})
    del stored["exp_avg_sq.3.weight"]
    with pytest.raises(InputError, match=r"lacks the optimizer's exp_avg_sq\.3\.weight"):
        optimizers.load_state(tmp_path, model, optimizer, stored)


class TestKeys:
    def test_a_recipe_holds_the_keys_of_its_rule_and_no_others(self):
        recipe = apply_overrides(load_recipe("resnet-20-digits"), ["train.optimizer=adamw"])
        table = recipe.tables()["train"]
        assert table["betas"] == [0.9, 0.999]
        assert not {"momentum", "nesterov", "alpha"} & table.keys()

    def test_the_order_of_overrides_does_not_matter(self):
        overrides = ["train.betas=[0.8, 0.9]", "train.optimizer=adam"]
        recipe = load_recipe("resnet-20-digits")
        both = [apply_overrides(recipe, order) for order in (overrides, overrides[::-1])]
        assert both[0] == both[1]
        assert both[0].train.betas == (0.8, 0.9)

    def test_naming_the_same_rule_keeps_the_keys_of_the_recipe(self):
        recipe = apply_overrides(load_recipe("resnet-20-digits"), ["train.momentum=0.5"])
        for text in ("sgd", '"sgd"'):
            assert apply_overrides(recipe, [f"train.optimizer={text}"]) == recipe

    @pytest.mark.parametrize(
        ("keys", "words"),
        [
            ({"optimizer": "adam", "momentum": 0.9}, "adam takes no momentum, only betas, eps"),
            ({"betas": (0.9, 0.99)}, "sgd takes no betas"),
            ({"optimizer": "adam", "betas": (0.9,)}, "expected two numbers"),
            ({"optimizer": "adam", "betas": (0.9, 1.0)}, "expected less than 1"),
            ({"optimizer": "adam", "eps": 0.0}, "expected more than 0"),
            ({"nesterov": True, "momentum": 0.0}, "expected a train.momentum above 0"),
            ({"clip_norm": 0.0}, "train.clip_norm = 0.0: expected more than 0"),
        ],
    )
    def test_what_does_not_go_together_is_refused(self, keys, words):
        with pytest.raises(InputError, match=words):
            TrainTable(**keys)


class TestClipping:
    def test_a_large_gradient_is_scaled_down_to_the_norm(self):
        plain = {"momentum": 0.0, "weight_decay": 0.0}
        before = network()
        norm = gradient_norm(before)
        for limit, expected in ((norm / 3, norm / 3), (norm * 3, norm)):
            after, _ = steps(1, {**plain, "clip_norm": limit}, rate=1.0)
            moved = [
                (a - b).square().sum()
                for a, b in zip(after.parameters(), before.parameters(), strict=True)
            ]
            assert torch.sqrt(sum(moved)).item() == pytest.approx(expected, rel=1e-5)


class TestWarmup:
    @pytest.mark.parametrize("warmup", [0.1, "2 epochs"])
    def test_the_rate_rises_linearly_and_is_the_schedules_afterwards(self, warmup):
        table = ScheduleTable("cosine", 0.5, minimum=0.001, warmup=warmup)
        rates = learning_rates(table, 200, 10)
        bare = learning_rates(ScheduleTable("cosine", 0.5, minimum=0.001), 200, 10)
        for step in range(200):
            share = min(1, (step + 1) / 20)
            assert rates(step) == pytest.approx(share * bare(step), rel=1e-12)

    def test_none_changes_no_bit(self):
        rates = learning_rates(ScheduleTable("step", 0.1, (0.5,)), 10, 5)
        assert [rates(step) for step in (0, 4, 5)] == [0.1, 0.1, 0.1 * 0.1]

    @pytest.mark.parametrize("warmup", ["soon", "-1 epochs", 1.0, -0.1])
    def test_what_is_no_time_is_refused(self, warmup):
        with pytest.raises(InputError, match=r"schedule\.warmup"):
            ScheduleTable(warmup=warmup)


def test_cosine_with_restarts_is_that_of_torch():
    """`CosineAnnealingWarmRestarts` with cycles of 10, 20 and 40 steps, stepped once a step."""
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer, T_0=10, T_mult=2, eta_min=0.001
    )
    ours = learning_rates(
        ScheduleTable("cosine", 0.5, ("10 epochs", "30 epochs"), minimum=0.001), 70, 1
    )
    for step in range(70):
        np.testing.assert_allclose(ours(step), theirs.get_last_lr()[0], rtol=1e-12)
        optimizer.step()
        theirs.step()
