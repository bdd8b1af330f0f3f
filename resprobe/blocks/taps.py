"""The network of a recorded pass with a tap on every branch, for gradients and for captum.

Branches are values of a program, not outputs of modules. So the recorded operations are run again
as a function of the network's input, by the same kernels and with autograd, and every branch goes
through an `nn.Module` of its own before it is added: there captum's layer methods find it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from resprobe.blocks.kinds import STACKED_SUM
from resprobe.blocks.path import Path
from resprobe.blocks.replacements import GRADIENT_REPLACEMENTS
from resprobe.blocks.samples import samples_first
from resprobe.blocks.structure import Ref
from resprobe.errors import InputError

if TYPE_CHECKING:
    from resprobe.blocks.block import Block, Blocks, Operand
    from resprobe.blocks.functional import FunctionalCall
    from resprobe.blocks.operations import Program

# What carries an in-place addition on to other tensors on its storage.
_CARRIED = ("write_back", "views", "alias")


class Tap(nn.Module):
    """The identity, where the gradient with respect to what goes through it can be asked for."""

    def forward(self, branch: Tensor) -> Tensor:
        """Give the same numbers; where they have no graph yet, one begins here."""
        return branch if branch.requires_grad else branch.detach().requires_grad_()


class _Tapped(NamedTuple):
    """Where a tap is.

    Attributes:
        block: whose branch goes through it.
        value: what goes in, in the recorded program.
        out: the number that stands for what comes out; no value of the program has a negative one.
    """

    block: Block
    value: int
    out: int


class Taps(nn.Module):
    """The logits as a function of the network's first input, with a tap on every branch.

    Where several additions make s + G, each operand of G has a tap. A branch h·F is tapped before
    the factor where the addition itself multiplies; the product of a gradient and an activation,
    or a change of it, is the same there.

    It holds for as many samples as were recorded. Other inputs, such as attention masks, and
    numbers that Python read stay as they were. Parameters are constants: nothing is written to the
    model, nor left on it.

    Args:
        program: the recording, with what `needs` names kept.
        blocks: in that recording.
        logits: value of the logits, `(sample, class)`.

    Attributes:
        taps: the modules, in the order of execution; none for a branch that does not lead to the
            logits.

    Raises:
        InputError: the network is a plain one, the logits depend on no branch, something draws
            random numbers, or writes in place in a way that can't be expressed as a function.
    """

    def __init__(self, program: Program, blocks: Blocks, logits: int) -> None:
        super().__init__()
        if blocks.plain:
            raise InputError(
                "the network is a plain one: each of its units is all there is, not a branch "
                "beside a skip, so none has a share of the logit; leave attribution out with "
                "--quantity."
            )
        self._path = Path(
            program,
            program.inputs[0],
            [(logits, 1.0)],
            replacements=GRADIENT_REPLACEMENTS,
            changing=[operand.value for block in blocks for operand in block.branch],
        )
        self._logits, self._blocks = logits, blocks
        self._calls, self._tapped = _with_taps(program, self._path.calls, blocks)
        if not self._tapped:
            raise InputError(
                "the logits depend on no branch of the network; name another output as the "
                "logits, or leave attribution out with --quantity."
            )
        self.taps = nn.ModuleList(Tap() for _ in self._tapped)

    @staticmethod
    def needs(program: Program, logits: int) -> set[int]:
        """Give the values that must be kept, the network's input among them.

        Args:
            program: a recording, which need not keep any tensor.
            logits: as for the function itself.
        """
        return Path.needs(program, program.inputs[0], [(logits, 1.0)])

    @property
    def x(self) -> Tensor:
        """The recorded input, `(sample, …)`: the first tensor that the model was given."""
        return self._path.point()

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits `(sample, class)` of an input `(sample, …)`."""
        return self.run(x)[0]

    def run(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Give the logits, and what came out of each tap as the model has it laid out."""
        values = {**self._path.constants, self._path.input: x}
        tapped = self._run(values)
        return values[self._logits], tapped

    def rest(self) -> Rest:
        """Give the logits as a function of all branches at once, at the recorded input."""
        moved = {one.out for one in self._tapped}
        calls = []
        for call in _needed(self._calls, self._logits):
            if not moved.isdisjoint(call.reads):
                moved.update(call.makes)
                calls.append(call)
        read = {value for call in calls for value in call.reads} - moved
        values = {**self._path.constants, self._path.input: self.x}
        with torch.no_grad():
            branches = [branch.detach() for branch in self._run(values, keep=read)]
        constants = {value: values[value] for value in read}
        return Rest(calls, constants, self._tapped, branches, self._logits)

    def by_block(self, parts: Iterable[Tensor]) -> Tensor:
        """Sum over the elements of each branch.

        Args:
            parts: one tensor for each tap, laid out as the model has it.

        Returns:
            `(sample, block)` float64; 0 for a block that does not lead to the logits.
        """
        shape = (self._path.samples, len(self._blocks))
        found = torch.zeros(shape, dtype=torch.float64, device=self.x.device)
        for one, part in zip(self._tapped, parts, strict=True):
            own = samples_first(one.block, part).flatten(1)
            found[:, one.block.index] += own.sum(1, dtype=torch.float64)
        return found

    def _run(self, values: dict[int, Tensor], keep: Collection[int] = ()) -> list[Tensor]:
        """Run all calls; of the values those to keep and the logits are left."""
        tapped: list[Tensor] = []
        for call, freed in zip(self._calls, self._path.freed, strict=True):
            for place in range(len(tapped), len(self._tapped)):
                one = self._tapped[place]
                if one.out not in call.reads:
                    break
                tapped.append(self.taps[place](values[one.value]))
                values[one.out] = tapped[-1]
            call.run(values)
            for value in freed:
                if value not in keep:
                    values.pop(value, None)
        return tapped


class Rest:
    """What becomes of the branches: the logits as a function of all of them at once.

    Only what follows the taps is run: skips, additions, activations after them and the head; no
    branch is computed. At branches of zero it is the network with all of them dropped.

    Args:
        calls: what is run, in order.
        constants: value to tensor of what they read beside the branches.
        tapped: the taps.
        branches: what came out of them at the recorded input, as the model has it laid out.
        logits: the value that is given.

    Attributes:
        branches: the same, `(sample, …)`.
    """

    def __init__(
        self,
        calls: Sequence[FunctionalCall],
        constants: dict[int, Tensor],
        tapped: Sequence[_Tapped],
        branches: Sequence[Tensor],
        logits: int,
    ) -> None:
        self._calls, self._constants = calls, constants
        self._tapped, self._logits = tapped, logits
        both = zip(tapped, branches, strict=True)
        self.branches = tuple(samples_first(one.block, branch) for one, branch in both)

    def __call__(self, *branches: Tensor) -> Tensor:
        """Give the logits with these in the place of the branches, each `(sample, …)`."""
        values = dict(self._constants)
        for one, branch in zip(self._tapped, branches, strict=True):
            values[one.out] = branch.movedim(0, one.block.sample_axis)
        for call in self._calls:
            call.run(values)
        return values[self._logits]

    def laid_out(self, branches: Sequence[Tensor]) -> list[Tensor]:
        """Give tensors `(sample, …)`, one for each tap, as the model has branches laid out."""
        both = zip(self._tapped, branches, strict=True)
        return [branch.movedim(0, one.block.sample_axis) for one, branch in both]


def _with_taps(
    program: Program, calls: Sequence[FunctionalCall], blocks: Blocks
) -> tuple[list[FunctionalCall], list[_Tapped]]:
    """Let the additions of blocks read what comes out of taps."""
    additions: dict[int, list[tuple[Block, Operand]]] = {}
    for block in blocks:
        for operand in (*block.carried, *block.branch):
            addition = id(program.operations[operand.operation])
            additions.setdefault(addition, []).append((block, operand))
    own: list[FunctionalCall] = []
    tapped: list[_Tapped] = []
    for call in calls:
        operands = additions.get(id(call.operation))
        if operands is None or call.name in _CARRIED:
            own.append(call)
            continue
        places: dict[int, Ref] = {}
        for block, operand in operands:
            places[operand.place] = Ref(operand.value)
            if operand in block.branch:
                tapped.append(_Tapped(block, operand.value, -len(tapped) - 1))
                places[operand.place] = Ref(tapped[-1].out)
        own.append(_reading(call, places))
    return own, tapped


def _reading(call: FunctionalCall, places: dict[int, Ref]) -> FunctionalCall:
    """Give an addition that reads these values at the places of its operands."""
    if call.operation.function is STACKED_SUM:
        read = tuple(places[place] for place in sorted(places))
        return replace(call, function=_stacked_sum, args=read, kwargs={})
    args = tuple(places.get(place, arg) for place, arg in enumerate(call.args))
    return replace(call, args=args)


def _stacked_sum(*operands: Tensor) -> Tensor:
    return torch.stack(operands).sum(0)


def _needed(calls: Sequence[FunctionalCall], wanted: int) -> list[FunctionalCall]:
    """Give those calls that a value needs, where what comes out of taps is given."""
    needed = {wanted}
    found = []
    for call in reversed(calls):
        if not needed.isdisjoint(call.makes):
            needed.update(call.reads)
            found.append(call)
    return found[::-1]


def logits_of(wanted: Any) -> int:
    """Give the value of the logits.

    Args:
        wanted: structure of `Ref` that replays give.

    Raises:
        InputError: the output is not one tensor.
    """
    if not isinstance(wanted, Ref):
        raise InputError(
            "the model's output is not one tensor of logits; give Runner a `select` that picks it."
        )
    return wanted.value
