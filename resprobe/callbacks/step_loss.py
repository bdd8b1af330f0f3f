"""The loss of an optimizer step, from the losses that a model returns for its micro-batches."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.amp import GradScaler
    from torch.utils.hooks import RemovableHandle


class StepLoss:
    """Adds up what the losses that a model returns contribute to the loss that is differentiated.

    A trainer may sum the micro-batches' losses, average them, or leave them out, and scales them
    for half precision. What it does is read off the gradient: where the step's loss is
    L = Σ w·l, a returned loss l receives the gradient w (times the scale), so the sum of w·l is L
    whatever the weights are. A penalty that the trainer adds itself is no part of it. Nothing
    waits for the device.

    Args:
        model: returns a mapping with `loss`, an object with that attribute or a tuple that begins
            with it.
        scaler: of the gradients, or None.
    """

    def __init__(self, model: nn.Module, scaler: GradScaler | None) -> None:
        self._scaler = scaler
        self._total: Tensor | None = None
        self._depth = 0
        self._model = model
        # Compiled, they would be a part of the model's forward pass to torch.compile.
        self._enter_model = torch.compiler.disable(self._enter)
        self._leave_model = torch.compiler.disable(self._leave)
        self._handles: list[RemovableHandle] = [model.register_forward_pre_hook(self._enter_model)]

    def watch(self) -> None:
        """Begin; after the Recorder has put its hooks on the model, so that it misses this one."""
        self._handles.append(self._model.register_forward_hook(self._leave_model, always_call=True))

    def close(self) -> None:
        """Leave nothing on the model."""
        for handle in self._handles:
            handle.remove()

    def take(self) -> Tensor | None:
        """Give the step's loss, 0-d float64, and start anew; None if no returned loss took part."""
        total, self._total = self._total, None
        return total

    # A copy of the model takes the hooks along.
    def _enter(self, model: nn.Module, args: Any) -> None:
        if model is self._model:
            self._depth += 1

    def _leave(self, model: nn.Module, args: Any, output: Any) -> None:
        if model is not self._model:
            return
        self._depth -= 1
        if self._depth or not (model.training and torch.is_grad_enabled()):
            return  # the Recorder runs the model within the first forward pass
        loss = _loss_of(output)
        if isinstance(loss, Tensor) and loss.numel() == 1 and loss.requires_grad:
            # A copy: a trainer may scale the loss in place.
            value = loss.detach().to(torch.float64, copy=True).reshape(())
            loss.register_hook(partial(self._add, value))

    def _add(self, value: Tensor, gradient: Tensor) -> None:
        part = value * gradient.reshape(())
        if self._scaler is not None:
            part = part / self._scaler.scale(torch.ones_like(part))
        self._total = part if self._total is None else self._total + part


def _loss_of(output: Any) -> Any:
    if isinstance(output, Mapping):
        return output.get("loss")
    if isinstance(output, tuple) and output:
        return output[0]
    return getattr(output, "loss", None)
