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
from resprobe.recording.parameters import ParameterStatistics
from resprobe.store.training import training_groups

if TYPE_CHECKING:
    from resprobe.blocks.block import Block, Blocks
    from resprobe.recording.together import Together

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


class _Pass:
    """What one forward pass left: norms of runs by block, and of the branches' gradients.

    The gradients are those of the loss times `scale`, where a gradient scaler gave one.
    """

    def __init__(self) -> None:
        self.runs: dict[str, list[Tensor]] = {"x": [], "s": [], "g": [], "dot": []}
        self.gradients: dict[int, Tensor] = {}
        self.scale: Tensor | None = None
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
    """The tensors of one step in progress and the arithmetic that makes a row of them.

    Args:
        model: the network.
        blocks: that were found in it.
        names: quantities that are wanted.
        scaler: of the loss, whose gradients are divided by its scale again.
        together: the processes that share the batch, where there are several.
    """

    def __init__(
        self,
        model: nn.Module,
        blocks: Blocks,
        names: frozenset[str],
        scaler: torch.amp.GradScaler | None = None,
        together: Together | None = None,
    ) -> None:
        parameters = dict(model.named_parameters())
        self._blocks = blocks
        self._names = names
        self._scaler, self._together = scaler, together
        self._device = next(iter(parameters.values())).device
        self._one = torch.ones((), dtype=torch.float64, device=self._device)
        self._live = LiveBlocks(model, blocks.blocks, self)
        self._passes: list[_Pass] = []
        self._inputs: dict[int, Tensor] = {}
        self._wanted = [n for n in (*_OF_SUMS, "branch_gradient_norm") if n in names]
        writes = together is None or together.writes
        self._parameters = ParameterStatistics(parameters, blocks, names) if writes else None
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

    @property
    def layout(self) -> str:
        """Say which numbers of which blocks this process gives of its samples."""
        names = [block.name for block in self._blocks]
        return f"{self._wanted} of {names}, {'' if self._scaler is None else 'un'}scaled"

    @property
    def shared_size(self) -> int:
        """How many numbers a step is that is added up over processes."""
        return 2 * len(self._wanted) * len(self._blocks) + 4

    @property
    def lacks_gradients(self) -> bool:
        """Whether gradients of parameters are wanted, and none has one."""
        return self._parameters is not None and self._parameters.lacks_gradients

    def attach(self) -> None:
        """Put the hooks on the model with which its blocks are seen."""
        self._live.attach()

    def detach(self) -> None:
        """Leave nothing on the model, as for the steps that are not recorded."""
        self._live.detach()

    def enter(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Begin a forward pass; before the first of a step, keep the weights it starts from."""
        if not self._passes and self._parameters is not None:
            self._parameters.keep()
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

    def forget(self) -> None:
        """Forget the passes of a step that gets no row."""
        self._passes = []

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
                if one.scale is None and self._scaler is not None:
                    # That of this backward pass: the next step may have another.
                    one.scale = self._scaler.scale(self._one)
                norms = run_norms(samples_first(block, gradient))
                one.gradients[block.index] = norms if factor == 1 else norms / abs(factor)

            operand.register_hook(seen)

    def row(self, loss: Tensor | float, accuracy: Tensor | float | None) -> Tensor | None:
        """Give all columns of this step as one float64 vector on the device, and start anew.

        None in a process that does not write: it only adds its samples to those of the others.
        """
        missing = float("nan")
        figures = [self._scalar(loss), self._scalar(missing if accuracy is None else accuracy)]
        values = self._of_blocks(figures)
        self._passes = []
        if self._parameters is None:
            return None
        values.update(self._parameters.row())
        return torch.cat([values[name].reshape(-1) for name in self.widths])

    def _of_blocks(self, figures: list[Tensor]) -> dict[str, Tensor]:
        """Give the figures, and mean and standard deviation of each block's quantities."""
        # A pass without a backward pass, of a batch that was skipped, is no part of the step.
        passes = [one for one in self._passes if one.gradients] or self._passes
        values = dict(zip(("loss", "accuracy"), figures, strict=True))
        if self._together is None and not self._wanted:
            return values
        of_samples = self._of_samples(passes)
        if self._together is None:
            std, mean = torch.std_mean(of_samples, dim=2, correction=0)
        else:
            mean, std, joined = self._together.statistics(
                of_samples, torch.stack(figures), sum(one.samples for one in passes)
            )
            values["loss"], values["accuracy"] = joined
        for place, name in enumerate(self._wanted):
            values[name], values[f"{name}_std"] = mean[place], std[place]
        return values

    def _of_samples(self, passes: Sequence[_Pass]) -> Tensor:
        """Give the wanted quantities of each sample, `(quantity, block, sample)` float64."""
        if not passes or not self._wanted:
            shape = (len(self._wanted), len(self._blocks), 0)
            return torch.zeros(shape, dtype=torch.float64, device=self._device)
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
        return torch.stack([of_samples[name] for name in self._wanted])

    def _of_gradient(self, one: _Pass) -> Tensor:
        """Give the norms of a pass's branch gradients, `(block, sample)`, NaN where frozen."""
        norms = self._norms_of_gradients(one)
        if one.scale is not None:
            norms = norms / one.scale
        # The network is trained on the mean of the processes' losses.
        return norms if self._together is None else norms / self._together.count

    def _norms_of_gradients(self, one: _Pass) -> Tensor:
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
