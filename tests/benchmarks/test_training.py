"""What the trainer costs beside a bare loop. Run: pytest tests/benchmarks -m benchmark -s"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bare_loop import RESNET_20_CIFAR10, RESNET_56_DIGITS
from bare_loop import train as bare_train
from resprobe_models.recipe import apply_overrides, load_recipe
from resprobe_models.train import train
from timing import interleaved, line, ratio

from resprobe import registry
from resprobe.checkpoints import load_weights, stem
from resprobe.data import Images

pytestmark = pytest.mark.benchmark


def pixels(samples, seed):
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (samples, 3, 32, 32), dtype=np.uint8)
    return images, generator.integers(0, 10, samples)


@pytest.fixture
def cifar_shaped(monkeypatch):
    """Random pixels in the place of CIFAR-10: 24 steps of 128 and 500 test images."""
    data = {"train": pixels(3072, 0), "test": pixels(500, 1)}
    load = registry.load

    def offered(kind, name):
        if (kind, name) != ("datasets", "cifar10"):
            return load(kind, name)
        return lambda *, split, data_dir=None: Images(*data[split], tuple("0123456789"))

    monkeypatch.setattr(registry, "load", offered)
    return (*data["train"], *data["test"])


def digits():
    load = registry.load("datasets", "digits")
    train_images, test_images = load(split="train"), load(split="test")
    return train_images.images, train_images.labels, test_images.images, test_images.labels


@pytest.mark.parametrize("name", ["resnet-20-cifar10", "resnet-56-digits"])
def test_the_trainer_costs_what_a_bare_loop_costs_and_gives_the_same_bits(
    name, cifar_shaped, tmp_path
):
    torch.set_num_threads(1)
    data = cifar_shaped if "cifar" in name else digits()
    settings = RESNET_20_CIFAR10 if "cifar" in name else RESNET_56_DIGITS
    recipe = apply_overrides(load_recipe(name), ["train.epochs=1", "record.every=0"])
    results = {}

    def bare():
        results["bare"] = bare_train(data, **settings, epochs=1, seed=0)

    def trainer():
        results["trainer"] = train(recipe, tmp_path / "run", overwrite=(tmp_path / "run").exists())

    times = interleaved({"bare": bare, "trainer": trainer}, rounds=9, warmup=1)
    print()
    print(line(f"trainer unrecorded, {name}, 1 epoch", times, "trainer", "bare", 1.03))
    net, error = results["bare"]
    outcome = results["trainer"]
    assert outcome.metrics["test_error"] == error
    # Both nets list their parameters in the order of their layers.
    for (key, trained), value in zip(_trained(outcome, recipe), net.parameters(), strict=True):
        assert torch.equal(trained, value), key
    assert ratio(times, "trainer", "bare")[1] <= 1.03


def _trained(outcome, recipe):
    from resprobe_models.setup import make_setup

    model = make_setup(recipe).training.model
    path = outcome.run / "checkpoints" / f"{stem(outcome.step)}.safetensors"
    load_weights(path, model)
    return list(model.named_parameters())
