"""Several processes training one network: each takes its share of every batch.

Started by `accelerate launch` or `torchrun`. After the backward pass one sum over the processes
joins gradients, buffers, loss and the wish to stop, so all of them hold the same network after
every step: what one process would have, but for the order of additions and for batch
normalisation, whose statistics each process takes of its own share.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resprobe.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this one is.

    Attributes:
        rank: from 0; the process 0 writes.
        count: how many there are.
        device: that the launcher assigned, None with one process.
    """

    rank: int = 0
    count: int = 1
    device: torch.device | None = None

    @property
    def writes(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in one of the processes."""
        if self.count == 1:
            return flag
        import torch

        return bool(self.sum(torch.tensor(float(flag), device=self.device)) > 0)

    def sum(self, tensor: Tensor) -> Tensor:
        """Give the sum of a tensor over the processes."""
        if self.count == 1:
            return tensor
        from accelerate.utils import reduce

        total: Tensor = reduce(tensor, reduction="sum")
        return total


ALONE = Processes()


class StepSum:
    """One sum over the processes a step: gradients, buffers, loss, right answers, wish to stop.

    Args:
        processes: more than one.
        model: the same in all of them.
    """

    def __init__(self, processes: Processes, model: nn.Module) -> None:
        self._processes, self._model = processes, model
        self._trained: list[nn.Parameter] | None = None

    def __call__(
        self, share: float, loss: Tensor, correct: Tensor, stop: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sum gradients, in place, and average floating-point buffers by share.

        Args:
            share: of the batch, 0 to 1; the gradients are those of the share's mean loss times it.
            loss: mean over the share, 0-d.
            correct: right answers in the share, 0-d.
            stop: whether this process wishes to stop.

        Returns:
            Mean loss and number of right answers of the whole batch, and how many processes wish
            to stop: 0-d on the device, which is not waited for.
        """
        import torch

        trained = self._with_gradient()
        buffers = [item for item in self._model.buffers() if item.is_floating_point()]
        own = trained[0]
        figures = torch.stack(
            [loss.detach().to(own) * share, correct.to(own), own.new_tensor(float(stop)).detach()]
        )
        parts = [
            *(torch.zeros_like(item) if item.grad is None else item.grad for item in trained),
            *(buffer * share for buffer in buffers),
            figures,
        ]
        joined = torch.cat([part.detach().to(own).reshape(-1) for part in parts])
        sums = self._processes.sum(joined).split([part.numel() for part in parts])
        for parameter, total in zip(trained, sums, strict=False):
            parameter.grad = total.view(parameter.shape).to(parameter)
        for buffer, total in zip(buffers, sums[len(trained) :], strict=False):
            buffer.copy_(total.view(buffer.shape))
        return sums[-1][0], sums[-1][1], sums[-1][2]

    def _with_gradient(self) -> list[nn.Parameter]:
        """Give the parameters that have a gradient in any process, asked in the first step.

        The optimizer leaves a parameter without a gradient alone; zeros would let it decay.
        """
        if self._trained is None:
            parameters = [item for item in self._model.parameters() if item.requires_grad]
            has = parameters[0].new_tensor([float(item.grad is not None) for item in parameters])
            found = self._processes.sum(has).tolist()
            self._trained = [item for item, any_ in zip(parameters, found, strict=True) if any_]
        return self._trained


@contextmanager
def all_processes(device: str) -> Iterator[Processes]:
    """Join the processes that a launcher started; one process where there was none.

    Args:
        device: of the recipe.

    Raises:
        InputError: a single GPU is named for several processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    from accelerate import PartialState

    if device not in ("auto", "cpu", "cuda"):
        raise InputError(
            f"train.device = {device!r}: several processes were started, and each takes a device "
            "of its own; leave it out, or give cpu or cuda."
        )
    state = PartialState(cpu=device == "cpu")
    try:
        yield Processes(state.process_index, state.num_processes, state.device)
    finally:
        state.destroy_process_group()
