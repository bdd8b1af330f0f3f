"""A trainer killed by SIGKILL in any step, and resumed: the bits and rows of one never killed."""

import signal
import subprocess
import sys

import numpy as np
import pytest
from resprobe_models.recipe import to_toml
from resprobe_models.train import train

import resprobe

STEPS, EPOCH = 15, 5
# Trains the recipe of the first argument and kills itself while step STEP is under way.
KILLED = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from pathlib import Path
from resprobe_models.datasets.batches import DeviceData
from resprobe_models.recipe import load_recipe
from resprobe_models.train import train

recipe, run, step, resume = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
original, seen = DeviceData.epoch, []

def batches(self, *arguments, **settings):
    for batch in original(self, *arguments, **settings):
        seen.append(1)
        if len(seen) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        yield batch

DeviceData.epoch = batches
train(load_recipe(recipe), run, resume=resume == "resume")
"""


def recorded(run):
    training = resprobe.open(run)["training"]
    return {
        name: variable.values
        for group in ("step", "epoch")
        for name, variable in training[group].dataset.variables.items()
        if name != "wall_time"
    }


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("never-killed")
    recipe = tiny("train.epochs=3", "checkpoint.every_epochs=1", "record.every=1")
    train(recipe, folder / "run")
    (folder / "recipe.toml").write_text(to_toml(recipe))
    return recipe, folder


def killed(folder, run, step, *, resume):
    arguments = [folder / "recipe.toml", run, step, "resume" if resume else "new"]
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, arguments)], capture_output=True, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def check(whole, run, same_weights, steps):
    """Kill a training in each of `steps` of its lives, then let it end."""
    recipe, folder = whole
    for life, step in enumerate(steps):
        killed(folder, run, step, resume=life > 0)
        # With neither a checkpoint nor the end of an epoch reached, nothing was committed yet.
        assert (run / "recipe.toml").exists()
    outcome = train(recipe, run, resume=True)
    assert outcome.status == "finished"
    assert same_weights(folder / "run", run)
    expected, found = recorded(folder / "run"), recorded(run)
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(values, found[name], err_msg=name)


def test_killed_twice_and_resumed(whole, tmp_path, same_weights):
    check(whole, tmp_path / "run", same_weights, [EPOCH + 2, EPOCH])


@pytest.mark.slow
@pytest.mark.parametrize("number", range(20))
def test_killed_in_random_steps_and_resumed(number, whole, tmp_path, same_weights):
    generator = np.random.default_rng(number)
    first = int(generator.integers(1, STEPS + 1))
    left = STEPS - (first - 1) // EPOCH * EPOCH  # steps from the last checkpoint to the end
    lives = [first, int(generator.integers(1, left + 1))][: int(generator.integers(1, 3))]
    check(whole, tmp_path / "run", same_weights, lives)
