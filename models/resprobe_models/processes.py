"""Several processes training one network: each takes its share of every batch.

Started by `accelerate launch` or `torchrun`. After the backward pass one sum over the processes
joins gradients, buffers, loss and the wish to stop, so all of them hold the same network after
every step: what one process would have, but for the order of additions and for batch
normalisation, whose statistics each process takes of its own share.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
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
        from torch.nn.modules.batchnorm import _NormBase

        self._processes = processes
        self._trained = [item for item in model.parameters() if item.requires_grad]
        # Other buffers, such as masks, are the same in all processes already.
        self._statistics = [
            buffer
            for module in model.modules()
            if isinstance(module, _NormBase)
            for buffer in (module.running_mean, module.running_var)
            if buffer is not None
        ]

    def __call__(
        self, share: float, loss: Tensor, correct: Tensor, stop: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Average gradients, in place, over the processes, and the running statistics by share.

        Args:
            share: of the batch, 0 to 1; the gradients are those of the share's mean loss times it
                and the number of processes, so that their mean is that of the whole batch.
            loss: mean over the share, 0-d.
            correct: right answers in the share, 0-d.
            stop: whether this process wishes to stop.

        Returns:
            Mean loss and number of right answers of the whole batch, and how many processes wish
            to stop: 0-d on the device, which is not waited for.
        """
        import torch

        own = self._trained[0].detach()
        figures = [loss.detach().to(own) * share, correct.to(own), own.new_full((), float(stop))]
        has = [own.new_full((), float(item.grad is not None)) for item in self._trained]
        parts = [
            *(torch.zeros_like(item) if item.grad is None else item.grad for item in self._trained),
            *(buffer * share for buffer in self._statistics),
            torch.stack(has),
            torch.stack(figures),
        ]
        joined = torch.cat([part.detach().to(own).reshape(-1) for part in parts])
        sums = self._processes.sum(joined).split([part.numel() for part in parts])
        self._put_gradients(sums, sums[-2])
        for buffer, total in zip(self._statistics, sums[len(self._trained) :], strict=False):
            buffer.copy_(total.view(buffer.shape))
        return sums[-1][0], sums[-1][1], sums[-1][2]

    def _put_gradients(self, sums: Sequence[Tensor], has: Tensor) -> None:
        """Give every parameter its mean; one that no process has a gradient of keeps none.

        The optimizer leaves it alone, where zeros would let it decay. The device is waited for
        only where a gradient is missing in this process.
        """
        missing = any(item.grad is None for item in self._trained)
        anywhere = has.tolist() if missing else [1.0] * len(self._trained)
        for parameter, total, found in zip(self._trained, sums, anywhere, strict=False):
            mean = total.view(parameter.shape) / self._processes.count
            parameter.grad = mean.to(parameter) if found else None


def all_processes(device: str) -> Processes:
    """Join the processes that a launcher started; one process where there was none.

    Args:
        device: of the recipe.

    Raises:
        InputError: a single GPU is named for several processes.
    """
    if _world_size() == 1:
        return ALONE
    import torch
    from accelerate import PartialState

    if device not in ("auto", "cpu", "cuda"):
        raise InputError(
            f"train.device = {device!r}: several processes were started, and each takes a device "
            "of its own; leave it out, or give cpu or cuda."
        )
    # Joined once for all trainings of the process: the others could not be met at the same
    # address a second time. A group that somebody else made is left to them.
    if not torch.distributed.is_initialized():
        atexit.register(_leave)
    # Told to take a GPU where there is none, accelerate makes each process one of one.
    alone = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    state = PartialState(cpu=alone)
    if state.num_processes != _world_size():
        raise InputError(
            f"{_world_size()} processes were started but do not find each other; start them with "
            "torchrun, or give --device cpu where there is no GPU for each."
        )
    return Processes(state.process_index, state.num_processes, state.device)


def _leave() -> None:
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _world_size() -> int:
    text = os.environ.get("WORLD_SIZE") or "1"
    if not text.isdecimal() or int(text) == 0:
        raise InputError(
            f"the environment variable WORLD_SIZE = {text!r} is no number of processes; unset it, "
            "or start with torchrun."
        )
    return int(text)
