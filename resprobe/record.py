"""Measure while training: a context manager for anybody's loop."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from resprobe.blocks.discover import find_blocks
from resprobe.blocks.live import LiveBlocks
from resprobe.blocks.selftest import prove
from resprobe.errors import DiskFullError, InputError, UnknownNameError
from resprobe.handover import Rows, WritingThread
from resprobe.linalg.norms import run_norms, run_products, sum_of_squares
from resprobe.provenance import device_attributes, provenance
from resprobe.quantities.norms import from_sums
from resprobe.quantities.quantity import all_quantities
from resprobe.store.lock import run_lock
from resprobe.store.schema import STATUS
from resprobe.store.training import EPOCH, STEP, training_groups
from resprobe.store.writer import Writer

if TYPE_CHECKING:
    from resprobe.blocks.block import Block, Blocks

# Rows handed over at once, and the longest that a row waits for it, in seconds.
_BATCH_ROWS = 64
_PATIENCE = 10.0

_OF_SUMS = (
    "input_norm",
    "shortcut_norm",
    "branch_norm",
    "branch_shortcut_ratio",
    "branch_shortcut_cosine",
)
_OF_SHORTCUT = {"shortcut_norm", "branch_shortcut_ratio", "branch_shortcut_cosine"}
_ALWAYS = ("loss", "accuracy", "learning_rate")
_OF_PARAMETERS = ("parameter", "parameter_gradient", "parameter_update")


class Recorder:
    """Records every block and parameter while a network trains, without changing the training.

    >>> with resprobe.Recorder(model, "run", optimizer=optimizer) as recorder:  # doctest: +SKIP
    ...     for x, y in batches:
    ...         optimizer.zero_grad()
    ...         loss = F.cross_entropy(model(x), y)
    ...         loss.backward()
    ...         optimizer.step()
    ...         recorder.step(loss)

    The blocks are found in the first training-mode forward pass. A recorded step holds, for each
    block, mean and standard deviation over the batch of the norms, ratio, cosine and branch
    gradient, and norms of weights, gradients and updates; for each parameter norm, mean and
    standard deviation of weights, gradients and updates; loss, accuracy and learning rate.
    Nothing in a step waits for the device: rows are handed over in batches and written by a
    thread. Several forward passes before one `step` count as one batch.

    Args:
        model: an eager module whose first dimension is the sample; not compiled.
        out: a run directory (written as `training.h5` there) or a path ending in .h5.
        optimizer: the learning rate is read from its first group; None leaves it NaN.
        every: steps between recorded steps; the first step is always recorded.
        quantities: names to record beside loss, accuracy and learning rate; None for all.
        start_step: go on after this step of an earlier recording; its later rows are forgotten.
        attributes: provenance to store beside our own, of str, int or float.

    Attributes:
        status: what became of the recording; set it before the end ("finished" unless set;
            "interrupted" when the body raises).
        blocks: the blocks, once found.
        path: the file.

    Raises:
        InputError: the file exists (without `start_step`), another process holds the run, no
            blocks are found, or the model can't be recorded.
        UnknownNameError: of a quantity that is not recorded while training.
        ViolationError: the self-test fails on the model.
    """

    def __init__(
        self,
        model: nn.Module,
        out: str | Path,
        *,
        optimizer: torch.optim.Optimizer | None = None,
        every: int = 1,
        quantities: Sequence[str] | None = None,
        start_step: int = 0,
        attributes: Mapping[str, str | int | float] | None = None,
    ) -> None:
        if every < 1:
            raise InputError(f"every={every}: record every 1, 2, 3 … steps.")
        self.model = model
        self.path = Path(out) if str(out).endswith(".h5") else Path(out) / "training.h5"
        self.status: str | None = None
        self.blocks: Blocks | None = None
        self._optimizer = optimizer
        self._every = every
        self._names = _chosen(quantities)
        self._step = self._start = start_step
        self._attributes = dict(attributes or {})
        self._stack = ExitStack()
        self._work: _Work | None = None
        self._thread: WritingThread | None = None
        self._epochs = 0
        self._epoch_rows: list[dict[str, Any]] = []
        self._last_handover = time.monotonic()
        self._told = False
        self._beginning = False

    def __enter__(self) -> Self:
        if self._start == 0 and self.path.exists():
            raise InputError(
                f"{self.path} exists; choose another place, or go on after its step with "
                "start_step."
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._stack.enter_context(run_lock(self.path.parent))
        for handle in (
            self.model.register_forward_pre_hook(self._enter_forward, with_kwargs=True),
            self.model.register_forward_hook(
                self._leave_forward, with_kwargs=True, always_call=True
            ),
        ):
            self._stack.callback(handle.remove)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        status = self.status or ("finished" if kind is None else "interrupted")
        try:
            if self._thread is not None and self._work is not None:
                self._hand_over()
                self._thread.close(status)
                self._tell_failure()
        finally:
            if self._work is not None:
                self._work.close()
            self._stack.close()

    def step(self, loss: Tensor | float, accuracy: Tensor | float | None = None) -> None:
        """Record the step that the optimizer has just taken.

        Args:
            loss: of the step, 0-d on the model's device (never waited for) or a number.
            accuracy: of the batch, likewise; None leaves it NaN.

        Raises:
            InputError: no training-mode forward pass ran since the last step.
        """
        self._step += 1
        if (self._step - 1) % self._every or self._failed:
            return
        if self._work is None or not self._work.passes:
            raise InputError(
                "Recorder.step was called without a forward pass of the model in training mode "
                "before it; call it once after each optimizer.step()."
            )
        groups = self._optimizer.param_groups if self._optimizer is not None else ()
        rate = float(groups[0]["lr"]) if groups else float("nan")
        with torch.no_grad():
            row = self._work.row(loss, accuracy)
        self._work.rows.add(row, {"step": self._step, "learning_rate": rate})
        late = time.monotonic() - self._last_handover > _PATIENCE
        if self._work.rows.full or late:
            self._hand_over()

    def epoch(self, **values: float) -> None:
        """Record the end of an epoch.

        Args:
            **values: any of train_loss, train_error, test_loss, test_error, learning_rate,
                wall_time (seconds of the epoch).

        Raises:
            UnknownNameError: of another value.
        """
        known = {v.name: float("nan") for v in EPOCH if v.name not in ("epoch", "step")}
        for name in values:
            if name not in known:
                raise UnknownNameError("value of an epoch", name, known)
        self._epochs += 1
        row = {**known, **values, "epoch": self._epochs, "step": self._step}
        self._epoch_rows.append({name: np.asarray([value]) for name, value in row.items()})
        self._hand_over()

    # -- the model's forward pass -----------------------------------------------------------------

    def _enter_forward(self, model: nn.Module, args: Any, kwargs: Any) -> None:
        if not (model.training and torch.is_grad_enabled()) or self._failed:
            return
        if self._step % self._every or self._beginning:
            return
        if self._work is None:
            self._beginning = True  # the self-test runs the model too
            try:
                self._work = self._begin(args, kwargs)
            finally:
                self._beginning = False
        self._work.enter(args, kwargs)

    def _leave_forward(self, model: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self._work is not None:
            # A forward that raised has no output; its own error must reach the caller.
            self._work.leave(finished=output is not None)

    def _begin(self, args: Any, kwargs: Any) -> _Work:
        """Find the blocks, prove the instrument and make the file, at the first forward pass."""
        device = next(self.model.parameters()).device
        # The blocks are the same with and without autocast; under it, casts would hide parameters.
        with torch.autocast(device.type, enabled=False):
            blocks = find_blocks(self.model, *args, **kwargs)
            proof = _prove(self.model, args, kwargs) if blocks.blocks else ""
        if not blocks.blocks:
            raise InputError(
                "no residual blocks were found in the model, so there is nothing to record; a "
                "plain network may declare its units in the attribute plain_units."
            )
        self.blocks = blocks
        parameters = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        dtype = str(next(iter(parameters.values())).dtype).removeprefix("torch.")
        attributes = {
            **provenance(),
            **device_attributes(str(device), dtype),
            "batch_norm_mode": "train",
            "self_test": proof,
            "record_every": self._every,
            **self._attributes,
        }
        groups = training_groups(blocks, list(parameters), self._names)
        resume = self._start > 0 and self.path.exists()
        writer = Writer(self.path, groups, attributes, chunk_rows=_BATCH_ROWS, resume=resume)
        if resume:
            self._rewind(writer)
        self._thread = WritingThread(writer)
        return _Work(self.model, blocks, parameters, self._names, device)

    def _rewind(self, writer: Writer) -> None:
        """Forget what was recorded after the step that training goes on from."""
        steps = writer.rows(STEP)
        writer.truncate(STEP, int((steps <= self._start).sum()))
        ends = writer.read("/training/epoch", "step")
        self._epochs = int((ends <= self._start).sum())
        writer.truncate("/training/epoch", self._epochs)
        for group in (STEP, "/training/epoch"):
            writer.put(group, {"status": STATUS.index("recording")})

    # -- handing over -------------------------------------------------------------------------

    @property
    def _failed(self) -> bool:
        return self._thread is not None and self._thread.error is not None

    def _hand_over(self) -> None:
        self._last_handover = time.monotonic()
        if self._thread is None or self._work is None:
            return
        if len(self._work.rows):
            self._thread.put(STEP, self._work.rows.take())
        for row in self._epoch_rows:
            self._thread.put("/training/epoch", row)
        self._epoch_rows.clear()
        self._tell_failure()

    def _tell_failure(self) -> None:
        """Say once that recording stopped; training goes on. Other errors are raised."""
        error = self._thread.error if self._thread is not None else None
        if error is None or self._told:
            return
        self._told = True
        if not isinstance(error, DiskFullError):
            raise error
        sys.stderr.write(f"Recording stopped, training goes on: {error}\n")


def _chosen(quantities: Sequence[str] | None) -> frozenset[str]:
    known = {
        name for name, q in all_quantities().items() if q.while_training or q.family == "step"
    } | {"weight_norm"}
    for name in quantities or ():
        if name not in known:
            raise UnknownNameError("quantity of a training step", name, known)
    return frozenset(known if quantities is None else {*quantities, *_ALWAYS})


def _prove(model: nn.Module, args: Any, kwargs: Any) -> str:
    if len(args) == 1 and not kwargs and isinstance(args[0], Tensor):
        return prove(model, args[0][:4])
    return "not run: it takes models of one tensor argument"


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
            torch.stack([tensors[place].detach() for place in group]).flatten(1)
            for group in self._groups
        ]

    def norms(self, stacks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Give L2 norm and sum of each tensor, `(parameter,)` float64, in the given order."""
        norms = torch.cat(
            [torch.linalg.vector_norm(stack, dim=1, dtype=torch.float64) for stack in stacks]
        )
        sums = torch.cat([stack.sum(dim=1, dtype=torch.float64) for stack in stacks])
        return norms[self._back], sums[self._back]


