"""Weights that a user was handed: safetensors, a torch checkpoint, or a transformers folder.

Nothing is unpickled but tensors.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from resprobe.checkpoints import (
    complete_ties,
    misfits,
    read_tensors,
    refuse_misfits,
    refuse_not_finite,
    some_names,
)
from resprobe.errors import InputError
from resprobe.files import read_text, refuse_special

if TYPE_CHECKING:
    from torch import Tensor, nn

# What wrappers put in front of every name: data parallelism and compilation.
_WRAPPERS = ("module.", "_orig_mod.")
# The files of a transformers folder, the first that is there is taken.
_IN_FOLDER = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_ADVICE = "Give the model and the --model-arg values that it was trained with."


def load(path: Path, model: nn.Module) -> str:
    """Load a model's state, exactly.

    A torch checkpoint is read with `weights_only` and may hold the state under `state_dict` or
    `model`; names may carry what wrappers put before them (`module.`, `_orig_mod.`), unless they
    are the model's as they are. The second names of tied weights may be missing. A transformers
    model also takes what its own `from_pretrained` converts: a base model's names, older names.

    Args:
        path: a safetensors file, a torch checkpoint, or a transformers folder.
        model: gets the state; unchanged if it is refused.

    Returns:
        SHA-256 of the file, or of the folder's files of weights.

    Raises:
        InputError: a file is not whole or holds code, its keys or shapes are not the model's, or
            a value is not finite.
    """
    from resprobe.libraries import converted, is_transformers

    files = _files(path)
    stored: dict[str, Tensor] = {}
    for file in files:
        stored.update(read_tensors(file) if file.suffix == ".safetensors" else _read_torch(file))
    expected = model.state_dict()
    stored = _stripped(stored, expected)
    refuse_not_finite(path, stored, expected)
    complete_ties(stored, expected)
    _complete_counters(stored, model)
    found: Mapping[str, Tensor] = stored
    wrong = misfits(stored, expected)
    if any(wrong) and is_transformers(model):
        found, *rest = converted(model, stored)
        wrong = (rest[0], rest[1], rest[2])
    refuse_misfits(path, *wrong, _ADVICE)
    model.load_state_dict(found)
    return _digest(files)


def state_digest(model: nn.Module) -> str:
    """Give the SHA-256 of a model's state: names, types, shapes and values."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _complete_counters(stored: dict[str, Tensor], model: nn.Module) -> None:
    """Add the batch counters of norms, which torch before 0.4.1 did not have.

    No forward pass in evaluation reads them.
    """
    for path, module in model.named_modules():
        counter = getattr(module, "num_batches_tracked", None)
        start = f"{path}." if path else ""
        if counter is not None and f"{start}running_mean" in stored:
            stored.setdefault(f"{start}num_batches_tracked", counter)


def _files(path: Path) -> list[Path]:
    """Give the files of weights: one, or the parts that a folder's index names."""
    if not path.exists():
        raise InputError(f"{path} does not exist; give the file of the model's weights.")
    refuse_special(path)
    if not path.is_dir():
        return [path]
    there = [path / name for name in _IN_FOLDER if (path / name).exists()]
    if not there:
        raise InputError(
            f"{path} is a folder without {', '.join(_IN_FOLDER[:3])}; give a transformers folder "
            "or a file of weights."
        )
    if there[0].suffix != ".json":
        return [there[0]]
    try:
        index = json.loads(read_text(there[0]))["weight_map"]
        names = sorted({str(name) for name in index.values()})
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise InputError(
            f"{there[0]} can't be read as an index of weights ({error}); take it from a copy."
        ) from error
    for name in names:
        # A part beside the index, not wherever its text points.
        if Path(name).name != name or not (path / name).is_file():
            raise InputError(
                f"{there[0]} names the part {name}, which is not there; take all parts from a copy."
            )
    return [path / name for name in names]


def _digest(files: Iterable[Path]) -> str:
    whole = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while part := stream.read(1 << 20):
                whole.update(part)
    return whole.hexdigest()


def _stripped(stored: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take away what wrappers put before every name, however they were nested.

    A model may have a part called `module` itself: the form with the most of its names is taken.
    """
    forms = [stored]
    while names := list(forms[-1]):
        prefix = next((p for p in _WRAPPERS if all(n.startswith(p) for n in names)), None)
        if prefix is None:
            break
        forms.append({n.removeprefix(prefix): forms[-1][n] for n in names})
    owner = next(iter(forms[-1]), "").partition(".")[0] + "."
    if all(name.startswith(owner) for name in forms[-1]):
        # What a trainer's class calls the network that it holds, such as `model.`.
        held = {name.removeprefix(owner): value for name, value in forms[-1].items()}
        if held.keys() & expected.keys():
            forms.append(held)
    known = [len(form.keys() & expected.keys()) for form in forms]
    # Without any the names are those of a base model, which are converted later.
    return forms[known.index(max(known))] if any(known) else forms[-1]


def _holdings(stored: object) -> str:
    """Say under which names a checkpoint holds what it holds."""
    if not isinstance(stored, Mapping):
        return f" but {type(stored).__name__}"
    return f", only {some_names(list(map(str, stored)))}"


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
    for key in ("state_dict", "model_state_dict", "model", "net"):
        if isinstance(stored, Mapping) and isinstance(stored.get(key), Mapping):
            stored = stored[key]
    if not isinstance(stored, Mapping) or not all(
        isinstance(value, torch.Tensor) for value in stored.values()
    ):
        raise InputError(
            f"{path} holds no state dictionary of tensors{_holdings(stored)}; save the model's "
            "state_dict()."
        )
    return dict(stored)
