"""The network that is recorded: out of its wrappers, and run without `torch.compile`.

A compiled forward pass runs no hook, so the blocks are seen in uncompiled ones. Only steps that
are recorded run uncompiled, and no hook is on the network in the others: what was compiled for
them stays as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch._dynamo import OptimizedModule, eval_frame
from torch.overrides import TorchFunctionMode

from resprobe.blocks.hook import Hook
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
        InputError: it is no module, it is in DataParallel, or its parameters are spread over
            processes.
    """
    if not isinstance(model, nn.Module):
        raise InputError(
            f"model is a {type(model).__name__}; give the torch.nn.Module that is trained."
        )
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

    That nothing runs compiled holds for the whole process. So it is kept up only where something
    of the network was seen to be compiled in the first step that is recorded.

    Args:
        model: the network.
        enter: called before each of its forward passes with positional and keyword arguments.
        leave: called after each with whether it came to its end.

    Attributes:
        on: whether it is on.
        compiled: whether something of a recorded step is compiled otherwise; None before one.
    """

    def __init__(
        self,
        model: nn.Module,
        enter: Callable[[tuple[Any, ...], dict[str, Any]], None],
        leave: Callable[[bool], None],
    ) -> None:
        self.on = False
        self.compiled: bool | None = None
        self._model, self._enter, self._leave = model, enter, leave
        self._settled = False
        self._handles: list[RemovableHandle] = []
        self._stance: Any = None

    def start(self) -> None:
        """Show each forward pass, and run what was compiled uncompiled."""
        self.on = True
        if not self._settled or self.compiled or is_compiled(self._model):
            self._stance = torch.compiler.set_stance("force_eager")
        enter, leave = Hook(self._entered), Hook(self._left)
        self._handles = [
            self._model.register_forward_pre_hook(enter, with_kwargs=True),
            self._model.register_forward_hook(leave, with_kwargs=True, always_call=True),
        ]

    def settle(self) -> None:
        """End a step; after the first one with a forward pass it is known what is compiled."""
        if self._settled or self.compiled is None:
            return
        self._settled = True
        if not self.compiled:
            self._compile_again()

    def stop(self) -> None:
        """Leave nothing on the network, and let everything run as before `start`."""
        self.on = False
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._compile_again()

    # A hook that is removed by another one before its turn is still called, without kwargs.
    def _entered(self, model: nn.Module, args: Any, kwargs: Any = None) -> None:
        if not self.on or torch.compiler.is_compiling():
            return
        if not self._settled and not self.compiled:
            self.compiled = is_compiled(model)
        self._enter(args, kwargs)

    def _left(self, model: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        # A forward that raised has no output; its own error must reach the caller.
        if self.on and not torch.compiler.is_compiling():
            self._leave(output is not None)

    def _compile_again(self) -> None:
        """Take back the stance; one that somebody else took since stays."""
        ours, self._stance = self._stance, None
        if ours is None:
            return
        if eval_frame._stance is ours.stance:
            ours.__exit__(None, None, None)
        else:  # it would come back at the end of theirs
            vars(ours.stance).update(vars(ours.prev))


class Noticing(TorchFunctionMode):
    """Notices compiled functions within a network, while it is on and they run uncompiled.

    Attributes:
        compiled: whether one has called an operation of torch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.compiled = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.compiled = self.compiled or _in_compiled_call()
        return func(*args, **(kwargs or {}))


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
    inside = any(module._compiled_call_impl is not None for module in model.modules())
    return inside or _in_compiled_call()


def _in_compiled_call() -> bool:
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_filename.replace("\\", "/").endswith(_COMPILED_CALL):
            return True
    return False
