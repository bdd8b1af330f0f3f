"""Recurrent layers that torch runs as one operation without forward derivatives."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch

from resprobe.blocks.program import record
from resprobe.linalg.given import set_back

if TYPE_CHECKING:
    from torch import Tensor, nn

    from resprobe.blocks.operations import Program

_LIBRARY = ("mkldnn_rnn_layer", "_cudnn_rnn")


@contextmanager
def recorded(module: nn.Module, x: Tensor) -> Iterator[Program]:
    """Record a module at a point, in operations that have derivatives.

    Recurrent layers are run without oneDNN and cuDNN while the context lasts, which only differs
    by rounding; everything else is as it was.

    Args:
        module: to run.
        x: the point, which it may not write to.
    """
    with ExitStack() as stack:
        program = record(module, (x.clone(),))
        names = {str(op.function) for op in program.operations}
        if any(layer in name for name in names for layer in _LIBRARY):
            set_back(program)
            stack.enter_context(_without_libraries(x.device))
            program = record(module, (x.clone(),))
        yield program


@contextmanager
def _without_libraries(device: torch.device) -> Iterator[None]:
    if device.type == "cuda":
        with torch.backends.cudnn.flags(enabled=False):
            yield
        return
    with ExitStack() as stack:
        with warnings.catch_warnings():  # torch speaks of TF32, which is set to what it was
            warnings.simplefilter("ignore", UserWarning)
            flags = torch.backends.mkldnn.flags(enabled=False)
            stack.enter_context(flags)
        yield
