"""One epoch of training and one pass of evaluation, without waiting for the device in a step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from resprobe_models.datasets.batches import DeviceData, EpochPlan

LOOK_SECONDS = 0.5
EVALUATION_BATCH = 500


class StepRecorder(Protocol):
    """What the loop needs of a recorder."""

    def step(self, loss: Tensor, *, accuracy: Tensor | None = None) -> None:
        """Take one finished step."""


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

    def __init__(self, device: torch.device) -> None:
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._correct = torch.zeros((), dtype=torch.int64, device=device)
        self._images = 0

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Add a batch whose mean loss is `loss`; give the number of its correct answers."""
        correct = (logits.detach().argmax(dim=1) == labels).sum()
        self._loss += loss.detach() * len(labels)
        self._correct += correct
        self._images += len(labels)
        return correct

    def figures(self) -> Figures:
        """Read the sums; this waits for the device."""
        wrong = self._images - int(self._correct.item())
        return Figures(self._loss.item() / self._images, wrong / self._images)


@dataclass
class Training:
    """What a step needs, and where it stands.

    Attributes:
        model: on its device.
        optimizer: over the model's parameters.
        learning_rate: from the step, counted from 0, to the rate used in it.
        autocast: gives a new context for each forward pass.
        step: optimizer steps done.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    learning_rate: Callable[[int], float]
    autocast: Callable[[], AbstractContextManager[Any]]
    step: int = 0


def train_epoch(
    training: Training,
    data: DeviceData,
    plan: EpochPlan,
    *,
    batch_size: int,
    pad: int,
    recorder: StepRecorder | None,
    look: Callable[[int, Figures], None],
) -> Figures:
    """Train one epoch and give the running training figures (of the weights as they changed).

    A loss that is not finite ends the epoch at the next look, which comes about twice a second
    and at the end of the epoch; looking waits for the device, a step does not.

    Args:
        training: is moved on.
        data: the training images.
        plan: this epoch's draws.
        batch_size: images a step.
        pad: of the crop.
        recorder: takes every step, if given.
        look: called with the step and the figures so far at each look.
    """
    model, optimizer = training.model, training.optimizer
    model.train()
    tally = Tally(data.labels.device)
    looked = time.perf_counter()
    for images, labels in data.epoch(plan, batch_size, pad=pad):
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate(training.step)
        with training.autocast():
            logits = model(images)
            loss = functional.cross_entropy(logits, labels)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        training.step += 1
        correct = tally.add(loss, logits, labels)
        if recorder is not None:
            recorder.step(loss.detach(), accuracy=correct / len(labels))
        if time.perf_counter() - looked >= LOOK_SECONDS:
            figures = tally.figures()
            if not figures.finite:
                return figures
            look(training.step, figures)
            looked = time.perf_counter()
    return tally.figures()


def evaluate(training: Training, data: DeviceData) -> Figures:
    """Give loss and error over a whole split, in evaluation mode and without gradients."""
    was_training = training.model.training
    training.model.eval()
    tally = Tally(data.labels.device)
    with torch.no_grad():
        for images, labels in data.in_order(EVALUATION_BATCH):
            with training.autocast():
                logits = training.model(images)
                loss = functional.cross_entropy(logits, labels)
            tally.add(loss, logits, labels)
    training.model.train(was_training)
    return tally.figures()
