"""Malformed inputs of `train` and `demo`: recipes, overrides, run directories, data sets."""

from __future__ import annotations

import numpy as np
import torch
from malformed_damage import (
    both,
    copied,
    cut,
    flip,
    folder,
    gone,
    keys,
    link,
    pickled,
    pipe,
    poisoned,
    put,
    tensors,
    text,
)
from malformed_inputs import STEP
from malformed_rows import row

MODEL = '[model]\nname = "cifar-resnet"\n'
INFO = f"bare/checkpoints/{STEP}.json"
STATE = f"bare/checkpoints/{STEP}.state.safetensors"
LONG = "n" * 300
NEW = "train my.toml -o new"


def recipe(name, content, *says, kind="recipe"):
    return row(f"recipe: {name}", kind, NEW, "my.toml", *says, damage=put("my.toml", content))


def value(key, given, *says):
    """Build a row of one key with a value it must refuse."""
    words = ["train", "my.toml", "-o", "new", "--set", f"{key}={given}"]
    return row(f"{key} = {given[:20]}", "values", words, key.partition(".")[2], *says)


def resumed(name, kind, damage, *says):
    return row(f"resume: {name}", kind, "train my.toml --resume -o bare", *says, damage=damage)


def momentum_of_another_shape(state):
    name = next(name for name, tensor in state.items() if tensor.ndim == 4)
    state[name] = state[name][:-1].clone()


def no_generators(state):
    for name in [name for name in state if name.startswith("generator.")]:
        del state[name]


RECIPES = [
    recipe("empty", "", "lacks model.name"),
    recipe("only a comment", "# nothing\n", "lacks model.name"),
    recipe("cut in a table's name", "[mod", "not TOML"),
    recipe("cut in a text", MODEL[:-2], "not TOML"),
    recipe("key twice", MODEL + 'name = "x"\n', "not TOML", "overwrite"),
    recipe("table twice", MODEL + "[model]\n", "not TOML"),
    recipe("JSON", '{"model": {}}', "not TOML"),
    recipe("bytes of UTF-16", (MODEL).encode("utf-16"), "not text"),
    recipe("a binary file", bytes(range(256)), "not text"),
    recipe("NUL in the middle", MODEL + "\0", "not TOML"),
    recipe("nested 5,000 deep", MODEL + "x = " + "[" * 5000 + "]" * 5000, "nested"),
    recipe("a whole number of 5,000 digits", MODEL + f"depth = {'9' * 5000}", "not TOML"),
    recipe("a text of 10 MB for a number", MODEL + f'depth = "{"x" * 10**7}"', "model.depth"),
    recipe("a name of 10 MB", f'[model]\nname = "{"x" * 10**7}"', "unknown model"),
    recipe("a list for a table", "model = [1]\n", "expected a table"),
    recipe("tables for a table", '[[model]]\nname = "cifar-resnet"\n', "expected a table"),
    recipe("unknown table", MODEL + "[trian]\nepochs = 1\n", "did you mean train"),
    recipe("unknown key", MODEL + "[train]\nepoch = 1\n", "did you mean epochs"),
    recipe("a table for a number", MODEL + "[train.epochs]\nx = 1\n", "train.epochs", "a whole"),
    recipe("a list for a text", MODEL + '[data]\nname = ["digits"]\n', "data.name", "a text"),
    recipe("a date for a number", MODEL + "[train]\nepochs = 2020-01-01\n", "train.epochs"),
    recipe("a list for a choice", MODEL + "[train]\ndtype = []\n", "train.dtype"),
    recipe("a table for a choice", MODEL + "[train.dtype]\n", "train.dtype"),
    recipe("a name with a line break", '[model]\nname = "a\\nb"\n', "unknown model"),
    recipe("h that is NaN", MODEL + "h = nan\n", "model.h", "finite"),
    row("recipe: zero bytes", "truncated", NEW, "my.toml", damage=cut("my.toml", 0.0)),
    row("recipe: a folder", "kind of file", NEW, "my.toml", damage=folder("my.toml")),
    row("recipe: a pipe", "kind of file", NEW, "my.toml", "pipe", damage=pipe("my.toml")),
    row("recipe: a dangling link", "kind of file", NEW, "my.toml", damage=link("my.toml", "no")),
    row("recipe: a circular link", "kind of file", NEW, "my.toml",
        damage=link("my.toml", "my.toml")),
    row("recipe: below a file", "paths", "train my.toml/x.toml -o new", "my.toml/x.toml"),
    row("recipe: a name of 300 letters", "paths", f"train {LONG}.toml -o new", LONG),
    row("recipe: no name", "options", ["train", "", "-o", "new"], "after train is empty"),
    row("recipe: of 5,000 hexadecimal digits", "values", NEW, "model.depth", "too long to show",
        damage=put("my.toml", MODEL + f"depth = 0x{'f' * 5000}")),
    row("recipe: -", "options", ["train", "-", "-o", "new"], "unknown recipe '-'"),
    row("recipe: an .h5", "foreign", "train run/training.h5 -o new", "run/training.h5"),
]  # fmt: skip

