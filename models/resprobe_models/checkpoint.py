"""Checkpoints: weights as safetensors, the trainer's state beside them, nothing pickled.

Of `step-00001950` there are three files: `.safetensors` (the model's state, bit for bit),
`.state.safetensors` (the optimizer's and random states) and `.json` (what a reader needs to know).
The weights are written last, so a checkpoint whose weights are there is whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resprobe.checkpoints import FOLDER, read_tensors, some_names, stem
from resprobe.errors import InputError, ResprobeError
from resprobe.reference import quoted
from resprobe_models import optimizers

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


def write(
    run: Path,
    step: int,
    *,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    generators: Mapping[str, Tensor],
    info: Mapping[str, Any],
) -> Path:
    """Write one checkpoint, each file under a temporary name, synced, then renamed.

    Args:
        run: the run directory.
        step: optimizer steps done.
        model: its state is stored as it is.
        optimizer: its tensors are stored by parameter name.
        generators: states of the trainer's random generators by name.
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
        if not base.with_name(base.name + ".safetensors").exists():
            remove(run, step)
        raise ResprobeError(
            f"the checkpoint {base} cannot be written ({error.strerror}): make room; the run "
            "can then be resumed from what was written before, which is unharmed."
        ) from error
    return base.with_name(base.name + ".safetensors")


def remove(run: Path, step: int) -> None:
    """Delete a checkpoint; the weights go first, so that no half of it counts as one."""
    base = run / FOLDER / stem(step)
    for suffix in (".safetensors", ".state.safetensors", ".json"):
        base.with_name(base.name + suffix).unlink(missing_ok=True)


def load_trainer_state(
    run: Path,
    step: int,
    *,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    generators: Mapping[str, torch.Generator],
) -> None:
    """Put the optimizer and the random states back to where a checkpoint was written.

    Raises:
        InputError: the file is missing, not whole or belongs to another model.
    """
    import torch

    path = run / FOLDER / f"{stem(step)}.state.safetensors"
    if not path.exists():
        raise InputError(
            f"{path} is missing, expected with the optimizer's and the random states that training "
            "goes on from: take it from a copy of the run, or train anew into another directory "
            "(a conversion leaves none where training would not go on as before)."
        )
    stored = read_tensors(path)
    random_states = ["rng.torch", *(f"generator.{name}" for name in generators)]
    missing = [name for name in random_states if name not in stored]
    if missing:
        raise InputError(f"{path} lacks {some_names(missing)}: the checkpoint is damaged.")
    prefix = "optimizer."
    own = {
        name.removeprefix(prefix): value
        for name, value in stored.items()
        if name.startswith(prefix)
    }
    optimizers.load_state(path, model, optimizer, own)
    try:
        for name, generator in generators.items():
            generator.set_state(stored[f"generator.{name}"])
        torch.set_rng_state(stored["rng.torch"])
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"{path} holds a random state that torch does not take ({quoted(error)}): the "
            "checkpoint is damaged."
        ) from error
    device = next(model.parameters()).device
    if "rng.cuda" in stored and device.type == "cuda":
        torch.cuda.set_rng_state(stored["rng.cuda"], device)


def _trainer_state(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    generators: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    import torch

    state = {"rng.torch": torch.get_rng_state()}
    device = next(model.parameters()).device
    if device.type == "cuda":
        state["rng.cuda"] = torch.cuda.get_rng_state(device)
    state |= {f"generator.{name}": value for name, value in generators.items()}
    own = optimizers.state_by_name(model, optimizer)
    state |= {f"optimizer.{name}": value for name, value in own.items()}
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