class _Work:
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
        self._runs: list[dict[str, list[Tensor]]] = []
        self._inputs: dict[int, Tensor] = {}
        self._gradients: dict[int, list[Tensor]] = {}
        self.widths = {
            v.name: _width(v.dims, len(blocks), len(parameters))
            for v in training_groups(blocks, list(parameters), names)[0].variables
            if v.name not in ("step", "learning_rate")
        }
        self.rows = Rows(self.widths, _BATCH_ROWS)

    @property
    def passes(self) -> int:
        """How many forward passes the step in progress has seen."""
        return len(self._runs)

    def enter(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Begin a forward pass; before the first of a step, keep the weights it starts from."""
        if not self._runs and self._wants_updates:
            with torch.no_grad():
                self._previous = self._parameters.stacked(self._parameters.tensors)
        self._runs.append({"x": [], "s": [], "g": [], "dot": []})
        self._live.start(args, kwargs)

    def leave(self, *, finished: bool) -> None:
        """End a forward pass."""
        if self._live.active:
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

    def branch(self, block: Block, s: Tensor, branch: Tensor) -> None:
        """Take s and G of a block."""
        runs = self._runs[-1]
        names = self._names
        of_x = self._inputs.pop(block.index, None)
        if names & {"branch_norm", "branch_shortcut_ratio", "branch_shortcut_cosine"}:
            runs["g"].append(run_norms(branch))
        of_s = None
        if names & _OF_SHORTCUT:
            of_s = run_norms(s)
            runs["s"].append(of_s)
        if "input_norm" in names:
            if of_x is None:  # s is x
                of_x = run_norms(s) if of_s is None else of_s
            runs["x"].append(of_x)
        if "branch_shortcut_cosine" in names:
            runs["dot"].append(run_products(s, branch))
        if "branch_gradient_norm" in names and branch.requires_grad:
            gradients = self._gradients.setdefault(block.index, [])

            def seen(gradient: Tensor) -> None:
                gradients.append(run_norms(gradient))

            branch.register_hook(seen)

    def row(self, loss: Tensor | float, accuracy: Tensor | float | None) -> Tensor:
        """Give all columns of this step as one float64 vector on the device, and start anew."""
        values = self._of_blocks()
        values.update(self._of_parameters())
        values["loss"] = self._scalar(loss)
        values["accuracy"] = self._scalar(float("nan") if accuracy is None else accuracy)
        self._runs, self._gradients = [], {}
        return torch.cat([values[name].reshape(-1) for name in self.widths])

    def _of_blocks(self) -> dict[str, Tensor]:
        """Give mean and standard deviation over the batch of each block's quantities."""
        sums = {}
        for key in ("x", "s", "g", "dot"):
            if self._runs[0][key]:
                add = _added if key == "dot" else sum_of_squares
                sums[key] = torch.cat([_by_block(one[key], add) for one in self._runs], dim=1)
        nothing = torch.full((), float("nan"), dtype=torch.float64, device=self._device)
        of_samples = from_sums(*(sums.get(key, nothing) for key in ("x", "s", "g", "dot")))
        if self._gradients:
            passes = zip(*(self._gradients[block.index] for block in self._blocks), strict=True)
            of_samples["branch_gradient_norm"] = torch.cat(
                [_by_block(list(one), sum_of_squares) for one in passes], dim=1
            ).sqrt_()
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
            if kind == "parameter_gradient":
                norm, total = self._of_gradients()
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
            values[block_name] = (self._membership @ squares).sqrt_()
        return values

    def _of_gradients(self) -> tuple[Tensor, Tensor]:
        """Give norm and sum of each gradient, NaN for a parameter that has none in this step."""
        tensors = self._parameters.tensors
        absent = [place for place, p in enumerate(tensors) if p.grad is None]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in tensors]
        norm, total = self._parameters.norms(self._parameters.stacked(gradients))
        for place in absent:
            norm[place] = total[place] = float("nan")
        return norm, total

    def _scalar(self, value: Tensor | float) -> Tensor:
        if isinstance(value, Tensor):
            return value.detach().to(torch.float64)
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
