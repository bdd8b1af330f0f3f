"""Hand rows of numbers from the training loop to a thread that writes them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from resprobe.errors import DiskFullError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from resprobe.store.replay import ReplayingWriter
    from resprobe.store.writer import Writer


class Rows:
    """A batch of rows on the device: named columns of one float64 matrix, and host values.

    Args:
        widths: variable to number of columns (0 for a scalar).
        capacity: rows of one batch.
    """

    def __init__(self, widths: Mapping[str, int], capacity: int) -> None:
        self._widths = widths
        self._capacity = capacity
        self._host: dict[str, list[float]] = {}
        self._parts: list[torch.Tensor] = []

    def __len__(self) -> int:
        return len(self._parts)

    @property
    def full(self) -> bool:
        """Whether the batch should be handed over."""
        return len(self._parts) >= self._capacity

    def add(self, row: torch.Tensor, host: Mapping[str, float]) -> None:
        """Add one row: a float64 vector of all columns on the device, and values of the host."""
        self._parts.append(row)
        for name, value in host.items():
            self._host.setdefault(name, []).append(value)

    def take(self) -> Batch:
        """Give the batch and start a new one; on a GPU the copy to the host only begins here."""
        import torch

        matrix = torch.stack(self._parts)
        event = None
        if matrix.is_cuda:
            host = torch.empty(matrix.shape, dtype=matrix.dtype, pin_memory=True)
            host.copy_(matrix, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
            matrix = host
        batch = Batch(matrix, self._host, self._widths, event)
        self._parts, self._host = [], {}
        return batch


class Batch:
    """Rows that the writing thread turns into arrays."""

    def __init__(
        self,
        matrix: torch.Tensor,
        host: Mapping[str, list[float]],
        widths: Mapping[str, int],
        event: Any,
    ) -> None:
        self._matrix, self._host, self._widths, self._event = matrix, host, widths, event

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Give each variable's rows."""
        import numpy as np

        if self._event is not None:
            self._event.synchronize()
        values = self._matrix.numpy()
        found: dict[str, NDArray[Any]] = {k: np.asarray(v) for k, v in self._host.items()}
        start = 0
        for name, width in self._widths.items():
            part = values[:, start : start + max(width, 1)]
            found[name] = part if width else part[:, 0]
            start += max(width, 1)
        return found


class WritingThread:
    """Appends batches to a writer from a thread of its own, in order.

    Args:
        writer: the file's writer; nobody else may use it until `close`.
        look: called in the thread with each group and its rows before they are written.
    """

    def __init__(
        self,
        writer: Writer | ReplayingWriter,
        look: Callable[[str, Mapping[str, NDArray[Any]]], None] | None = None,
    ) -> None:
        self._writer, self._look = writer, look
        self._queue: queue.Queue[tuple[str, Any] | None] = queue.Queue(maxsize=8)
        self.error: Exception | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="resprobe-writer", daemon=True)
        self._thread.start()

    def put(self, group: str, batch: Any) -> None:
        """Queue a batch (`Batch`, or a dict of arrays) for a group; waits if the disk is slow.

        After `close` it is dropped.
        """
        if self.error is None and not self._closed:
            self._queue.put((group, batch))

    def flush(self) -> None:
        """Wait until what is queued is committed; after `close` nothing is."""
        self._queue.join()

    def close(self, status: str) -> None:
        """Write what is queued, then what became of the recording, and close the file."""
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        full = isinstance(self.error, DiskFullError)
        try:
            self._writer.close("stopped_disk_full" if full else status)
        except DiskFullError as error:
            self.error = self.error or error
        if self.error is not None and not full:
            raise self.error

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if self.error is None:
                self._append(*item)
            self._queue.task_done()
        self._queue.task_done()

    def _append(self, group: str, batch: Any) -> None:
        try:
            rows = batch.arrays() if isinstance(batch, Batch) else batch
            if self._look is not None:
                self._look(group, rows)
            self._writer.append(group, rows)
        except Exception as error:  # handed to the training thread, which decides
            self.error = error
