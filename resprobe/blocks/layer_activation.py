"""The activation that reads what a layer makes, in a recorded program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resprobe.blocks.kinds import ACTIVATIONS, NORMS, PRODUCTS, RESHAPES
from resprobe.blocks.structure import Ref

if TYPE_CHECKING:
    from torch import Tensor

    from resprobe.blocks.layers import Layer
    from resprobe.blocks.operations import Operation, Program


@dataclass(frozen=True)
class Activation:
    """What an elementwise activation reads and makes.

    Attributes:
        layer: whose output it reads.
        input, output: values in the recorded program.
        operation: index of the activation.
        shape: of the layer's output, -1 for the axis of the samples; input and output have the
            same numbers in the same order.
    """

    layer: Layer
    input: int
    output: int
    operation: int
    shape: tuple[int, ...]

    def tensors(self, kept: Mapping[int, Tensor]) -> tuple[Tensor, Tensor]:
        """Give what it reads and makes, each `(sample, …)`, from the kept tensors."""
        fold = self.layer.fold
        x, y = (
            fold.samples_first(kept[value].reshape(self.shape))
            for value in (self.input, self.output)
        )
        return x, y


def find_activations(program: Program, layers: Sequence[Layer]) -> tuple[Activation, ...]:
    """Find the activations that follow layers: at once, or after a normalisation.

    Where other operations read the layer's output too, as a skip does, the first activation counts.
    A gate, whose result multiplies what it read, as in x·σ(x) by hand, is none.

    Args:
        program: the recording, of which no tensor need be kept.
        layers: in that recording.
    """
    readers: dict[int, list[int]] = {}
    for place, op in enumerate(program.operations):
        if op.args and isinstance(op.args[0], Ref):
            readers.setdefault(op.args[0].value, []).append(place)
    found = []
    for layer in layers:
        for value, place in _readings(program, readers, layer.output):
            op = program.operations[place]
            if op.function in ACTIVATIONS and not _gates(program, value, op):
                shape = list(program.shapes[layer.output])
                shape[layer.fold.axis] = -1  # another batch has another size
                found.append(Activation(layer, value, op.result.value, place, tuple(shape)))
                break
    return tuple(found)


def _readings(
    program: Program, readers: Mapping[int, Sequence[int]], value: int
) -> Iterator[tuple[int, int]]:
    """Give who reads a value, itself or normalised, in the order of execution."""
    waiting = [(place, value) for place in readers.get(value, ())]
    while waiting:
        place, read = min(waiting)
        waiting.remove((place, read))
        yield read, place
        op = program.operations[place]
        if op.function in NORMS | RESHAPES:
            made = _first(op.result)
            if made is not None:
                waiting += [(later, made) for later in readers.get(made, ())]


def _first(result: Any) -> int | None:
    """Give the value of the first tensor that an operation returned."""
    first = (
        result[0] if isinstance(result, tuple | list) and not isinstance(result, Ref) else result
    )
    return first.value if isinstance(first, Ref) else None


def _gates(program: Program, value: int, op: Operation) -> bool:
    """Whether what an operation makes of a value is multiplied with that value."""
    both = {value, op.result.value}
    return any(one.function in PRODUCTS and both <= set(one.reads) for one in program.operations)
