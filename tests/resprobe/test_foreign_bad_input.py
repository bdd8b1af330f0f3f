"""Foreign networks and data that can't be measured: one message, exit 2, nothing written."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

RANDOM = np.random.default_rng(0)
Y = np.arange(12) % 3
X = RANDOM.normal(size=(12, 4)).astype(np.float32)


class Harmful:
    """What a checkpoint must never be able to do."""

    def __reduce__(self):
        import os

        return (os.system, ("touch harmed",))


def harmful(place):
    torch.save({"state_dict": {"a": Harmful()}}, place / "w.pt")


def harmful_folder(place):
    (place / "folder").mkdir()
    harmful(place / "folder")
    (place / "folder" / "w.pt").rename(place / "folder" / "pytorch_model.bin")


def harmful_data(place):
    np.savez(place / "h.npz", x=np.array([Harmful()], dtype=object), y=Y[:1])


def other_weights(place):
    save_file({"head.bias": torch.zeros(4), "odd": torch.zeros(1)}, place / "w.safetensors")


def not_finite(place):
    state = {name: tensor.clone() for name, tensor in user_state(place).items()}
    state["head.bias"][1] = float("nan")
    save_file(state, place / "w.safetensors")


def user_state(place):
    from resprobe.network import network

    return network(f"{place / 'net.py'}:Net", {}).model.state_dict()


def broken_file(place):
    (place / "broken.py").write_text("import no_such_library\n", encoding="utf-8")


def wrong_data(**arrays):
    return lambda place: np.savez(place / "w.npz", **arrays)


def occupied(place):
    (place / "out").mkdir()
    (place / "out" / "precious.txt").write_text("mine", encoding="utf-8")


def as_is(place):
    pass


NET = "collect --model net.py:Net --data d.npz "
ON = "--data d.npz -o out"
# what: (preparation, words after `resprobe`, what the message must contain)
CASES = {
    "nothing is added": (as_is, f"collect --model net.py:Plain {ON}", "it adds nothing in its"),
    "all additions refused": (
        as_is,
        f"collect --model net.py:Refused {ON}",
        "(all 2 additions were refused: 1 × ",
    ),
    "features instead of logits": (
        as_is,
        f"collect --model net.py:Features {ON}",
        "float32 of shape (4, 6, 1) for 4 samples, expected logits as floats (sample, class)",
    ),
    "several outputs": (
        as_is,
        f"collect --model net.py:Several {ON}",
        "is not clear; it holds 0, 1: say which with --output NAME",
    ),
    "no such output": (as_is, NET + "--output logits -o out", "no part 'logits'"),
    "the wrong output": (
        as_is,
        "collect --model net.py:Several --output 0 --data big.npz -o out",
        "rates 6 classes, but the labels go up to 7",
    ),
    "inputs of another shape": (
        wrong_data(x=X[:, :3], y=Y),
        "collect --model net.py:Net --data w.npz -o out",
        "the model does not take float32 (4, 3) (RuntimeError: mat1 and mat2 shapes cannot be",
    ),
    "inputs of another type": (
        wrong_data(x=np.ones((12, 4), np.int64), y=Y),
        "collect --model net.py:Net --data w.npz -o out",
        "the model does not take int64 (4, 4) (RuntimeError: ",
    ),
    "a keyword that the model does not have": (
        wrong_data(x=X, y=Y, mask=X),
        "collect --model net.py:Net --data w.npz -o out",
        "got an unexpected keyword argument 'mask'",
    ),
    "a compiled model": (as_is, f"collect --model net.py:compiled {ON}", "model._orig_mod"),
    "a factory that raises": (
        as_is,
        f"collect --model net.py:broken {ON}",
        "can't be made with no arguments (OSError: no such disk)",
    ),
    "no such factory": (as_is, f"collect --model net.py:Nets {ON}", "did you mean Net"),
    "no such file": (as_is, f"collect --model gone.py:Net {ON}", "gone.py does not exist"),
    "a broken import": (
        broken_file,
        f"collect --model broken.py:Net {ON}",
        "importing broken.py failed (ModuleNotFoundError: No module named 'no_such_library')",
    ),
    "an unknown argument": (as_is, NET + "--model-arg widht=3 -o out", "did you mean width"),
    "a bundled model without weights": (
        as_is,
        f"collect --model cifar-resnet {ON}",
        "cifar-resnet has no weights of its own: give them with --weights",
    ),
    "code in the weights": (harmful, NET + "--weights w.pt -o out", "loading it could run code"),
    "code in a folder of weights": (
        harmful_folder,
        NET + "--weights folder -o out",
        "loading it could run code",
    ),
    "code in the data": (
        harmful_data,
        "collect --model net.py:Net --data h.npz -o out",
        "which could run code",
    ),
    "weights of another model": (
        other_weights,
        NET + "--weights w.safetensors -o out",
        "; unexpected odd; shape of head.bias (4,) instead of (3,)",
    ),
    "weights that are not finite": (
        not_finite,
        NET + "--weights w.safetensors -o out",
        "not finite in head.bias",
    ),
    "more samples than there are": (as_is, NET + "--samples 13 -o out", "13 samples asked of"),
    "a sample beyond the set": (as_is, NET + "--sample-indices 12 -o out.h5", "0 to 11"),
    "a directory in use": (occupied, NET + "-o out", "is not this model's run directory"),
    "no data of that name": (
        as_is,
        "collect --model net.py:Net --data gone.npz -o out",
        "gone.npz is no file",
    ),
    "a normalisation in words": (as_is, NET + "--normalize a b -o out", "--normalize a b: give"),
    "a normalisation of too many": (as_is, NET + "--normalize 0,0 1,1 -o out", "has 4 channels"),
    "a size in words": (as_is, NET + "--resize big -o out", "--resize big: give the length"),
    "a size for features": (as_is, NET + "--resize 4 -o out", "leave --resize out"),
    "no data": (as_is, "collect --model net.py:Net -o out", "--model needs --weights and --data"),
    "no place to write": (as_is, NET, "--model needs -o OUT"),
    "a yes to code of --model": (
        as_is,
        NET + "--run-code -o out",
        "--run-code belongs to a RUN",
    ),
    "a function of the system": (
        as_is,
        "collect --model os:system --model-arg command=true " + ON,
        "os:system is built into posix, which is not called through os; give a function or class",
    ),
    "a loader of the system": (
        as_is,
        "collect --model net.py:Net --data os:getcwd -o out",
        "os:getcwd is built into posix",
    ),
    "an output of a run": (as_is, "collect run --output logits", "--output belongs to --model"),
    "a size of a run": (as_is, "collect run --resize 4", "--resize belongs to --model"),
    "inspecting a file without a factory": (as_is, "inspect net.py", "as net.py:FACTORY"),
    "inspecting no file": (as_is, "inspect gone.py:Net", "gone.py does not exist"),
    "inspecting with another shape": (
        as_is,
        "inspect net.py:Net",
        "the model does not take float32 (1, 3, 32, 32)",
    ),
    "inspecting with two inputs": (
        as_is,
        "inspect net.py:Net --data d.npz --input-shape 4",
        "leave --input-shape and --input-dtype out",
    ),
    "inspecting with an unknown type": (
        as_is,
        "inspect net.py:Net --input-shape 4 --input-dtype int32",
        "unknown --input-dtype 'int32'",
    ),
    "inspecting with a size of no data": (
        as_is,
        "inspect net.py:Net --resize 4",
        "--resize belongs to --data",
    ),
    "inspecting a compiled model": (as_is, "inspect net.py:compiled", "is compiled"),
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working directory of a case: a user's networks and data."""
    shutil.copy(Path(__file__).with_name("user_nets.py"), tmp_path / "net.py")
    np.savez(tmp_path / "d.npz", x=X, y=Y)
    np.savez(tmp_path / "big.npz", x=X, y=np.arange(12) % 8)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("what", CASES)
def test_bad_input_ends_in_one_message_and_writes_nothing(place, resprobe, tree_hash, what):
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


def test_the_batch_is_smaller_where_samples_are_large(place):
    from resprobe import session as sessions
    from resprobe.data_request import DataRequest
    from resprobe.quantities.norms import Norms
    from resprobe.source import from_parts

    source = from_parts("net.py:Net", {}, None, DataRequest("d.npz"))
    session = sessions.Session(source)
    runner = session.ready()
    measurement = Norms(source.model, runner.blocks, source.images.classes)
    assert session.batch(measurement) == sessions.BATCH

    def large(one, **kept):
        return 10**8

    runner.kept_bytes = large
    assert session.batch(measurement) == 9
    runner.largest_bytes = lambda samples: 10**12
    assert session.batch(measurement) == 1
