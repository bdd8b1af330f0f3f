"""Record a training under the Trainer of Hugging Face transformers."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from resprobe.callbacks.recording import Recording, evaluated, refuse_strategy
from resprobe.callbacks.step_loss import StepLoss
from resprobe.errors import InputError, MissingPackageError

try:
    import transformers
except ImportError as error:
    raise MissingPackageError(
        "HuggingFaceCallback records trainings of transformers, which is not installed; run "
        '`pip install "resprobe[huggingface]"`.'
    ) from error

if TYPE_CHECKING:
    from types import FrameType

    from torch import nn
    from torch.optim import Optimizer
    from torch.utils.hooks import RemovableHandle
    from transformers import TrainerControl, TrainerState, TrainingArguments

_NO_LOSS = (
    "warning: the loss that is trained is not one that the model returns (label smoothing, or a "
    "loss function of your own), so the recorded loss is NaN; everything else is recorded."
)


class HuggingFaceCallback(transformers.TrainerCallback):
    """Records every optimizer step of a `transformers.Trainer` with a `resprobe.Recorder`.

    >>> trainer = Trainer(
    ...     model, args, train_dataset=data, callbacks=[resprobe.HuggingFaceCallback("run")]
    ... )  # doctest: +SKIP
    >>> trainer.train()  # doctest: +SKIP

    A row is one optimizer step over all its micro-batches, after gradient clipping and, in half
    precision, with unscaled gradients; its number is the Trainer's global step. The loss is the
    part of the trained loss that the model returned, summed over the micro-batches with the weights
    that it is trained with (the Trainer hands its callbacks none): a penalty that is added outside
    of the model is not in it, and where the model returns no loss it is NaN. A completed epoch
    leaves a row with the mean of its steps' losses, and with `test_loss` and `test_error` from
    `eval_loss` and `eval_accuracy` of the evaluation that follows it. Under several processes
    (torchrun) the figures are those of the global batch, and the first process writes.
    `resume_from_checkpoint` goes on in the same file.

    The Trainer doesn't tell callbacks of an exception: the recording it leaves open is closed, as
    interrupted, when the model next runs outside of the training, when another recording begins
    in the same place or of the same model, when the program ends, or by `close`. Until then the
    model and the optimizer stay in memory, hooks stay on the model and, where it is compiled,
    nothing in the process runs compiled.

    Args:
        out: a run directory (written as `training.h5` there) or a path ending in .h5.
        every: steps between recorded steps; the first step is always recorded.
        quantities: names to record beside loss and learning rate; None for all.

    Raises:
        InputError: from `Trainer.train`: the file exists and the training doesn't resume; two
            callbacks record it; the network is sharded (FSDP, DeepSpeed, tensor parallel) or in a
            DataParallel; or what `Recorder` refuses.
    """

    def __init__(
        self, out: str | Path, *, every: int = 1, quantities: Sequence[str] | None = None
    ) -> None:
        self._out, self._every, self._quantities = out, every, quantities
        self._recording: Recording | None = None
        self._loss: StepLoss | None = None
        self._call: _Call | None = None
        self._watched: RemovableHandle | None = None

    def close(self) -> None:
        """End a recording that an exception left open, as interrupted; else do nothing."""
        self._end("interrupted")

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Begin a recording, or go on with it after the step of the checkpoint."""
        if self._call is not None and self._call.under_way():
            raise InputError(
                "the same HuggingFaceCallback is in the Trainer's callbacks twice; leave one out."
            )
        self.close()
        model, optimizer = kwargs["model"], kwargs["optimizer"]
        _refuse(args, optimizer)
        scaler = getattr(optimizer, "scaler", None)
        self._call = _Call()
        # The first of the hooks on the model.
        notice = torch.compiler.disable(self._notice)
        self._watched = model.register_forward_pre_hook(notice)
        self._loss = StepLoss(model, scaler)
        try:
            self._recording = Recording(
                model,
                self._out,
                optimizer=optimizer,
                start_step=state.global_step,
                scaler=scaler,
                distributed=args.world_size > 1,
                every=self._every,
                quantities=self._quantities,
                attributes=_attributes(args, optimizer),
                under_way=self._call.under_way,
                goes_on_with="go on from a checkpoint with train(resume_from_checkpoint=…)",
            )
        except BaseException:
            self.close()
            raise
        self._loss.watch()

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin to add up the epoch's losses."""
        if self._recording is not None:
            self._recording.begin_epoch(whole=_completed(state))

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Record the step: the gradients are still there, and the learning rate is the step's."""
        if self._recording is None or self._loss is None:
            return
        loss = self._loss.take()
        if loss is None:
            self._recording.say_once(_NO_LOSS)
        self._recording.step(math.nan if loss is None else loss)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """End the epoch; the Trainer evaluates after this."""
        if self._recording is not None and _completed(state):
            self._recording.end_epoch()

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Keep what the evaluation found for the row of an epoch that ends at this step."""
        if self._recording is not None:
            self._recording.evaluated(evaluated(kwargs["metrics"], "eval"))

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Wait until every row up to the checkpoint is in the file."""
        if self._recording is not None:
            self._recording.flush()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Close the file."""
        self._end("finished")

    def _notice(self, model: nn.Module, args: Any) -> None:
        """Close what an exception left open, as soon as the model runs again."""
        if self._call is not None and not self._call.under_way():
            self.close()

    def _end(self, status: str) -> None:
        loss, recording, watched = self._loss, self._recording, self._watched
        self._loss = self._recording = self._watched = self._call = None
        if watched is not None:
            watched.remove()
        if loss is not None:
            loss.close()
        if recording is not None:
            recording.end(status)


class _Call:
    """The call of a Trainer's method that trains, within which this is made."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        frame: FrameType | None = sys._getframe()
        while frame is not None and frame.f_globals.get("__name__") != "transformers.trainer":
            frame = frame.f_back
        self._frame = frame

    def under_way(self) -> bool:
        """Whether this is called within it; what can't be told is taken for it."""
        if self._frame is None or threading.get_ident() != self._thread:
            return True
        frame: FrameType | None = sys._getframe()
        while frame is not None and frame is not self._frame:
            frame = frame.f_back
        return frame is not None


def _completed(state: TrainerState) -> bool:
    """Whether the training stands between two epochs."""
    return float(state.epoch or 0.0).is_integer()


def _refuse(args: TrainingArguments, optimizer: Optimizer) -> None:
    if args.n_gpu > 1:
        refuse_strategy("DataParallel over several GPUs")
    accelerator = getattr(optimizer, "accelerator_state", None)
    kind = getattr(getattr(accelerator, "distributed_type", None), "value", "NO")
    if kind not in ("NO", "MULTI_GPU", "MULTI_CPU"):
        refuse_strategy(kind)


def _attributes(args: TrainingArguments, optimizer: Optimizer) -> dict[str, str | int | float]:
    return {
        "framework": "transformers",
        "framework_version": transformers.__version__,
        "optimizer": type(getattr(optimizer, "optimizer", optimizer)).__name__,
        "learning_rate_schedule": str(
            getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)
        ),
        "batch_size": args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
        "accumulation": args.gradient_accumulation_steps,
        "processes": args.world_size,
        "precision": "bf16-mixed" if args.bf16 else "fp16-mixed" if args.fp16 else "none",
        "max_gradient_norm": float(args.max_grad_norm or 0.0),
        "label_smoothing": float(args.label_smoothing_factor),
    }
