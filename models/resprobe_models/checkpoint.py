"""Checkpoints: weights as safetensors, the trainer's state beside them, nothing pickled.

Of `step-00001950` there are three files: `.safetensors` (the model's state, bit for bit),
`.state.safetensors` (momentum and random states) and `.json` (what a reader needs to know). The
weights are written last, so a checkpoint whose weights are there is whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resprobe.checkpoints import FOLDER, read_tensors, refuse_other_layout, some_names, stem
from resprobe.errors import InputError, ResprobeError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


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
        refuse_other_layout(path, momentum, parameters)
    random_states = ["rng.torch", *(f"generator.{name}" for name in generators)]
    missing = [name for name in random_states if name not in stored]
    if missing:
        raise InputError(f"{path} lacks {some_names(missing)}: the checkpoint is damaged.")
    for name, value in momentum.items():
        parameter = parameters[name]
        buffer = torch.empty_like(parameter).copy_(value)
        optimizer.state[parameter]["momentum_buffer"] = buffer.detach()
    for name, generator in generators.items():
        generator.set_state(stored[f"generator.{name}"])
    torch.set_rng_state(stored["rng.torch"])
    if "rng.cuda" in stored and torch.cuda.is_available():
        torch.cuda.set_rng_state(stored["rng.cuda"])


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
