"""A network in memory and the tensors that it is called with, made ready to be measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe.data_files import images_of
from resprobe.errors import InputError
from resprobe.example import run_bare
from resprobe.reference import quoted
from resprobe.source import Inputs, Source, dtype_of
from resprobe.weights import state_digest

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from resprobe.data import Images

# Attributes of a module that can decide what it computes, and read the same in every process.
_PLAIN = (bool, int, float, str, type(None))


@dataclass
class _InMemory(Source):
    """A network in memory, with its inputs as it is called.

    Attributes:
        args: positional arguments, each `(sample, …)`.
        kwargs: keyword arguments, likewise.
    """

    args: tuple[Tensor, ...] = ()
    kwargs: Mapping[str, Tensor] = field(default_factory=dict)

    def inputs(self, start: int, stop: int, indices: Any) -> Inputs:
        """Give one batch on the device, of the types that were given; see `Source.inputs`."""
        import torch

        chosen = torch.from_numpy(indices[start:stop])

        def batch(tensor: Tensor) -> Tensor:
            return tensor[chosen.to(tensor.device)].to(self.device)

        return Inputs(
            tuple(map(batch, self.args)),
            {name: batch(tensor) for name, tensor in self.kwargs.items()},
            batch(torch.from_numpy(self.images.labels)),
        )


def data_of(
    inputs: Tensor | tuple[Tensor, ...] | Mapping[str, Tensor],
    labels: Tensor | Sequence[int],
    classes: Sequence[str] | None,
) -> tuple[Images, tuple[Tensor, ...], dict[str, Tensor]]:
    """Check inputs and labels; give them as a data set, and as the model is called.

    Args:
        inputs: see `resprobe.measure`.
        labels: see `resprobe.measure`.
        classes: names of the classes, None for their numbers.

    Returns:
        The data set, the positional and the keyword arguments.

    Raises:
        InputError: they are no tensors of samples, or not of the same samples.
    """
    import torch

    args: tuple[Tensor, ...] = ()
    kwargs: dict[str, Tensor] = {}
    if isinstance(inputs, Mapping):
        kwargs = {str(name): tensor for name, tensor in inputs.items()}
    else:
        args = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
    named = {"x" if place == 0 else f"x[{place}]": tensor for place, tensor in enumerate(args)}
    named |= kwargs
    wrong = [value for value in named.values() if not isinstance(value, torch.Tensor)]
    if wrong or not named:
        given = f"holds {type(wrong[0]).__name__}" if wrong else "is empty"
        if isinstance(inputs, np.ndarray):
            given = "is ndarray"
        raise InputError(
            f"inputs {given}, expected a tensor (sample, …), a tuple of tensors, or a mapping of "
            "names to tensors; torch.from_numpy makes a tensor of an array."
        )
    y = _labels(labels)
    count = len(y) if y.ndim else 0
    for name, tensor in named.items():
        if tensor.ndim == 0 or len(tensor) != count:
            shape = tuple(tensor.shape)
            raise InputError(
                f"{count} labels for inputs {name} of shape {shape}: give one label for each "
                "sample, the first dimension of every input."
            )
    names = {} if classes is None else {"classes": list(classes)}
    taken = {"y", "classes"} & kwargs.keys()
    if taken:
        raise InputError(
            f"the model takes an argument named {min(taken)}, which stands for the labels here; "
            "wrap it in a module that calls it otherwise."
        )
    data = images_of({**named, "y": y, **names}, "measure(model, x, y)")
    return data, args, kwargs


def _labels(given: Tensor | Sequence[int]) -> Tensor:
    import torch

    try:
        return torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"labels is {type(given).__name__} that is no tensor of numbers ({quoted(error)}); "
            "give the true class of each sample as a whole number from 0."
        ) from error


def from_memory(
    model: nn.Module,
    images: Images,
    args: tuple[Tensor, ...],
    kwargs: Mapping[str, Tensor],
    output: str | None,
) -> Source:
    """Make a network ready, in evaluation mode.

    Args:
        model: one that `refuse_unmeasurable` has let pass.
        images: its inputs and labels as a data set, from `data_of`.
        args: positional arguments, each `(sample, …)`.
        kwargs: keyword arguments, likewise.
        output: which part of the model's output are the logits; None where that is clear.

    Raises:
        InputError: its parameters are of another or of several types, or it does not take the
            inputs.
    """
    weights, print_ = state_digest(model), images.fingerprint()
    kind = f"{type(model).__module__}:{type(model).__qualname__}"
    source = _InMemory(
        model=model.eval(),
        images=images,
        mean=[],
        std=[],
        device=_device(model),
        dtype=_dtype(model),
        weights=weights,
        attributes={
            "command": "resprobe.measure",
            "weights_sha256": weights,
            "data_fingerprint": print_,
            "standardised": "not standardised, inputs are passed as they are",
            "source": f"model {kind} in memory, weights {weights[:12]}, data {print_[:12]}",
        },
        output=output,
        args=args,
        kwargs=kwargs,
    )
    source.model_spec = json.dumps({"name": kind, "in_memory": _structure(source)}, sort_keys=True)
    source.attributes["model"] = source.model_spec
    if output:
        source.attributes["output"] = output
    return source


def _device(model: nn.Module) -> torch.device:
    """Give the only device of a network that `refuse_unmeasurable` has let pass."""
    import torch

    held = (*model.parameters(), *model.buffers())
    return held[0].device if held else torch.device("cpu")


def _dtype(model: nn.Module) -> torch.dtype:
    """Give the type of a network's parameters.

    Raises:
        InputError: they are not all float32 or all float64.
    """
    kinds = {str(p.dtype).removeprefix("torch.") for p in model.parameters()}
    if len(kinds) > 1 or not kinds <= {"float32", "float64"}:
        raise InputError(
            f"the model's parameters are {' and '.join(sorted(kinds))}, expected all of them "
            "float32 or all float64: give copy.deepcopy(model).float()."
        )
    return dtype_of(model)


def _structure(source: _InMemory) -> str:
    """Give the SHA-256 of what a network is made of, weights aside.

    That is the class of each module with its plain attributes, such as a stride or a step size,
    and the names of functions that it holds. Modes and hooks are not part of it, nor attributes
    that a forward pass changes, such as a counter of calls or the size of the last batch.
    """
    passes = []
    for count in (2, 3):
        first = np.arange(min(count, len(source.images)))
        args, kwargs, _ = source.inputs(0, len(first), first)
        run_bare(source.model, args, kwargs)
        passes.append(_made_of(source.model))
    return hashlib.sha256(json.dumps(sorted(passes[0] & passes[1])).encode()).hexdigest()


def _made_of(model: nn.Module) -> set[tuple[str, str, str]]:
    """Give the class of each module, and its plain attributes, each with the module's path."""
    found = set()
    for path, module in model.named_modules():
        kind = type(module)
        found.add((path, "", f"{kind.__module__}.{kind.__qualname__}"))
        found |= {
            (path, name, told)
            for name, value in vars(module).items()
            if not name.startswith("_")
            and name != "training"
            and (told := _told(value)) is not None
        }
    return found


def _told(value: object) -> str | None:
    """Say a plain value in words that are the same in every process; None for any other."""
    flat = value if isinstance(value, tuple | list) else (value,)
    if all(isinstance(item, _PLAIN) for item in flat):
        return repr(value)
    name = getattr(value, "__qualname__", None)
    return name if isinstance(name, str) and callable(value) else None
