"""One epoch of training and one pass of evaluation, without waiting for the device in a step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from resprobe_models.datasets.batches import DeviceData, EpochPlan
from resprobe_models.interruption import Wish
from resprobe_models.processes import ALONE, Processes, StepSum

LOOK_SECONDS = 0.5
# Several processes stop together: how many steps pass between two questions whether to.
STOP_STEPS = 8
EVALUATION_BATCH = 500


class StepRecorder(Protocol):
    """What the loop needs of a recorder."""

    def step(
        self,
        loss: Tensor,
        *,
        accuracy: Tensor | None = None,
        pair: Callable[[], Mapping[str, Tensor]] | None = None,
    ) -> None:
        """Take one finished step, and what compares it with that of a partner."""


class Partner(Protocol):
    """What the loop needs of a second network that is trained in lockstep."""

    def step(self, images: Tensor, labels: Tensor, loss: Tensor) -> None:
        """Take the step that the first network has just taken with this loss."""

    def distances(self) -> dict[str, Tensor]:
        """Compare the two networks after the step."""

    def finite(self) -> bool:
        """Whether its loss so far is a number; this waits for the device."""


@dataclass(frozen=True)
class Figures:
    """Loss (mean over images) and error (a fraction) over some images."""

    loss: float
    error: float

    @property
    def finite(self) -> bool:
        """Whether the loss is a number."""
        return math.isfinite(self.loss)


class Tally:
    """Sums over batches, kept on the device."""

    def __init__(
        self, device: torch.device, *, loss: float = 0.0, correct: int = 0, images: int = 0
    ) -> None:
        """Begin at zero, or where `state` left off."""
        self._loss = torch.tensor(loss, dtype=torch.float64, device=device)
        self._correct = torch.tensor(correct, dtype=torch.int64, device=device)
        self._images = images

    def add(self, loss: Tensor, correct: Tensor, images: int) -> None:
        """Add a batch of `images` with its mean loss and its number of correct answers."""
        self._loss += loss.detach() * images
        self._correct += correct.to(torch.int64)
        self._images += images

    def join(self, processes: Processes) -> None:
        """Make the sums those over all processes."""
        own = self._loss.new_tensor([float(self._correct.item()), self._images])
        total = processes.sum(torch.cat([self._loss[None], own]))
        self._loss, self._correct = total[0], total[1].to(torch.int64)
        self._images = int(total[2].item())

    def state(self) -> dict[str, Any]:
        """Give the sums, JSON-ready and exact; this waits for the device."""
        loss, correct = self._loss.item(), int(self._correct.item())
        return {"loss": loss, "correct": correct, "images": self._images}

    def figures(self) -> Figures:
        """Read the sums; this waits for the device."""
        wrong = self._images - int(self._correct.item())
        return Figures(self._loss.item() / self._images, wrong / self._images)


@dataclass
class Epoch:
    """An epoch under way.

    Attributes:
        plan: its draws.
        tally: over its batches so far.
        batches: how many are done.
        generators: the states of the random generators before its draws.
        seconds: that it took before it was interrupted.
    """

    plan: EpochPlan
    tally: Tally
    generators: dict[str, Tensor]
    batches: int = 0
    seconds: float = 0.0


@dataclass
class Training:
    """What a step needs, and where it stands.

    Attributes:
        model: on its device.
        optimizer: over the model's parameters.
        learning_rate: from the step, counted from 0, to the rate used in it.
        autocast: gives a new context for each forward pass.
        clip_norm: the gradient's largest L2 norm; None for any.
        processes: that train together.
        step: optimizer steps done.
        logits: of the last batch; none before the first.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    learning_rate: Callable[[int], float]
    autocast: Callable[[], AbstractContextManager[Any]]
    clip_norm: float | None = None
    processes: Processes = ALONE
    step: int = 0
    logits: Tensor = field(default_factory=lambda: torch.empty(0))

    def batch(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Give mean loss and number of right answers of a batch, 0-d on the device."""
        with self.autocast():
            logits = self.model(images)
            loss = functional.cross_entropy(logits, labels)
        self.logits = logits.detach()
        return loss, (self.logits.argmax(dim=1) == labels).sum()


def train_epoch(
    training: Training,
    data: DeviceData,
    epoch: Epoch,
    *,
    batch_size: int,
    pad: int,
    recorder: StepRecorder | None,
    look: Callable[[int, Figures], None],
    wish: Wish,
    partner: Partner | None = None,
) -> None:
    """Train one epoch, or what is left of it; the tally is of the weights as they changed.

    A loss that is not finite ends the epoch at the next look, which comes about twice a second
    and at the end of the epoch; looking waits for the device, a step does not. A wish to stop
    ends it after the step under way.

    Args:
        training: is moved on.
        data: the training images.
        epoch: likewise.
        batch_size: images a step.
        pad: of the crop.
        recorder: takes every step, if given.
        look: called with the step and the figures so far at each look.
        wish: asked after each step.
        partner: takes every step too, if given; a loss of its own ends the epoch likewise.
    """
    together = training.processes
    training.model.train()
    take_step = Step(training, wish)
    looked = time.perf_counter()
    batches = data.epoch(
        epoch.plan,
        batch_size,
        pad=pad,
        first=epoch.batches,
        rank=together.rank,
        processes=together.count,
    )
    for images, labels in batches:
        size = min(batch_size, len(data) - epoch.batches * batch_size)
        loss, correct, stop = take_step(images, labels, size)
        epoch.batches += 1
        epoch.tally.add(loss, correct, size)
        if partner is not None:
            partner.step(images, labels, loss)
        if recorder is not None:
            compare = None if partner is None else partner.distances
            recorder.step(loss.detach(), accuracy=correct / size, pair=compare)
        if stop:
            return
        if time.perf_counter() - looked >= LOOK_SECONDS:
            figures = epoch.tally.figures()
            # With several processes all end together, at the end of the epoch.
            finite = figures.finite and (partner is None or partner.finite())
            if not finite and together.count == 1:
                return
            look(training.step, figures)
            looked = time.perf_counter()


class Step:
    """One step of the optimizer, alone or together with other processes."""

    def __init__(self, training: Training, wish: Wish) -> None:
        self._training, self._wish = training, wish
        self._join = StepSum(training.processes, training.model)

    def __call__(self, images: Tensor, labels: Tensor, size: int) -> tuple[Tensor, Tensor, bool]:
        """Take a step on this process's share of a batch of `size` images.

        Returns:
            Mean loss and number of right answers of the whole batch, and whether to stop.
        """
        training = self._training
        optimizer = training.optimizer
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate(training.step)
        optimizer.zero_grad(set_to_none=True)
        if training.processes.count == 1:
            loss, correct = training.batch(images, labels)
            torch.autograd.backward(loss)
            wishes = None
        else:
            loss, correct, wishes = self._joined(images, labels, len(labels) / size)
        if training.clip_norm is not None:
            nn.utils.clip_grad_norm_(training.model.parameters(), training.clip_norm)
        optimizer.step()
        training.step += 1
        if wishes is None:
            return loss, correct, self._wish.to_stop
        # Reading the sum waits for the device, so it is not done in every step.
        return loss, correct, training.step % STOP_STEPS == 0 and bool(wishes > 0)

    def _joined(self, images: Tensor, labels: Tensor, share: float) -> tuple[Tensor, ...]:
        loss = correct = torch.zeros((), device=labels.device)
        if share > 0:
            loss, correct = self._training.batch(images, labels)
            # What DistributedDataParallel would differentiate, were the shares equal: the loss.
            torch.autograd.backward(loss * (share * self._training.processes.count))
        with torch.no_grad():
            return self._join(share, loss, correct, self._wish.to_stop)


def evaluate(training: Training, data: DeviceData) -> Figures:
    """Give loss and error over a whole split, in evaluation mode and without gradients."""
    was_training, together = training.model.training, training.processes
    training.model.eval()
    tally = Tally(data.labels.device)
    batches = data.in_order(EVALUATION_BATCH, rank=together.rank, processes=together.count)
    with torch.no_grad():
        for images, labels in batches:
            loss, correct = training.batch(images, labels)
            tally.add(loss, correct, len(labels))
    tally.join(together)
    training.model.train(was_training)
    return tally.figures()
