"""Plain and residual networks that equal each other: `resprobe convert` and what it is made of."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from convertible_nets import Convolutions, Layers, Refused, Tokens, plain_convolutions, plain_layers
from hypothesis import given
from hypothesis import strategies as st
from resprobe_models import converted_run
from resprobe_models.certificate import Comparison, Rounding
from resprobe_models.conversion import Conversion, converted
from resprobe_models.model_arguments import build_model
from resprobe_models.single_layers import single_layers
from resprobe_models.train import train
from safetensors.torch import load_file, save_file

import resprobe
from resprobe.blocks.discover import discover
from resprobe.blocks.program import record
from resprobe.cli.main import resprobe_command
from resprobe.errors import InputError

UNIT = 2.0**-53
# Runs the command line of its further arguments, and is killed after that renaming.
KILLED = """
import os, signal, sys
from pathlib import Path
from resprobe.cli.main import resprobe_command

right = Path.rename
last = {"put aside": ".replaced", "in place": "out"}[sys.argv[1]]

def rename(self, target):
    right(self, target)
    if str(target).endswith(last):
        os.kill(os.getpid(), signal.SIGKILL)

Path.rename = rename
resprobe_command(sys.argv[2:])
"""
# Holds a lock until its standard input ends.
HOLDING = """
import sys
from pathlib import Path
from resprobe.store.lock import file_lock

with file_lock(Path(sys.argv[1]), "it"):
    Path(sys.argv[2]).touch()
    sys.stdin.read()
