"""Tests of the networks, data sets, recipes and the trainer; all on one thread, without network."""

import importlib.util
import tomllib
from pathlib import Path

import pytest
import torch
from resprobe_models.model_arguments import build_model
from resprobe_models.recipe import apply_overrides, load_recipe
from resprobe_models.train import train
from safetensors.torch import load_file
from torch import nn

from resprobe import checkpoints


@pytest.fixture(scope="session")
def bare_loop():
    path = Path(__file__).parents[1] / "benchmarks" / "bare_loop.py"
    spec = importlib.util.spec_from_file_location("bare_loop", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TINY = (
    "model.depth=8",
    "data.subset=150",
    "train.epochs=2",
    "train.batch_size=32",
    "record.every=0",
    "checkpoint.every_epochs=0",
)


@pytest.fixture(scope="session")
def tiny():
    """A digits recipe of a second, with overrides on top."""

    def make(*overrides, name="resnet-20-digits"):
        return apply_overrides(load_recipe(name), [*TINY, *overrides])

    return make


@pytest.fixture(scope="session")
def finished(tiny, tmp_path_factory):
    """A finished run of two epochs with a checkpoint after each; not to be changed."""
    run = tmp_path_factory.mktemp("runs") / "finished"
    outcome = train(tiny("checkpoint.every_epochs=1"), run)
    assert outcome.status == "finished"
    return run


@pytest.fixture(scope="session")
def final_weights():
    """Give the tensors of a run's last checkpoint, in the network's own order."""

    def load(run):
        recipe = tomllib.loads((run / "recipe.toml").read_text())
        name = recipe["model"].pop("name")
        step = checkpoints.resolve(run, "last")
        stored = load_file(run / "checkpoints" / f"step-{step:08d}.safetensors")
        order = build_model(name, recipe["model"]).state_dict()
        assert stored.keys() == order.keys()
        return {item: stored[item] for item in order}

    return load


@pytest.fixture(scope="session")
def same_weights(final_weights):
    """Whether two runs, or a run and a network whose layers bear other names, agree to the bit."""

    def compare(run, other):
        state = other.state_dict() if isinstance(other, nn.Module) else final_weights(other)
        pairs = zip(final_weights(run).values(), state.values(), strict=True)
        return all(torch.equal(mine, theirs) for mine, theirs in pairs)

    return compare
