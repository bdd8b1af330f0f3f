"""Interventions on blocks: `Runner` finds them once, and each batch is a `Pass`."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from resprobe.blocks.batch_norm import reads_statistics
from resprobe.blocks.chosen import blocks_at
from resprobe.blocks.discover import discover, unchanged
from resprobe.blocks.kept import Keep, needed
from resprobe.blocks.layer_activation import Activation, find_activations
from resprobe.blocks.layers import Layer, find_layers, found_again
from resprobe.blocks.passes import Pass
from resprobe.blocks.program import record
from resprobe.blocks.randomness import set_random_states
from resprobe.blocks.samples import count_samples, with_sample_axes
from resprobe.blocks.shows import Seeing, Shows, block_shows, with_activations, with_layers
from resprobe.blocks.structure import rebuild
from resprobe.errors import InputError, ViolationError

if TYPE_CHECKING:
    from torch import Tensor

    from resprobe.blocks.block import Block, Blocks, Operand
    from resprobe.blocks.operations import Program
    from resprobe.blocks.shows import See, SeeActivation, SeeLayer, SeeOutput, Show


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
        seeing = Seeing(see, see_output, see_layer, see_activation)
        shows = Shows(self._planned(seeing), self.blocks, seeing)
        program = record(
            self.model,
            self._fresh(args),
            self._fresh(kwargs),
            keep=kept | shows.values,
            visits=shows.visits(kept),
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
        shows.show_rest(program, blocks, known)
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
        chosen = blocks_at(self.blocks, wanted)
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

    def _planned(self, seeing: Seeing) -> list[Show]:
        """Plan what is shown, in the order of execution."""
        shows = block_shows(
            self._program,
            self.blocks,
            before=seeing.see is not None,
            after=seeing.see_output is not None,
        )
        if seeing.see_layer is not None:
            shows = with_layers(shows, self.layers)
        if seeing.see_activation is not None:
            shows = with_activations(shows, self.activations)
        return shows

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
        layers = self.layers if keep.layers else ()
        return needed(keep, self._program, self.blocks, layers, self._wanted)


def _cloned(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, torch.Tensor) else leaf


def _arguments(batch: Tensor | tuple[Any, ...]) -> tuple[Any, ...]:
    return batch if isinstance(batch, tuple) else (batch,)


def _alike(block: Block) -> tuple[Any, ...]:
    """Give what must be equal for a block to be the same one in two recordings."""
    return block.name, block.skip
