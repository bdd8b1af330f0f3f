"""Interventions on blocks by replay of the rest of the forward pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from resprobe.blocks.batch_norm import reads_statistics
from resprobe.blocks.block import Block, subsampling
from resprobe.blocks.discover import discover, unchanged
from resprobe.blocks.layer_activation import Activation, find_activations
from resprobe.blocks.layer_image import layer_image
from resprobe.blocks.layers import Layer, find_layers, found_again
from resprobe.blocks.operations import ControlFlowChanged, Operation, Program
from resprobe.blocks.path import Path
from resprobe.blocks.program import record
from resprobe.blocks.randomness import set_random_states
from resprobe.blocks.samples import count_samples, samples_first, with_sample_axes
from resprobe.blocks.structure import Ref, rebuild
from resprobe.blocks.taps import Taps
from resprobe.errors import InputError, ViolationError

if TYPE_CHECKING:
    from torch import Tensor

    from resprobe.blocks.block import Blocks, Operand


def shortcut_of(block: Block, x: Tensor) -> Tensor:
    """Give the parameter-free padded shortcut of a plain unit: subsample, then zero channels.

    Args:
        block: a unit of a plain network.
        x: `(sample, channel, …)`, the unit's input.

    Returns:
        `(sample, …)` of the block's output shape: every k-th place of each spatial dimension, and
        the channels padded with zeros on both sides alike (He et al. 2016, option A).

    Raises:
        ViolationError: the output shape is not reached by subsampling and padding.
    """
    if tuple(x.shape[1:]) == block.output_shape:
        return x
    strides = subsampling(tuple(x.shape[1:]), block.output_shape)
    if strides is None:
        raise ViolationError(
            f"block {block.name}: no parameter-free shortcut leads from features of shape "
            f"{tuple(x.shape[1:])} to {block.output_shape}."
        )
    places = (slice(None), slice(None), *(slice(None, None, stride) for stride in strides))
    missing = block.output_shape[0] - x.shape[1]
    before = missing // 2
    return F.pad(x[places], [0, 0] * (x.dim() - 2) + [before, missing - before])


class Keep(NamedTuple):
    """What a pass keeps of its blocks.

    Attributes:
        replays: what interventions on the sum s + G need.
        branches: x and the branch, for `Pass.tensors` and `Pass.replace_branch`.
        states: x, s + G and I(s + G), for `Pass.input`, `Pass.total` and `Pass.block_output`.
        functions: what running a block on another input needs, for `Pass.reorder` and
            `Pass.path`.
        layers: what changes of the layers need, for `Pass.layer_image` and `Pass.add_to_layer`.
        inputs: what changes of the model's input need, for `Pass.model_input` and
            `Pass.replace_input`.
        taps: what `Pass.taps` needs.
    """

    replays: bool = True
    branches: bool = False
    states: bool = False
    functions: bool = False
    layers: bool = False
    inputs: bool = False
    taps: bool = False


See = Callable[["Block", "Tensor", "Tensor", "Tensor"], None]
# What a function of a block gives: G of its branch, or I(s + G) of the whole block.
Part = Literal["branch", "block"]
SeeOutput = Callable[["Block", "Tensor", "Tensor"], None]
SeeLayer = Callable[["Layer", "Tensor", "Tensor"], None]
SeeActivation = Callable[["Layer", "Tensor", "Tensor"], None]


class _Show(NamedTuple):
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


class Runner:
    """Runs batches through a model and gives the tensors of its blocks and lesioned outputs.

    A first recording finds the blocks; later batches keep just the tensors that the blocks and
    the replays need, so memory does not grow with depth beyond these.

    Args:
        model: an eager module, in the mode it is to be measured in.
        example: one batch `(sample, …)`, or all positional arguments as a tuple.
        kwargs: keyword arguments of the example.
        select: picks what counts as the output from what the model returns, such as its logits;
            called with the nested result, and with the same structure of `Ref`.
    """

    def __init__(
        self,
        model: nn.Module,
        example: Tensor | tuple[Any, ...],
        kwargs: Mapping[str, Any] | None = None,
        *,
        select: Callable[[Any], Any] | None = None,
    ) -> None:
        self.model = model
        self._select = select or (lambda result: result)
        self._kwargs = dict(kwargs or {})
        # No tensor is kept: the blocks follow from the structure alone.
        self._example = (_arguments(example), self._kwargs)
        self._program = record(model, *rebuild(self._example, _cloned), keep=())
        self.blocks: Blocks = discover(model, self._program)
        self._wanted = self._select(self._program.output)
        self._program.result = None  # the example's output is of no use
        self._structure = self._program.structure()
        self._overwrites = any(
            old in self._program.inputs for op in self._program.operations for old, _ in op.renames
        )
        self._samples = count_samples(self._example)

    def find_samples(self) -> None:
        """Find out along which axis of each block the samples lie, from a smaller batch.

        Raises:
            InputError: they can't be told apart, see `with_sample_axes`.
        """
        self.blocks = with_sample_axes(
            self.blocks,
            self._program,
            self._example,
            lambda args, kwargs: record(
                self.model, args, kwargs, keep=(), expected=self._structure
            ),
        )

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The convolutions and linear layers that the model runs, in the order of execution."""

        def run(args: tuple[Any, ...], kwargs: Mapping[str, Any], keep: Collection[int]) -> Program:
            fresh = rebuild((args, kwargs), _cloned)
            with torch.no_grad():
                return record(self.model, *fresh, keep=keep, expected=self._structure)

        return find_layers(self._program, self.blocks, self._example, self._samples, run)

    @cached_property
    def activations(self) -> tuple[Activation, ...]:
        """The activations that follow `layers`."""
        return find_activations(self._program, self.layers)

    def run(
        self,
        batch: Tensor | tuple[Any, ...],
        kwargs: Mapping[str, Any] | None = None,
        *,
        see: See | None = None,
        see_output: SeeOutput | None = None,
        see_layer: SeeLayer | None = None,
        see_activation: SeeActivation | None = None,
        replays: bool = True,
        branches: bool = False,
        states: bool = False,
        functions: bool = False,
        layers: bool = False,
        inputs: bool = False,
        taps: bool = False,
    ) -> Pass:
        """Run one batch.

        Where the model's control flow depends on the data and goes another way than with the
        example, the batch is recorded anew, as it runs, and its blocks are found in that.

        Args:
            batch: like the example.
            kwargs: its keyword arguments; None for those of the example.
            see: shown every block with x, s and G, in the order of execution, while they are
                there; they are not kept, so memory does not grow with depth.
            see_output: shown every block with x and I(s + G), likewise.
            see_layer: shown every one of `layers` with x and A x, likewise.
            see_activation: shown every one of `layers` that an activation follows, with what that
                reads and makes, likewise.
            replays: see `Keep`, as the following.
            branches: likewise.
            states: likewise.
            functions: likewise.
            layers: likewise.
            inputs: likewise.
            taps: likewise.

        Raises:
            ViolationError: on this batch the model has other blocks than on the example.
        """
        args = _arguments(batch)
        kwargs = self._kwargs if kwargs is None else kwargs
        kept = self._needed(Keep(replays, branches, states, functions, layers, inputs, taps))
        shows = self._shows(before=see is not None, after=see_output is not None)
        if see_layer is not None:
            shows = _with_layers(shows, self.layers)
        if see_activation is not None:
            shows = _with_activations(shows, self.activations)
        shown: list[_Show] = []

        def show(
            one: _Show, own: Block | Layer | Activation, tensors: Mapping[int, Tensor]
        ) -> None:
            if isinstance(own, Activation):
                assert see_activation is not None
                see_activation(own.layer, *own.tensors(tensors))
            elif isinstance(own, Layer):
                assert see_layer is not None
                see_layer(own, *own.tensors(tensors))
            elif one.after:
                assert see_output is not None
                x, out = tensors[own.input], tensors[own.output]
                see_output(self.blocks[own.index], samples_first(own, x), samples_first(own, out))
            else:
                assert see is not None
                see(self.blocks[own.index], *_tensors_of(own, tensors))
            shown.append(one)

        program = record(
            self.model,
            self._fresh(args),
            self._fresh(kwargs),
            keep=kept | {value for one in shows for value in one.values},
            visits=_visits(shows, kept, show),
            expected=self._structure,
        )
        if program.as_expected:
            program.share_plans(self._program)
            known = self.layers if layers else ()
            return self._pass(program, self.blocks, known, args, kwargs)
        program, blocks = self._another_way(args, kwargs)
        known = ()
        if layers or see_layer is not None or see_activation is not None:
            known = found_again(self.layers, program, blocks)
        for one in shows[len(shown) :]:
            show(one, _found_again(one.of, program, blocks, known), program.kept)
        return self._pass(program, blocks, known, args, kwargs)

    def run_without(
        self,
        indices: Iterable[int],
        batch: Tensor | tuple[Any, ...],
        kwargs: Mapping[str, Any] | None = None,
    ) -> Pass:
        """Run one batch without the branches of some blocks, for lesions of further ones.

        A lesion of the pass is one of its block and of these; what runs before its block is not
        run again. To the bit it is `Pass.lesion_set` of all of them.

        Args:
            indices: of the blocks that are dropped, in any order; none gives `run`.
            batch: as in `run`.
            kwargs: likewise.

        Raises:
            InputError: there is no such block, or it is a unit of a plain network, whose lesions
                start from the pass of the whole network.
            ViolationError: see `run`.
        """
        wanted = sorted(set(indices))
        if not wanted:
            return self.run(batch, kwargs)
        chosen = _blocks_at(self.blocks, wanted)
        if self.blocks.plain:
            raise InputError(
                "units of a plain network are not dropped while it runs: give Pass.lesion_set of "
                "a pass of the whole network all of them."
            )
        args = _arguments(batch)
        kwargs = self._kwargs if kwargs is None else kwargs
        dropped = [operand for block in chosen for operand in block.carried]
        program = record(
            self.model,
            self._fresh(args),
            self._fresh(kwargs),
            keep=self._needed(Keep()),
            dropped=dropped,
            expected=self._structure,
        )
        if program.as_expected:
            program.share_plans(self._program)
            return self._pass(program, self.blocks, (), args, kwargs, without=wanted)
        program, blocks = self._another_way(args, kwargs, dropped)
        return self._pass(program, blocks, (), args, kwargs, without=wanted)

    def _another_way(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        dropped: Sequence[Operand] = (),
    ) -> tuple[Program, Blocks]:
        """Record a batch whose operations are not those of the example, keeping every value."""
        program = record(self.model, self._fresh(args), self._fresh(kwargs), dropped=dropped)
        blocks = discover(self.model, program)
        if [_alike(block) for block in blocks] != [_alike(block) for block in self.blocks]:
            raise ViolationError(
                "on this batch the model's control flow leads to other residual blocks than on "
                "the first one; measure batches on which its blocks are the same."
            )
        own = tuple(
            replace(found, sample_axis=block.sample_axis)
            for found, block in zip(blocks, self.blocks, strict=True)
        )
        return program, replace(blocks, blocks=own)

    def _fresh(self, arguments: Any) -> Any:
        """Give arguments that the model may overwrite, if it does; they may be wanted again."""
        if not self._overwrites:
            return arguments
        return rebuild(arguments, _cloned)

    def _pass(
        self,
        program: Program,
        blocks: Blocks,
        layers: Sequence[Layer],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        without: Sequence[int] = (),
    ) -> Pass:
        states = program.random_states

        def again(dropped: Sequence[Operand]) -> Any:
            with unchanged(self.model):
                set_random_states(self.model, states)
                once_more = record(
                    self.model, self._fresh(args), self._fresh(kwargs), keep=(), dropped=dropped
                )
            return self._select(once_more.result)

        output, program.result = self._select(program.result), None
        wanted = self._select(program.output)
        return Pass(program, blocks, wanted, again, output, layers=layers, without=without)

    def _shows(self, *, before: bool, after: bool) -> list[_Show]:
        """Plan where each block is shown, in the order of execution."""
        shows = []
        for block in self.blocks:
            if before:
                place = block.resume if block.shortcut is None else block.resume - 1
                shows.append(_Show(place, block, False, _values(block)))
            if after:
                made = self._program.maker(block.output)
                assert made is not None  # an argument of the model is no block's output
                shows.append(_Show(made + 1, block, True, (block.input, block.output)))
        return sorted(shows, key=lambda one: (one.place, not one.after))

    def kept_bytes(
        self,
        samples: int,
        *,
        replays: bool = True,
        states: bool = False,
        functions: bool = False,
        layers: bool = False,
        inputs: bool = False,
        taps: bool = False,
    ) -> int:
        """Give how many bytes of tensors a batch of `samples` keeps for its blocks.

        With taps these are all that it makes, which gradients through the whole network need, and
        of a point before it the branches, and of both their gradients.
        """
        branches = not (replays or states or functions or layers or inputs or taps)
        kept = self._needed(Keep(replays, branches, states, functions, layers, inputs, taps))
        if taps:
            operands = [operand.value for block in self.blocks for operand in block.branch]
            values = [*range(len(self._program.shapes)), *operands, *operands, *operands]
            return sum(self._bytes(value) for value in values) * samples // self._samples
        return sum(self._bytes(value) for value in kept) * samples // self._samples

    @property
    def takes_ids(self) -> bool:
        """Whether the first tensor that the model is given holds whole numbers, as token ids."""
        return not self._program.dtypes[self._program.inputs[0]].is_floating_point

    @property
    def has_batch_norm(self) -> bool:
        """Whether the model normalises by running statistics."""
        return any(map(reads_statistics, self._program.operations))

    def largest_bytes(self, samples: int) -> int:
        """Give how many bytes the largest tensor of a pass over `samples` has."""
        values = range(len(self._program.shapes))
        return max(self._bytes(value) for value in values) * samples // self._samples

    def _bytes(self, value: int) -> int:
        program = self._program
        return math.prod(program.shapes[value]) * program.dtypes[value].itemsize

    def _needed(self, keep: Keep) -> set[int]:
        needed: set[int] = set()
        for block in self.blocks:
            if keep.branches:
                needed |= set(_values(block))
            if keep.states:
                needed |= {block.input, block.total, block.output}
            if keep.replays:
                needed |= self._needed_to_replay(block)
            if keep.functions:
                program = self._program
                needed |= program.needs({block.input: None}, output=Ref(block.output))
                needed |= program.needs({block.output: None}, output=self._wanted)
                needed.add(block.input)
        for layer in self.layers if keep.layers else ():
            needed |= self._program.needs({layer.output: None}, output=self._wanted)
            needed |= {layer.input, layer.output}
        for value in self._program.inputs[:1] if keep.inputs else ():
            needed |= self._program.needs({value: None}, output=self._wanted) | {value}
        if keep.taps:
            needed |= Taps.needs(self._program, _logits(self._wanted))
        return needed

    def _needed_to_replay(self, block: Block) -> set[int]:
        program = self._program
        needed = program.needs({block.total: None}, output=self._wanted)
        if block.shortcut is None:
            return needed | {block.input}
        lesion = _without(program, block.carried)
        needed |= program.needs(lesion, output=self._wanted)
        return needed | {operand.value for operand in block.carried}


