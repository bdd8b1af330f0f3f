"""The network that is recorded: out of its wrappers, and run without `torch.compile`.

A compiled forward pass runs no hook, so the blocks are seen in uncompiled ones. Only steps that
are recorded run uncompiled, and no hook is on the network in the others: what was compiled for
them stays as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch._dynamo import OptimizedModule

from resprobe.errors import InputError
from resprobe.measurable import unwrapped

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

# Calls of compiled functions run through this file of torch, also where they run uncompiled.
_COMPILED_CALL = "torch/_dynamo/eval_frame.py"


def network_of(model: nn.Module) -> tuple[nn.Module, bool]:
    """Give the network inside `torch.compile` and DistributedDataParallel.

    Returns:
        The network, and whether it was in DistributedDataParallel.

    Raises:
        InputError: the network is in DataParallel, or its parameters are spread over processes.
    """
    distributed = False
    while True:
        if isinstance(model, nn.DataParallel):
            raise InputError(
                "the model is in DataParallel, which runs copies of it in threads, so its blocks "
                "can't be followed; train it with DistributedDataParallel."
            )
        if isinstance(model, OptimizedModule):
            inner: nn.Module = model._orig_mod
        else:
            inner, note = unwrapped(model)
            distributed |= bool(note)
        if inner is model:
            break
        model = inner
    _refuse_sharded(model)
    return model, distributed


def _refuse_sharded(model: nn.Module) -> None:
    """Refuse weights of which each process holds a part.

    Raises:
        InputError: see there.
    """
    kinds = {
        base.__name__
        for thing in (*model.modules(), *model.parameters())
        for base in type(thing).__mro__
        if base.__module__.startswith("torch.distributed")
    }
    for name in ("FullyShardedDataParallel", "FSDPModule", "DTensor"):
        if name in kinds:
            raise InputError(
                f"the model is sharded ({name}): no process has all of its weights, so its norms "
                "can't be recorded; train it with DistributedDataParallel to record it."
            )


class Watch:
    """What is on a network, and holds while it runs, in the steps that are recorded.

    Args:
        model: the network.
        enter: called before each of its forward passes with positional and keyword arguments.
        leave: called after each with whether it came to its end.

    Attributes:
        on: whether it is on.
    """

    def __init__(
        self,
        model: nn.Module,
        enter: Callable[[tuple[Any, ...], dict[str, Any]], None],
        leave: Callable[[bool], None],
    ) -> None:
        self.on = False
        self._model, self._enter, self._leave = model, enter, leave
        self._handles: list[RemovableHandle] = []
        self._stance: AbstractContextManager[None] | None = None

    def start(self) -> None:
        """Show each forward pass, and run what was compiled uncompiled."""

        # Functions, since a copy of the network takes them along where it would copy objects.
        def enter(model: nn.Module, args: Any, kwargs: Any) -> None:
            if model is self._model and not torch.compiler.is_compiling():
                self._enter(args, kwargs)

        def leave(model: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            # A forward that raised has no output; its own error must reach the caller.
            if model is self._model and not torch.compiler.is_compiling():
                self._leave(output is not None)

        self.on = True
        self._stance = torch.compiler.set_stance("force_eager")
        self._handles = [
            self._model.register_forward_pre_hook(enter, with_kwargs=True),
            self._model.register_forward_hook(leave, with_kwargs=True, always_call=True),
        ]

    def stop(self) -> None:
        """Leave nothing on the network, and let everything run as before `start`."""
        self.on = False
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        if self._stance is not None:
            self._stance.__exit__(None, None, None)
            self._stance = None


@contextmanager
def uncompiled(model: nn.Module) -> Iterator[None]:
    """Run a network and its modules uncompiled for a while, also where they were compiled in place.

    To look at it, that is: its operations are recorded one by one.
    """
    inside = [module for module in model.modules() if module._compiled_call_impl is not None]
    calls = [module._compiled_call_impl for module in inside]
    with torch.compiler.set_stance("force_eager"):
        try:
            for module in inside:
                module._compiled_call_impl = None
            yield
        finally:
            for module, call in zip(inside, calls, strict=True):
                module._compiled_call_impl = call


def is_compiled(model: nn.Module) -> bool:
    """Whether a network whose forward pass is running was compiled, as far as one can see.

    It, or some of its modules, were compiled in place, or the caller runs within a compiled
    function, which may run uncompiled now.
    """
    if any(module._compiled_call_impl is not None for module in model.modules()):
        return True
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_filename.replace("\\", "/").endswith(_COMPILED_CALL):
            return True
    return False