NUMBERS = [
    value("train.epochs", "-1", "0 or more"),
    value("train.epochs", "1e308", "a whole number"),
    value("train.epochs", "nan", "a whole number"),
    value("train.batch_size", "0", "1 or more"),
    value("train.seed", str(2**32), "or less"),
    value("train.seed", str(2**63), "less than 2^63"),
    value("train.seed", "-1", "0 or more"),
    value("train.weight_decay", "-0.1", "0 or more"),
    value("train.threads", "-1", "0 or more"),
    value("schedule.learning_rate", "0", "more than 0"),
    value("schedule.learning_rate", "inf", "a finite number"),
    value("schedule.learning_rate", "1" + "0" * 400, "a finite number"),
    value("schedule.milestones", "[2]", "less than 1"),
    value("data.subset", "-3", "0 or more"),
    value("data.subset", "9999999999", "training images"),
    value("data.subset", str(10**20), "less than 2^63"),
    value("data.test_subset", "-3", "0 or more"),
    value("data.test_subset", "9999999999", "test images"),
    value("data.resolution", "-8", "0 or more"),
    value("data.resolution", "7", "1, 2, 4, 8, 16 only"),
    value("data.pad", "-1", "0 or more"),
    value("record.every", "-1", "0 or more"),
    value("record.every", "0.5", "a whole number"),
    value("checkpoint.every_epochs", "x" * 100, "a whole number"),
    value("model.depth", "-8", "the nearest are 8"),
    value("model.depth", "9", "the nearest are 8"),
    value("model.width_factor", "0", "whole numbers"),
    value("model.width_factor", "-1", "whole numbers"),
    value("model.classes", "3", "10"),
    value("train.threads", str(2**40), "1024 or less"),
    value("train.dtype", "float16", "unknown"),
]

OPTIONS = [
    row("data.name = digit", "names", "train my.toml -o new --set data.name=digit",
        "did you mean digits"),
    row("no recipe at all", "options", "train -o new", "RECIPE"),
    row("no output", "options", "train my.toml", "--output"),
    row("--seed 1e3", "options", "train my.toml -o new --seed 1e3", "1e3"),
    row("--seed -1", "numbers", "train my.toml -o new --seed -1", "train.seed = -1"),
    row("--set without a key", "options", "train my.toml -o new --set =3", "'=3'"),
    row("--set empty", "options", ["train", "my.toml", "-o", "new", "--set", ""], "after --set"),
    row("--set of a table", "options", "train my.toml -o new --set train=3", "'train=3'"),
    row("--resume and --overwrite", "options", "train my.toml -o bare --resume --overwrite",
        "exclude each other"),
    row("an argument too many", "options", "train my.toml my.toml -o new", "my.toml"),
    row("a device that is none", "names", "train my.toml -o new --device gpu0", "'gpu0'"),
    row("a data directory of 300 letters", "paths",
        f"train resnet-20-cifar10 --data-dir {LONG} -o new", LONG),
    row("a data directory that is a file", "kind of file",
        "train resnet-20-cifar10 --data-dir my.toml -o new", "my.toml"),
    row("a data directory that goes in a circle", "kind of file",
        "train resnet-20-cifar10 --data-dir c -o new", "/c", damage=link("c", "c")),
    row("an empty data directory", "empty", "train resnet-20-cifar10 --data-dir d -o new",
        "data_batch_1", damage=folder("d")),
]  # fmt: skip

