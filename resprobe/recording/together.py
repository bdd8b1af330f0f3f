"""Several processes that train one network record it together: one sum a recorded step.

Each holds the norms of its own samples. What is stored are mean and standard deviation over the
samples of all of them, so that a recording does not depend on how a batch was shared.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor

from resprobe.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Sums between two looks at whether a process gave up.
_LOOK_EVERY = 64


def together(asked: bool | None, wrapped: bool, device: torch.device) -> Together | None:
    """Give the processes that record together; None where this one records alone.

    Args:
        asked: for it; None asks where the network is `wrapped`.
        wrapped: in DistributedDataParallel.
        device: of the network, on which sums are taken.

    Raises:
        InputError: it was asked for without a process group, or in one it can't be told whether
            the network is trained together.
    """
    grouped = dist.is_available() and dist.is_initialized()
    if asked is None and not wrapped and grouped and dist.get_world_size() > 1:
        raise InputError(
            "several processes train, but the model is not in DistributedDataParallel; give the "
            "Recorder that module, or distributed=True in every process, or distributed=False to "
            "record the share of this one."
        )
    if not (wrapped if asked is None else asked):
        return None
    if not grouped:
        raise InputError(
            "distributed=True, but there is no process group; start the processes with torchrun "
            "and call torch.distributed.init_process_group first, or leave distributed out."
        )
    return Together(device) if dist.get_world_size() > 1 else None


class Together:
    """The processes of the default process group, each of which made the same Recorder.

    Every method is called by all of them, in the same order; none is called where a recording
    ends. So a process that raised is not waited for by those that end too; those that go on wait
    for it in the next sum, as in those of the training itself.

    Attributes:
        count: how many there are.
        writes: whether this one writes the file and says what is to be said: the first.
    """

    def __init__(self, device: torch.device) -> None:
        self.count = dist.get_world_size()
        self.writes = dist.get_rank() == 0
        self._device = device
        self._size = 0
        self._sums = 0
        self._stopped: tuple[Tensor, torch.cuda.Event | None] | None = None

    def begin(self, error: InputError | None) -> None:
        """End in all processes what the first can't begin.

        Raises:
            InputError: the first process has an error; its own message says which.
        """
        (failed,) = self._largest([float(error is not None)])
        if failed:
            raise error or InputError(
                "the first process can't record the training and says why; nothing is recorded."
            )

    def agree(self, layout: str | None, size: int, *, stopped: bool) -> bool:
        """Compare, in the first recorded step, what the processes are about to add up.

        Args:
            layout: what this process records, in words; None where no sample of the batch was
                its own, so that it does not know the blocks yet.
            size: of the vector that it adds to the others'.
            stopped: whether it had to give up, as on a full disk.

        Returns:
            Whether recording goes on; it ends in all processes when it ends in one.

        Raises:
            InputError: they record different things, or the first saw no forward pass.
        """
        digest = -math.inf
        if layout is not None:
            digest = float(int(hashlib.sha256(layout.encode()).hexdigest()[:12], 16))
        nothing = self.writes and layout is None and not stopped
        opposite = -digest if math.isfinite(digest) else -math.inf
        ended, absent, most, high, low = self._largest(
            [float(stopped), float(nothing), float(size), digest, opposite]
        )
        if ended:
            return False
        if absent:
            raise InputError(
                "Recorder.step was called without a forward pass of the model in training mode "
                "before it in the first process; call it once after each optimizer.step()."
            )
        if high != -low:
            raise InputError(
                "the processes do not record the same blocks and quantities; make the Recorder "
                "with the same arguments and the same network in all of them."
            )
        self._size = int(most)
        return True

    def statistics(
        self, of_samples: Tensor, figures: Tensor, samples: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Give mean and standard deviation over the samples of all processes.

        Squares are summed beside the values, in float64: the standard deviation is good to
        2e-8 of the mean, which is what float32 norms are good to.

        Args:
            of_samples: of this process, `(quantity, block, sample)` float64; without a sample
                where it had no share of the batch.
            figures: means over its samples, `(figure,)` float64.
            samples: how many they are.

        Returns:
            Mean and standard deviation, `(quantity, block)`, and the figures of all samples.
        """
        weighted = figures * samples if samples else torch.zeros_like(figures)
        parts = (
            of_samples.sum(dim=2),
            of_samples.square().sum(dim=2),
            weighted,
            figures.new_full((1,), float(samples)),
            figures.new_zeros(1),  # this process goes on
        )
        vector = torch.cat([part.reshape(-1) for part in parts])
        joined = self._sum(vector).split([part.numel() for part in parts])
        sums, squares, weighted, total, _ = joined
        shape = of_samples.shape[:2]
        mean = (sums / total).reshape(shape)
        variance = (squares / total).reshape(shape) - mean.square()
        return mean, variance.clamp_(min=0).sqrt_(), weighted / total

    def pass_by(self, *, stopped: bool) -> None:
        """Take part in the sum of a step to which this process has nothing to add.

        Args:
            stopped: whether it had to give up, which the others learn from `stopped`.
        """
        vector = torch.zeros(self._size, dtype=torch.float64, device=self._device)
        vector[-1] = float(stopped)
        self._sum(vector)

    def stopped(self) -> bool:
        """Whether a process had given up when this was last looked at, the same in all.

        It is looked at in every 64th sum, and read before the next such one: by then it is there
        without waiting for the device.
        """
        if self._sums % _LOOK_EVERY or self._stopped is None:
            return False
        number, event = self._stopped
        if event is not None:
            event.synchronize()
        return bool(number > 0)

    def _sum(self, vector: Tensor) -> Tensor:
        if len(vector) != self._size:
            raise InputError(
                "this process records other blocks than the first one; make the Recorder with the "
                "same arguments and the same network in all of them."
            )
        dist.all_reduce(vector)
        if self._sums % _LOOK_EVERY == 0:
            self._look(vector[-1])
        self._sums += 1
        return vector

    def _look(self, number: Tensor) -> None:
        if number.is_cuda:
            host = torch.empty((), dtype=number.dtype, pin_memory=True)
            host.copy_(number, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
            self._stopped = host, event
        else:
            self._stopped = number.clone(), None

    def _largest(self, values: Sequence[float]) -> list[float]:
        """Give the largest of each value over the processes; this waits for them."""
        vector = torch.tensor(values, dtype=torch.float64, device=self._device)
        dist.all_reduce(vector, dist.ReduceOp.MAX)
        largest: list[float] = vector.tolist()
        return largest
