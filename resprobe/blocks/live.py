"""Show the tensors of blocks while a model runs as it always does: no copies, no second pass.

An addition is met by a `TorchFunctionMode`, which sees the operands before an in-place addition
overwrites them. A mode costs microseconds at every call of torch, so it is entered only at the
last module that runs before the addition, and left at the next module after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from resprobe.blocks.block_tensors import branch_of, shortcut_of
from resprobe.blocks.hook import Hook
from resprobe.blocks.operations import Call, Event
from resprobe.blocks.samples import samples_first
from resprobe.blocks.structure import tensors_in
from resprobe.errors import InputError, ViolationError

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.hooks import RemovableHandle

    from resprobe.blocks.block import Block


class Through(NamedTuple):
    """The operand through which G enters its sum, whose gradient is that of G times the factor."""

    operand: Tensor
    factor: float


class Visitor(Protocol):
    """Takes the tensors of blocks, within `torch.no_grad()`; it must not change them."""

    def input(self, block: Block, x: Tensor) -> None:
        """Take x of a block whose shortcut is another tensor; before `branch`."""

    def branch(self, block: Block, s: Tensor, branch: Tensor, through: Through) -> None:
        """Take s and G of a block, before they are added."""


class LiveBlocks:
    """Shows a visitor every block in each forward pass while it is active.

    The hooks that it needs are on the model from `attach` to `detach`.

    Args:
        model: the eager module in which the blocks were found.
        blocks: from `discover`.
        visitor: called in the order of execution.

    Raises:
        InputError: a block's addition or input can't be met while the model runs.
    """

    def __init__(self, model: nn.Module, blocks: Sequence[Block], visitor: Visitor) -> None:
        self._blocks = blocks
        self._visitor = visitor
        self._mode = _Window()
        self._open = False
        self._active = False
        self._seen = 0
        self._depth = 0
        self._occurrences: dict[str, int] = {}
        self._at_event: dict[Event, list[Callable[[Tensor], None]]] = {}
        self._windows: dict[Event, dict[_Key, _Meeting]] = {}
        self._inputs: dict[int, tuple[Tensor, int]] = {}
        self._operands: dict[int, tuple[Tensor, int]] = {}
        ends = {block.module for block in blocks if block.carried}
        for block in blocks:
            self._plan(block)
        # The root is entered by `start`: its own hooks are running when watching begins.
        paths = ends | {event.path for event in (*self._at_event, *self._windows)} - {""}
        modules = dict(model.named_modules())
        self._modules = {path: modules[path] for path in sorted(paths)}
        self._handles: list[RemovableHandle] = []

    @property
    def active(self) -> bool:
        """Whether a forward pass is being watched."""
        return self._active

    def attach(self) -> None:
        """Put the hooks on the model."""
        for path, module in self._modules.items():
            enter, leave = Hook(partial(self._entered, path)), Hook(partial(self._left, path))
            self._handles += [
                module.register_forward_pre_hook(enter, with_kwargs=True),
                module.register_forward_hook(leave),
            ]

    def start(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Begin to watch one forward pass of the root module with these arguments."""
        self._active, self._seen = True, 0
        self._depth = torch._C._len_torch_function_stack()
        self._occurrences.clear()
        self._inputs.clear()
        self._operands.clear()
        self._event(Event("enter", "", 0), tensors_in((args, kwargs)))

    def stop(self, *, finished: bool = True) -> None:
        """End watching.

        Raises:
            ViolationError: a finished pass did not run every block.
        """
        self._active = False
        self._close_window()
        if finished and self._seen != len(self._blocks):
            raise ViolationError(
                f"a forward pass ran {self._seen} of {len(self._blocks)} blocks, so its additions "
                "are not those that were found; record models whose control flow stays the same."
            )

    def detach(self) -> None:
        """Remove every hook from the model."""
        self._active = False
        self._close_window()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    # -- what is met where ---------------------------------------------------------------------

    def _plan(self, block: Block) -> None:
        if block.shortcut is None:
            enter, leave = (Event(k, block.module, block.occurrence) for k in ("enter", "leave"))
            self._at_event.setdefault(enter, []).append(partial(self._take_input, block))
            self._at_event.setdefault(leave, []).append(partial(self._take_unit, block))
            return
        additions: dict[int, Call] = {}
        for operand in (*block.carried, *block.branch):
            if operand.call is None:
                raise InputError(
                    f"the addition of block {block.name} is no addition of two tensors in the "
                    "model's Python code and can't be met while training; collect it from a "
                    "checkpoint."
                )
            additions[operand.operation] = operand.call
        for operation, call in additions.items():
            self._meet(call).before.append(partial(self._take_addition, block, operation))
        if block.skip == "identity":
            return
        if block.source.event is not None:
            self._at_event.setdefault(block.source.event, []).append(
                partial(self._take_source, block)
            )
        elif block.source.call is not None:
            self._meet(block.source.call).after.append(partial(self._take_source, block))
        else:
            raise InputError(
                f"the input of block {block.name} is made inside a fused operation and can't be "
                "met while training; collect it from a checkpoint."
            )

    def _meet(self, call: Call) -> _Meeting:
        window = self._windows.setdefault(call.event, {})
        return window.setdefault((call.function, call.ordinal), _Meeting([], []))

    # -- events of modules ---------------------------------------------------------------------

    def _entered(self, path: str, module: Any, args: Any, kwargs: Any) -> None:
        if self._active:
            event = Event("enter", path, self._occurrences.get(path, 0))
            self._event(event, tensors_in((args, kwargs)))

    def _left(self, path: str, module: Any, args: Any, output: Any) -> None:
        if self._active:
            occurrence = self._occurrences.get(path, 0)
            self._occurrences[path] = occurrence + 1
            self._event(Event("leave", path, occurrence), tensors_in(output))

    def _event(self, event: Event, tensors: Iterator[Tensor]) -> None:
        if self._open and self._mode.done:
            self._close_window()
        actions = self._at_event.get(event)
        if actions is not None:
            tensor = next(tensors, None)
            if tensor is None:
                raise ViolationError(
                    f"the module {event.path} shows no tensor to measure, as it did when the "
                    "blocks were found; record models whose control flow stays the same."
                )
            with torch.no_grad():
                for action in actions:
                    action(tensor)
        expected = self._windows.get(event)
        if expected is not None:
            self._mode.expect(expected)
            if not self._open:
                if torch._C._len_torch_function_stack() != self._depth:
                    # Leaving the model's context would pop our mode instead of its own.
                    raise InputError(
                        f"the model enters a torch context, such as torch.device, around "
                        f"{event.path or 'its forward'}; enter it around the whole model to "
                        "record it."
                    )
                self._open = True
                self._mode.__enter__()  # type: ignore[no-untyped-call]  # torch's

    def _close_window(self) -> None:
        if self._open:
            self._open = False
            self._mode.__exit__(None, None, None)  # type: ignore[no-untyped-call]  # torch's

    # -- tensors of blocks ----------------------------------------------------------------------

    def _take_addition(self, block: Block, operation: int, args: Any, kwargs: Any) -> None:
        """Take what one addition of a block adds; at the last one, show the block."""
        for operand in (block.carried[0], *block.branch):
            if operand.operation == operation:
                tensor = _operand(args, kwargs, operand.place)
                self._operands[operand.value] = (tensor, tensor._version)
        if operation != block.resume - 1:
            return
        values = [operand.value for operand in (block.carried[0], *block.branch)]
        met = {value: self._operands.pop(value) for value in values}
        if any(tensor._version != version for tensor, version in met.values()):
            raise InputError(
                f"the additions of block {block.name} overwrite what they add, so its shortcut is "
                "lost; make the first of them out of place."
            )
        tensors = {value: tensor for value, (tensor, _) in met.items()}
        branch = samples_first(block, branch_of(block, tensors))
        if tuple(branch.shape[1:]) != block.output_shape:
            raise ViolationError(
                f"block {block.name} adds features of shape {tuple(branch.shape[1:])}, not "
                f"{block.output_shape} as when it was found; record models whose control flow "
                "stays the same."
            )
        self._seen += 1
        last = block.branch[-1]
        through = Through(tensors[last.value], last.factor)
        s = samples_first(block, tensors[block.carried[0].value])
        self._visitor.branch(block, s, branch, through)

    def _take_source(self, block: Block, x: Tensor) -> None:
        self._visitor.input(block, samples_first(block, x))

    def _take_input(self, block: Block, x: Tensor) -> None:
        self._inputs[block.index] = (x, x._version)
        if block.transition:
            self._visitor.input(block, x)

    def _take_unit(self, block: Block, branch: Tensor) -> None:
        x, version = self._inputs.pop(block.index)
        if x._version != version:
            raise InputError(
                f"the plain unit {block.name} overwrites its own input, so its shortcut is lost; "
                "make its first operation out of place."
            )
        self._seen += 1
        self._visitor.branch(block, shortcut_of(block, x), branch, Through(branch, 1.0))


