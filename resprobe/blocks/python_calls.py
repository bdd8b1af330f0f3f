"""What a forward pass does in Python: its calls of torch, and the numbers that it reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from resprobe.blocks.operations import Call, Event

# Functions that hand the numbers of a tensor to Python without an operation that could be seen.
_READ_BY_PYTHON = {Tensor.tolist, Tensor.numpy, Tensor.__array__}


class _Numbers:
    """Stands as operation where Python read a tensor: it gives what was read."""

    is_view = False

    def __call__(self, tensor: Tensor) -> Tensor:
        return tensor.detach().clone()


NUMBERS = _Numbers()


class Calls(TorchFunctionMode):
    """Numbers the Python calls of each function since the last event of a module."""

    def __init__(
        self, returned: Callable[[Any, Call], None], read: Callable[[Tensor], None]
    ) -> None:
        super().__init__()
        self.event: Event | None = None
        self.running: Call | None = None
        self._counts: dict[Callable[..., Any], int] = {}
        self._returned: Callable[[Any, Call], None] | None = returned
        self._read: Callable[[Tensor], None] | None = read

    def forget(self) -> None:
        """Let go of the recorder, which holds this: a cycle would keep its tensors alive."""
        self._returned = self._read = None

    def begin(self, event: Event) -> None:
        """Count from this event on."""
        self.event = event
        self._counts.clear()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.event is None:
            return func(*args, **(kwargs or {}))
        ordinal = self._counts.get(func, 0)
        self._counts[func] = ordinal + 1
        if func in _READ_BY_PYTHON and self._read is not None:
            self._read(args[0])
        self.running = Call(self.event, func, ordinal)
        try:
            result = func(*args, **(kwargs or {}))
        finally:
            call, self.running = self.running, None
        if self._returned is not None:
            self._returned(result, call)
        return result
