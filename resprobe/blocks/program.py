"""Record one forward pass as a straight-line program of aten operations with provenance.

A `TorchDispatchMode` sees every operation that eager PyTorch runs, through ordinary Python control
flow, and the module stack says where each one ran. From the program come the blocks (`discover`),
the function of a branch, and the replay of a suffix after an intervention (`operations`).
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from resprobe.blocks.kinds import ADDITIONS, STACKED_SUM
from resprobe.blocks.operations import (
    Call,
    Event,
    ModuleCall,
    Operation,
    Program,
    copy_with_aliases,
    is_guard,
)
from resprobe.blocks.python_calls import NUMBERS, Calls
from resprobe.blocks.randomness import random_states
from resprobe.blocks.structure import Ref, like, rebuild, tensors_in
from resprobe.errors import InputError
from resprobe.measurable import refuse_unmeasurable

if TYPE_CHECKING:
    from resprobe.blocks.block import Operand

aten = torch.ops.aten

# What can't hold a tensor, and most arguments are.
_ATOMS = {int, float, bool, type(None), str, torch.dtype, torch.device, torch.memory_format}

# Operations that write to arguments without saying so in their schema: training-mode BatchNorm
# updates its running statistics (argument 3 and 4).
_HIDDEN_WRITES = dict.fromkeys(
    (
        aten.native_batch_norm.default,
        aten.cudnn_batch_norm.default,
        aten.miopen_batch_norm.default,
    ),
    (3, 4),
)


def record(
    model: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    keep: Collection[int] | None = None,
    visits: Mapping[int, Callable[[dict[int, Tensor]], None]] | None = None,
    dropped: Sequence[Operand] = (),
    expected: tuple[Any, ...] | None = None,
) -> Program:
    """Run `model(*args, **kwargs)` once and give the program that it was.

    The model is run as it is (mode, gradients enabled or not), torch's fused transformer layers
    unfused; hooks are removed again, also when its forward raises.

    Args:
        model: any module in eager mode.
        args: its positional arguments.
        kwargs: its keyword arguments.
        keep: numbers of the values to keep as tensors; None keeps all of them. Values that a
            later in-place operation overwrites are kept as copies.
        visits: index of an operation to what is called with the kept tensors just before it
            runs (at the end of the pass if there are fewer operations); it may drop some, so
            that their memory is free again while the pass goes on.
        dropped: additions that are to give the one operand that is named, as if they added
            nothing to it: an intervention without a replay.
        expected: `structure()` of an earlier recording; from the first operation that differs on,
            nothing is visited any more, and `as_expected` of the program is False.

    Raises:
        InputError: the model is compiled, exported, scripted or traced, or runs under autocast,
            where the executed operations are not those of the model.
    """
    _refuse(model)
    recorder = _Recorder(model, keep, dict(visits or {}), dropped, expected)
    with ExitStack() as stack:
        stack.enter_context(_collector_paused())
        stack.enter_context(unfused())
        stack.callback(recorder.calls.forget)
        for path, module in model.named_modules():
            enter, leave = recorder.hooks(path)
            stack.callback(module.register_forward_pre_hook(enter, with_kwargs=True).remove)
            left = module.register_forward_hook(leave, with_kwargs=True, always_call=True)
            stack.callback(left.remove)
        recorder.name_inputs((tuple(args), dict(kwargs or {})))
        before = random_states(model)
        stack.enter_context(recorder.calls)
        stack.enter_context(recorder)
        result = model(*args, **(kwargs or {}))
    recorder.finish()
    drawn = zip(before, random_states(model), strict=True)
    if not all(torch.equal(old, new) for old, new in drawn):
        recorder.program.random_states = before
    recorder.program.output = recorder.number(result)
    recorder.program.result = result
    return recorder.program


@contextmanager
def unfused() -> Iterator[None]:
    """Run torch's transformer layers operation by operation, as they run while recorded.

    In evaluation mode without gradients they are otherwise one fused kernel each, whose result is
    the same up to rounding.
    """
    was_enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was_enabled)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause Python's cyclic garbage collector.

    A recording makes thousands of small objects, and each collection that they set off looks at
    all of torch's: that was four fifths of the time of a recording.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


# Asked once of each network, because it looks at all of its parts.
_measurable: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def _refuse(model: nn.Module) -> None:
    if model not in _measurable:
        refuse_unmeasurable(model)
        _measurable.add(model)
    if torch.compiler.is_compiling() or torch.compiler.is_exporting():
        raise InputError("a forward pass can't be recorded inside torch.compile or torch.export.")
    if any(torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")):
        raise InputError(
            "a forward pass can't be recorded under autocast, whose cached casts hide parameters; "
            "leave the autocast context."
        )


class _Recorder(TorchDispatchMode):
    """Turns the executed operations into a `Program`."""

    def __init__(
        self,
        model: nn.Module,
        keep: Collection[int] | None,
        visits: dict[int, Callable[[dict[int, Tensor]], None]],
        dropped: Sequence[Operand],
        expected: tuple[Any, ...] | None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
        self.program = Program()
        self.calls = Calls(self._note_call, self._note_read)
        self._keep = keep
        self._visits = visits
        self._expected = expected
        # By the Python call where there is one: it stays the same if operations before it differ.
        self._dropped: dict[Any, Operand] = {op.call or op.operation: op for op in dropped}
        named = list(model.named_parameters())
        self._parameters = {id(p): name for name, p in named}
        self._parameter_storages = {p.untyped_storage()._cdata: name for name, p in named}
        # id -> (weak reference, value): a weak reference tells a reused id from the tensor itself
        # without holding memory.
        self._values: dict[int, tuple[weakref.ref[Tensor], int]] = {}
        self._storages: dict[int, set[int]] = {}
        self._stack: list[tuple[str, int, int | None, int]] = []
        self._scopes = 0
        self._occurrences: dict[str, int] = {}

    # -- names of tensors -------------------------------------------------------------------

    def name_inputs(self, structure: Any) -> None:
        """Make a value of every tensor in the model's arguments."""
        for tensor in tensors_in(structure):
            if self._value(tensor) is None:
                self.program.inputs.append(self._new(tensor))

    def number(self, structure: Any) -> Any:
        """Replace the known tensors of a nested structure by `Ref`."""
        return rebuild(structure, self._numbered)

    def _numbered(self, leaf: Any) -> Any:
        value = self._value(leaf) if isinstance(leaf, Tensor) else None
        return leaf if value is None else Ref(value)

    def _number(self, structure: Any, names: list[str], reads: list[int]) -> Any:
        """Replace tensors by `Ref`; note the values and the names of parameters that are read.

        Arguments of operations are plain tuples, lists and dictionaries.
        """
        if isinstance(structure, Tensor):
            return self._read(structure, names, reads)
        if type(structure) in _ATOMS:
            return structure
        if isinstance(structure, tuple | list):
            items = [self._number(item, names, reads) for item in structure]
            return like(structure, items)
        if isinstance(structure, dict):
            return {k: self._number(item, names, reads) for k, item in structure.items()}
        return structure

    def _numbered_arguments(
        self, args: Sequence[Any], names: list[str], reads: list[int]
    ) -> tuple[Any, ...]:
        """Number arguments; most are atoms or tensors, for which this is quicker."""
        return tuple(
            [
                arg
                if type(arg) in _ATOMS
                else self._read(arg, names, reads)
                if isinstance(arg, Tensor)
                else self._number(arg, names, reads)
                for arg in args
            ]
        )

    def _read(self, tensor: Tensor, names: list[str], reads: list[int]) -> Any:
        """Give what stands for a tensor that an operation reads: a `Ref`, or a parameter itself.

        A tensor from outside of the pass, such as a buffer or a cache, becomes a value when it is
        met: it may be written to and read again later.
        """
        value = self._value(tensor)
        if value is None:
            name = self._name(tensor)
            if name is not None:
                names.append(name)
                return tensor
            value = self._external(tensor)
        elif value in self.program.externals:
            name = self._name(tensor)  # of a parameter that was written to
            names.extend([] if name is None else [name])
        reads.append(value)
        return Ref(value)

    def _value(self, tensor: Tensor) -> int | None:
        entry = self._values.get(id(tensor))
        return entry[1] if entry is not None and entry[0]() is tensor else None

    def _name(self, tensor: Tensor) -> str | None:
        """Give the name of the parameter that a tensor is or shows, None for any other."""
        name = self._parameters.get(id(tensor))
        return name or self._parameter_storages.get(tensor.untyped_storage()._cdata)

    def _external(self, tensor: Tensor) -> int:
        value = self._new(tensor)
        self.program.externals[value] = tensor
        return value

    def _new(self, tensor: Tensor) -> int:
        value = len(self.program.shapes)
        self.program.shapes.append(tuple(tensor.shape))
        self.program.dtypes.append(tensor.dtype)
        self._values[id(tensor)] = (weakref.ref(tensor), value)
        self._storages.setdefault(tensor.untyped_storage()._cdata, set()).add(id(tensor))
        if self._keep is None or value in self._keep:
            self.program.kept[value] = tensor.detach()
        return value

    # -- operations ----------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        names: list[str] = []
        reads: list[int] = []
        written = _written(func, args, kwargs)
        for tensor in written:
            if self._value(tensor) is None:
                self._external(tensor)  # also a parameter: a replay must not write to the model
        recorded_args = self._numbered_arguments(args, names, reads)
        recorded_kwargs = self._number(kwargs, names, reads) if kwargs else {}
        visit = self._visits.pop(len(self.program.operations), None)
        if visit is not None:
            visit(self.program.kept)
        for tensor in written:
            self._preserve(tensor)
        result = self._run(func, args, kwargs)
        renames = self._rename(written) if written else ()
        made, numbered = self._made(result)
        path, scope = (self._stack[-1][0], self._stack[-1][1]) if self._stack else ("", 0)
        op = Operation(
            function=func,
            args=recorded_args,
            kwargs=recorded_kwargs,
            result=numbered,
            reads=tuple(dict.fromkeys(reads)),
            writes=(*made, *(new for _, new in renames)),
            renames=renames,
            module=path,
            scope=scope,
            call=self.calls.running,
            parameters=tuple(names),
            places=_places(recorded_args, len(reads)),
            guard=is_guard(func),
        )
        self._append(op)
        return result

    def _append(self, op: Operation) -> None:
        if self._expected is not None:
            self._compare(op, self._expected)
        self.program.operations.append(op)

    def _note_read(self, tensor: Any) -> None:
        """Note that Python reads the numbers of a tensor, and may go its way by them."""
        value = self._value(tensor) if isinstance(tensor, Tensor) else None
        if value is None:
            return
        path, scope = (self._stack[-1][0], self._stack[-1][1]) if self._stack else ("", 0)
        numbers = tensor.detach().clone()
        places = ((0, value),)
        self._append(
            Operation(
                NUMBERS, (Ref(value),), {}, numbers, (value,), (), (), path, scope, None, (),
                places, guard=True,
            )
        )  # fmt: skip

    def _made(self, result: Any) -> tuple[list[int], Any]:
        """Give the values that an operation made, and its result with `Ref` for them."""
        if isinstance(result, Tensor):  # most results are, and this is quicker
            value = self._value(result)
            if value is not None:
                return [], Ref(value)
            value = self._new(result)
            return [value], Ref(value)
        made = [self._new(t) for t in tensors_in(result) if self._value(t) is None]
        return made, self._number(result, [], [])

    def _compare(self, op: Operation, expected: tuple[Any, ...]) -> None:
        """Note the first operation that is not the expected one; nothing is visited after it."""
        place = len(self.program.operations)
        if place >= len(expected) or op.structure != expected[place]:
            self.program.as_expected = False
            self._expected = None
            self._visits.clear()

    def _run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operation; one that is to be dropped gives the operand that it would add to."""
        if not self._dropped:
            return func(*args, **kwargs)
        keys = (self.calls.running, len(self.program.operations))
        key = next((key for key in keys if key in self._dropped), None)
        if key is None or func not in ADDITIONS:
            return func(*args, **kwargs)
        operand = self._dropped.pop(key)
        if func is STACKED_SUM:
            carried = args[0].select(args[1][0], operand.place)
        else:
            carried = args[operand.place].clone()
        return func(*args, **kwargs).copy_(carried)

    def finish(self) -> None:
        """Call what was to be called after the last operation.

        Raises:
            InputError: an addition that was to be dropped did not run.
        """
        if self._dropped:
            raise InputError(
                "with a branch dropped the model does not run all of its additions any more, so "
                "the lesion can't be made; leave these blocks out."
            )
        if self._expected is not None and len(self.program.operations) != len(self._expected):
            self.program.as_expected = False
            self._visits.clear()
        for index in sorted(self._visits):
            self._visits[index](self.program.kept)

    def _preserve(self, target: Tensor) -> None:
        """Copy the kept values on a storage that is about to be overwritten."""
        storage = target.untyped_storage()._cdata
        copies: dict[int, Tensor] = {}
        for value, tensor in self.program.kept.items():
            if tensor.untyped_storage()._cdata == storage:
                self.program.kept[value] = copy_with_aliases(tensor, copies)

    def _rename(self, written: Iterable[Tensor]) -> tuple[tuple[int, int], ...]:
        """Give every known tensor on an overwritten storage a new value."""
        renames = []
        done: set[int] = set()
        for target in written:
            known = self._storages.get(target.untyped_storage()._cdata, ())
            entries = [(key, self._values.get(key)) for key in known]
            # In the order of the values: that of the addresses would differ from pass to pass.
            entries.sort(key=lambda item: item[1][1] if item[1] is not None else -1)
            for key, entry in entries:
                tensor = entry[0]() if entry is not None else None
                if entry is None or tensor is None or key in done:
                    continue
                if tensor.untyped_storage()._cdata != target.untyped_storage()._cdata:
                    continue
                done.add(key)
                renames.append((entry[1], self._new(tensor)))
        return tuple(renames)

    def _note_call(self, result: Any, call: Call) -> None:
        if isinstance(result, Tensor):
            value = self._value(result)
            if value is not None:
                self.program.produced_by[value] = call

    # -- modules -------------------------------------------------------------------------------

    def hooks(self, path: str) -> tuple[Callable[..., None], Callable[..., None]]:
        """Give the hooks that tell when the module at `path` is entered and left."""

        def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
            first = _first_tensor(args, kwargs)
            value = None if first is None else self._value(first)
            self._scopes += 1
            self._stack.append((path, self._scopes, value, len(self.program.operations)))
            occurrence = self._occurrences.get(path, 0)
            self.calls.begin(Event("enter", path, occurrence))

        def leave(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            _, _, value, start = self._stack.pop()
            first = _first_tensor(output, None)
            result = None if first is None else self._value(first)
            stop = len(self.program.operations)
            occurrence = self._occurrences.get(path, 0)
            self._occurrences[path] = occurrence + 1
            self.program.modules.append(ModuleCall(path, occurrence, value, result, start, stop))
            self.calls.begin(Event("leave", path, occurrence))

        return enter, leave


def _places(args: tuple[Any, ...], count: int) -> tuple[tuple[int, int], ...] | None:
    """Say where the `count` values of an operation stand, if all are positional arguments.

    Most operations are of this kind; replays then need not search nested structures.
    """
    plain = tuple((place, arg.value) for place, arg in enumerate(args) if type(arg) is Ref)
    return plain if len(plain) == count else None


def _first_tensor(structure: Any, kwargs: Any) -> Tensor | None:
    """Give the first tensor of a module's arguments or result."""
    if isinstance(structure, Tensor):
        return structure
    if isinstance(structure, tuple) and structure and isinstance(structure[0], Tensor):
        return structure[0]
    return next(tensors_in((structure, kwargs)), None)


@cache
def _writes(func: Any) -> tuple[tuple[int, str], ...]:
    """Give place and name of the arguments that an operation overwrites, by its schema."""
    declared = tuple(
        (place, argument.name)
        for place, argument in enumerate(func._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )
    return declared + tuple((place, "") for place in _HIDDEN_WRITES.get(func, ()))


def _written(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """Give the tensors that an operation overwrites."""
    places = _writes(func)
    if not places:
        return []
    if func in _HIDDEN_WRITES and not (args[5] if len(args) > 5 else kwargs.get("training", False)):
        return []
    found: list[Tensor] = []
    for place, name in places:
        found.extend(tensors_in(args[place] if place < len(args) else kwargs.get(name)))
    return found
