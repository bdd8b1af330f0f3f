"""Checkpoints of a run directory: which there are, what they say, their weights.

Of `step-00001950` there are `.safetensors` (the model's state, bit for bit) and `.json` (what a
reader needs to know); a trainer keeps its own state beside them. Nothing is unpickled.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from resprobe.errors import InputError
from resprobe.files import read_text, refuse_special

if TYPE_CHECKING:
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


def read_info(run: Path, step: int) -> dict[str, Any]:
    """Read the JSON file of a checkpoint.

    Raises:
        InputError: it is missing or no JSON object.
    """
    path = run / FOLDER / f"{stem(step)}.json"
    try:
        info = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
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

    refuse_special(path)
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
    refuse_misfits(path, *misfits(stored, expected), "Give the recipe that it was trained with.")


def misfits(
    stored: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> tuple[list[str], list[str], list[str]]:
    """Give the names that are missing, those that are unexpected, and shapes that differ."""
    return (
        [name for name in expected if name not in stored],
        [name for name in stored if name not in expected],
        [
            f"{name} {tuple(stored[name].shape)} instead of {tuple(expected[name].shape)}"
            for name in expected
            if name in stored and stored[name].shape != expected[name].shape
        ],
    )


def refuse_misfits(
    path: Path, missing: list[str], unexpected: list[str], shapes: list[str], advice: str
) -> None:
    """Refuse what `misfits` gave, if there is any; `advice` says what to do.

    Raises:
        InputError: there is some; a few of each are named, and how many more there are.
    """
    found = (("missing", missing), ("unexpected", unexpected), ("shape of", shapes))
    complaints = [f"{words} {some_names(names)}" for words, names in found if names]
    if complaints:
        raise InputError(f"{path} does not fit the model: {'; '.join(complaints)}. {advice}")


def some_names(names: list[str]) -> str:
    """Name a few of many, and say how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def load_weights(path: Path, model: nn.Module) -> None:
    """Load a model's state from a checkpoint of a run, exactly.

    Args:
        path: of a safetensors file.
        model: gets it; unchanged if it is refused.

    Raises:
        InputError: the file is not whole, its keys or shapes are not the model's, or a value is
            not finite.
    """
    stored = read_tensors(path)
    expected = model.state_dict()
    complete_ties(stored, expected)
    refuse_other_layout(path, stored, expected)
    refuse_not_finite(path, stored, expected)
    model.load_state_dict(stored)


def refuse_not_finite(
    path: Path, stored: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> None:
    """Refuse weights with NaN or infinity in them.

    Args:
        path: where they come from.
        stored: the weights.
        expected: the model's own state; what is not finite there, such as a mask, may be so.

    Raises:
        InputError: there are some; their tensors are named.
    """
    broken = [
        name
        for name, value in stored.items()
        if not _finite(value) and (name not in expected or _finite(expected[name]))
    ]
    if broken:
        raise InputError(
            f"{path} holds values that are not finite in {some_names(broken)}: the run diverged "
            "before it was written; take an earlier checkpoint."
        )


def _finite(value: Tensor) -> bool:
    import torch

    # torch can't ask it of floats of one byte.
    plain = value.float() if value.element_size() == 1 else value
    return bool(torch.isfinite(plain).all())


def complete_ties(stored: dict[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Add what a file leaves out because the model has it under a second name.

    Args:
        stored: state of a file; gets the missing names of tied weights.
        expected: the model's own state, in which tied weights are one tensor.
    """
    known = {_tie(tensor): name for name, tensor in expected.items() if name in stored}
    for name, tensor in expected.items():
        if name not in stored and _tie(tensor) in known:
            stored[name] = stored[known[_tie(tensor)]]


def without_ties(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give a state with one name for each tensor, as safetensors wants it, each contiguous."""
    kept: dict[str, Tensor] = {}
    seen = set()
    for name, tensor in state.items():
        if tensor.numel() == 0 or _tie(tensor) not in seen:
            kept[name] = tensor.contiguous()
        seen.add(_tie(tensor))
    return kept


def _tie(tensor: Tensor) -> tuple[Any, ...]:
    """Give what two names of one tensor have in common."""
    return (
        str(tensor.device),
        tensor.untyped_storage().data_ptr(),
        tensor.storage_offset(),
        tuple(tensor.shape),
        tensor.stride(),
    )
