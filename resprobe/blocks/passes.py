"""One recorded batch: its tensors, and the outputs of interventions by replay of what follows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from resprobe.blocks.block import Block
from resprobe.blocks.block_tensors import shortcut_of, shortcut_tensor, tensors_of
from resprobe.blocks.chains import chain_of
from resprobe.blocks.chosen import blocks_at, lesion_changes, require_span
from resprobe.blocks.kept import NOT_KEPT, Kept
from resprobe.blocks.layer_image import layer_image
from resprobe.blocks.operations import ControlFlowChanged
from resprobe.blocks.path import Path
from resprobe.blocks.samples import samples_first
from resprobe.blocks.structure import Ref
from resprobe.blocks.taps import Taps, logits_of
from resprobe.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from resprobe.blocks.block import Blocks, Operand
    from resprobe.blocks.layers import Layer
    from resprobe.blocks.operations import Operation, Program

# What a function of a block gives: G of its branch, or I(s + G) of the whole block.
Part = Literal["branch", "block"]


class Pass:
    """One recorded batch: the tensors of its blocks, its output, and those of interventions.

    Interventions replay only what follows them. Where the model's Python code reads a number that
    a lesion changes, as the routing of a mixture of experts, the batch is run once more with the
    lesion in place.

    Args:
        program: the recording.
        blocks: in that recording.
        wanted: structure of `Ref` that replays give.
        again: runs the batch once more with some additions dropped, without a replay.
        output: what the model returned of `wanted`.
        layers: in that recording, where they are to be changed.
        without: indices of the blocks that were dropped when it was recorded.
    """

    def __init__(
        self,
        program: Program,
        blocks: Blocks,
        wanted: Any,
        again: Callable[[Sequence[Operand]], Any],
        output: Any,
        *,
        layers: Sequence[Layer] = (),
        without: Sequence[int] = (),
    ) -> None:
        self._program = program
        self._wanted = wanted
        self._again = again
        self._layers = layers
        self._without = tuple(blocks[index] for index in without)
        self.blocks = blocks
        self.output = output

    # -- tensors -------------------------------------------------------------------------------

    def tensors(self, block: Block) -> tuple[Tensor, Tensor, Tensor]:
        """Give x, s and G of a block, each `(sample, …)`; kept by `branches`."""
        return tensors_of(self._own(block), Kept(self._program.kept))

    def shortcut(self, block: Block) -> Tensor:
        """Give s of a block, `(sample, …)`."""
        return shortcut_tensor(self._own(block), Kept(self._program.kept))

    def input(self, block: Block) -> Tensor:
        """Give x of a block, `(sample, …)`; kept by `states`."""
        return self._kept(block, self._own(block).input)

    def total(self, block: Block) -> Tensor:
        """Give s + G of a block, `(sample, …)`; kept by `states`."""
        return self._kept(block, self._own(block).total)

    def block_output(self, block: Block) -> Tensor:
        """Give I(s + G) of a block, `(sample, …)`; kept by `states`."""
        return self._kept(block, self._own(block).output)

    def _kept(self, block: Block, value: int) -> Tensor:
        return samples_first(block, Kept(self._program.kept)[value])

    def path(
        self, first: Block, last: Block | None = None, *, part: Part = "block", **options: Any
    ) -> Path:
        """Give the function of a block, its branch or a span of blocks; kept by `functions`.

        Args:
            first: the block whose input is the function's.
            last: the block whose output I(s + G) is the function's; None for the same block.
            part: "branch" for x -> G of the one block.
            **options: of `Path`, such as `batch_norm`.

        Raises:
            InputError: the blocks don't follow each other, or the function can't be evaluated
                (see `Path`).
        """
        own = self._own(first)
        end = own if last is None else self._own(last)
        if part == "branch":
            if end is not own:
                raise InputError("a branch belongs to one block; give part='block' for a span.")
            output = [(operand.value, operand.factor) for operand in own.branch]
        else:
            require_span(self.blocks, own, end)
            output = [(end.output, 1.0)]
        return Path(self._program, own.input, output, axis=own.sample_axis, **options)

    # -- interventions ---------------------------------------------------------------------------

    def lesion(self, block: Block) -> Any:
        """Give the model's output with the block's branch dropped and its skip kept."""
        index = self._own(block).index
        return self.lesion_span(index, index)

    def lesion_span(self, first: int, last: int) -> Any:
        """Give the model's output with the branches of blocks `first` to `last` dropped.

        Args:
            first: index of the first block.
            last: index of the last one, included.

        Raises:
            InputError: there is no such span.
        """
        return self.lesion_set(range(first, last + 1))

    def lesion_set(self, indices: Iterable[int]) -> Any:
        """Give the model's output with the branches of these blocks dropped, their skips kept.

        Args:
            indices: of the blocks, at least one, in any order.

        Raises:
            InputError: there is none, or not that one.
        """
        chosen = blocks_at(self.blocks, sorted(set(indices)))
        if self.blocks.plain:
            return self._plain_lesion(chosen)
        dropped = [operand for block in chosen for operand in block.carried]
        if self._program.random_states:
            return self._again([*dropped, *self._dropped_after(-1)])
        try:
            first = min(operand.operation for operand in dropped)
            again = lesion_changes(self._program, [*dropped, *self._dropped_after(first)])
            return self._program.replay(again, output=self._wanted)
        except ControlFlowChanged:
            return self._again([*dropped, *self._dropped_after(-1)])

    def _dropped_after(self, operation: int) -> list[Operand]:
        """Give what the recording dropped after an operation, which a replay runs once more."""
        dropped = (operand for block in self._without for operand in block.carried)
        return [operand for operand in dropped if operand.operation > operation]

    def operations(self, without: Iterable[int] = ()) -> list[Operation]:
        """Give the operations that the model's output needs where these branches are dropped.

        Args:
            without: indices of the blocks; none for the model as it is.

        Raises:
            InputError: there is no such block.
        """
        wanted = sorted(set(without))
        chosen = blocks_at(self.blocks, wanted) if wanted else []
        if self.blocks.plain:
            # s is made of x without an operation of the model: what leads to x is needed
            changes: dict[int, Tensor | Ref] = {unit.output: Ref(unit.input) for unit in chosen}
        else:
            dropped = [operand for block in chosen for operand in block.carried]
            changes = lesion_changes(self._program, dropped)
        needed = self._program.needed_operations(changes, output=self._wanted)
        return [self._program.operations[place] for place in needed]

    @property
    def shapes(self) -> dict[int, tuple[int, ...]]:
        """The shape of each value of the recorded program."""
        return dict(enumerate(self._program.shapes))

    def lesion_anew(self, block: Block) -> Any:
        """Give the lesion's output by running the batch once more: slower, without a replay."""
        return self._again([*self._own(block).carried, *self._dropped_after(-1)])

    def replace_sum(self, block: Block, total: Tensor) -> Any:
        """Give the model's output with `total` in the place of the block's s + G."""
        own = self._own(block)
        return self._replay({own.total: total.movedim(0, own.sample_axis)})

    def replace_branch(self, block: Block, branch: Tensor) -> Any:
        """Give the model's output with `branch` in the place of the block's G.

        `factor * G` scales the branch, `G.mean(0, keepdim=True)` takes out what it says of single
        samples, `G + noise` perturbs it.
        """
        return self.replace_sum(block, self.shortcut(block) + branch)

    def layer_image(self, layer: Layer, weight: Tensor) -> Tensor:
        """Give what a layer would make of its input with another weight; needs `layers`.

        Args:
            layer: one of the runner's.
            weight: like `Layer.weight`.

        Returns:
            As the layer's output lies in the model; without the bias, a factor and a skip.
        """
        own = self._own_layer(layer)
        return layer_image(own, Kept(self._program.kept)[own.input], weight)

    def add_to_layer(self, layer: Layer, change: Tensor) -> Any:
        """Give the model's output with `change` added to the output of a layer; needs `layers`.

        Args:
            layer: one of the runner's; only this execution of it is changed.
            change: as the layer's output lies in the model.
        """
        own = self._own_layer(layer)
        return self._replay({own.output: Kept(self._program.kept)[own.output] + change})

    @property
    def model_input(self) -> Tensor:
        """The first tensor that the model was given, `(sample, …)`; kept by `inputs`."""
        return Kept(self._program.kept)[self._program.inputs[0]]

    def taps(self) -> Taps:
        """Give the output as a function of `model_input` with a tap on every branch; needs `taps`.

        Raises:
            InputError: it is no such function, see `Taps`, or the output is not one tensor.
        """
        return Taps(self._program, self.blocks, logits_of(self._wanted))

    def replace_input(self, x: Tensor) -> Any:
        """Give the model's output with `x` in the place of `model_input`; needs `inputs`."""
        return self._replay({self._program.inputs[0]: x})

    def reorder(self, *orders: Sequence[Block]) -> Any:
        """Give the model's output with neighbouring blocks run in these orders; needs `functions`.

        Two blocks in exchanged order are a swap, a random order is a shuffle.

        Args:
            *orders: each a run of neighbours, each once, which may change places (see
                `Block.exchangeable`); no block is in two of them.

        Raises:
            InputError: they are no such neighbours.
        """
        done: dict[int, Tensor] = {}
        for order in sorted(orders, key=lambda order: min(block.index for block in order)):
            own = [self._own(block) for block in order]
            chain = chain_of(own)
            start = chain[0].input
            x = self._replay(done, output=Ref(start)) if done else Kept(self._program.kept)[start]
            for block in own:
                x = self._replay({**done, block.input: x}, output=Ref(block.output))
            done[chain[-1].output] = x
        return self._replay(done)

    def _replay(self, changes: Mapping[int, Tensor], *, output: Any = None) -> Any:
        if self._without:
            raise InputError(
                "on a pass without some blocks only lesions can be made; give Runner.run for "
                "other interventions."
            )
        if self._program.random_states:
            raise InputError(
                "the model draws random numbers in this mode, so this intervention can't be "
                "replayed; only lesions can be measured on such a model."
            )
        try:
            wanted = self._wanted if output is None else output
            return self._program.replay(changes, output=wanted)
        except ControlFlowChanged as changed:
            raise InputError(
                "the model reads numbers of its tensors to decide what to run, and this "
                "intervention changes them, so it can't be replayed; only lesions can be measured "
                "on such a model."
            ) from changed

    def _plain_lesion(self, span: Sequence[Block]) -> Any:
        x = self.input(span[0])
        for unit, after in pairwise(span):
            s = shortcut_of(unit, x).movedim(0, unit.sample_axis)
            x = samples_first(after, self._replay({unit.output: s}, output=Ref(after.input)))
        return self.replace_sum(span[-1], shortcut_of(span[-1], x))

    @property
    def random(self) -> bool:
        """Whether the model drew random numbers in this pass."""
        return bool(self._program.random_states)

    def _own(self, block: Block) -> Block:
        """Give the block as it is in this pass, whose operations may be numbered otherwise."""
        if not isinstance(block, Block):
            raise InputError(
                f"{block!r} is no block: give one of the runner's, as runner.blocks[0]."
            )
        return self.blocks[block.index]

    def _own_layer(self, layer: Layer) -> Layer:
        """Give the layer as it is in this pass, likewise."""
        if not self._layers:
            raise InputError(NOT_KEPT)
        return self._layers[layer.index]
