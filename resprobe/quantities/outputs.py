"""What a classifier's outputs say of each sample: loss, margin, right or wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from resprobe.errors import InputError
from resprobe.quantities.quantity import Quantity

if TYPE_CHECKING:
    from torch import Tensor

_MEASURED_BY = "resprobe.quantities.norms:Norms"

TEST_LOSS = Quantity(
    name="test_loss",
    family="norms",
    dims=("sample",),
    units="nat",
    dtype="float32",
    formula="-log softmax(z)_y",
    source="definition",
    meaning="Cross-entropy of each sample.",
    cost="hook",
    measured_by=_MEASURED_BY,
)
MARGIN = Quantity(
    name="margin",
    family="norms",
    dims=("sample",),
    units="1",
    dtype="float32",
    formula="z_y - max_{k≠y} z_k",
    source="definition",
    meaning="How far the true class's output is above the next, negative where it is wrong.",
    cost="hook",
    measured_by=_MEASURED_BY,
)
CORRECT = Quantity(
    name="correct",
    family="norms",
    dims=("sample",),
    units="1",
    dtype="int8",
    formula="1 if argmax z = y else 0",
    source="definition",
    meaning="Whether the whole network classifies the sample rightly.",
    cost="hook",
    measured_by=_MEASURED_BY,
)
TEST_ERROR = Quantity(
    name="test_error",
    family="norms",
    dims=(),
    units="1",
    dtype="float64",
    formula="1 - mean(correct)",
    source="definition",
    meaning="Fraction of the samples that the whole network classifies wrongly.",
    cost="hook",
    measured_by=_MEASURED_BY,
)
CLASS_ERROR = Quantity(
    name="class_error",
    family="norms",
    dims=("class",),
    units="1",
    dtype="float64",
    formula="1 - mean(correct) over the samples of a class",
    source="definition",
    meaning="Fraction of each class's samples that the whole network classifies wrongly.",
    cost="hook",
    measured_by=_MEASURED_BY,
)


def classification(outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Give loss, margin and correctness of each sample.

    Args:
        outputs: `(sample, class)`, a floating dtype: the logits z.
        labels: `(sample,)` int64: the true classes y.

    Returns:
        `test_loss` and `margin` `(sample,)` float32 or float64, `correct` `(sample,)` int8. With
        ties, `correct` takes the first of the largest outputs, as argmax does; a sample with an
        output that is NaN is wrong.
    """
    import torch
    import torch.nn.functional as F

    outputs = outputs.float() if outputs.element_size() < 4 else outputs
    own = outputs.gather(1, labels.unsqueeze(1)).squeeze(1)
    others = outputs.scatter(1, labels.unsqueeze(1), float("-inf"))
    return {
        "test_loss": F.cross_entropy(outputs, labels, reduction="none"),
        "margin": own - others.amax(dim=1),
        # argmax would take the first NaN for an answer
        "correct": ((outputs.argmax(dim=1) == labels) & ~outputs.isnan().any(dim=1)).to(torch.int8),
    }


def select_logits(output: Any, name: str | None = None) -> Any:
    """Give the part of a model's output that holds the logits.

    Args:
        output: what the model returned, or that with a `Ref` for each tensor: a tensor, or tuples,
            lists, mappings and dataclasses of them.
        name: a key, field or index; dots lead into nested ones (`0.logits`). None takes the output
            if it is a tensor, else its `logits`, else the only tensor in it.

    Raises:
        InputError: there is no such part, or which one is meant is not clear; all are listed.
    """
    part = output
    for step in name.split(".") if name else ():
        inside = _parts(part)
        if step not in inside:
            raise InputError(f"the model's output has no part {name!r}; {_listing(output)}")
        part = inside[step]
    if _is_tensor(part):
        return part
    if (logits := _parts(part).get("logits")) is not None:
        return select_logits(logits)
    tensors = [leaf for _, leaf in _tensors(part)]
    if len(tensors) != 1:
        raise InputError(
            f"which part of the model's output{f' {name}' if name else ''} holds the logits is "
            f"not clear; {_listing(output)}"
        )
    return tensors[0]


def refuse_no_logits(logits: Tensor, samples: int, classes: int) -> None:
    """Refuse an output that does not rate the classes of each sample.

    Args:
        logits: what `select_logits` gave.
        samples: how many went in.
        classes: at least so many must be rated: the largest label and one.

    Raises:
        InputError: it is not `(sample, class)` of floats, NaN, or has too few classes.
    """
    shape = tuple(logits.shape)
    if logits.ndim != 2 or shape[0] != samples or not logits.is_floating_point():
        raise InputError(
            f"the model's output is {str(logits.dtype).removeprefix('torch.')} of shape {shape} "
            f"for {samples} samples, expected logits as floats (sample, class): choose another "
            "part with --output NAME, or give a factory FILE.py:NAME whose network returns "
            "(sample, class)."
        )
    broken = int(logits.isnan().any(dim=1).sum())
    if broken:
        raise InputError(
            f"the network gives outputs that are no numbers (NaN) for {broken} of {samples} "
            "samples: check its weights, and --normalize."
        )
    if shape[1] < classes:
        raise InputError(
            f"the model rates {shape[1]} classes, but the labels go up to {classes - 1}; give the "
            "data that it was trained for."
        )


def _parts(output: Any) -> dict[str, Any]:
    """Give what a container holds by key, field or index; nothing for anything else."""
    if _is_tensor(output):
        return {}
    if isinstance(output, Mapping):
        return {str(key): part for key, part in output.items()}
    if isinstance(output, tuple | list):
        names = getattr(output, "_fields", None) or range(len(output))
        return {str(name): part for name, part in zip(names, output, strict=True)}
    if is_dataclass(output) and not isinstance(output, type):
        return {item.name: getattr(output, item.name) for item in fields(output)}
    return {}


def _tensors(output: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Give the path and tensor of each one in a nested output."""
    if _is_tensor(output):
        yield path, output
    for name, part in _parts(output).items():
        yield from _tensors(part, f"{path}.{name}" if path else name)


def _is_tensor(part: Any) -> bool:
    from resprobe.blocks.structure import Ref

    return isinstance(part, Ref) or hasattr(part, "is_floating_point")


def _listing(output: Any) -> str:
    names = [path for path, _ in _tensors(output)]
    if not names:
        return f"it is {type(output).__name__} and holds no tensor: give another factory."
    return f"it holds {', '.join(names)}: say which with --output NAME."
