"""What the callbacks of all frameworks share: a Recorder that a trainer drives from outside."""

from __future__ import annotations

import atexit
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from resprobe.errors import InputError
from resprobe.record import Recorder

if TYPE_CHECKING:
    from torch.amp import GradScaler

# Recordings under way in this process, by their file.
_open: dict[Path, Recording] = {}


class Recording:
    """One training under record: its steps, the rows of its epochs, and how it ends.

    A trainer tells its callbacks of its end, but not every trainer tells of an exception. So a
    recording that is still open ends as interrupted when the program does, or when another one
    begins in the same place or of the same network after its training is over.

    Args:
        network: the module that is recorded, as it is trained but for DistributedDataParallel.
        out: a run directory or a path ending in .h5.
        optimizer: has `param_groups`, the first of which holds the learning rate.
        start_step: the trainer's count of optimizer steps taken.
        scaler: of the gradients, or None.
        distributed: whether every process of the default group makes this recording.
        every: steps between recorded steps.
        quantities: names to record; None for all.
        attributes: provenance.
        under_way: whether the call of the trainer that this records still runs.
        goes_on_with: what the framework's user is told to go on with in a file that is there.

    Raises:
        InputError: another recording of this training has the same place or network; or what
            `Recorder` refuses.
    """

    def __init__(
        self,
        network: nn.Module,
        out: str | Path,
        *,
        optimizer: torch.optim.Optimizer,
        start_step: int,
        scaler: GradScaler | None,
        distributed: bool,
        every: int,
        quantities: Sequence[str] | None,
        attributes: Mapping[str, str | int | float],
        under_way: Callable[[], bool],
        goes_on_with: str,
    ) -> None:
        self.recorder = Recorder(
            network,
            out,
            optimizer=optimizer,
            scaler=scaler,
            distributed=distributed,
            every=every,
            quantities=quantities,
            start_step=start_step,
            attributes=attributes,
        )
        self.recorder.goes_on_with = goes_on_with
        self.under_way = under_way
        self._optimizer = optimizer
        self._distributed = distributed
        self._taken = start_step
        self._rate = math.nan
        self._begun: float | None = None
        self._steps = self._losses = 0
        self._total = torch.zeros((), dtype=torch.float64, device=next(network.parameters()).device)
        self._row: dict[str, float] | None = None
        self._evaluation: tuple[int, Mapping[str, float]] = (-1, {})
        self._told: set[str] = set()
        self._place = self.recorder.path.resolve()
        for other in list(_open.values()):
            if other._place == self._place or other.recorder.model is self.recorder.model:
                if other.under_way():
                    raise InputError(
                        "two callbacks of resprobe record this training; leave one out, and name "
                        "all quantities in the other."
                    )
                other.end("interrupted")
        self.recorder.__enter__()
        _open[self._place] = self

    def step(self, loss: Tensor | float) -> None:
        """Record the step that the optimizer has just taken.

        Args:
            loss: of the whole step, 0-d on the network's device, or a number.

        Raises:
            InputError: as `Recorder.step`; the recording has ended then.
        """
        self._write_epoch()
        self._taken += 1
        self._rate = float(self._optimizer.param_groups[0]["lr"])
        self._steps += 1
        if isinstance(loss, Tensor) or not math.isnan(loss):
            self._losses += 1
            self._total = self._total + (loss.detach() if isinstance(loss, Tensor) else loss)
        try:
            self.recorder.step(loss)
        except BaseException:
            self.end("interrupted")
            raise

    def skip(self) -> None:
        """Pass over a step that was given no loss: it has a number, but no row."""
        self._write_epoch()
        self._taken += 1
        self._steps += 1
        self.recorder.skip()

    def begin_epoch(self, *, whole: bool = True) -> None:
        """Begin an epoch; one gone on with in its middle has neither mean loss nor time."""
        self._write_epoch()
        self._begun = time.perf_counter() if whole else None
        self._start_sum()

    def end_epoch(self) -> None:
        """End an epoch that was completed; its row waits for an evaluation that may follow.

        An epoch of which no step was seen has its row from an earlier life of the training.
        """
        if self._steps:
            self._row = {"learning_rate": self._rate}
            if self._begun is not None:
                self._row["wall_time"] = time.perf_counter() - self._begun
                self._row["train_loss"] = self._mean_loss()
        self._begun = None
        self._start_sum()

    def evaluated(self, values: Mapping[str, float]) -> None:
        """Keep an evaluation's values for the row of the epoch that ends at this step."""
        before = self._evaluation[1] if self._evaluation[0] == self._taken else {}
        self._evaluation = (self._taken, {**before, **values})

    def flush(self) -> None:
        """Wait until every row so far is safe in the file."""
        self._write_epoch()
        self.recorder.flush()

    def say_once(self, text: str) -> None:
        """Tell the user something on stderr, once for each training and from the first process."""
        first = not self._distributed or torch.distributed.get_rank() == 0
        if text not in self._told and first:
            self._told.add(text)
            sys.stderr.write(f"{text}\n")

    def end(self, status: str) -> None:
        """Write what waits and close the file; again, it does nothing.

        Args:
            status: "finished" or "interrupted".
        """
        if _open.get(self._place) is not self:
            return
        del _open[self._place]
        self.recorder.status = status
        try:
            self._write_epoch()
        finally:
            self.recorder.__exit__(None, None, None)

    def _write_epoch(self) -> None:
        if self._row is not None:
            at, values = self._evaluation
            self.recorder.epoch(**self._row, **(values if at == self._taken else {}))
            self._row = None

    def _start_sum(self) -> None:
        self._steps = self._losses = 0
        self._total = torch.zeros_like(self._total)

    def _mean_loss(self) -> float:
        """Give the mean over the steps that have a loss, of all processes."""
        both = torch.stack([self._total, torch.full_like(self._total, self._losses)])
        if self._distributed:
            torch.distributed.all_reduce(both)
        total, count = both.tolist()
        return total / count if count else math.nan


@atexit.register
def _end_all() -> None:
    with ExitStack() as stack:  # one that raises does not keep the others open
        for recording in _open.values():
            stack.callback(recording.end, "interrupted")


def evaluated(metrics: Mapping[str, Tensor | float], prefix: str) -> dict[str, float]:
    """Give test loss and error of an epoch's row, as far as an evaluation's names are clear.

    Args:
        metrics: of the evaluation, by name.
        prefix: "eval" or "val": looked for are `PREFIX_loss`, and `PREFIX_accuracy` or
            `PREFIX_acc` where it is a fraction; a slash in place of the underscore will do.
    """
    named = {name.replace("/", "_"): value for name, value in metrics.items()}
    found = {}
    if f"{prefix}_loss" in named:
        found["test_loss"] = float(named[f"{prefix}_loss"])
    for name in (f"{prefix}_accuracy", f"{prefix}_acc"):
        if name in named and 0.0 <= float(named[name]) <= 1.0:
            found["test_error"] = 1.0 - float(named[name])
    return found


def refuse_strategy(what: str) -> None:
    """Refuse a way of training in which no process holds the whole network.

    Raises:
        InputError: always.
    """
    raise InputError(
        f"this training uses {what}; resprobe records one device, or several processes that each "
        "hold the whole network (DistributedDataParallel): train without it, or without the "
        "callback and measure checkpoints with `resprobe collect`."
    )
