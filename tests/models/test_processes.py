"""Two processes that share every batch: the gradients, weights and rows of one process."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from resprobe_models import setup
from resprobe_models.recipe import to_toml
from resprobe_models.train import train
from safetensors.torch import load_file

import resprobe
from resprobe import checkpoints
from resprobe.errors import InputError

# float64, no batch normalisation, one step of rate 1: the weights moved by the gradient.
EXACT = (
    "model.batch_norm=false",
    "train.dtype=float64",
    "train.momentum=0",
    "train.weight_decay=0",
    "schedule.name=constant",
    "schedule.learning_rate=1",
    "train.device=cpu",
    "record.every=1",
)


def start(rank, port, arguments, program):
    """Start one of two processes as `torchrun` does, with gloo."""
    environment = {
        **os.environ,
        "WORLD_SIZE": "2",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, *program, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def together(*arguments, program=("-m", "resprobe", "train")):
    """Run a training in two processes; give exit status, stdout and stderr of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [start(rank, port, arguments, program) for rank in (0, 1)]
    try:
        return [(*one.communicate(timeout=120), one.returncode) for one in both]
    finally:
        for one in both:
            one.kill()


def weights(run):
    step = checkpoints.steps(run)[-1]
    return load_file(run / "checkpoints" / f"step-{step:08d}.safetensors")


def recipe_file(recipe, folder):
    path = folder / "recipe.toml"
    path.write_text(to_toml(recipe))
    return str(path)


@pytest.fixture(scope="module")
def runs(tiny, tmp_path_factory):
    """The same epoch in one process and in two: batches of 32, 32, 32, 32 and 1."""
    folder = tmp_path_factory.mktemp("processes")
    recipe = tiny(*EXACT, "data.subset=129", "train.epochs=1", "schedule.learning_rate=0.05")
    train(recipe, folder / "one")
    outcomes = together(recipe_file(recipe, folder), "-o", str(folder / "two"))
    assert [code for _, _, code in outcomes] == [0, 0], outcomes
    return folder / "one", folder / "two", outcomes


class TestTwoProcesses:
    def test_they_train_the_network_of_one(self, runs):
        one, two = weights(runs[0]), weights(runs[1])
        assert one.keys() == two.keys()
        for name, value in one.items():
            torch.testing.assert_close(two[name], value, rtol=1e-9, atol=1e-12)

    def test_loss_errors_and_gradients_are_those_of_the_whole_batch(self, runs):
        one, two = (resprobe.open(run)["training"] for run in runs[:2])
        for name in ("loss", "accuracy", "parameter_gradient_norm", "parameter_update_norm"):
            np.testing.assert_allclose(two["step"][name], one["step"][name], rtol=1e-5, atol=1e-7)
        for name in ("train_loss", "train_error", "test_loss", "test_error"):
            np.testing.assert_allclose(two["epoch"][name], one["epoch"][name], rtol=1e-9)

    def test_statistics_over_the_batch_are_those_of_all_samples(self, runs):
        """The last batch is one sample, of which the second process has none."""
        one, two = (resprobe.open(run)["training/step"].to_dataset() for run in runs[:2])
        for name in (
            "input_norm",
            "branch_norm",
            "branch_shortcut_ratio",
            "branch_shortcut_cosine",
            "branch_gradient_norm",
        ):
            largest = float(np.abs(one[name]).max())
            assert largest > 0
            # float64, stored as float32; squares are summed for the standard deviation
            np.testing.assert_allclose(two[name], one[name], rtol=2e-7, atol=1e-7 * largest)
            std = f"{name}_std"
            assert float(one[std].isel(step=0).min()) > 1e-4 * largest
            np.testing.assert_allclose(two[std], one[std], rtol=2e-7, atol=1e-7 * largest)

    def test_the_first_writes_and_the_second_is_silent(self, runs):
        (out, log, _), (other_out, other_log, _) = runs[2]
        assert "finished, all epochs done" in out
        assert "processes: 2" in log
        assert (other_out, other_log) == ("", "")
        info = checkpoints.read_info(runs[1], 5)
        assert info["processes"] == 2
        attributes = resprobe.open(runs[1]).attrs
        assert attributes["processes"] == 2
        assert attributes["block_statistics"] == "of the whole batch of 2 processes"


IN_TURN = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from resprobe_models.recipe import load_recipe
from resprobe_models.train import train

for folder in map(Path, sys.argv[1:]):
    train(load_recipe(folder / "recipe.toml"), folder / "two")
