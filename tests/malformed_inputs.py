"""Good inputs of every kind, small and made once; the rows of `test_malformed` damage copies."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import load_file, save_file

from resprobe import Recorder, registry
from resprobe.cli.main import resprobe_command

STEP = "step-00000004"
WEIGHTS = f"run/checkpoints/{STEP}.safetensors"
TRAINING = "run/training.h5"
NORMS = f"run/collected/{STEP}/norms.h5"
LESION = f"run/collected/{STEP}/lesion.h5"

TINY = (
    "resnet-20-digits --set train.epochs=2 --set train.batch_size=50 --set data.subset=100 "
    "--set model.depth=8 --set model.width_factor=0.25 --set checkpoint.every_epochs=1"
)
ARGUMENTS = (
    "--model-arg depth=8 --model-arg width_factor=0.25 --model-arg in_channels=1 "
    "--model-arg classes=10"
)
# The bundled network of the run, by its parts.
PARTS = f"--model cifar-resnet {ARGUMENTS}"

# What a command may leave behind besides what was there: locks are made before anything else.
LOCK = ".lock"

NET = '''\
"""Two residual blocks, on features or on the means of images."""

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        return x + torch.relu(self.inner(x))


class Net(nn.Module):
    def __init__(self, classes: int = 3):
        super().__init__()
        self.blocks = nn.Sequential(Block(), Block())
        self.head = nn.Linear(4, classes)

    def forward(self, x):
        x = x.flatten(1)
        return self.head(self.blocks(torch.cat([x, x, x, x], 1)[:, :4]))
'''


def invoke(words: list[str]) -> Result:
    """Run `resprobe WORDS` in this process; an unexpected exception comes through."""
    result = CliRunner().invoke(resprobe_command, words, prog_name="resprobe")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def make(place: Path) -> None:
    """Make every kind of input that a command reads, all small, below `place`.

    `run` (trained and collected), `bare` (trained alone), `lone.h5`, `net` (a foreign network's
    run), `loop` (a plain training loop's recording), `net.py`, weights `w.safetensors` and
    `w.pt`, samples `d.npz`, `d.h5`, `d.safetensors` and `photos/`, the recipe `my.toml`, and
    `other/precious.txt`, somebody else's.
    """
    good(place, f"train {TINY} -o bare")
    shutil.copytree(place / "bare", place / "run")
    good(place, "collect run --samples 20")
    good(place, f"collect {PARTS} --weights {WEIGHTS} --data digits --samples 20 -o lone.h5")
    (place / "net.py").write_text(NET, encoding="utf-8")
    _samples(place)
    _weights(place)
    good(place, "collect --model net.py:Net --weights n.safetensors --data d.npz -o net")
    _loop(place)
    recipe = (place / "run" / "recipe.toml").read_text(encoding="utf-8")
    (place / "my.toml").write_text(recipe, encoding="utf-8")
    (place / "other").mkdir()
    (place / "other" / "precious.txt").write_text("mine", encoding="utf-8")


def good(place: Path, words: str) -> Result:
    """Run a command that must succeed, in `place`."""
    before = Path.cwd()
    os.chdir(place)
    try:
        result = invoke([*words.split(), "--quiet"])
    finally:
        os.chdir(before)
    assert result.exit_code == 0, result.output
    return result


def snapshot(place: Path) -> dict[str, str]:
    """Give everything below a directory: what it is, and its content or target."""
    found = {}
    for path in sorted(place.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            what = f"link to {path.readlink()}"
        elif stat.S_ISREG(mode):
            what = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            what = f"no file {stat.S_IFMT(mode):o}"
        found[str(path.relative_to(place))] = what
    return found


def _samples(place: Path) -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(12, 4)).astype(np.float32), np.arange(12) % 3
    np.savez(place / "d.npz", x=x, y=y)
    save_file({"x": torch.from_numpy(x), "y": torch.from_numpy(y)}, place / "d.safetensors")
    for split in ("train", "test"):
        for label, name in enumerate("abc"):
            folder = place / "photos" / split / name
            folder.mkdir(parents=True)
            for number in range(2):
                pixels = np.full((8, 8), 60 * label + 10 * number, np.uint8)
                pixels[::2] += 20
                Image.fromarray(pixels).save(folder / f"{number}.png")


def _weights(place: Path) -> None:
    state = load_file(place / WEIGHTS)
    save_file(state, place / "w.safetensors")
    torch.save(state, place / "w.pt")
    namespace: dict[str, type] = {}
    exec(NET, namespace)
    torch.manual_seed(0)
    save_file(namespace["Net"]().state_dict(), place / "n.safetensors")


def _loop(place: Path) -> None:
    """Record a user's own training loop, which leaves a training.h5 and no recipe."""
    torch.manual_seed(0)
    net = registry.load("models", "cifar-resnet")(depth=8, width_factor=0.25).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with Recorder(net, place / "loop", optimizer=optimizer) as recorder:
        for _ in range(2):
            loss = F.cross_entropy(net(torch.randn(4, 3, 8, 8)), torch.tensor([0, 1, 2, 3]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.step(loss)
