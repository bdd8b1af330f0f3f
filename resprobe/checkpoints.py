"""Checkpoints of a run directory: which there are, what they say, their weights.

Of `step-00001950` there are `.safetensors` (the model's state, bit for bit) and `.json` (what a
reader needs to know); a trainer keeps its own state beside them. Nothing is unpickled.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from resprobe.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

FOLDER = "checkpoints"
_WEIGHTS = re.compile(r"step-(\d{8,})\.safetensors")
_SHOWN = 4
# What wrappers put in front of every name: data parallelism and compilation.
_WRAPPERS = ("module.", "_orig_mod.")


def stem(step: int) -> str:
    """Give the name of the checkpoint of a step, `step-00001950`."""
    return f"step-{step:08d}"


def steps(run: Path) -> list[int]:
    """Give the steps of all whole checkpoints of a run, ascending."""
    folder = run / FOLDER
    if not folder.is_dir():
        return []
    matches = (_WEIGHTS.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(match[1]) for match in matches if match)


def resolve(run: Path, which: Literal["last", "best"] | int) -> int:
    """Give the step of a checkpoint.

    Args:
        run: the run directory.
        which: `"last"`, `"best"` (the lowest recorded `test_error`, the earliest of equals), or a
            step.

    Raises:
        InputError: the run holds none, not that one, or none with a test error.
    """
    known = steps(run)
    if not known:
        raise InputError(
            f"{run} holds no checkpoint: train it first, or continue with --resume until the "
            "first one is written."
        )
    if which == "last":
        return known[-1]
    if which == "best":
        errors = {step: read_info(run, step).get("metrics", {}).get("test_error") for step in known}
        rated = {step: error for step, error in errors.items() if error is not None}
        if not rated:
            raise InputError(f"{run}: no checkpoint has a test error; take 'last' or a step.")
        return min(rated, key=lambda step: (rated[step], step))
    if which not in known:
        raise InputError(
            f"{run} holds no checkpoint of step {which}; it holds {', '.join(map(str, known))}."
        )
    return which


def read_info(run: Path, step: int) -> dict[str, Any]:
    """Read the JSON file of a checkpoint.

    Raises:
        InputError: it is missing or no JSON object.
    """
    path = run / FOLDER / f"{stem(step)}.json"
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): the checkpoint is damaged.") from error
    if not isinstance(info, dict):
        raise InputError(f"{path} holds no JSON object: the checkpoint is damaged.")
    return info


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file onto the CPU.

    Raises:
        InputError: it is missing, truncated or of another format.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path} cannot be read as safetensors ({error}): it is missing, truncated or of "
            "another format; take another checkpoint."
        ) from error


def refuse_other_layout(
    path: Path, stored: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> None:
    """Refuse tensors whose names or shapes are not those of the model.

    Raises:
        InputError: some are missing, unexpected or of another shape; a few are named.
    """
    complaints = []
    missing = [name for name in expected if name not in stored]
    unexpected = [name for name in stored if name not in expected]
    shapes = [
        f"{name} {tuple(stored[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if name in stored and stored[name].shape != expected[name].shape
    ]
    for words, names in (("missing", missing), ("unexpected", unexpected), ("shape of", shapes)):
        if names:
            complaints.append(f"{words} {some_names(names)}")
    if complaints:
        raise InputError(
            f"{path} does not fit the model: {'; '.join(complaints)}. Give the recipe that it was "
            "trained with."
        )


def some_names(names: list[str]) -> str:
    """Name a few of many, and say how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def load_weights(path: Path, model: nn.Module) -> None:
    """Load a model's state from a safetensors file or a torch checkpoint of tensors, exactly.

    A torch checkpoint is read with `weights_only`, may hold the state under `state_dict` or
    `model`, and may have been saved from a wrapped model (`module.`, `_orig_mod.`).

    Args:
        path: of the weights.
        model: gets them; unchanged if they are refused.

    Raises:
        InputError: the file is not whole or holds code, its keys or shapes are not the model's,
            or a value is not finite.
    """
    import torch

    stored = read_tensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    for prefix in _WRAPPERS:
        if stored and all(name.startswith(prefix) for name in stored):
            stored = {name.removeprefix(prefix): value for name, value in stored.items()}
    refuse_other_layout(path, stored, model.state_dict())
    broken = [
        name
        for name, value in stored.items()
        if value.is_floating_point() and not bool(torch.isfinite(value).all())
    ]
    if broken:
        raise InputError(
            f"{path} holds values that are not finite in {some_names(broken)}: the run diverged "
            "before it was written; take an earlier checkpoint."
        )
    model.load_state_dict(stored)


def _read_torch(path: Path) -> dict[str, Tensor]:
    import torch

    unlike = "it is no file that torch.save wrote, or it is cut off"
    try:
        with path.open("rb") as stream:
            known = stream.read(2).startswith((b"PK", b"\x80"))
        if not known:  # a zip archive or a pickle
            raise ValueError(unlike)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old or foreign pickles: what counts is said below
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is no checkpoint of tensors alone: loading it could run code, so it is "
            "refused; save the model's state_dict() as safetensors."
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError) as error:
        plain = isinstance(error, OSError | RuntimeError | ValueError) and str(error)
        reason = str(error).splitlines()[0] if plain else unlike
        raise InputError(
            f"{path} can't be read as weights ({reason}); give a .safetensors file or a torch "
            "checkpoint."
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(stored, Mapping) and isinstance(stored.get(key), Mapping):
            stored = stored[key]
    if not isinstance(stored, Mapping) or not all(
        isinstance(value, torch.Tensor) for value in stored.values()
    ):
        raise InputError(
            f"{path} holds no state dictionary of tensors; save the model's state_dict()."
        )
    return dict(stored)