PLACES = [
    row("output: a file", "paths", "train my.toml -o other/precious.txt", "precious.txt"),
    row("output: below a file", "paths", "train my.toml -o other/precious.txt/run", "precious.txt"),
    row("output: a device", "paths", "train my.toml -o /dev/null", "/dev/null"),
    row("output: below /proc", "paths", "train my.toml -o /proc/run", "/proc/run"),
    row("output: a circular link", "kind of file", "train my.toml -o c", "c",
        damage=link("c", "c")),
    row("output: a dangling link", "kind of file", "train my.toml -o c", "c",
        damage=link("c", "no")),
    row("output: a name of 300 letters", "paths", f"train my.toml -o {LONG}", LONG),
    row("output: a run that is there", "together", "train my.toml -o run", "--resume"),
    row("output: somebody else's", "together", "train my.toml -o other --overwrite",
        "precious.txt"),
    row("output: the recipe's own folder", "together", "train my.toml -o .", "not empty"),
    row("demo: below a file", "paths", "demo -o other/precious.txt/x", "precious.txt"),
    row("demo: into somebody else's run", "together", "demo -o d", "d/h1-seed0",
        damage=copied("bare", "d/h1-seed0")),
    row("demo: a name of 300 letters", "paths", f"demo -o {LONG}", LONG),
]  # fmt: skip

RESUMES = [
    resumed("another recipe", "together", text("my.toml", "batch_size = 50", "batch_size = 51"),
            "train.batch_size was 50, now 51"),
    resumed("a recipe cut off", "truncated", cut("bare/recipe.toml", 0.03), "bare/recipe.toml"),
    resumed("no recipe", "missing", gone("bare/recipe.toml"), "recipe.toml"),
    resumed("a recipe that is a folder", "kind of file", folder("bare/recipe.toml"), "recipe.toml"),
    resumed("info that is a list", "json", put(INFO, "[]"), INFO),
    resumed("info nested 100,000 deep", "json", put(INFO, "[" * 100_000), INFO),
    resumed("info without anything", "json", put(INFO, "{}"), "bare"),
    resumed("info of other images", "json", keys(INFO, data_fingerprint="x"), "other images"),
    resumed("weights cut off", "truncated", cut(f"bare/checkpoints/{STEP}.safetensors", 0.5),
            f"{STEP}.safetensors"),
    resumed("NaN in the weights", "weights",
            tensors(f"bare/checkpoints/{STEP}.safetensors", poisoned(float("nan"))), "not finite"),
    resumed("trainer's state cut off", "truncated", cut(STATE, 0.7), STATE),
    resumed("trainer's state empty", "truncated", cut(STATE, 0.0), STATE),
    resumed("trainer's state gone", "missing", gone(STATE), STATE),
    resumed("header of the trainer's state flipped", "flipped", flip(STATE, 20, 40), STATE),
    resumed("momentum of another shape", "shapes", tensors(STATE, momentum_of_another_shape),
            STATE, "shape"),
    resumed("no random states", "missing", tensors(STATE, no_generators), STATE, "generator."),
    resumed("random states of another length", "shapes",
            tensors(STATE, lambda state: state.update({"rng.torch": torch.zeros(3).byte()})),
            STATE),
    resumed("no run at all", "missing", gone("bare"), "no run to resume"),
]  # fmt: skip


def batches(damage):
    """Fake the six files of CIFAR-10's binary layout, empty, then damage."""
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    return both(*(put(f"c/cifar-10-batches-bin/{name}", b"") for name in names), damage)


def python_batches(content):
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    return both(*(pickled(f"c/cifar-10-batches-py/{name}", content) for name in names))


CIFAR = "train resnet-20-cifar10 --data-dir c -o new"
ROW = 3073
DATA = [
    row("CIFAR-10: empty files", "truncated", CIFAR, "data_batch_1.bin",
        damage=batches(put("c/x", ""))),
    row("CIFAR-10: one byte short", "truncated", CIFAR, "data_batch_1.bin", damage=batches(
        put("c/cifar-10-batches-bin/data_batch_1.bin", bytes(10_000 * ROW - 1)))),
    row("CIFAR-10: a label of 10", "labels", CIFAR, "data_batch_1.bin", damage=batches(
        put("c/cifar-10-batches-bin/data_batch_1.bin", b"\x0a" + bytes(10_000 * ROW - 1)))),
    row("CIFAR-10: a list", "foreign", CIFAR, "data_batch_1", damage=python_batches([1])),
    row("CIFAR-10: pixels of another shape", "shapes", CIFAR, "data_batch_1",
        damage=python_batches({b"data": np.zeros((3, 4), np.uint8), b"labels": [0, 0, 0]})),
    row("CIFAR-10: floats", "dtypes", CIFAR, "data_batch_1",
        damage=python_batches({b"data": np.zeros((3, 3072)), b"labels": [0, 0, 0]})),
]  # fmt: skip

ROWS = [*RECIPES, *NUMBERS, *OPTIONS, *PLACES, *RESUMES, *DATA]
