"""What can be done to good inputs: each function gives a damage, to be called with their folder."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

Damage = Callable[[Path], object]

MARKER = "harmed"


class Harmful:
    """What nothing that is read may be able to do: its unpickling leaves a file behind."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {MARKER}",)


def nothing(place: Path) -> None:
    """Leave the inputs as they are: the command line alone is at fault."""


def both(*damages: Damage) -> Damage:
    def apply(place: Path) -> None:
        for damage in damages:
            damage(place)

    return apply


def cut(name: str, part: float) -> Damage:
    """Keep the first part of a file; 0 leaves it empty."""

    def apply(place: Path) -> None:
        content = (place / name).read_bytes()
        (place / name).write_bytes(content[: int(part * len(content))])

    return apply


def flip(name: str, at: int | float, count: int = 1) -> Damage:
    """Invert all bits of `count` bytes from an offset, or a part of the length, on."""

    def apply(place: Path) -> None:
        content = bytearray((place / name).read_bytes())
        start = int(at * len(content)) if isinstance(at, float) else at
        for offset in range(start, start + count):
            content[offset] ^= 0xFF
        (place / name).write_bytes(content)

    return apply


def flip_at(name: str, what: bytes) -> Damage:
    """Invert the bytes of a file in which it holds something."""

    def apply(place: Path) -> None:
        flip(name, (place / name).read_bytes().index(what), len(what))(place)

    return apply


def put(name: str, content: bytes | str) -> Damage:
    """Write a file, in the place of what is there."""

    def apply(place: Path) -> None:
        _away(place / name)
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return apply


def text(name: str, old: str, new: str) -> Damage:
    """Replace a passage of a text."""

    def apply(place: Path) -> None:
        whole = (place / name).read_text(encoding="utf-8")
        assert old in whole, whole
        (place / name).write_text(whole.replace(old, new, 1), encoding="utf-8")

    return apply


def keys(name: str, **values: Any) -> Damage:
    """Replace keys of a JSON file."""

    def apply(place: Path) -> None:
        whole = json.loads((place / name).read_text(encoding="utf-8"))
        (place / name).write_text(json.dumps({**whole, **values}), encoding="utf-8")

    return apply


def folder(name: str) -> Damage:
    def apply(place: Path) -> None:
        _away(place / name)
        (place / name).mkdir(parents=True)

    return apply


def pipe(name: str) -> Damage:
    """Put a pipe in the place of a file, which nobody will ever write to."""

    def apply(place: Path) -> None:
        _away(place / name)
        os.mkfifo(place / name)

    return apply


def link(name: str, to: str) -> Damage:
    def apply(place: Path) -> None:
        _away(place / name)
        (place / name).symlink_to(to)

    return apply


def gone(name: str) -> Damage:
    return lambda place: _away(place / name)


def copied(name: str, to: str) -> Damage:
    """Put a copy of an input somewhere, in the place of what is there."""

    def apply(place: Path) -> None:
        _away(place / to)
        (place / to).parent.mkdir(parents=True, exist_ok=True)
        if (place / name).is_dir():
            shutil.copytree(place / name, place / to)
        else:
            shutil.copy(place / name, place / to)

    return apply


def tensors(name: str, change: Callable[[dict[str, torch.Tensor]], object], to: str = "") -> Damage:
    """Change the tensors of a safetensors file."""

    def apply(place: Path) -> None:
        state = {key: value.clone() for key, value in load_file(place / name).items()}
        change(state)
        if (to or name).endswith(".pt"):
            torch.save(state, place / to)
        else:
            save_file(state, place / (to or name))

    return apply


def kernel(state: dict[str, torch.Tensor]) -> str:
    """Name a tensor of weights."""
    return next(name for name, tensor in state.items() if tensor.ndim >= 2)


def poisoned(value: float) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(state: dict[str, torch.Tensor]) -> None:
        state[kernel(state)].view(-1)[0] = value

    return change


def hdf5(name: str, change: Callable[[h5py.File], object]) -> Damage:
    """Change an HDF5 file, or make one."""

    def apply(place: Path) -> None:
        with h5py.File(place / name, "a") as file:
            change(file)

    return apply


def samples(name: str, **arrays: Any) -> Damage:
    """Write arrays as .npz, pickling what is an object."""
    return lambda place: np.savez(place / name, **arrays)


def image(name: str, pixels: Any, mode: str | None = None) -> Damage:
    def apply(place: Path) -> None:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(np.asarray(pixels))
        (picture.convert(mode) if mode else picture).save(place / name)

    return apply


def pickled(name: str, thing: Any) -> Damage:
    return put(name, pickle.dumps(thing))


def torch_saved(name: str, thing: Any) -> Damage:
    return lambda place: torch.save(thing, place / name)


def _away(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