def _operand(args: Sequence[Any], kwargs: Mapping[str, Any], place: int) -> Tensor:
    """Give an operand of a call of an addition, however it was passed."""
    operand: Tensor = args[place] if place < len(args) else kwargs[("input", "other")[place]]
    return operand


class _Meeting(NamedTuple):
    """What to do at one call: with its arguments before it runs, with its result after.

    An addition is met before, because it may overwrite an operand.
    """

    before: list[Callable[[Any, Any], None]]
    after: list[Callable[[Tensor], None]]


_Key = tuple[Callable[..., Any], int]


class _Window(TorchFunctionMode):
    """Meets expected calls, counted since the event that opened the window."""

    def __init__(self) -> None:
        super().__init__()
        self._expected: dict[_Key, _Meeting] = {}
        self._counts: dict[Callable[..., Any], int] = {}
        self._left = 0

    @property
    def done(self) -> bool:
        """Whether every expected call was met."""
        return self._left == 0

    def expect(self, calls: dict[_Key, _Meeting]) -> None:
        """Open the window anew."""
        self._expected, self._left = calls, len(calls)
        self._counts.clear()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self._left:
            return func(*args, **(kwargs or {}))
        ordinal = self._counts.get(func, 0)
        self._counts[func] = ordinal + 1
        meeting = self._expected.get((func, ordinal))
        if meeting is None:
            return func(*args, **(kwargs or {}))
        self._left -= 1
        with torch.no_grad():
            for before in meeting.before:
                before(args, kwargs or {})
        result = func(*args, **(kwargs or {}))
        with torch.no_grad():
            for after in meeting.after:
                after(result)
        return result