def _visits(
    shows: Sequence[_Show],
    kept: set[int],
    show: Callable[[_Show, Block | Layer | Activation, Mapping[int, Tensor]], None],
) -> dict[int, Callable[[dict[int, Tensor]], None]]:
    """Give what is called at each place; a tensor is let go when it was shown for the last time."""
    last = {value: number for number, one in enumerate(shows) for value in one.values}

    def visit(numbers: list[int], tensors: dict[int, Tensor]) -> None:
        for number in numbers:
            one = shows[number]
            show(one, one.of, tensors)
            for value in one.values:
                if last[value] == number and value not in kept:
                    tensors.pop(value, None)

    places: dict[int, list[int]] = {}
    for number, one in enumerate(shows):
        places.setdefault(one.place, []).append(number)
    return {place: partial(visit, numbers) for place, numbers in places.items()}


def _with_layers(shows: Sequence[_Show], layers: Sequence[Layer]) -> list[_Show]:
    """Plan where each layer is shown, among the blocks in the order of execution."""
    more = [
        _Show(layer.operation + 1, layer, True, (layer.input, layer.output)) for layer in layers
    ]
    return sorted([*more, *shows], key=lambda one: (one.place, not one.after))


def _with_activations(shows: Sequence[_Show], activations: Sequence[Activation]) -> list[_Show]:
    """Plan where each activation is shown, likewise."""
    more = [_Show(one.operation + 1, one, True, (one.input, one.output)) for one in activations]
    return sorted([*more, *shows], key=lambda one: (one.place, not one.after))


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


