"""Record a training under the Trainer of Lightning."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from resprobe.callbacks.recording import Recording, evaluated, refuse_strategy
from resprobe.errors import InputError, MissingPackageError

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
    from torch.utils.hooks import RemovableHandle
else:
    # The package exists under two names, with a Callback in each. Trainers call callbacks by the
    # names of their methods, so one class serves both; it is that of the package in use.
    names = ("lightning.pytorch", "pytorch_lightning")
    found = [name for name in names if sys.modules.get(name)]
    found += [name for name in names if importlib.util.find_spec(name.partition(".")[0])]
    try:
        Callback = importlib.import_module((found or names)[0]).Callback
    except ImportError as error:
        raise MissingPackageError(
            "LightningCallback records trainings of lightning, which is not installed; run "
            '`pip install "resprobe[lightning]"`.'
        ) from error


class _Rate:
    """Stands before the Recorder for the optimizer: schedulers step before a batch ends."""

    def __init__(self) -> None:
        self.param_groups: list[dict[str, Any]] = [{"lr": math.nan}]


class LightningCallback(Callback):
    """Records every optimizer step of a Lightning `Trainer` with a `resprobe.Recorder`.

    >>> trainer = Trainer(callbacks=[resprobe.LightningCallback("run")])  # doctest: +SKIP
    >>> trainer.fit(module, batches)  # doctest: +SKIP

    A row is one optimizer step over all its micro-batches, after gradient clipping and, in half
    precision, with unscaled gradients; its number is the Trainer's global step. The loss is the
    mean over the micro-batches of what `training_step` returns, also where the last step of an
    epoch has fewer, whose gradient Lightning divides by the full number; a step whose
    `training_step` returned None has no row. A completed epoch leaves a row with the mean of its
    steps' losses, and with `test_loss` and `test_error` from `val_loss` and `val_acc` (or
    `val_accuracy`) of a validation at its end. Under several processes the figures are those of the
    global batch, and the first process writes. `fit(ckpt_path=…)` goes on in the same file. It
    serves `lightning.pytorch` and `pytorch_lightning`.

    Args:
        out: a run directory (written as `training.h5` there) or a path ending in .h5.
        network: path of the submodule to record, such as "net"; None for the only child that has
            parameters, or for the whole LightningModule where it has several and a `forward`.
        every: steps between recorded steps; the first step is always recorded.
        quantities: names to record beside loss and learning rate; None for all.

    Raises:
        InputError: `network` is no path; from `Trainer.fit`: two callbacks record it; the file
            exists and the training doesn't resume; it can't be told what to record; optimization is
            manual; the network is sharded (FSDP, DeepSpeed); or what `Recorder` refuses.
    """

    def __init__(
        self,
        out: str | Path,
        *,
        network: str | None = None,
        every: int = 1,
        quantities: Sequence[str] | None = None,
    ) -> None:
        if network is not None and not isinstance(network, str):
            raise InputError(
                f"network is a {type(network).__name__}; give the path of the submodule, as in "
                "network='net'."
            )
        self._out, self._network = out, network
        self._every, self._quantities = every, quantities
        self._recording: Recording | None = None
        self._rate = _Rate()
        self._losses: list[Tensor] = []
        self._step = 0
        self._path, self._called = "", False
        self._uncalled: RemovableHandle | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a recording, or go on with it after the step of the checkpoint."""
        if sum(one is self for one in _callbacks(trainer)) > 1:
            raise InputError(
                "the same LightningCallback is in the Trainer's callbacks twice; leave one out."
            )
        self._end("interrupted")
        _refuse(trainer, pl_module)
        distributed = isinstance(trainer.model, DistributedDataParallel)
        self._path, network = _network(pl_module, self._network, distributed=distributed)
        self._step, self._losses = trainer.global_step, []
        self._recording = Recording(
            network,
            self._out,
            optimizer=cast("torch.optim.Optimizer", self._rate),
            start_step=self._step,
            scaler=getattr(trainer.precision_plugin, "scaler", None),
            distributed=distributed,
            every=self._every,
            quantities=self._quantities,
            attributes=_attributes(trainer, self._path),
            under_way=lambda: trainer.state.status == "running",
            goes_on_with="go on from a checkpoint with fit(ckpt_path=…)",
        )
        self._watch_calls(network)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to add up the epoch's losses; not called where an epoch is gone on with."""
        if self._recording is not None:
            self._recording.begin_epoch()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Keep the learning rate of the step."""
        self._rate.param_groups = [{"lr": float(optimizer.param_groups[0]["lr"])}]

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Record the step if the optimizer took one: the gradients are there until the next."""
        if self._recording is None:
            return
        if isinstance(outputs, Mapping) and isinstance(outputs.get("loss"), Tensor):
            # Lightning has divided it by the micro-batches of a whole step.
            self._losses.append(outputs["loss"].detach().double() * trainer.accumulate_grad_batches)
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        losses, self._losses = self._losses, []
        if not losses:  # training_step gave None, which leaves the batch out
            self._recording.skip()
            return
        if not self._called:
            self._end("interrupted")
            raise InputError(
                f"training_step never calls {self._path or 'the module itself'}, so there is "
                "nothing to record; name the submodule that it calls, as in network='net'. "
                + _children_said(pl_module)
            )
        self._recording.step(torch.stack(losses).mean())

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep what the validation found for the row of an epoch that ends at this step."""
        if self._recording is not None:
            self._recording.evaluated(evaluated(trainer.callback_metrics, "val"))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the epoch, unless the training leaves it before its last batch."""
        if self._recording is not None and trainer.is_last_batch:
            self._recording.end_epoch()

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Wait until every row up to the checkpoint is in the file."""
        if self._recording is not None:
            self._recording.flush()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the file."""
        self._end("finished")

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Close the file of a training that an exception or Ctrl-C ends."""
        self._end("interrupted")

    def _end(self, status: str) -> None:
        recording, self._recording = self._recording, None
        if self._uncalled is not None:
            self._uncalled.remove()
        if recording is not None:
            recording.end(status)

    def _watch_calls(self, network: nn.Module) -> None:
        self._called = False

        def called(module: nn.Module, args: Any) -> None:
            self._called = True
            handle.remove()

        handle = self._uncalled = network.register_forward_pre_hook(called)


def _refuse(trainer: Trainer, pl_module: LightningModule) -> None:
    if not pl_module.automatic_optimization:
        raise InputError(
            "this LightningModule optimizes manually, where only training_step knows when a step "
            "is complete; use resprobe.Recorder in it."
        )
    if trainer.model is not pl_module and not isinstance(trainer.model, DistributedDataParallel):
        refuse_strategy(type(trainer.model).__name__)


def _network(
    pl_module: LightningModule, path: str | None, *, distributed: bool
) -> tuple[str, nn.Module]:
    """Give the module to record and its path.

    Raises:
        InputError: there is none of this path, or none that is surely meant.
    """
    if path is not None:
        try:
            return path, pl_module.get_submodule(path)
        except AttributeError as error:
            raise InputError(
                f"network={path!r} is no submodule of the {type(pl_module).__name__}. "
                + _children_said(pl_module)
            ) from error
    children = _children(pl_module)
    if len(children) == 1 and not list(pl_module.parameters(recurse=False)):
        return children[0], pl_module.get_submodule(children[0])
    # Under DistributedDataParallel, Lightning calls the whole module with the batch instead.
    if _has_forward(pl_module) and not distributed:
        return "", pl_module
    raise InputError(
        f"it can't be told which module of the {type(pl_module).__name__} is the network; name "
        "it, as in network='net'. " + _children_said(pl_module)
    )


def _callbacks(trainer: Trainer) -> list[Any]:
    return cast("Any", trainer).callbacks  # type: ignore[no-any-return]


def _has_forward(pl_module: LightningModule) -> bool:
    return not type(pl_module).forward.__module__.startswith(("lightning.", "pytorch_lightning."))


def _children(pl_module: LightningModule) -> list[str]:
    return [
        name for name, child in pl_module.named_children() if any(True for _ in child.parameters())
    ]


def _children_said(pl_module: LightningModule) -> str:
    return f"Its children with parameters: {', '.join(_children(pl_module)) or 'none'}."


def _attributes(trainer: Trainer, path: str) -> dict[str, str | int | float]:
    package = type(trainer).__module__.partition(".")[0]
    schedules = [type(config.scheduler).__name__ for config in trainer.lr_scheduler_configs]
    samples = getattr(trainer.train_dataloader, "batch_size", None)
    step = trainer.accumulate_grad_batches * trainer.world_size
    return {
        "framework": package,
        "framework_version": str(sys.modules[package].__version__),
        "network": path,
        "optimizer": ", ".join(type(optimizer).__name__ for optimizer in trainer.optimizers),
        "learning_rate_schedule": ", ".join(schedules) or "none",
        "accumulation": trainer.accumulate_grad_batches,
        "processes": trainer.world_size,
        "precision": str(trainer.precision),
        "max_gradient_norm": float(trainer.gradient_clip_val or 0.0),
        **({"batch_size": samples * step} if isinstance(samples, int) else {}),
    }