"""
RANDOM = np.random.default_rng(0)
SIMPLE = (
    "model.name=simplified-resnet",
    "model.width_factor=0.25",
    "train.dtype=float64",
    "train.epochs=2",
    "train.weight_decay=0.05",
    "schedule.learning_rate=0.02",
    "checkpoint.every_epochs=1",
)


def invoke(*words):
    result = CliRunner().invoke(resprobe_command, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def layers_of(network, x):
    network = network.double().eval()
    with torch.no_grad():
        program = record(network, (x,))
    return single_layers(network, program, discover(network, program), "the network")


def images(count=4, side=6, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, side, side, dtype=torch.float64, generator=generator)


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def simple(tiny, tmp_path_factory):
    """A residual run of two epochs in float64, a checkpoint after each; not to be changed."""
    run = tmp_path_factory.mktemp("simple") / "run"
    assert train(tiny(*SIMPLE), run).status == "finished"
    return run


@pytest.fixture(scope="module")
def plain(simple, tmp_path_factory):
    """Both its checkpoints as a plain network; not to be changed."""
    out = tmp_path_factory.mktemp("plain") / "run"
    result = invoke("convert", simple, "--to", "plain", "-o", out, "--checkpoint", "all", "--quiet")
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with a user's networks and data."""
    shutil.copy(Path(__file__).with_name("convertible_nets.py"), tmp_path / "net.py")
    x = RANDOM.normal(size=(12, 3, 6, 6)).astype(np.float32)
    np.savez(tmp_path / "pictures.npz", x=x, y=np.arange(12) % 3)
    np.savez(tmp_path / "features.npz", x=x[:, :, :2, :2], y=np.arange(12) % 3)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def collected(name, *arguments, data="pictures", out="net"):
    """Make a run of a user's network."""
    given = [word for argument in arguments for word in ("--model-arg", argument)]
    result = invoke(
        "collect", "--model", f"net.py:{name}", *given, "--data", f"{data}.npz",
        "--quantity", "input_norm", "-o", out, "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0, result.output


class TestWeights:
    """T and T⁻¹ with step sizes, without any file."""

    @pytest.mark.parametrize(
        ("residual", "plain", "x", "factors"),
        [
            (Layers(), plain_layers(), images(side=2), [1, 1, 1]),
            (Layers(h=-0.2), plain_layers(), images(side=2), [-0.2] * 3),
            (Convolutions(), plain_convolutions(), images(), [float(torch.tensor(0.3))] * 2 + [2]),
        ],
    )
    def test_the_plain_network_computes_the_same_there_and_back(self, residual, plain, x, factors):
        """At most 56 products a sum and 5 layers; there are 2 networks (see `certificate`)."""
        layers = layers_of(residual, x)
        assert [layer.factor for layer in layers] == pytest.approx(factors, rel=1e-7)
        before = copy.deepcopy(residual.state_dict())
        there = converted(before, layers, "plain")
        plain.double().load_state_dict(there)
        with torch.no_grad():
            expected, given = residual(x), plain(x)
        bound = 2 * 58 * 5 * UNIT * float(expected.abs().max())
        assert float((expected - given).abs().max()) <= bound
        back = converted(there, layers, "residual")
        for name, value in before.items():
            assert torch.allclose(back[name], value, rtol=0, atol=40 * UNIT), name

    def test_by_hand(self):
        layers = layers_of(Layers(h=0.5), images(side=2))
        state = {
            name: value.detach() for name, value in Layers(h=0.5).double().state_dict().items()
        }
        there = converted(state, layers, "plain")
        for index in range(3):
            own = f"blocks.{index}"
            expected = 0.5 * state[f"{own}.weight"] + torch.eye(5, dtype=torch.float64)
            assert torch.equal(there[f"{own}.weight"], expected)
            assert torch.equal(there[f"{own}.bias"], 0.5 * state[f"{own}.bias"])
        for name in ("stem.weight", "head.weight", "head.bias"):
            assert there[name] is state[name]

    def test_tokens_differences_and_weights_stored_the_other_way_round(self):
        network, x = Tokens().double(), images(side=2)
        layers = layers_of(network, x)
        assert [layer.factor for layer in layers] == [0.25, -1.0, 0.5]
        assert [layer.weight for layer in layers] == ["one.weight", "two.weight", "three"]
        there = converted(network.state_dict(), layers, "plain")
        made = x.flatten(2)
        for name in ("one", "two"):
            made = torch.tanh(made @ there[f"{name}.weight"].T + there[f"{name}.bias"])
        logits = network.head(torch.tanh(made @ there["three"]).mean(1))
        expected = network(x)
        difference = (expected - logits).detach().abs().max()
        assert difference <= 2 * 6 * 4 * UNIT * expected.detach().abs().max()

    def test_channels_between_others_shift_the_id_entries(self):
        one, two, three = layers_of(Convolutions(), images())
        assert one.id_entries.nonzero().tolist() == [[c, c, 1, 1] for c in range(3)]
        assert two.id_entries.nonzero().tolist() == [[c + 1, c, 1, 1] for c in range(3)]
        # Two groups: the weight's second axis counts within a group.
        assert three.id_entries.nonzero().tolist() == [[c, c % 3, 1, 1] for c in range(6)]

    @pytest.mark.parametrize("side", [8, 7])
    def test_a_bundled_network_names_the_same_entries_itself(self, side):
        network = build_model("simplified-resnet", {"depth": 8, "width_factor": 0.25})
        found = layers_of(network, images(side=side))
        named = network.id_entries()
        assert {layer.weight for layer in found} == named.keys()
        assert all(torch.equal(layer.id_entries, named[layer.weight]) for layer in found)
        assert all(layer.factor == 1 for layer in found)

    def test_dead_features_hide_no_channel(self):
        """Where the first layer is dead, every skip of this batch is zero."""
        network = Convolutions()
        with torch.no_grad():
            network.one.weight.zero_()
            network.one.bias.fill_(-1e9)
        for found, expected in zip(
            layers_of(network, images()), layers_of(Convolutions(), images()), strict=True
        ):
            assert torch.equal(found.id_entries, expected.id_entries)

    @given(
        h=st.floats(0.05, 3).map(lambda h: round(h, 3)),
        magnitude=st.sampled_from([1e-6, 1.0, 100.0]),
        seed=st.integers(0, 999),
        dtype=st.sampled_from([torch.float32, torch.float64]),
    )
    def test_there_and_back_is_within_rounding(self, h, magnitude, seed, dtype):
        """4u(1 + |h·r|)/|h|, as `there_and_back` has it."""
        torch.manual_seed(seed)
        layers = [replace(layer, factor=h) for layer in FOUND]
        state = {
            name: (magnitude * torch.randn(value.shape, dtype=torch.float64)).to(dtype)
            for name, value in Layers().state_dict().items()
        }
        back = converted(converted(state, layers, "plain"), layers, "residual")
        u = torch.finfo(dtype).eps / 2
        for name, value in state.items():
            r = value.double()
            assert back[name].dtype == dtype
            assert bool(((back[name].double() - r).abs() <= 4 * u * (1 + (h * r).abs()) / h).all())


FOUND = layers_of(Layers(), images(side=2))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("norm", "its branch is convolution (block.conv), normalisation (block.norm)"),
        ("two", "convolution (block.conv), relu (block), convolution (block.second)"),
        ("activation", "its branch is relu (block), convolution (block.conv)"),
        ("projection", "its skip is a projection one"),
        ("pooled", "its pooled skip is not what its layer gives"),
        ("scaled", "its skip is a scaled one"),
        ("branches", "its sum has several branches"),
        ("even", "its kernel of 2×2 has no centre; expected odd sizes"),
        ("cut", "its branch is constant_pad_nd (block), convolution (block.conv), slice (block)"),
        ("gain", "its branch is convolution (block.conv), multiplication (block)"),
        ("before", "its branch is multiplication (block), convolution (block.conv)"),
        ("zero", "its branch is multiplied by 0.0; expected a finite number other than 0"),
        ("shared", "its weight block.conv.weight is shared (read 2 times in one pass)"),
        ("strided", "its padded skip is not what its layer gives"),
        ("turned", "its identity skip is not what its layer gives"),
        ("computed", "is computed from block.conv.parametrizations.weight.original0"),
    ],
)
def test_what_is_no_single_layer_is_refused_by_name(kind, words):
    with pytest.raises(InputError) as refusal:
        layers_of(Refused(kind), images())
    message = str(refusal.value)
    assert message.startswith("block block of the network can't be converted: ")
    assert words in message
    assert "expected" in message
    assert layers_of(Refused("single"), images())


