"""What a run shows while it goes: blocks, layers and activations, with their tensors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from resprobe.blocks.block_tensors import tensors_of, values_of
from resprobe.blocks.layer_activation import Activation, find_activations
from resprobe.blocks.layers import Layer
from resprobe.blocks.samples import samples_first
from resprobe.errors import ViolationError

if TYPE_CHECKING:
    from torch import Tensor

    from resprobe.blocks.block import Block, Blocks
    from resprobe.blocks.operations import Program


See = Callable[["Block", "Tensor", "Tensor", "Tensor"], None]
SeeOutput = Callable[["Block", "Tensor", "Tensor"], None]
SeeLayer = Callable[["Layer", "Tensor", "Tensor"], None]
SeeActivation = Callable[["Layer", "Tensor", "Tensor"], None]


class Seeing(NamedTuple):
    """Who is shown what; see `Runner.run`."""

    see: See | None
    see_output: SeeOutput | None
    see_layer: SeeLayer | None
    see_activation: SeeActivation | None


class Show(NamedTuple):
    """A block, layer or activation that is shown while a batch runs.

    Attributes:
        place: the operation before which it is shown.
        of: the block, layer or activation.
        after: of a block, whether it is shown after its end, with x and I(s + G), or before its
            addition.
        values: those that are shown, in the recorded program.
    """

    place: int
    of: Block | Layer | Activation
    after: bool
    values: tuple[int, ...]


def block_shows(program: Program, blocks: Blocks, *, before: bool, after: bool) -> list[Show]:
    """Plan where each block is shown, in the order of execution."""
    shows = []
    for block in blocks:
        if before:
            place = block.resume if block.shortcut is None else block.resume - 1
            shows.append(Show(place, block, False, values_of(block)))
        if after:
            made = program.maker(block.output)
            assert made is not None  # an argument of the model is no block's output
            shows.append(Show(made + 1, block, True, (block.input, block.output)))
    return sorted(shows, key=lambda one: (one.place, not one.after))


def with_layers(shows: Sequence[Show], layers: Sequence[Layer]) -> list[Show]:
    """Plan where each layer is shown, among the blocks in the order of execution."""
    more = [Show(layer.operation + 1, layer, True, (layer.input, layer.output)) for layer in layers]
    return sorted([*more, *shows], key=lambda one: (one.place, not one.after))


def with_activations(shows: Sequence[Show], activations: Sequence[Activation]) -> list[Show]:
    """Plan where each activation is shown, likewise."""
    more = [Show(one.operation + 1, one, True, (one.input, one.output)) for one in activations]
    return sorted([*more, *shows], key=lambda one: (one.place, not one.after))


class Shows:
    """What one run shows, each once, in the order of execution.

    Args:
        plan: all that is shown.
        blocks: as which blocks are shown.
        seeing: who sees them.
    """

    def __init__(self, plan: Sequence[Show], blocks: Blocks, seeing: Seeing) -> None:
        self._plan, self._blocks, self._seeing = plan, blocks, seeing
        self._shown = 0

    @property
    def values(self) -> set[int]:
        """Those that are shown, in the recorded program."""
        return {value for one in self._plan for value in one.values}

    def visits(self, kept: Collection[int]) -> dict[int, Callable[[dict[int, Tensor]], None]]:
        """Give what is called at each place; a tensor is let go when it was shown the last time."""
        last = {value: number for number, one in enumerate(self._plan) for value in one.values}

        def visit(numbers: list[int], tensors: dict[int, Tensor]) -> None:
            for number in numbers:
                one = self._plan[number]
                self._show(one, one.of, tensors)
                for value in one.values:
                    if last[value] == number and value not in kept:
                        tensors.pop(value, None)

        places: dict[int, list[int]] = {}
        for number, one in enumerate(self._plan):
            places.setdefault(one.place, []).append(number)
        return {place: partial(visit, numbers) for place, numbers in places.items()}

    def show_rest(self, program: Program, blocks: Blocks, layers: Sequence[Layer]) -> None:
        """Show what is left, as it is in another recording of the same network.

        Raises:
            ViolationError: of an activation that did not run.
        """
        for one in self._plan[self._shown :]:
            self._show(one, _found_again(one.of, program, blocks, layers), program.kept)

    def _show(
        self, one: Show, own: Block | Layer | Activation, tensors: Mapping[int, Tensor]
    ) -> None:
        see, see_output, see_layer, see_activation = self._seeing
        if isinstance(own, Activation):
            assert see_activation is not None
            see_activation(own.layer, *own.tensors(tensors))
        elif isinstance(own, Layer):
            assert see_layer is not None
            see_layer(own, *own.tensors(tensors))
        elif one.after:
            assert see_output is not None
            x, out = tensors[own.input], tensors[own.output]
            see_output(self._blocks[own.index], samples_first(own, x), samples_first(own, out))
        else:
            assert see is not None
            see(self._blocks[own.index], *tensors_of(own, tensors))
        self._shown += 1


def _found_again(
    one: Block | Layer | Activation, program: Program, blocks: Blocks, layers: Sequence[Layer]
) -> Block | Layer | Activation:
    """Give what is to be shown as it is in another recording of the same network.

    Raises:
        ViolationError: of an activation that did not run.
    """
    if isinstance(one, Layer):
        return layers[one.index]
    if not isinstance(one, Activation):
        return blocks[one.index]
    found = find_activations(program, [layers[one.layer.index]])
    if not found:
        raise ViolationError(
            "on this batch the model's control flow leaves out the activation after "
            f"{one.layer.name}, which ran on the first one; measure batches on which its "
            "activations are the same."
        )
    return found[0]
