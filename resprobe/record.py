"""Measure while training: a context manager for anybody's loop."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from resprobe.errors import InputError, UnknownNameError
from resprobe.handover import Rows
from resprobe.quantities.quantity import of_family
from resprobe.recording.begin import (
    chosen,
    found_and_proven,
    require_counts,
    require_figure,
    require_optimizer,
    root_attributes,
)
from resprobe.recording.file import RecordFile
from resprobe.recording.jacobian import Following
from resprobe.recording.model import Noticing, Watch, network_of, uncompiled
from resprobe.recording.step import BATCH_ROWS, StepWork
from resprobe.recording.together import together
from resprobe.store.lock import run_lock
from resprobe.store.replay import Replay
from resprobe.store.training import (
    EPOCH,
    PAIR,
    STEP,
    pair_group,
    training_groups,
)

if TYPE_CHECKING:
    from resprobe.blocks.block import Blocks

# Networks that are recorded now.
_recorded: weakref.WeakSet[nn.Module] = weakref.WeakSet()


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
    thread. To find the blocks and to prove itself the Recorder runs the model a few more times at
    the first step and puts buffers and random states back.

    Several forward passes before one `step` count as one batch (gradient accumulation); passes
    without a backward pass do not count. Gradients are those of the loss that is differentiated:
    of each pass's loss divided by the number of passes they are those of one large batch.

    With a gradient scaler they are those of the loss without its scale. Call `step` after
    `scaler.step(optimizer)`, which takes the scale out of the parameters' gradients. A step that
    the scaler skips is a row like any other: its update is 0, and the gradients that overflowed
    are inf or NaN, which in `gradient_norm` is NaN.

    With several processes each makes the Recorder, calls `step` at the same steps and gives the
    loss of its own samples. Mean and standard deviation over the batch, loss and accuracy are then
    those over the samples of all processes, and gradients those of the processes' mean loss, as
    DistributedDataParallel takes it: the row that one process would record of the whole batch. A
    recorded step costs one sum over the processes, in which all of them must take part: `join()`
    of DistributedDataParallel, where a process has fewer steps than others, is not supported. The
    first process writes the file and tells.

    Where `torch.compile` is used, recorded steps run uncompiled, since compiled ones show nothing
    of their inside, and the others compiled: so they differ by rounding, and with `every=1`
    nothing runs compiled. What runs between two steps does so as the step after it. Compile
    before the first step: where nothing of it is compiled, nothing is kept from it later.

    Args:
        model: a module whose first dimension is the sample; it may be compiled, and in
            DistributedDataParallel.
        out: a run directory (written as `training.h5` there) or a path ending in .h5.
        optimizer: the learning rate is read from its first group; None leaves it NaN.
        every: steps between recorded steps; the first step is always recorded.
        quantities: names to record beside loss, accuracy and learning rate; None for all.
        scaler: multiplies the loss that is differentiated, as mixed precision in float16 needs.
        distributed: whether every process of the default process group makes this Recorder with
            the same arguments; None where the model is in DistributedDataParallel. False there
            records the share of the one process that makes it.
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
            run, another Recorder records the model, no blocks are found, or the model can't be
            recorded, as where it is sharded; or of an argument of another kind.
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
        scaler: torch.amp.GradScaler | None = None,
        distributed: bool | None = None,
        start_step: int = 0,
        jacobian_every: int = 0,
        jacobian_samples: Tensor | tuple[Any, ...] | None = None,
        pair: bool = False,
        resume: bool = False,
        tell: Callable[[str], None] | None = None,
        attributes: Mapping[str, str | int | float] | None = None,
    ) -> None:
        require_counts(every, start_step, jacobian_every)
        if (jacobian_every > 0) != (jacobian_samples is not None):
            raise InputError(
                "jacobian_every and jacobian_samples belong together; give both, such as "
                "jacobian_every=500, jacobian_samples=x[:4]."
            )
        require_optimizer(optimizer, scaler)
        self.model, wrapped = network_of(model)
        self.path = Path(out) if str(out).endswith(".h5") else Path(out) / "training.h5"
        self.status: str | None = None
        self.blocks: Blocks | None = None
        device = next((p.device for p in self.model.parameters()), torch.device("cpu"))
        self._together = together(distributed, wrapped, device)
        if pair and self._together is not None:
            raise InputError("a pair of networks is recorded by one process; leave out pair.")
        self._optimizer, self._scaler = optimizer, scaler
        self._every = every
        self._names = chosen(quantities)
        self._step = self._start = start_step
        self._jacobians = Following(jacobian_every, jacobian_samples)
        self._pair_names = [quantity.name for quantity in of_family("pair")] if pair else []
        self._pair_rows = Rows(dict.fromkeys(self._pair_names, 0), BATCH_ROWS)
        self._resume = resume or start_step > 0
        self._attributes = dict(attributes or {})
        self._stack = ExitStack()
        self._watch = Watch(self.model, self._enter_forward, self._leave_forward)
        self._work: StepWork | None = None
        writes = self._together is None or self._together.writes
        self._file = RecordFile(self.path, tell or _to_stderr) if writes else None
        self._agreed = self._together is None
        self._begun = self._ended = False
        self._beginning = False
        # What a caller is told to go on with in a file that is there.
        self.goes_on_with = "go on after its step with start_step"

    def __enter__(self) -> Self:
        if self.model in _recorded:
            raise InputError(
                "another Recorder records this model; end it first, or record all quantities with "
                "one of them."
            )
        error = None
        try:
            if self._file is not None:
                self._take_place()
        except InputError as found:
            error = found
        if self._together is not None:
            self._together.begin(error)
        elif error is not None:
            raise error
        _recorded.add(self.model)
        self._stack.callback(_recorded.discard, self.model)
        self._stack.callback(self._leave_model)
        self._begun = True
        self._prepare()
        return self

    def _take_place(self) -> None:
        """Make and lock the directory of the file.

        Raises:
            InputError: there is a file to go on in that nobody asked for, or it can't be made.
        """
        if self.path.exists() and not self._resume:
            raise InputError(f"{self.path} exists; choose another place, or {self.goes_on_with}.")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"the directory {self.path.parent} can't be made ({error.strerror}); choose "
                "another place."
            ) from error
        self._stack.enter_context(run_lock(self.path.parent))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended = True
        try:
            if self._file is not None:
                self._file.close(self.status or ("finished" if kind is None else "interrupted"))
        finally:
            self._stack.close()

    @property
    def replay(self) -> Replay:
        """What came of recording rows again that an earlier life of the training had recorded."""
        return Replay() if self._file is None else self._file.replay

    def flush(self) -> None:
        """Wait until every step so far is safe in the file; call it before writing a checkpoint.

        A training that goes on from the checkpoint then lacks no row, however it was ended.
        """
        if self._file is not None:
            self._file.flush()

    def step(
        self,
        loss: Tensor | float,
        accuracy: Tensor | float | None = None,
        pair: Callable[[], Mapping[str, Tensor]] | None = None,
    ) -> None:
        """Record the step that the optimizer has just taken; before its gradients are deleted.

        That is once after each `optimizer.step()`, and before the next `zero_grad()`.

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
        if self._ended:
            return
        for name, value in (("loss", loss), ("accuracy", accuracy)):
            require_figure(name, value)
        if (self._step - 1) % self._every == 0:
            self._record(loss, accuracy, pair)
        self._jacobians.measure(self._step, self._file)
        self._watch.settle()
        self._prepare()

    def skip(self) -> None:
        """Pass over a step without a row, as where a batch was left out and nothing changed."""
        self._step += 1
        if self._work is not None:
            self._work.forget()
        self._prepare()

    def _record(
        self,
        loss: Tensor | float,
        accuracy: Tensor | float | None,
        pair: Callable[[], Mapping[str, Tensor]] | None,
    ) -> None:
        if not self._goes_on():
            return
        work = self._work
        if self._failed or work is None:
            if self._together is not None:  # the others wait for this process
                self._together.pass_by(stopped=self._failed)
            return
        groups = self._optimizer.param_groups if self._optimizer is not None else ()
        rate = float(groups[0]["lr"]) if groups else float("nan")
        with torch.no_grad():
            row = work.row(loss, accuracy)
        if row is None or self._file is None:
            return
        if work.lacks_gradients:
            self._file.say_once(
                "gradients",
                f"warning: no parameter has a gradient when step {self._step} is recorded, so "
                "gradient norms are NaN; call Recorder.step after optimizer.step() and before "
                "optimizer.zero_grad().",
            )
        work.rows.add(row, {"step": self._step, "learning_rate": rate})
        if pair is not None:
            figures = pair()
            together = torch.stack([figures[name] for name in self._pair_names])
            self._pair_rows.add(together, {"step": self._step})
        self._file.added()

    def _goes_on(self) -> bool:
        """Whether there is something to record; the processes agree on it once.

        Raises:
            InputError: no forward pass was seen, or the processes record different things.
        """
        work = self._work
        if not self._begun:
            raise InputError(
                "Recorder.step was called before the Recorder was begun; use it in a with "
                "statement: with resprobe.Recorder(…) as recorder."
            )
        if self._together is None:
            if not self._failed and (work is None or not work.passes):
                raise InputError(
                    "Recorder.step was called without a forward pass of the model in training "
                    "mode before it; call it once after each optimizer.step(), give the Recorder "
                    "the model that runs, not a copy or an export of it, and compile it before the "
                    "first step."
                )
            return not self._failed
        if not self._agreed:
            self._agreed = True
            size = 0 if work is None else work.shared_size
            layout = None if work is None else f"{work.layout}, {self._start}, {self._every}"
            self._ended = not self._together.agree(layout, size, stopped=self._failed)
        elif self._together.stopped():
            self._ended = True
        return not self._ended

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
        if self._file is not None:
            self._file.end_epoch({**known, **values}, self._step)

    # -- the model's forward pass -----------------------------------------------------------------

    def _prepare(self) -> None:
        """Make the model ready for the step that comes: watched and uncompiled if recorded."""
        # A process that can't write goes on with the others, but has nothing to measure.
        recorded = self._step % self._every == 0 and not (self._failed or self._ended)
        if recorded == self._watch.on:
            return
        if not recorded:
            self._leave_model()
            return
        self._watch.start()
        if self._work is not None:
            self._work.attach()

    def _leave_model(self) -> None:
        if self._work is not None:
            self._work.detach()
        self._watch.stop()

    def _enter_forward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not (self.model.training and torch.is_grad_enabled()) or self._failed:
            return
        if self._beginning:
            return
        if self._work is None:
            self._beginning = True  # the self-test runs the model too
            try:
                with uncompiled(self.model):
                    self._begin(args, kwargs)
            finally:
                self._beginning = False
        if self._work is not None:
            self._work.enter(args, kwargs)

    def _leave_forward(self, finished: bool) -> None:
        if self._work is not None:
            self._work.leave(finished=finished)

    def _begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Find the blocks, prove the instrument and make the file, at the first forward pass."""
        quiet = self._file is None
        with Noticing() as inside:
            self.blocks, proof = found_and_proven(self.model, args, kwargs, quiet=quiet)
        compiled = self._watch.compiled = self._watch.compiled or inside.compiled
        work = StepWork(self.model, self.blocks, self._names, self._scaler, self._together)
        if self._file is not None:
            attributes = root_attributes(self.model, proof=proof, every=self._every)
            if compiled:
                attributes["compiled"] = "recorded steps ran uncompiled, the others compiled"
            self._begin_file(self._file, self.blocks, work.rows, attributes)
            if compiled and self._every == 1:
                self._file.say_once(
                    "compiled",
                    "warning: every step is recorded, and recorded steps run uncompiled, so "
                    "torch.compile gains nothing; record fewer of them, such as every=10.",
                )
        if not self._failed:
            work.attach()
            self._work = work

    def _begin_file(
        self, file: RecordFile, blocks: Blocks, rows: Rows, attributes: dict[str, Any]
    ) -> None:
        if self._together is not None:
            attributes["block_statistics"] = (
                f"of the whole batch of {self._together.count} processes"
            )
        names = [name for name, _ in self.model.named_parameters()]
        groups = [
            *training_groups(blocks, names, self._names),
            *self._jacobians.begin(self.model, blocks),
        ]
        if self._pair_names:
            groups.append(pair_group())
        file.begin(
            groups,
            {**attributes, **self._attributes},
            {STEP: rows, PAIR: self._pair_rows},
            go_on=(self._start, self._every) if self._resume else None,
        )

    @property
    def _failed(self) -> bool:
        """Whether nothing can be written any more."""
        return self._file is not None and self._file.failed


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"{text}\n")