def test_a_weight_under_two_names_is_refused():
    network = Layers()
    network.blocks[2].weight = network.blocks[1].weight
    with pytest.raises(InputError, match=r"blocks\.1\.weight is shared \(also blocks\.2\.weight"):
        layers_of(network, images(side=2))


class TestCertificate:
    def test_the_bound_is_two_networks_times_what_each_layer_rounds(self):
        bound = Rounding(layers=8, terms=576).bound(torch.float64, 3.0)
        assert bound == 2 * 578 * 8 * 2.0**-53 * 3.0
        assert Rounding(1, 1).bound(torch.float32, 1.0) == 2 * 3 * 2.0**-24

    def test_a_difference_that_is_no_number_does_not_hold(self):
        assert Comparison("float64", 1e-16, 1.0, 1e-15).holds
        assert not Comparison("float64", 2e-15, 1.0, 1e-15).holds
        assert not Comparison("float64", float("nan"), 1.0, 1e-15).holds
        assert not Comparison("float64", float("nan"), float("nan"), float("nan")).holds


class TestBundledRuns:
    def test_the_network_computes_the_same_and_says_so(self, simple, plain):
        """Outputs worked out anew: 9·16 products a sum, 8 layers, 2 networks."""
        recipes = [tomllib.loads((run / "recipe.toml").read_text()) for run in (simple, plain)]
        assert [recipe["model"].pop("residual") for recipe in recipes] == [True, False]
        assert [recipe["train"].pop("decay_toward") for recipe in recipes] == ["zero", "identity"]
        assert recipes[0] == recipes[1]
        certificate = json.loads((plain / "certificate.json").read_text())
        for row in certificate["checkpoints"]:
            outputs = []
            for run, residual in ((simple, True), (plain, False)):
                model = {**recipes[0]["model"], "residual": residual}
                network = build_model(model.pop("name"), model).double()
                name = f"checkpoints/step-{row['step']:08d}.safetensors"
                network.load_state_dict(load_file(run / name))
                with torch.no_grad():
                    outputs.append(network(images(5, 8)[:, :1]))
            scale = float(outputs[0].abs().max())
            assert float((outputs[0] - outputs[1]).abs().max()) <= 2 * 146 * 8 * UNIT * scale
            (found,) = row["outputs"]  # the run's dtype is float64 itself
            assert found["holds"]
            assert 0 < found["largest_difference"] <= found["bound"]
            assert found["bound"] == pytest.approx(2 * 146 * 8 * UNIT * found["scale"])
            multiple = found["largest_difference"] / (UNIT * found["scale"])
            assert found["rounding_multiple"] == pytest.approx(multiple)
        assert [row["step"] for row in certificate["checkpoints"]] == [5, 10]
        assert certificate["samples"] == 64
        assert sum(layer["id_entries"] for layer in certificate["layers"]) == 2 * (4 + 8 + 8) + 4

    def test_what_is_converted_is_untouched_and_nothing_else_is_left(self, simple, tmp_path):
        before = contents(simple)
        result = invoke("convert", simple, "--to", "plain", "-o", tmp_path / "p", "--samples", 5)
        assert result.exit_code == 0
        assert contents(simple) == before
        assert [path.name for path in tmp_path.iterdir()] == ["p"]
        assert "made plain, 6 layers, 1 added to 44 ID entries" in result.stdout
        assert "step 10: on 5 test samples the outputs" in result.stdout
        assert "in float64 (rounding allows" in result.stdout
        assert result.stdout.splitlines()[-1] == f"next: resprobe collect {tmp_path / 'p'}"

    def test_converted_back_the_weights_are_the_first_ones_up_to_rounding(
        self, simple, plain, tmp_path
    ):
        out = tmp_path / "back"
        result = invoke("convert", plain, "--to", "residual", "-o", out, "--json", "--quiet")
        document = json.loads(result.stdout)
        (row,) = document["certificate"]["checkpoints"]
        first, again = (
            load_file(run / "checkpoints" / "step-00000010.safetensors") for run in (simple, out)
        )
        largest = max(float((again[name] - value).abs().max()) for name, value in first.items())
        assert 0 < largest <= 2 * UNIT
        assert row["there_and_back"]["largest_difference"] == largest
        assert row["there_and_back"]["of"] == str(simple.resolve())
        assert [one["to"] for one in document["certificate"]["chain"]] == ["plain"]
        assert (out / "recipe.toml").read_text() == (simple / "recipe.toml").read_text()

    def test_training_goes_on_as_it_would_have(self, simple, tmp_path):
        """From the middle: momentum and weight decay too, in 5 steps of float64.

        The plain run pulls its ID entries to 1 now. A step doubles what rounding left at most.
        """
        out = tmp_path / "plain"
        words = ["--to", "plain", "--checkpoint", "5", "-o", out, "--quiet"]
        assert invoke("convert", simple, *words).exit_code == 0
        result = invoke("train", out / "recipe.toml", "-o", out, "--resume", "--quiet")
        assert result.exit_code == 0, result.output
        residual, resumed = (
            load_file(run / "checkpoints" / "step-00000010.safetensors") for run in (simple, out)
        )
        network = build_model("simplified-resnet", {"depth": 8, "width_factor": 0.25})
        masks = network.id_entries()
        for name, value in residual.items():
            expected = value + masks[name] if name in masks else value
            difference = float((resumed[name] - expected).abs().max())
            assert difference <= 2**5 * 2 * 146 * 8 * UNIT, name

    def test_a_plain_run_whose_weights_decayed_is_not_resumed_as_a_residual_one(
        self, tiny, tmp_path
    ):
        run, out = tmp_path / "run", tmp_path / "out"
        train(tiny(*SIMPLE, "model.residual=false", "train.epochs=1"), run)
        result = invoke("convert", run, "--to", "residual", "-o", out, "--quiet")
        assert result.exit_code == 0
        assert "training can't be resumed: its weight decay pulled the ID entries" in result.stdout
        names = {path.name for path in (out / "checkpoints").iterdir()}
        assert names == {"step-00000005.safetensors", "step-00000005.json"}
        again = invoke("train", out / "recipe.toml", "-o", out, "--resume", "--quiet")
        assert again.exit_code == 2
        assert "step-00000005.state.safetensors is missing, expected with" in again.stderr
        checked = invoke("check", out)
        assert checked.exit_code == 0, checked.output
        (out / "checkpoints" / "step-00000005.safetensors").write_bytes(
            (run / "checkpoints" / "step-00000005.safetensors").read_bytes()
        )
        assert "training can't go on from step-00000005" in invoke("check", out).stdout

    def test_what_was_converted_is_measured_like_any_run(self, plain, tmp_path):
        run = shutil.copytree(plain, tmp_path / "run")
        words = ["--quantity", "lesion_error", "--samples", 20, "--quiet"]
        assert invoke("collect", run, *words).exit_code == 0
        tree = resprobe.open(run)
        assert tree["step-00000010/lesion"].sizes["block"] == 6
        tree.close()
        shown = invoke("inspect", run).stdout
        certificate = json.loads((run / "certificate.json").read_text())
        assert f"converted: step 5, 10 made plain from {certificate['input']}" in shown
        assert "converted: step 10: outputs differ by at most" in shown
        checked = invoke("check", run)
        assert checked.exit_code == 0, checked.output
        (run / "certificate.json").write_text("[]")
        assert "no certificate of a conversion" in invoke("inspect", run).stdout
        assert "no certificate of a conversion" in invoke("check", run).stdout

    def test_float32_is_compared_in_float64_and_in_float32(self, tiny, tmp_path):
        run, out = tmp_path / "run", tmp_path / "out"
        train(tiny(*SIMPLE, "train.dtype=float32", "train.epochs=0"), run)
        result = invoke("convert", run, "--to", "plain", "-o", out, "--json", "--quiet")
        (row,) = json.loads(result.stdout)["certificate"]["checkpoints"]
        assert [one["dtype"] for one in row["outputs"]] == ["float64", "float32"]
        stored = load_file(out / "checkpoints" / "step-00000000.safetensors")
        assert {value.dtype for value in stored.values()} == {torch.float32}
        double, single = row["outputs"]
        assert single["bound"] == pytest.approx(2**29 * double["bound"], rel=1e-4)
        assert single["largest_difference"] > 1e5 * double["largest_difference"]

    def test_what_was_trained_under_autocast_is_said_to_be_compared_without(self, tiny, tmp_path):
        run, out = tmp_path / "run", tmp_path / "out"
        train(tiny(*SIMPLE, "train.dtype=bfloat16", "train.epochs=0"), run)
        result = invoke("convert", run, "--to", "plain", "-o", out, "--quiet")
        certificate = json.loads((out / "certificate.json").read_text())
        assert [one["dtype"] for one in certificate["checkpoints"][0]["outputs"]] == [
            "float64",
            "float32",
        ]
        assert certificate["run_dtype"] == "bfloat16"
        sentence = (
            "the run was trained in bfloat16 under autocast, over float32 weights; its outputs are "
            "compared in float64 and float32, without autocast"
        )
        assert certificate["compared_otherwise"] == sentence
        assert sentence in result.stdout.splitlines()

    @pytest.mark.parametrize(
        ("overrides", "words"),
        [
            ((), "its branch is convolution (stage1.0.branch.conv1), normalisation"),
            (("model.name=fc-resnet", "model.h=0.1"), "its branch is matrix product"),
        ],
    )
    def test_other_bundled_networks_are_refused(self, tiny, tmp_path, overrides, words):
        run = tmp_path / "run"
        train(tiny(*overrides, "train.epochs=0"), run)
        result = invoke("convert", run, "--to", "plain", "-o", tmp_path / "out")
        assert result.exit_code == 2
        assert words in result.stderr
        assert not (tmp_path / "out").exists()

    def test_a_network_that_is_so_already_is_refused(self, simple, plain, tmp_path):
        for run, to in ((simple, "residual"), (plain, "plain")):
            result = invoke("convert", run, "--to", to, "-o", tmp_path / "out")
            assert result.exit_code == 2
            assert f"{to} network" in result.stderr
        words = ["--to", "plain", "--counterpart", "net.py:net", "-o", tmp_path / "out"]
        result = invoke("convert", simple, *words)
        assert result.exit_code == 2
        assert "leave --counterpart out" in result.stderr

    def test_nothing_that_is_there_is_lost(self, simple, tmp_path):
        out = tmp_path / "out"
        words = ["convert", simple, "--to", "plain", "-o", out, "--quiet"]
        out.mkdir()
        (out / "mine.txt").write_text("mine")
        for more in ([], ["--overwrite"]):
            result = invoke(*words, *more)
            assert result.exit_code == 2
            assert "not what a conversion left" in result.stderr
        (out / "mine.txt").unlink()
        assert invoke(*words).exit_code == 0
        before = contents(out)
        assert "give --overwrite" in invoke(*words).stderr
        assert contents(out) == before
        assert invoke(*words, "--overwrite", "--checkpoint", "5").exit_code == 0
        assert (out / "checkpoints" / "step-00000005.safetensors").exists()
        assert not (out / "checkpoints" / "step-00000010.safetensors").exists()
        (tmp_path / "file").touch()
        result = invoke("convert", simple, "--to", "plain", "-o", tmp_path / "file" / "out")
        assert result.exit_code == 2
        assert "can't be written" in result.stderr
        for inside in (simple, simple / "plain", simple.parent):
            result = invoke("convert", simple, "--to", "plain", "-o", inside, "--overwrite")
            assert result.exit_code == 2
            assert "lie in each other" in result.stderr

    @pytest.mark.parametrize(
        "came", ["training.h5", "collected/x.h5", "partner/recipe.toml", "checkpoints/mine"]
    )
    def test_what_came_since_a_conversion_is_not_replaced(self, plain, simple, tmp_path, came):
        out = shutil.copytree(plain, tmp_path / "out")
        (out / came).parent.mkdir(exist_ok=True)
        (out / came).write_text("mine")
        before = contents(out)
        result = invoke("convert", simple, "--to", "plain", "-o", out, "--overwrite", "--quiet")
        assert result.exit_code == 2
        named = came if came in {"training.h5", "checkpoints/mine"} else f"{Path(came).parts[0]}/"
        assert f"holds more than a conversion left: {named};" in result.stderr
        assert contents(out) == before
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_training_that_went_on_there_is_not_replaced(self, simple, tmp_path):
        out = tmp_path / "out"
        words = ["convert", simple, "--to", "plain", "--checkpoint", "5", "-o", out, "--quiet"]
        assert invoke(*words).exit_code == 0
        assert invoke("train", out / "recipe.toml", "-o", out, "--resume", "--quiet").exit_code == 0
        before = contents(out)
        result = invoke(*words, "--overwrite")
        assert result.exit_code == 2
        assert "checkpoints/step-00000010.safetensors" in result.stderr
        assert contents(out) == before

    def test_what_comes_while_it_is_built_is_not_replaced(self, simple, tmp_path, monkeypatch):
        out, right = tmp_path / "out", converted_run._certificate

        def meanwhile(*given):
            out.mkdir()
            (out / "mine.txt").write_text("mine")
            return right(*given)

        monkeypatch.setattr(converted_run, "_certificate", meanwhile)
        result = invoke("convert", simple, "--to", "plain", "-o", out, "--overwrite", "--quiet")
        assert result.exit_code == 2
        assert contents(out) == {Path("mine.txt"): b"mine"}
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    @pytest.mark.parametrize("at", ["put aside", "in place"])
    def test_a_kill_loses_no_earlier_conversion(self, simple, tmp_path, at):
        out = tmp_path / "out"
        words = ["convert", simple, "--to", "plain", "-o", out, "--samples", "2", "--quiet"]
        assert invoke(*words, "--checkpoint", "5").exit_code == 0
        before = contents(out)
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, at, *map(str, words), "--overwrite"],
            check=False,
            capture_output=True,
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert out.exists() == (at == "in place")
        result = invoke(*words)  # no --overwrite: whichever is there stays
        assert result.exit_code == 2
        assert "give --overwrite" in result.stderr
        assert (contents(out) == before) == (at == "put aside")
        assert invoke("check", out).exit_code == 0
        assert not {".out.partial", ".out.replaced"} & {path.name for path in tmp_path.iterdir()}
        assert invoke(*words, "--overwrite").exit_code == 0
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_of_two_conversions_to_one_place_one_is_refused(self, simple, tmp_path):
        out = tmp_path / "out"
        ready = tmp_path / "ready"
        other = subprocess.Popen(
            [sys.executable, "-c", HOLDING, str(tmp_path / ".out.lock"), str(ready)],
            stdin=subprocess.PIPE,
        )
        try:
            while not ready.exists():
                assert other.poll() is None
                time.sleep(0.01)
            result = invoke("convert", simple, "--to", "plain", "-o", out, "--quiet")
        finally:
            other.communicate()
        assert result.exit_code == 2
        assert f"is in use by process {other.pid}" in result.stderr
        assert not out.exists()
        assert invoke("convert", simple, "--to", "plain", "-o", out, "--quiet").exit_code == 0

    def test_a_failure_on_the_way_leaves_nothing(self, simple, tmp_path, monkeypatch):
        out = tmp_path / "out"
        words = ["convert", simple, "--to", "plain", "-o", out, "--quiet"]
        assert invoke(*words).exit_code == 0
        before = contents(out)

        def failing(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(converted_run, "_certificate", failing)
        assert invoke(*words, "--overwrite").exit_code == 1
        assert contents(out) == before
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    @pytest.mark.parametrize(
        ("name", "by"),
        [("stage2.0.branch.weight", 1e-14), ("stem.conv.weight", 1e-9), ("linear.bias", 1e-9)],
    )
    def test_weights_that_came_back_otherwise_are_a_violation(
        self, plain, tmp_path, monkeypatch, name, by
    ):
        right = Conversion.convert

        def wrong(self, weights, progress=None):
            state, found = right(self, weights, progress)
            state[name].view(-1)[0] += by
            return state, found

        monkeypatch.setattr(Conversion, "convert", wrong)
        result = invoke("convert", plain, "--to", "residual", "-o", tmp_path / "out", "--quiet")
        assert result.exit_code == 1
        assert f"{name} differs by {by:.3g} from" in result.stderr
        assert not any(tmp_path.iterdir())

    def test_damaged_certificates_and_bad_words_are_refused(self, plain, simple, tmp_path):
        run = shutil.copytree(plain, tmp_path / "run")
        for text in ("{", "[]", '{"chain": [1]}'):
            (run / "certificate.json").write_text(text)
            result = invoke("convert", run, "--to", "residual", "-o", tmp_path / "out")
            assert result.exit_code == 2
            assert "certificate.json" in result.stderr
        for other, said in (
            (tmp_path / "nothere", "nothere does not exist"),
            (simple / "recipe.toml", f"is a file; give the directory {simple} instead"),
            (Path(__file__), "is a file; give the directory of a run instead"),
        ):
            result = invoke("convert", other, "--to", "plain", "-o", tmp_path / "out")
            assert result.exit_code == 2
            assert said in result.stderr
        for more in (["--checkpoint", "first"], ["--checkpoint", "7"], ["--samples", "0"],
                     ["--counterpart-arg", "depth=8"]):  # fmt: skip
            result = invoke("convert", simple, "--to", "plain", "-o", tmp_path / "out", *more)
            assert result.exit_code == 2, more
        assert not (tmp_path / "out").exists()


class TestForeignRuns:
    def test_a_counterpart_takes_the_weights_and_is_a_run(self, place):
        collected("Layers", "h=0.5", data="features")
        result = invoke(
            "convert", "net", "--run-code", "--to", "plain", "--counterpart", "net.py:plain_layers",
            "--counterpart-arg", "width=5", "-o", "plain", "--quiet",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        assert result.stdout.splitlines()[-1] == "next: resprobe collect plain --run-code"
        weights = Path("plain/checkpoints/step-00000000.safetensors").resolve()
        named = tomllib.loads(Path("plain/source.toml").read_text())["weights"]
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        assert named == {"path": str(weights), "sha256": digest}
        assert json.loads(weights.with_suffix(".json").read_text())["weights"] == str(weights)
        certificate = json.loads(Path("plain/certificate.json").read_text())
        assert certificate["input"] == str(Path("net").resolve())
        assert certificate["compared_otherwise"] == ""
        words = ["--run-code", "--quantity", "layer_cushion", "--quiet"]
        assert invoke("collect", "plain", *words).exit_code == 2  # it has no blocks and no units
        back = invoke(
            "convert", "plain", "--run-code", "--to", "residual", "--counterpart", "net.py:Layers",
            "--counterpart-arg", "h=0.5", "-o", "again", "--json", "--quiet",
        )  # fmt: skip
        (row,) = json.loads(back.stdout)["certificate"]["checkpoints"]
        assert row["there_and_back"]["largest_difference"] <= 4 * 2.0**-24 * 2 / 0.5
        assert invoke("collect", "again", *words).exit_code == 0
        first, last = (
            load_file(f"{run}/checkpoints/step-00000000.safetensors") for run in ("net", "again")
        )
        for name, value in first.items():
            assert torch.allclose(last[name], value, rtol=0, atol=4 * 2.0**-24 * 2 / 0.5)

    def test_without_a_counterpart_the_weights_alone_are_written(self, place):
        collected("Convolutions")
        result = invoke("convert", "net", "--run-code", "--to", "plain", "-o", "out", "--quiet")
        assert result.exit_code == 0, result.output
        assert {path.name for path in Path("out").iterdir()} == {
            "certificate.json",
            "converted.safetensors",
        }
        assert (
            "block model:0: one.weight and one.bias times 0.3, then 1 added to 3 ID entries of "
            "one.weight" in result.stdout
        )
        assert result.stdout.splitlines()[-1].endswith(
            f"--weights out/converted.safetensors --data {place / 'pictures.npz'} -o RUN"
        )
        network = plain_convolutions()
        network.load_state_dict(load_file("out/converted.safetensors"))
        x = images(3).float()
        with torch.no_grad():
            expected, given = Convolutions()(x), network(x)
        bound = 2 * 56 * 4 * 2.0**-24 * float(expected.abs().max())
        assert float((expected - given).abs().max()) <= bound

    def test_a_counterpart_that_is_none_violates_the_certificate(self, place):
        collected("Convolutions")
        words = ["--run-code", "--to", "plain", "-o", "out", "--quiet"]
        result = invoke("convert", "net", *words, "--counterpart", "net.py:forgotten_skip")
        assert result.exit_code == 1
        assert "computes something else: in float64" in result.stderr
        assert not Path("out").exists()
        assert not [path for path in Path().iterdir() if "partial" in path.name]

    def test_what_does_not_fit_or_may_not_run_is_refused(self, place):
        collected("Layers", data="features")
        words = ["convert", "net", "--to", "plain", "-o", "out"]
        assert "give --run-code" in invoke(*words).stderr
        wide = ["--counterpart", "net.py:plain_layers", "--counterpart-arg", "width=7"]
        result = invoke(*words, "--run-code", *wide)
        assert result.exit_code == 2
        assert "shape of stem.weight (5, 12) instead of (7, 12)" in result.stderr
        other = invoke(*words, "--run-code", "--counterpart", "net.py:plain_convolutions")
        assert other.exit_code == 2
        assert "it lacks stem.weight" in other.stderr
        assert not Path("out").exists()

    @pytest.mark.filterwarnings("ignore:the model does not give the same twice")
    @pytest.mark.parametrize(
        ("mood", "words"),
        [("large", "runs other operations on these samples"), ("random", "draws random numbers")],
    )
    def test_a_network_that_runs_now_so_now_otherwise_is_refused(self, place, mood, words):
        collected("Moody", f"mood={mood}", data="features")
        result = invoke("convert", "net", "--run-code", "--to", "plain", "-o", "out")
        assert result.exit_code == 2
        assert words in result.stderr
        assert not Path("out").exists()

    def test_a_plain_network_needs_to_know_where_its_skips_go(self, place):
        collected("Layers", data="features")
        plain = ["--counterpart", "net.py:plain_layers", "-o", "plain", "--quiet"]
        assert invoke("convert", "net", "--run-code", "--to", "plain", *plain).exit_code == 0
        words = ["convert", "plain", "--run-code", "--to", "residual", "-o", "out"]
        result = invoke(*words)
        assert result.exit_code == 2
        assert "give the residual network with --counterpart" in result.stderr
        result = invoke(*words, "--counterpart", "net.py:plain_layers")
        assert result.exit_code == 2
        assert "the counterpart of plain has no skips" in result.stderr

    def test_a_registered_network_from_elsewhere_has_its_counterpart(self, place):
        torch.manual_seed(0)
        network = build_model("simplified-resnet", {"depth": 5, "width_factor": 0.25})
        save_file(network.state_dict(), "w.safetensors")
        arguments = ["--model-arg", "depth=5", "--model-arg", "width_factor=0.25"]
        made = invoke(
            "collect", "--model", "simplified-resnet", *arguments, "--model-arg", "classes=10",
            "--weights", "w.safetensors", "--data", "pictures.npz", "--quantity", "input_norm",
            "-o", "net", "--quiet",
        )  # fmt: skip
        assert made.exit_code == 0, made.output
        assert invoke("convert", "net", "--to", "plain", "-o", "out", "--quiet").exit_code == 0
        assert tomllib.loads(Path("out/source.toml").read_text())["model"]["residual"] is False
        words = ["--quantity", "input_norm", "--quiet"]
        assert invoke("collect", "out", *words).exit_code == 0
