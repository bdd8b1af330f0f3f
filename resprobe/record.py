"""Measure while training: a context manager for anybody's loop."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from resprobe.blocks.discover import blocks_of_samples
from resprobe.blocks.samples import count_samples
from resprobe.blocks.selftest import prove
from resprobe.errors import DiskFullError, InputError, UnknownNameError
from resprobe.handover import Rows, WritingThread
from resprobe.provenance import device_attributes, provenance
from resprobe.quantities.quantity import all_quantities, of_family
from resprobe.record_jacobian import FixedSamples
from resprobe.record_step import BATCH_ROWS, StepWork
from resprobe.store.lock import run_lock
from resprobe.store.replay import Replay, ReplayingWriter
from resprobe.store.schema import STATUS
from resprobe.store.training import (
    EPOCH,
    EPOCHS,
    JACOBIAN,
    PAIR,
    STEP,
    jacobian_group,
    pair_group,
    training_groups,
)
from resprobe.store.writer import Writer

if TYPE_CHECKING:
    from resprobe.blocks.block import Blocks

# The longest that a row waits for being handed over, in seconds.
_PATIENCE = 10.0

_ALWAYS = ("loss", "accuracy", "learning_rate")


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
    thread. Several forward passes before one `step` count as one batch; passes without a backward
    pass do not count. Gradients are those of the loss that is differentiated: with a gradient
    scaler `branch_gradient_norm` is scaled. To find the blocks and to prove itself the Recorder
    runs the model a few more times at the first step and puts buffers and random states back.

    Args:
        model: an eager module whose first dimension is the sample; not compiled.
        out: a run directory (written as `training.h5` there) or a path ending in .h5.
        optimizer: the learning rate is read from its first group; None leaves it NaN.
        every: steps between recorded steps; the first step is always recorded.
        quantities: names to record beside loss, accuracy and learning rate; None for all.
        start_step: go on after this step of an earlier recording. Rows that it holds of later
            steps stay; those that are recorded again are compared with them (see `replay`), and
            replaced from the first difference on.
        jacobian_every: steps between measurements of the Jacobians of every block, in evaluation
            mode on fixed samples, into `/training/jacobian`; the first step is measured; 0 for
            never. Each takes seconds, unlike all else that is recorded.
        jacobian_samples: what the model is called with for them: one tensor `(sample, …)`, or all
            positional arguments as a tuple; a few samples, the same over the whole training.
        pair: whether a second network is trained in lockstep, with which every recorded step is
            compared, into `/training/pair`; `step` is then told how.
        resume: go on in a file that is there also where `start_step` is 0; without one there, a
            new one is made.
        tell: called with a sentence on what went wrong but does not end the training (a full
            disk, a repetition that differs); stderr unless given.
        attributes: provenance to store beside our own, of str, int or float.

    Attributes:
        status: what became of the recording; set it before the end ("finished" unless set;
            "interrupted" when the body raises).
        blocks: the blocks, once found.
        path: the file.

    Raises:
        InputError: the file exists (without `start_step` or `resume`), another process holds the
            run, no blocks are found, or the model can't be recorded.
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
        jacobian_every: int = 0,
        jacobian_samples: Tensor | tuple[Any, ...] | None = None,
        pair: bool = False,
        resume: bool = False,
        tell: Callable[[str], None] | None = None,
        attributes: Mapping[str, str | int | float] | None = None,
    ) -> None:
        if not isinstance(every, int) or every < 1:
            raise InputError(f"every={every}: record every 1, 2, 3 … steps.")
        if not isinstance(jacobian_every, int) or jacobian_every < 0:
            raise InputError(
                f"jacobian_every={jacobian_every}: measure Jacobians every 1, 2, 3 … steps, or "
                "give 0 for never."
            )
        if (jacobian_every > 0) != (jacobian_samples is not None):
            raise InputError(
                "jacobian_every and jacobian_samples belong together; give both, such as "
                "jacobian_every=500, jacobian_samples=x[:4]."
            )
        self.model = model
        self.path = Path(out) if str(out).endswith(".h5") else Path(out) / "training.h5"
        self.status: str | None = None
        self.blocks: Blocks | None = None
        self._optimizer = optimizer
        self._every = every
        self._names = _chosen(quantities)
        self._step = self._start = start_step
        self._jacobian_every, self._jacobian_samples = jacobian_every, jacobian_samples
        self._jacobians: FixedSamples | None = None
        self._pair_names = [quantity.name for quantity in of_family("pair")] if pair else []
        self._pair_rows = Rows(dict.fromkeys(self._pair_names, 0), BATCH_ROWS)
        self._resume = resume or start_step > 0
        self._tell = tell or _to_stderr
        self._attributes = dict(attributes or {})
        self._stack = ExitStack()
        self._work: StepWork | None = None
        self._thread: WritingThread | None = None
        self._epochs = 0
        self._epoch_rows: list[dict[str, Any]] = []
        self._last_handover = time.monotonic()
        self._full: DiskFullError | None = None
        self._replaying: ReplayingWriter | None = None
        self._told: set[str] = set()
        self._beginning = False

    def __enter__(self) -> Self:
        if self.path.exists() and not self._resume:
            raise InputError(
                f"{self.path} exists; choose another place, or go on after its step with "
                "start_step."
            )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"the directory {self.path.parent} can't be made ({error.strerror}); choose "
                "another place."
            ) from error
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
                try:
                    self._hand_over()
                finally:
                    self._thread.close(status)
                self._report()
        finally:
            if self._work is not None:
                self._work.close()
            self._stack.close()

    @property
    def replay(self) -> Replay:
        """What came of recording rows again that an earlier life of the training had recorded."""
        return Replay() if self._replaying is None else self._replaying.replay

    def flush(self) -> None:
        """Wait until every step so far is safe in the file; call it before writing a checkpoint.

        A training that goes on from the checkpoint then lacks no row, however it was ended.
        """
        self._hand_over()
        if self._thread is not None:
            self._thread.flush()
        self._report()

    def step(
        self,
        loss: Tensor | float,
        accuracy: Tensor | float | None = None,
        pair: Callable[[], Mapping[str, Tensor]] | None = None,
    ) -> None:
        """Record the step that the optimizer has just taken.

        Args:
            loss: of the step, 0-d on the model's device (never waited for) or a number.
            accuracy: of the batch, likewise; None leaves it NaN.
            pair: compares the two networks of a pair; called where the step is recorded, gives
                each quantity of family `pair` by name, 0-d float64 on the model's device.

        Raises:
            InputError: no training-mode forward pass ran since the last step, the loss or
                accuracy is not one number, or `pair` is there without the Recorder's or missing.
        """
        self._step += 1
        if (pair is None) == bool(self._pair_names):
            raise InputError(
                "Recorder(pair=True) and Recorder.step(loss, pair=…) belong together; give both "
                "or neither."
            )
        if self._failed:
            return
        if (self._step - 1) % self._every == 0:
            self._record(loss, accuracy, pair)
        if self._jacobian_every and (self._step - 1) % self._jacobian_every == 0:
            self._measure_jacobians()

    def _record(
        self,
        loss: Tensor | float,
        accuracy: Tensor | float | None,
        pair: Callable[[], Mapping[str, Tensor]] | None,
    ) -> None:
        if self._work is None or not self._work.passes:
            raise InputError(
                "Recorder.step was called without a forward pass of the model in training mode "
                "before it; call it once after each optimizer.step()."
            )
        for name, value in (("loss", loss), ("accuracy", accuracy)):
            if isinstance(value, Tensor) and value.numel() != 1:
                raise InputError(
                    f"Recorder.step was given a {name} of shape {tuple(value.shape)}; give one "
                    "number, such as its mean over the batch."
                )
        groups = self._optimizer.param_groups if self._optimizer is not None else ()
        rate = float(groups[0]["lr"]) if groups else float("nan")
        with torch.no_grad():
            row = self._work.row(loss, accuracy)
        self._work.rows.add(row, {"step": self._step, "learning_rate": rate})
        if pair is not None:
            figures = pair()
            together = torch.stack([figures[name] for name in self._pair_names])
            self._pair_rows.add(together, {"step": self._step})
        late = time.monotonic() - self._last_handover > _PATIENCE
        if self._work.rows.full or late:
            self._hand_over()

    def _measure_jacobians(self) -> None:
        if self._jacobians is None or self._thread is None:
            return
        try:
            found = self._jacobians.row()
        except (InputError, RuntimeError, ArithmeticError, np.linalg.LinAlgError) as error:
            # Whatever the measurement meets, the training goes on.
            found = self._jacobians.missing()
            reason = str(error).strip().splitlines()[0]
            self._say_once(
                "jacobians",
                f"warning: the Jacobians at step {self._step} can't be measured and are NaN: "
                f"{reason}",
            )
        row = {"step": np.asarray([self._step]), **found}
        self._hand_over()  # rows that wait would wait for this one's time, too
        if self._thread is not None:
            self._thread.put(JACOBIAN, row)

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
            except DiskFullError as error:
                self._full = error
                self._report()
                return
            finally:
                self._beginning = False
        self._work.enter(args, kwargs)

    def _leave_forward(self, model: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self._work is not None:
            # A forward that raised has no output; its own error must reach the caller.
            self._work.leave(finished=output is not None)

    def _begin(self, args: Any, kwargs: Any) -> StepWork:
        """Find the blocks, prove the instrument and make the file, at the first forward pass."""
        device = next(self.model.parameters()).device
        # The blocks are the same with and without autocast; under it, casts would hide parameters.
        with torch.autocast(device.type, enabled=False):
            blocks = blocks_of_samples(self.model, args, kwargs)
            proof = _prove(self.model, args, kwargs) if blocks.blocks else ""
        if not blocks.blocks:
            raise InputError(
                "no residual blocks were found in the model, so there is nothing to record; a "
                "plain network may declare its units in the attribute plain_units."
            )
        self.blocks = blocks
        parameters = dict(self.model.named_parameters())
        dtype = str(next(iter(parameters.values())).dtype).removeprefix("torch.")
        attributes = {
            **provenance(),
            **device_attributes(str(device), dtype),
            "batch_norm_mode": "train",
            "self_test": proof,
            "record_every": self._every,
            **self._attributes,
        }
        groups = [*training_groups(blocks, list(parameters), self._names)]
        if self._jacobian_samples is not None:
            self._jacobians = FixedSamples(self.model, self._jacobian_samples, blocks)
            groups.append(jacobian_group(blocks, count_samples(self._jacobian_samples)))
        if self._pair_names:
            groups.append(pair_group())
        resume = self._resume and self.path.exists()
        writer = Writer(self.path, groups, attributes, chunk_rows=BATCH_ROWS, resume=resume)
        if resume:
            self._replaying = self._go_on(writer, [group.path for group in groups])
        self._thread = WritingThread(self._replaying or writer)
        return StepWork(self.model, blocks, parameters, self._names, device)

    def _go_on(self, writer: Writer, groups: Sequence[str]) -> ReplayingWriter:
        """Find the rows that training goes on from; say so if rows before it are missing."""
        starts = {group: int((writer.read(group, "step") <= self._start).sum()) for group in groups}
        self._epochs = starts[EPOCHS]
        before = writer.rows(STEP)[: starts[STEP]]
        last = int(before[-1]) if len(before) else 1 - self._every
        following = last + (int(before[-1] - before[-2]) if len(before) > 1 else self._every)
        if following <= self._start:
            self._tell(
                f"warning: steps {following} to {self._start} are not in {self.path}: "
                "its recording ended before the checkpoint that training goes on from."
            )
        for group in groups:
            writer.put(group, {"status": STATUS.index("recording")})
        return ReplayingWriter(writer, starts)

    # -- handing over -------------------------------------------------------------------------

    @property
    def _failed(self) -> bool:
        return self._full is not None or (
            self._thread is not None and self._thread.error is not None
        )

    def _hand_over(self) -> None:
        self._last_handover = time.monotonic()
        if self._thread is None or self._work is None:
            return
        if len(self._work.rows):
            self._thread.put(STEP, self._work.rows.take())
        if len(self._pair_rows):
            self._thread.put(PAIR, self._pair_rows.take())
        for row in self._epoch_rows:
            self._thread.put(EPOCHS, row)
        self._epoch_rows.clear()
        self._report()

    def _report(self) -> None:
        """Say once that recording stopped, and that a repetition differs; training goes on.

        Other errors of the writing thread are raised.
        """
        replay = self.replay
        if replay.differing:
            self._say_once("differing", f"warning: {replay}.")
        elif replay.dropped:
            self._say_once("dropped", f"warning: {replay}.")
        error = self._full or (self._thread.error if self._thread is not None else None)
        if error is None:
            return
        if not isinstance(error, DiskFullError):
            if "raised" in self._told:
                return
            self._told.add("raised")
            raise error
        self._say_once("full", f"Recording stopped, training goes on: {error}")

    def _say_once(self, what: str, text: str) -> None:
        if what not in self._told:
            self._told.add(what)
            self._tell(text)


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _chosen(quantities: Sequence[str] | None) -> frozenset[str]:
    known = {
        name for name, q in all_quantities().items() if q.while_training or q.family == "step"
    } | {"weight_norm"}
    for name in quantities or ():
        if name not in known:
            raise UnknownNameError("quantity of a training step", name, known)
    return frozenset(known if quantities is None else {*quantities, *_ALWAYS})


def _prove(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Prove the instrument on a few samples, or on everything where samples can't be told."""
    if len(args) == 1 and not kwargs and isinstance(args[0], Tensor):
        args = (args[0][:4],)
    return prove(model, args, kwargs, training=True)