def _cloned(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, torch.Tensor) else leaf


def _arguments(batch: Tensor | tuple[Any, ...]) -> tuple[Any, ...]:
    return batch if isinstance(batch, tuple) else (batch,)


def _without(program: Program, dropped: Sequence[Operand]) -> dict[int, Tensor | Ref]:
    """Give the changes by which additions give one operand, as if they added nothing to it."""
    return {
        program.operations[operand.operation].result.value: Ref(operand.value)
        for operand in dropped
    }


def _logits(wanted: Any) -> int:
    if not isinstance(wanted, Ref):
        raise InputError(
            "the model's output is not one tensor of logits; give Runner a `select` that picks it."
        )
    return wanted.value


def _blocks_at(blocks: Blocks, indices: Sequence[int]) -> list[Block]:
    """Give the blocks with these ascending indices.

    Raises:
        InputError: there is none, or not that one.
    """
    if not indices or indices[0] < 0 or indices[-1] >= len(blocks):
        raise InputError(
            f"a lesion of the blocks {list(indices)}: give indices from 0 to {len(blocks) - 1}, "
            "the first of a span before its last."
        )
    return [blocks[index] for index in indices]


def _alike(block: Block) -> tuple[Any, ...]:
    """Give what must be equal for a block to be the same one in two recordings."""
    return block.name, block.skip


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
        return _tensors_of(self._own(block), _Kept(self._program.kept))

    def shortcut(self, block: Block) -> Tensor:
        """Give s of a block, `(sample, …)`."""
        return _shortcut(self._own(block), _Kept(self._program.kept))

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
        return samples_first(block, _Kept(self._program.kept)[value])

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
            self._require_span(own, end)
            output = [(end.output, 1.0)]
        return Path(self._program, own.input, output, axis=own.sample_axis, **options)

    def _require_span(self, first: Block, last: Block) -> None:
        if first.index > last.index:
            raise InputError(
                f"a span from block {first.name} to block {last.name}, which runs before it; give "
                "the first block of the span first."
            )
        for index in range(first.index + 1, last.index + 1):
            if not self.blocks[index].follows:
                raise InputError(
                    f"block {self.blocks[index].name} does not start from what block "
                    f"{self.blocks[index - 1].name} made, so no span holds both; give blocks that "
                    "follow each other."
                )

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
        chosen = _blocks_at(self.blocks, sorted(set(indices)))
        if self.blocks.plain:
            return self._plain_lesion(chosen)
        dropped = [operand for block in chosen for operand in block.carried]
        if self._program.random_states:
            return self._again([*dropped, *self._dropped_after(-1)])
        try:
            first = min(operand.operation for operand in dropped)
            again = _without(self._program, [*dropped, *self._dropped_after(first)])
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
        chosen = _blocks_at(self.blocks, wanted) if wanted else []
        if self.blocks.plain:
            # s is made of x without an operation of the model: what leads to x is needed
            changes: dict[int, Tensor | Ref] = {unit.output: Ref(unit.input) for unit in chosen}
        else:
            dropped = [operand for block in chosen for operand in block.carried]
            changes = _without(self._program, dropped)
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
        return layer_image(own, _Kept(self._program.kept)[own.input], weight)

    def add_to_layer(self, layer: Layer, change: Tensor) -> Any:
        """Give the model's output with `change` added to the output of a layer; needs `layers`.

        Args:
            layer: one of the runner's; only this execution of it is changed.
            change: as the layer's output lies in the model.
        """
        own = self._own_layer(layer)
        return self._replay({own.output: _Kept(self._program.kept)[own.output] + change})

    @property
    def model_input(self) -> Tensor:
        """The first tensor that the model was given, `(sample, …)`; kept by `inputs`."""
        return _Kept(self._program.kept)[self._program.inputs[0]]

    def taps(self) -> Taps:
        """Give the output as a function of `model_input` with a tap on every branch; needs `taps`.

        Raises:
            InputError: it is no such function, see `Taps`, or the output is not one tensor.
        """
        return Taps(self._program, self.blocks, _logits(self._wanted))

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
            chain = _chain(own)
            start = chain[0].input
            x = self._replay(done, output=Ref(start)) if done else _Kept(self._program.kept)[start]
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
            raise InputError(_NOT_KEPT)
        return self._layers[layer.index]


