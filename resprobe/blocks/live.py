"""Show the tensors of blocks while a model runs as it always does: no copies, no second pass.

The additions are met by a `TorchFunctionMode` that is active during the model's forward alone; it
sees the operands before an in-place addition overwrites them. Units of a plain network are met by
forward hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from resprobe.blocks.intervene import shortcut_of
from resprobe.blocks.program import numbered
from resprobe.errors import ViolationError

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.hooks import RemovableHandle

    from resprobe.blocks.block import Block

# Called with the block, x, s and G, before s and G are added.
Visitor = Callable[["Block", Tensor, Tensor, Tensor], None]


class LiveBlocks:
    """Calls a visitor with x, s and G of every block in each forward pass while it is active.

    Args:
        model: the eager module in which the blocks were found.
        blocks: from `discover`.
        visit: called in the order of execution, within `torch.no_grad()`.
    """

    def __init__(self, model: nn.Module, blocks: Sequence[Block], visit: Visitor) -> None:
        self._blocks = blocks
        self._visit = visit
        self._mode: _Additions | None = None
        self._active = False
        self._seen = 0
        self._handles: list[RemovableHandle] = []
        modules = dict(model.named_modules())
        for block in blocks:
            if block.addition is None:
                hook = modules[block.module].register_forward_hook(self._unit(block))
                self._handles.append(hook)

    def start(self, arguments: Sequence[Any]) -> None:
        """Begin to watch one forward pass whose positional arguments these are."""
        self._active, self._seen = True, 0
        if any(block.addition is not None for block in self._blocks):
            self._mode = _Additions(self._blocks, arguments, self._show)
            self._mode.__enter__()

    def stop(self, *, finished: bool = True) -> None:
        """End watching.

        Raises:
            ViolationError: a finished pass did not run every block.
        """
        self._active = False
        if self._mode is not None:
            self._mode.__exit__(None, None, None)
            self._mode = None
        if finished and self._seen != len(self._blocks):
            raise ViolationError(
                f"a forward pass ran {self._seen} of {len(self._blocks)} blocks, so its additions "
                "are not those that were found; record models whose control flow stays the same."
            )

    @property
    def active(self) -> bool:
        """Whether a forward pass is being watched."""
        return self._active

    def close(self) -> None:
        """Remove every hook from the model."""
        for handle in self._handles:
            handle.remove()

    def _show(self, block: Block, x: Tensor, s: Tensor, branch: Tensor) -> None:
        self._seen += 1
        with torch.no_grad():
            self._visit(block, x, s, branch)

    def _unit(self, block: Block) -> Callable[[Any, Any, Any], None]:
        def hook(module: Any, args: Any, output: Any) -> None:
            if self._active:
                with torch.no_grad():
                    s = shortcut_of(block, args[0])
                self._show(block, args[0], s, output)

        return hook


class _Additions(TorchFunctionMode):
    """Meets the additions of blocks among the Python calls of one forward pass."""

    def __init__(
        self, blocks: Sequence[Block], arguments: Sequence[Any], show: Visitor
    ) -> None:
        super().__init__()
        self._additions = {block.addition: block for block in blocks if block.addition is not None}
        self._sources: dict[Any, list[Block]] = {}
        self._inputs: dict[int, Tensor] = {}
        tensors = [argument for argument in arguments if isinstance(argument, Tensor)]
        for block in self._additions.values():
            if block.skip == "identity":
                continue
            if block.source.call is not None:
                self._sources.setdefault(block.source.call, []).append(block)
            elif block.source.argument is not None:
                self._inputs[block.index] = tensors[block.source.argument]
        self._functions = {call.function for call in (*self._additions, *self._sources)}
        self._counts: dict[Any, int] = {}
        self._show = show

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func not in self._functions:
            return func(*args, **(kwargs or {}))
        call = numbered(func, args, self._counts)
        block = self._additions.get(call)
        if block is not None:
            first, second = args[0], args[1]
            branch, s = (first, second) if block.branch_first else (second, first)
            if tuple(branch.shape[1:]) != block.output_shape:
                raise ViolationError(
                    f"block {block.name} adds features of shape {tuple(branch.shape[1:])}, not "
                    f"{block.output_shape} as when it was found; record models whose control "
                    "flow stays the same."
                )
            x = s if block.skip == "identity" else self._inputs.pop(block.index)
            self._show(block, x, s, branch)
        result = func(*args, **(kwargs or {}))
        for waiting in self._sources.get(call, ()):
            self._inputs[waiting.index] = result
        return result
