"""What a recorded training step measures: from tensors in passing to one row of numbers.

Nothing here waits for the device: every number stays where the tensors are until a batch of rows
is handed over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from resprobe.blocks.live import LiveBlocks, Through
from resprobe.blocks.samples import samples_first
from resprobe.errors import InputError
from resprobe.handover import Rows
from resprobe.linalg.norms import run_norms, run_products, sum_of_squares
from resprobe.quantities.norms import from_sums
from resprobe.store.training import training_groups

if TYPE_CHECKING:
    from resprobe.blocks.block import Block, Blocks

# Rows handed over at once.
BATCH_ROWS = 64

_OF_SUMS = (
    "input_norm",
    "shortcut_norm",
    "branch_norm",
    "branch_shortcut_ratio",
    "branch_shortcut_cosine",
)
_OF_SHORTCUT = {"shortcut_norm", "branch_shortcut_ratio", "branch_shortcut_cosine"}
_OF_PARAMETERS = ("parameter", "parameter_gradient", "parameter_update")


class _Parameters:
    """Norms and sums of many tensors in few operations.

    Small tensors of one shape are stacked and reduced together, because calling an operation
    costs more than reducing them; large ones are reduced by themselves.

    Args:
        parameters: all that is trained, by name.
    """

    SMALL = 1 << 16

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.tensors = list(parameters.values())
        groups: dict[tuple[Any, ...], list[int]] = {}
        for place, tensor in enumerate(self.tensors):
            small = tensor.numel() <= self.SMALL
            key = (tensor.shape, tensor.dtype) if small else (place,)
            groups.setdefault(key, []).append(place)
        self._groups = list(groups.values())
        order = [place for group in self._groups for place in group]
        device = self.tensors[0].device
        back = torch.empty(len(order), dtype=torch.int64)
        back[torch.tensor(order)] = torch.arange(len(order))
        self._back = back.to(device)

    def stacked(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Copy the tensors, one for each parameter, into stacks `(tensor, element)`."""
        return [
            torch.stack([tensors[place].detach() for place in group]).reshape(len(group), -1)
            for group in self._groups
        ]

    def norms(self, stacks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Give L2 norm and sum of each tensor, `(parameter,)` float64, in the given order."""
        norms = torch.cat(
            [torch.linalg.vector_norm(stack, dim=1, dtype=torch.float64) for stack in stacks]
        )
        sums = torch.cat([stack.sum(dim=1, dtype=torch.float64) for stack in stacks])
        return norms[self._back], sums[self._back]


class _Pass:
    """What one forward pass left: norms of runs by block, and of the branches' gradients."""

    def __init__(self) -> None:
        self.runs: dict[str, list[Tensor]] = {"x": [], "s": [], "g": [], "dot": []}
        self.gradients: dict[int, Tensor] = {}
        self.samples = 0

    def check(self, block: Block, branch: Tensor) -> None:
        """Refuse blocks whose first dimension is not the sample.

        Raises:
            InputError: blocks of one pass differ in it; the block is named.
        """
        samples = branch.shape[0]
        if self.samples and samples != self.samples:
            raise InputError(
                f"block {block.name} has {samples} samples where the blocks before it have "
                f"{self.samples}: its first dimension is not the sample, so its norms can't be "
                "taken per sample; record a part of the model whose blocks agree."
            )
        self.samples = samples


class StepWork:
    """The tensors of one step in progress and the arithmetic that makes a row of them."""

    def __init__(
        self,
        model: nn.Module,
        blocks: Blocks,
        parameters: Mapping[str, nn.Parameter],
        names: frozenset[str],
        device: torch.device,
    ) -> None:
        self._blocks = blocks
        self._names = names
        self._device = device
        self._parameters = _Parameters(parameters)
        self._numel = torch.tensor(
            [p.numel() for p in parameters.values()], dtype=torch.float64, device=device
        )
        order = {name: place for place, name in enumerate(parameters)}
        membership = torch.zeros(len(blocks), len(parameters), dtype=torch.float64)
        for block in blocks:
            for name in block.parameters:
                if name in order:
                    membership[block.index, order[name]] = 1.0
        self._membership = membership.to(device)
        self._wants_updates = any("update" in name for name in names)
        self._previous: list[Tensor] = []
        self._live = LiveBlocks(model, blocks.blocks, self)
        self._passes: list[_Pass] = []
        self._inputs: dict[int, Tensor] = {}
        self.widths = {
            v.name: _width(v.dims, len(blocks), len(parameters))
            for v in training_groups(blocks, list(parameters), names)[0].variables
            if v.dims and v.name not in ("step", "learning_rate")
        }
        self.rows = Rows(self.widths, BATCH_ROWS)

    @property
    def passes(self) -> int:
        """How many forward passes the step in progress has seen."""
        return len(self._passes)

    def enter(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Begin a forward pass; before the first of a step, keep the weights it starts from."""
        if not self._passes and self._wants_updates:
            with torch.no_grad():
                self._previous = self._parameters.stacked(self._parameters.tensors)
        self._passes.append(_Pass())
        self._inputs.clear()
        self._live.start(args, kwargs)

    def leave(self, *, finished: bool) -> None:
        """End a forward pass; one that raised is forgotten."""
        if not self._live.active:
            return
        if not finished:
            self._passes.pop()
        self._live.stop(finished=finished)

    def close(self) -> None:
        """Leave nothing on the model."""
        self._live.close()

    # The blocks are shown in the order of execution. Their tensors are reduced to the norms of
    # short runs at once, because they may be overwritten; a row adds those up at its end.

    def input(self, block: Block, x: Tensor) -> None:
        """Take x of a block whose shortcut is another tensor."""
        if "input_norm" in self._names:
            self._inputs[block.index] = run_norms(x)

    def branch(self, block: Block, s: Tensor, branch: Tensor, through: Through) -> None:
        """Take s and G of a block, and the gradient of G when it is there."""
        one, names = self._passes[-1], self._names
        one.check(block, branch)
        of_x = self._inputs.pop(block.index, None)
        if names & {"branch_norm", "branch_shortcut_ratio", "branch_shortcut_cosine"}:
            one.runs["g"].append(run_norms(branch))
        of_s = None
        if names & _OF_SHORTCUT:
            of_s = run_norms(s)
            one.runs["s"].append(of_s)
        if "input_norm" in names:
            if of_x is None:  # s is x
                of_x = run_norms(s) if of_s is None else of_s
            one.runs["x"].append(of_x)
        if "branch_shortcut_cosine" in names:
            one.runs["dot"].append(run_products(s, branch))
        operand, factor = through
        if "branch_gradient_norm" in names and operand.requires_grad:

            def seen(gradient: Tensor) -> None:
                norms = run_norms(samples_first(block, gradient))
                one.gradients[block.index] = norms if factor == 1 else norms / abs(factor)

            operand.register_hook(seen)

    def row(self, loss: Tensor | float, accuracy: Tensor | float | None) -> Tensor:
        """Give all columns of this step as one float64 vector on the device, and start anew."""
        values = self._of_blocks()
        values.update(self._of_parameters())
        values["loss"] = self._scalar(loss)
        values["accuracy"] = self._scalar(float("nan") if accuracy is None else accuracy)
        self._passes = []
        return torch.cat([values[name].reshape(-1) for name in self.widths])

    def _of_blocks(self) -> dict[str, Tensor]:
        """Give mean and standard deviation over the batch of each block's quantities."""
        # A pass without a backward pass, of a batch that was skipped, is no part of the step.
        passes = [one for one in self._passes if one.gradients] or self._passes
        sums = {}
        for key in ("x", "s", "g", "dot"):
            if passes[0].runs[key]:
                add = _added if key == "dot" else sum_of_squares
                sums[key] = torch.cat([_by_block(one.runs[key], add) for one in passes], dim=1)
        nothing = torch.full((), float("nan"), dtype=torch.float64, device=self._device)
        of_samples = from_sums(*(sums.get(key, nothing) for key in ("x", "s", "g", "dot")))
        if "branch_gradient_norm" in self._names:
            of_samples["branch_gradient_norm"] = torch.cat(
                [self._of_gradient(one) for one in passes], dim=1
            )
        names = [name for name in (*_OF_SUMS, "branch_gradient_norm") if name in of_samples]
        wanted = [name for name in names if name in self._names]
        values = {}
        if wanted:
            std, mean = torch.std_mean(
                torch.stack([of_samples[name] for name in wanted]), dim=2, correction=0
            )
            for place, name in enumerate(wanted):
                values[name], values[f"{name}_std"] = mean[place], std[place]
        return values

    def _of_gradient(self, one: _Pass) -> Tensor:
        """Give the norms of a pass's branch gradients, `(block, sample)`, NaN where frozen."""
        shape = (len(self._blocks), one.samples or 1)
        norms = torch.full(shape, float("nan"), dtype=torch.float64, device=self._device)
        there = sorted(one.gradients)
        if not there:
            return norms
        found = _by_block([one.gradients[index] for index in there], sum_of_squares).sqrt_()
        if len(there) == len(self._blocks):
            return found
        for row, index in enumerate(there):
            norms[index] = found[row]
        return norms

    def _of_parameters(self) -> dict[str, Tensor]:
        """Give norm, mean and standard deviation of weights, gradients and updates."""
        values: dict[str, Tensor] = {}
        now: list[Tensor] | None = None
        for kind, block_name in zip(
            _OF_PARAMETERS, ("weight_norm", "gradient_norm", "update_norm"), strict=True
        ):
            statistics = {f"{kind}_norm", f"{kind}_mean", f"{kind}_std", block_name}
            if not statistics & self._names:
                continue
            present = torch.ones_like(self._numel)
            if kind == "parameter_gradient":
                norm, total, present = self._of_gradients()
            else:
                now = now or self._parameters.stacked(self._parameters.tensors)
                update = kind == "parameter_update"
                stacks = torch._foreach_sub(now, self._previous) if update else now
                norm, total = self._parameters.norms(stacks)
            mean = total / self._numel
            squares = norm.square()
            values[f"{kind}_norm"] = norm
            values[f"{kind}_mean"] = mean
            values[f"{kind}_std"] = (squares / self._numel - mean.square()).clamp_(min=0).sqrt_()
            values[block_name] = self._by_owner(squares, present)
        return values

    def _by_owner(self, squares: Tensor, present: Tensor) -> Tensor:
        """Give the norm of each block's parameters that are present, NaN without any.

        A product with zero would spread one parameter's NaN to every block.
        """
        counted = squares.where(present > 0, 0.0)
        broken = (~counted.isfinite()).double()
        total = self._membership @ counted.where(broken == 0, 0.0)
        there = (self._membership @ present > 0) & (self._membership @ broken == 0)
        return total.sqrt_().where(there, float("nan"))

    def _of_gradients(self) -> tuple[Tensor, Tensor, Tensor]:
        """Give norm and sum of each gradient, NaN for a parameter that has none in this step.

        The third tensor is 1 for a parameter that has one, else 0.
        """
        tensors = self._parameters.tensors
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in tensors]
        norm, total = self._parameters.norms(self._parameters.stacked(gradients))
        present = torch.ones_like(norm)
        for place, parameter in enumerate(tensors):
            if parameter.grad is None:
                norm[place] = total[place] = float("nan")
                present[place] = 0.0
        return norm, total, present

    def _scalar(self, value: Tensor | float) -> Tensor:
        if isinstance(value, Tensor):
            return value.detach().to(torch.float64).reshape(())
        return torch.full((), value, dtype=torch.float64, device=self._device)


def _by_block(runs: Sequence[Tensor], add: Callable[[Tensor], Tensor]) -> Tensor:
    """Add up the runs of each block, `(sample, run)`, to `(block, sample)`.

    Neighbouring blocks have features of one shape, so a stage is added up at once.
    """
    return torch.cat(
        [add(torch.stack(list(stage))) for _, stage in groupby(runs, key=lambda run: run.shape)]
    )


def _added(products: Tensor) -> Tensor:
    return products.sum(dim=-1, dtype=torch.float64)


def _width(dims: tuple[str, ...], blocks: int, parameters: int) -> int:
    sizes = {"block": blocks, "parameter": parameters}
    return sizes[dims[1]] if len(dims) > 1 else 0
