"""Checkpoints: weights as safetensors, the trainer's state beside them, nothing pickled.

Of `step-00001950` there are three files: `.safetensors` (the model's state, bit for bit),
`.state.safetensors` (momentum and random states) and `.json` (what a reader needs to know). The
weights are written last, so a checkpoint whose weights are there is whole.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from resprobe.errors import InputError, ResprobeError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

FOLDER = "checkpoints"
_WEIGHTS = re.compile(r"step-(\d{8,})\.safetensors")
_SHOWN = 4


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


def write(
    run: Path,
    step: int,
    *,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    generators: Mapping[str, torch.Generator],
    info: Mapping[str, Any],
) -> Path:
    """Write one checkpoint, each file under a temporary name, synced, then renamed.

    Args:
        run: the run directory.
        step: optimizer steps done.
        model: its state is stored as it is.
        optimizer: SGD; its momentum buffers are stored by parameter name.
        generators: the trainer's random generators by name.
        info: JSON-ready; at least `epoch` and `metrics`.

    Returns:
        The path of the weights.

    Raises:
        ResprobeError: the files cannot be written (a full disk); older checkpoints are unharmed.
    """
    from safetensors.torch import save

    base = run / FOLDER / stem(step)
    files = {
        ".state.safetensors": save(_trainer_state(model, optimizer, generators)),
        ".json": (json.dumps({"step": step, **info}, indent=2) + "\n").encode(),
        ".safetensors": save(_portable(model.state_dict())),
    }
    try:
        base.parent.mkdir(exist_ok=True)
        for suffix, content in files.items():
            _write_synced(base.with_name(base.name + suffix), content)
    except OSError as error:
        raise ResprobeError(
            f"the checkpoint {base} cannot be written ({error.strerror}): make room; the run "
            "can then be resumed from what was written before, which is unharmed."
        ) from error
    return base.with_name(base.name + ".safetensors")


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


def load_weights(path: Path, model: nn.Module) -> None:
    """Load a model's state from a safetensors file, exactly.

    Raises:
        InputError: the file is not whole, its keys or shapes are not the model's, or a value is
            not finite; the model is then unchanged.
    """
    import torch

    stored, expected = read_tensors(path), model.state_dict()
    _refuse_other_layout(path, stored, expected)
    broken = [
        name
        for name, value in stored.items()
        if value.is_floating_point() and not bool(torch.isfinite(value).all())
    ]
    if broken:
        raise InputError(
            f"{path} holds values that are not finite in {_some(broken)}: the run diverged before "
            "it was written; take an earlier checkpoint."
        )
    model.load_state_dict(stored)


def load_trainer_state(
    run: Path,
    step: int,
    *,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    generators: Mapping[str, torch.Generator],
) -> None:
    """Put momentum and random states back to where a checkpoint was written.

    Raises:
        InputError: the file is not whole or belongs to another model.
    """
    import torch

    path = run / FOLDER / f"{stem(step)}.state.safetensors"
    stored = read_tensors(path)
    momentum = {
        name.removeprefix("momentum."): value
        for name, value in stored.items()
        if name.startswith("momentum.")
    }
    parameters = dict(model.named_parameters())
    if momentum:
        _refuse_other_layout(path, momentum, parameters)
    random_states = ["rng.torch", *(f"generator.{name}" for name in generators)]
    missing = [name for name in random_states if name not in stored]
    if missing:
        raise InputError(f"{path} lacks {_some(missing)}: the checkpoint is damaged.")
    for name, value in momentum.items():
        parameter = parameters[name]
        buffer = torch.empty_like(parameter).copy_(value)
        optimizer.state[parameter]["momentum_buffer"] = buffer.detach()
    for name, generator in generators.items():
        generator.set_state(stored[f"generator.{name}"])
    torch.set_rng_state(stored["rng.torch"])
    if "rng.cuda" in stored and torch.cuda.is_available():
        torch.cuda.set_rng_state(stored["rng.cuda"])


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


def _refuse_other_layout(
    path: Path, stored: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> None:
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
            complaints.append(f"{words} {_some(names)}")
    if complaints:
        raise InputError(
            f"{path} does not fit the model: {'; '.join(complaints)}. Give the recipe that it was "
            "trained with."
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _trainer_state(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    generators: Mapping[str, torch.Generator],
) -> dict[str, Tensor]:
    import torch

    state = {"rng.torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["rng.cuda"] = torch.cuda.get_rng_state()
    state |= {f"generator.{name}": item.get_state() for name, item in generators.items()}
    for name, parameter in model.named_parameters():
        buffer = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if buffer is not None:
            state[f"momentum.{name}"] = buffer
    return _portable(state)


def _portable(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in state.items()}


def _write_synced(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    # The rename itself must survive a power cut; not every platform opens folders.
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
