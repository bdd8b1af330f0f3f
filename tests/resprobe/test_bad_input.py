"""Bad usage and bad input end in one sentence, exit 2, and change nothing on the disk."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

WEIGHTS = "run/checkpoints/step-00000008.safetensors"
MODEL = (
    "collect --model cifar-resnet --model-arg depth=8 --model-arg width_factor=0.5 "
    "--model-arg in_channels=1 --model-arg classes=10 --data digits "
)
TINY = "train resnet-20-digits --set train.epochs=0 --set model.depth=8"


class Harmful:
    """What a checkpoint must never be able to do."""

    def __reduce__(self):
        return (os.system, ("touch harmed",))


def weights(change):
    def prepare(place: Path) -> None:
        state = load_file(place / WEIGHTS)
        change(state)
        save_file(state, place / "w.safetensors")

    return prepare


def kernel(state):
    return next(name for name, tensor in state.items() if tensor.ndim == 4)


def poisoned(state):
    state[kernel(state)].view(-1)[0] = float("nan")


def wrong_shape(state):
    name = kernel(state)
    state[name] = state[name][:-1].clone()


def lacking(state):
    state.pop(kernel(state))


def text(name, content):
    return lambda place: (place / name).write_text(content, encoding="utf-8")


def damaged_copy(name, keep=0.5):
    def prepare(place: Path) -> None:
        content = (place / name).read_bytes()
        (place / name).write_bytes(content[: int(len(content) * keep)])

    return prepare


def foreign(place: Path) -> None:
    with h5py.File(place / "x.h5", "w") as file:
        file["x"] = np.arange(3)


def newer(place: Path) -> None:
    with h5py.File(place / "run/training.h5", "r+") as file:
        file.attrs["resprobe_schema"] = np.int64(9)


def harmful(place: Path) -> None:
    (place / "w.pt").write_bytes(pickle.dumps({"state_dict": Harmful()}))


def harmful_torch(place: Path) -> None:
    torch.save({"state_dict": Harmful()}, place / "w.pt")


def truncated_cifar(place: Path) -> None:
    folder = place / "cifar" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"):
        (folder / name).write_bytes(b"\x00" * 100)


def as_is(place: Path) -> None:
    pass


# what: (preparation, words after `resprobe`, what the message must contain)
CASES = {
    "unknown command": (as_is, "trian", "did you mean train"),
    "unknown option": (as_is, "list --jason", "--jason"),
    "unknown kind": (as_is, "list recepies", "did you mean recipes"),
    "unknown recipe": (as_is, "train resnet-20-digit -o new", "did you mean resnet-20-digits"),
    "missing recipe file": (as_is, "train my.toml -o new", "my.toml"),
    "recipe that is no TOML": (text("my.toml", "[model"), "train my.toml -o new", "not TOML"),
    "unknown table": (as_is, f"{TINY} --set trian.epochs=1 -o new", "did you mean train"),
    "unknown key": (as_is, f"{TINY} --set train.epoch=1 -o new", "did you mean epochs"),
    "no key at all": (as_is, f"{TINY} --set epochs -o new", "table.key=value"),
    "negative epochs": (as_is, f"{TINY} --set train.epochs=-1 -o new", "train.epochs = -1"),
    "epochs in words": (as_is, f"{TINY} --set train.epochs=many -o new", "train.epochs"),
    "unknown data set": (as_is, f"{TINY} --set data.name=digitz -o new", "did you mean digits"),
    "unknown architecture": (as_is, f"{TINY} --set model.name=resnet -o new", "cifar-resnet"),
    "unknown device": (as_is, f"{TINY} --device tpu9 -o new", "tpu9"),
    "run that exists": (as_is, f"{TINY} -o run", "exists and is not empty"),
    "overwriting what is no run": (as_is, f"{TINY} -o other --overwrite", "is no run"),
    "resuming what is no run": (as_is, f"{TINY} -o other --resume", "no run to resume"),
    "run that is a file": (as_is, f"{TINY} -o other/precious.txt", "precious.txt"),
    "no data directory": (as_is, "train resnet-20-cifar10 -o new", "--data-dir"),
    "data directory without files": (
        as_is,
        "train resnet-20-cifar10 --data-dir other -o new",
        "data_batch_1",
    ),
    "truncated data files": (
        truncated_cifar,
        "train resnet-20-cifar10 --data-dir cifar -o new",
        "data_batch_1.bin",
    ),
    "nothing to collect": (as_is, "collect", "give a RUN directory"),
    "collecting from nowhere": (as_is, "collect gone", "gone is no run directory"),
    "collecting from what is no run": (as_is, "collect other", "other is no run directory"),
    "unknown quantity": (as_is, "collect run --quantity margins", "did you mean margin"),
    "unknown added quantity": (as_is, "collect run --quantity +margins", "did you mean margin"),
    "quantity of training": (as_is, "collect run --quantity loss", "recorded while training"),
    "unknown preset": (as_is, "collect run --preset ful", "did you mean full"),
    "no samples": (as_is, "collect run --samples 0", "0 samples asked of a set of 500"),
    "too many samples": (as_is, "collect run --samples 501", "501 samples"),
    "sample beyond the set": (as_is, "collect run --sample-indices 3,500", "500"),
    "sample before the set": (as_is, "collect run --sample-indices=-1", "-1"),
    "samples in words": (as_is, "collect run --sample-indices 1;2", "--sample-indices"),
    "no sample indices": (as_is, "collect run --sample-indices=", "--sample-indices"),
    "indices that are no numbers": (as_is, "collect run --sample-indices 1e3", "'1e3'"),
    "samples twice": (as_is, "collect run --samples 5 --sample-indices 1,2", "--samples"),
    "negative sample seed": (as_is, "collect run --samples 5 --sample-seed=-1", "--sample-seed"),
    "unknown checkpoint": (as_is, "collect run --checkpoint foo", "--checkpoint 'foo'"),
    "checkpoint that is not there": (as_is, "collect run --checkpoint 7", "it holds 4, 8"),
    "superscript checkpoint": (as_is, "collect run --checkpoint ²", "--checkpoint"),
    "unknown measuring device": (as_is, "collect run --device tpu9", "tpu9"),
    "output of a run": (as_is, "collect run -o x.h5", "-o belongs to --model"),
    "model argument of a run": (as_is, "collect run --model-arg h=0.1", "--model-arg belongs to"),
    "weights of a run": (as_is, f"collect run --weights {WEIGHTS}", "--weights belongs to"),
    "data of a run": (as_is, "collect run --data digits", "--data belongs to"),
    "checkpoint of a model": (
        as_is,
        MODEL + f"--weights {WEIGHTS} --checkpoint 4 -o new.h5",
        "--checkpoint belongs to a RUN",
    ),
    "truncated weights": (damaged_copy(WEIGHTS), "collect run", "step-00000008.safetensors"),
    "damaged checkpoint info": (
        damaged_copy("run/checkpoints/step-00000008.json"),
        "collect run",
        "step-00000008.json",
    ),
    "damaged recipe": (damaged_copy("run/recipe.toml", 0.03), "collect run", "recipe.toml"),
    "model without weights": (as_is, MODEL + "-o new.h5", "--weights"),
    "weights that are not there": (as_is, MODEL + "--weights w.safetensors -o new.h5", "w.safe"),
    "weights with NaN": (
        weights(poisoned),
        MODEL + "--weights w.safetensors -o new.h5",
        "not finite",
    ),
    "weights of another shape": (
        weights(wrong_shape),
        MODEL + "--weights w.safetensors -o new.h5",
        "does not fit the model: shape of",
    ),
    "weights that lack a tensor": (
        weights(lacking),
        MODEL + "--weights w.safetensors -o new.h5",
        "does not fit the model: missing",
    ),
    "pickle with code": (harmful, MODEL + "--weights w.pt -o new.h5", "w.pt"),
    "torch checkpoint with code": (
        harmful_torch,
        MODEL + "--weights w.pt -o new.h5",
        "loading it could run code",
    ),
    "weights that are a text": (
        text("text.h5", "no weights at all"),
        MODEL + "--weights text.h5 -o new.h5",
        "it is no file that torch.save wrote",
    ),
    "weights that are a text of opcodes": (
        text("text.h5", "elephants"),
        MODEL + "--weights text.h5 -o new.h5",
        "it is no file that torch.save wrote",
    ),
    "weights that are a folder": (as_is, MODEL + "--weights other -o new.h5", "other"),
    "unknown model": (
        as_is,
        f"collect --model cifar-resnets --weights {WEIGHTS} --data digits -o new.h5",
        "did you mean cifar-resnet",
    ),
    "unknown argument of a model": (
        as_is,
        MODEL + f"--model-arg dept=20 --weights {WEIGHTS} -o new.h5",
        "did you mean depth",
    ),
    "argument without a value": (
        as_is,
        MODEL + f"--model-arg depth --weights {WEIGHTS} -o new.h5",
        "KEY=VALUE",
    ),
    "argument out of range": (
        as_is,
        MODEL + f"--model-arg depth=9 --weights {WEIGHTS} -o new.h5",
        "depth",
    ),
    "argument of another type": (
        as_is,
        MODEL + f"--model-arg depth=abc --weights {WEIGHTS} -o new.h5",
        "depth = 'abc', expected a whole number; try the arguments with `resprobe inspect",
    ),
    "argument that is no choice": (
        as_is,
        MODEL + f"--model-arg activation=pra --weights {WEIGHTS} -o new.h5",
        "did you mean pre",
    ),
    "a lone file in a run": (
        as_is,
        MODEL + f"--weights {WEIGHTS} --overwrite -o run/training.h5",
        "lies in the run directory run",
    ),
    "a lone file deep in a run": (
        as_is,
        MODEL + f"--weights {WEIGHTS} --overwrite -o run/collected/step-00000008/norms.h5",
        "`resprobe collect run`",
    ),
    "a lone file that holds a recording": (
        lambda place: shutil.copy(place / "run/training.h5", place / "x.h5"),
        MODEL + f"--weights {WEIGHTS} --overwrite -o x.h5",
        "of a run, not the families of a model",
    ),
    "unknown data of a model": (
        as_is,
        f"collect --model cifar-resnet --weights {WEIGHTS} --data digit -o new.h5",
        "did you mean digits",
    ),
    "output that is something else": (as_is, MODEL + f"--weights {WEIGHTS} -o other", "other"),
    "nothing to analyze": (as_is, "analyze lesion", "at least one INPUT"),
    "unknown analysis": (as_is, "analyze lesions run", "did you mean lesion"),
    "analyzing what is not there": (as_is, "analyze lesion gone", "gone does not exist"),
    "analyzing no run": (as_is, "analyze lesion other", "other is no run directory"),
    "analyzing a text": (as_is, "analyze other/precious.txt", "is not an HDF5 file"),
    "analyzing foreign HDF5": (foreign, "analyze x.h5", "not resprobe's"),
    "analyzing a truncated file": (
        damaged_copy("run/training.h5"),
        "analyze run",
        "training.h5 is damaged or truncated",
    ),
    "analyzing a newer file": (newer, "analyze run", "newer than this resprobe"),
    "inspecting what is not there": (as_is, "inspect gone", "no such path exists"),
    "inspecting a text": (as_is, "inspect other/precious.txt", "is not an HDF5 file"),
    "inspecting a newer file": (newer, "inspect run", "newer than this resprobe"),
    "inspecting a wrong shape": (as_is, "inspect cifar-resnet --input-shape 3", "--input-shape"),
    "inspecting no shape": (as_is, "inspect cifar-resnet --input-shape x", "--input-shape"),
    "inspecting a run with arguments": (
        as_is,
        "inspect run --model-arg depth=20",
        "--model-arg belongs to a MODEL",
    ),
    "inspecting a run with a shape": (
        as_is,
        "inspect run --input-shape 3,32,32",
        "--input-shape belongs to a MODEL",
    ),
    "checking what is not there": (as_is, "check gone.h5", "gone.h5 does not exist"),
    "checking a text": (as_is, "check other/precious.txt", "is not an HDF5 file"),
    "checking foreign HDF5": (foreign, "check x.h5", "not resprobe's"),
    "exporting what is not there": (as_is, "export gone -o x.h5", "gone does not exist"),
    "exporting onto a file": (as_is, "export run -o other/precious.txt", "ends in .h5"),
    "exporting a truncated file": (
        damaged_copy("run/training.h5"),
        "export run -o x.h5",
        "training.h5 is damaged or truncated",
    ),
}


@pytest.fixture
def place(trained, tmp_path, monkeypatch):
    """The working directory of a case: a trained run, and a folder of somebody else's."""
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious.txt").write_text("mine", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("what", CASES)
def test_bad_input_ends_in_one_message_and_changes_nothing(place, resprobe, tree_hash, what):
    prepare, words, expected = CASES[what]
    prepare(place)
    before = tree_hash(place)
    result = resprobe(*words.split())
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    messages = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(messages) == 1, result.stderr
    assert expected in messages[0]
    assert "Traceback" not in result.stderr
    assert tree_hash(place) == before


def test_paths_with_spaces_and_letters_of_any_alphabet_work(trained, resprobe, tmp_path):
    run = tmp_path / "größere Läufe" / "лес №1"
    shutil.copytree(trained, run)
    quick = ["--samples", 20, "--quiet"]
    assert resprobe("collect", run, *quick).exit_code == 0
    assert resprobe("check", run).exit_code == 0
    assert resprobe("analyze", run).exit_code == 0
    assert resprobe("inspect", run).exit_code == 0
    out = tmp_path / "größere Läufe" / "alles zusammen.h5"
    assert resprobe("export", run, "-o", out).exit_code == 0
    assert resprobe("check", out).exit_code == 0
