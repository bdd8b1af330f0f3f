"""What the callbacks of all frameworks share: a Recorder that a trainer drives from outside."""

from __future__ import annotations

import atexit
import math
import sys
import time
from collections.abc import Mapping, Sequence
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
    begins in the same place.

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

    Raises:
        InputError: what `Recorder` refuses.
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
        self._optimizer = optimizer
        self._distributed = distributed
        self._taken = start_step
        self._rate = math.nan
        self._begun: float | None = None
        self._steps = 0
        self._total = torch.zeros((), dtype=torch.float64, device=next(network.parameters()).device)
        self._row: dict[str, float] | None = None
        self._evaluation: tuple[int, Mapping[str, float]] = (-1, {})
        self._told: set[str] = set()
        self._place = self.recorder.path.resolve()
        if self._place in _open:
            _open[self._place].end("interrupted")
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
        self._total = self._total + (loss.detach() if isinstance(loss, Tensor) else loss)
        try:
            self.recorder.step(loss)
        except BaseException:
            self.end("interrupted")
            raise

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
        self._write_epoch()
        self.recorder.status = status
        self.recorder.__exit__(None, None, None)

    def _write_epoch(self) -> None:
        if self._row is not None:
            at, values = self._evaluation
            self.recorder.epoch(**self._row, **(values if at == self._taken else {}))
            self._row = None

    def _start_sum(self) -> None:
        self._steps, self._total = 0, torch.zeros_like(self._total)

    def _mean_loss(self) -> float:
        mean = self._total / self._steps
        if self._distributed:
            torch.distributed.all_reduce(mean)
            mean = mean / torch.distributed.get_world_size()
        return float(mean)


@atexit.register
def _end_all() -> None:
    for recording in list(_open.values()):
        recording.end("interrupted")


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