_NOT_KEPT = (
    "the pass did not keep the tensors that this needs: give Runner.run branches=True for tensors "
    "and replace_branch, states=True for input, total and block_output, functions=True for reorder "
    "and path, layers=True for layer_image and add_to_layer, inputs=True for model_input and "
    "replace_input, taps=True for taps."
)


class _Kept(Mapping[int, "Tensor"]):
    """The tensors that a pass kept; what it did not is refused in words."""

    def __init__(self, kept: Mapping[int, Tensor]) -> None:
        self._kept = kept

    def __getitem__(self, value: int) -> Tensor:
        try:
            return self._kept[value]
        except KeyError:
            raise InputError(_NOT_KEPT) from None

    def __iter__(self) -> Iterator[int]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


def _chain(blocks: Sequence[Block]) -> list[Block]:
    """Give blocks in the order of execution, if they may change places with each other."""
    chain = sorted(blocks, key=lambda block: block.index)
    neighbours = all(b.index == a.index + 1 and b.exchangeable for a, b in pairwise(chain))
    if not neighbours:
        names = ", ".join(block.name for block in chain)
        raise InputError(
            f"the blocks {names} can't change places: give blocks of one stage, each starting "
            "where the one before it ends."
        )
    return chain


def _values(block: Block) -> tuple[int, ...]:
    shortcut = () if block.shortcut is None else (block.shortcut,)
    return (block.input, *shortcut, *(operand.value for operand in block.branch))


def _tensors_of(block: Block, kept: Mapping[int, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    # Where the skip is the identity, x and s are the same tensor, not only equal ones.
    x = samples_first(block, kept[block.input])
    s = x if block.shortcut == block.input else _shortcut(block, kept)
    return x, s, samples_first(block, branch_of(block, kept))


def branch_of(block: Block, tensors: Mapping[int, Tensor]) -> Tensor:
    """Give G: the sum of the branch's operands, each times its factor."""
    parts = [
        tensors[operand.value] if operand.factor == 1 else operand.factor * tensors[operand.value]
        for operand in block.branch
    ]
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


def _shortcut(block: Block, kept: Mapping[int, Tensor]) -> Tensor:
    if block.shortcut is None:
        return shortcut_of(block, samples_first(block, kept[block.input]))
    return samples_first(block, kept[block.shortcut])
