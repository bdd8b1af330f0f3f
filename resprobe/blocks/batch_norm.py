"""BatchNorm on other statistics than its own, while the network and its buffers stay as they are.

Both contexts work on the operations that run, recorded or replayed, so they hold for any
intervention, and the running statistics of the model are neither written nor replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from resprobe.errors import InputError

if TYPE_CHECKING:
    from resprobe.blocks.operations import Operation

aten = torch.ops.aten

# All take (input, weight, bias, running_mean, running_var, training, momentum, eps).
_BATCH_NORMS = frozenset(
    (
        aten.native_batch_norm.default,
        aten.cudnn_batch_norm.default,
        aten.miopen_batch_norm.default,
    )
)
_MEAN, _VARIANCE, _TRAINING, _MOMENTUM = 3, 4, 5, 6


class Statistics(NamedTuple):
    """Mean and unbiased variance of each channel, `(channel,)`, of the dtype of the buffers."""

    mean: Tensor
    variance: Tensor


def reads_statistics(operation: Operation) -> bool:
    """Whether an operation is a BatchNorm that normalises by its running statistics."""
    return operation.function in _BATCH_NORMS and _by_running(operation.args)


def _by_running(args: tuple[Any, ...]) -> bool:
    return args[_MEAN] is not None and not args[_TRAINING]


class BatchStatistics(TorchDispatchMode):
    """Runs every BatchNorm as in training, on the statistics of its batch, and averages these.

    Everything else, as dropout, runs in the mode that it is in. The average over the batches is
    the cumulative one of `torch.nn.BatchNorm2d(momentum=None)`: each batch counts alike, and the
    variance is the unbiased one. It is taken in float64.

    Raises:
        InputError: in a batch a channel has a single value, which has no variance.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
        self._sums: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        self._batches: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operation."""
        if func not in _BATCH_NORMS or not _by_running(args):
            return func(*args, **(kwargs or {}))
        if args[0].numel() <= args[_MEAN].numel():
            raise InputError(
                "a BatchNorm of the network sees one value of each channel in a batch of one "
                "image, which has no variance; give more --training-samples."
            )
        # With momentum 1 the running statistics become those of the batch.
        mean, variance = torch.zeros_like(args[_MEAN]), torch.zeros_like(args[_VARIANCE])
        result = func(*args[:_MEAN], mean, variance, True, 1.0, *args[_MOMENTUM + 1 :])
        self._add(args[_MEAN], mean, variance)
        return result

    def _add(self, buffer: Tensor, mean: Tensor, variance: Tensor) -> None:
        key = buffer.data_ptr()
        if key in self._sums:
            _, means, variances = self._sums[key]
            means += mean.double()
            variances += variance.double()
        else:
            self._sums[key] = (buffer, mean.double(), variance.double())
        self._batches[key] = self._batches.get(key, 0) + 1

    def average(self) -> dict[int, Statistics]:
        """Give the statistics of every BatchNorm that ran, by where its own mean is stored."""
        found = {}
        for key, (buffer, means, variances) in self._sums.items():
            count = self._batches[key]
            found[key] = Statistics(
                (means / count).to(buffer.dtype), (variances / count).to(buffer.dtype)
            )
        return found


class GivenStatistics(TorchDispatchMode):
    """Runs every BatchNorm on the statistics given for it, as if they were its running ones.

    Args:
        statistics: from `BatchStatistics.average`; a BatchNorm without any keeps its own.
    """

    def __init__(self, statistics: Mapping[int, Statistics]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
        self._statistics = statistics

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operation."""
        if func in _BATCH_NORMS and _by_running(args):
            given = self._statistics.get(args[_MEAN].data_ptr())
            if given is not None:
                args = (*args[:_MEAN], given.mean, given.variance, *args[_VARIANCE + 1 :])
        return func(*args, **(kwargs or {}))