"""


@pytest.fixture(scope="module")
def in_turn(tiny, tmp_path_factory):
    """Four trainings by the same two processes, one after the other; recipes and folders."""
    one_step = ("data.subset=31", "train.epochs=1", "checkpoint.initial=true")
    again = tiny("train.epochs=1", "data.subset=64")  # whatever device there is
    recipes = {
        "gradient": tiny(*EXACT, *one_step),
        "statistics": tiny(*one_step, "train.device=cpu", "train.dtype=float64"),
        "first": again,
        "second": again,
    }
    folders = {name: tmp_path_factory.mktemp(name) for name in recipes}
    for name, recipe in recipes.items():
        recipe_file(recipe, folders[name])
    outcomes = together(*map(str, folders.values()), program=["-c", IN_TURN])
    assert [code for _, _, code in outcomes] == [0, 0], outcomes
    return recipes, folders


def test_the_gradient_is_the_mean_over_the_whole_batch(in_turn, tmp_path):
    """One step of rate 1 from the same weights: what the weights moved by is the gradient."""
    recipes, folders = in_turn
    train(recipes["gradient"], tmp_path / "one")
    moved = []
    for run in (tmp_path / "one", folders["gradient"] / "two"):
        folder = run / "checkpoints"
        first = load_file(folder / "step-00000000.safetensors")
        last = load_file(folder / "step-00000001.safetensors")
        moved.append({key: first[key] - last[key] for key in first})
    largest = max(value.abs().max().item() for value in moved[0].values())
    assert largest > 1e-3
    for key, value in moved[0].items():
        assert (moved[1][key] - value).abs().max().item() <= 1e-6 * largest


def test_batch_statistics_are_those_of_the_shares_averaged(in_turn):
    """After one step: momentum times the mean over the shares of what the stem sees of each."""
    recipe, folder = (found["statistics"] for found in in_turn)
    alone = setup.make_setup(recipe)
    (images, _), *rest = alone.train.epoch(alone.draw_epoch().plan, 32, pad=recipe.data.pad)
    assert not rest
    with torch.no_grad():
        seen = alone.training.model.stem.conv(images)
    shares = [seen[rank::2] for rank in (0, 1)]
    assert [len(share) for share in shares] == [16, 15]
    mean = sum(len(share) / 31 * share.mean((0, 2, 3)) for share in shares)
    variance = sum(len(share) / 31 * share.var((0, 2, 3)) for share in shares)
    state = weights(folder / "two")
    names = [name for name in state if name.startswith("stem") and name.endswith("running_mean")]
    assert len(names) == 1
    torch.testing.assert_close(state[names[0]], 0.1 * mean, rtol=1e-9, atol=1e-12)
    other = names[0].replace("running_mean", "running_var")
    torch.testing.assert_close(state[other], 0.9 + 0.1 * variance, rtol=1e-9, atol=1e-12)


def test_one_gpu_named_for_several_processes_is_refused(tmp_path):
    outcomes = together(
        "resnet-20-digits", "--set", "train.device=cuda:1", "-o", str(tmp_path / "run")
    )
    for _, log, code in outcomes:
        assert code == 2
        assert "each takes a device of its own" in log
        assert "Traceback" not in log


def test_a_number_of_processes_that_is_none_is_refused(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(InputError, match="WORLD_SIZE = 'two' is no number of processes"):
        train(tiny(), tmp_path / "run")
    monkeypatch.setenv("WORLD_SIZE", "")
    assert train(tiny(), tmp_path / "run").status == "finished"


def test_a_process_can_train_again(in_turn):
    first, second = (weights(in_turn[1][name] / "two") for name in ("first", "second"))
    assert all(torch.equal(first[name], second[name]) for name in first)


STOPPED = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from pathlib import Path
from resprobe.errors import InterruptionError
from resprobe_models.datasets.batches import DeviceData
from resprobe_models.recipe import load_recipe
from resprobe_models.train import train

recipe, run = load_recipe(Path(sys.argv[1])), Path(sys.argv[2])
original, seen = DeviceData.epoch, []

def batches(self, *arguments, **settings):
    for batch in original(self, *arguments, **settings):
        seen.append(1)
        if len(seen) == 7 and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGTERM)
        yield batch

DeviceData.epoch = batches
try:
    train(recipe, run)
except InterruptionError:
    sys.exit(1)
"""


@pytest.mark.slow
def test_a_signal_to_one_stops_all_and_they_resume_to_the_same_bits(tiny, tmp_path):
    recipe = tiny(
        "train.device=cpu", "data.subset=145", "train.batch_size=16", "train.clip_norm=1.0",
        "train.epochs=2",
    )  # fmt: skip
    path = recipe_file(recipe, tmp_path)
    assert [code for *_, code in together(path, "-o", str(tmp_path / "whole"))] == [0, 0]
    cut = str(tmp_path / "cut")
    assert [code for *_, code in together(path, cut, program=["-c", STOPPED])] == [1, 1]
    assert checkpoints.steps(tmp_path / "cut") == [8], "they agree on a step"
    assert [code for *_, code in together(path, "-o", cut, "--resume")] == [0, 0]
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
