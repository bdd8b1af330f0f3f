"""The operations of a recorded forward pass, and their replay after an intervention.

Values are in static single assignment: an in-place write gives the tensor, and every other tensor
on its storage, a new value. Replay runs the same aten operations on the same kept tensors, so what
was not changed comes out the same to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from resprobe.errors import ViolationError


class Ref(NamedTuple):
    """Stands in recorded arguments for the value with this number."""

    value: int


class Event(NamedTuple):
    """A module's forward is entered or left, for the `occurrence`-th time in the pass (from 0)."""

    kind: Literal["enter", "leave"]
    path: str
    occurrence: int


class Call(NamedTuple):
    """The `ordinal`-th call of a function of the Python interface since an event (from 0)."""

    event: Event
    function: Callable[..., Any]
    ordinal: int


@dataclass(slots=True)
class Operation:
    """One executed aten operation.

    Attributes:
        function: the overload, such as `aten.add.Tensor`.
        args, kwargs: as executed, each recorded tensor replaced by a `Ref`; parameters, buffers
            and constants stand as themselves.
        result: like what it returned, tensors replaced by `Ref`.
        reads: numbers of the values it read.
        writes: numbers of the values it made, in-place results included.
        renames: `(old, new)` values of tensors that it overwrote, aliases included.
        module: path of the innermost module whose forward ran it ("" for the root).
        scope: which entry of a module this was, so that two calls of one module differ.
        call: the Python call that ran it, None where none was seen.
        parameters: names of the parameters among its arguments.
        places: positions and values of the tensors among `args`, None if some are nested.
    """

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    renames: tuple[tuple[int, int], ...]
    module: str
    scope: int
    call: Call | None
    parameters: tuple[str, ...]
    places: tuple[tuple[int, int], ...] | None

    def run(self, values: Mapping[int, Tensor]) -> Any:
        """Execute the operation on these values."""
        if self.places is None:
            return self.function(*substitute(self.args, values), **substitute(self.kwargs, values))
        args = list(self.args)
        for place, value in self.places:
            args[place] = values[value]
        return self.function(*args, **self.kwargs)


class ModuleCall(NamedTuple):
    """One call of a module's forward: its first tensor argument and its result as values."""

    path: str
    occurrence: int
    input: int | None
    output: int | None
    start: int
    stop: int


@dataclass
class Program:
    """A recorded forward pass.

    Attributes:
        operations: in the order of execution.
        output: like the model's result, tensors replaced by `Ref`.
        result: what the model returned.
        shapes: shape of each value.
        dtypes: dtype of each value.
        inputs: values of the tensor arguments of the model.
        kept: tensors of the values that were to be kept, as they were when made.
        modules: the calls of modules, in the order of their ends.
        produced_by: value to the Python call that returned it.
    """

    operations: list[Operation] = field(default_factory=list)
    output: Any = None
    result: Any = None
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    dtypes: list[torch.dtype] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    kept: dict[int, Tensor] = field(default_factory=dict)
    modules: list[ModuleCall] = field(default_factory=list)
    produced_by: dict[int, Call] = field(default_factory=dict)
    _plans: dict[Any, _Plan] = field(default_factory=dict, repr=False)

    def structure(self) -> tuple[Any, ...]:
        """Give what must be equal for two recordings to have the same blocks and values."""
        return tuple((op.function, op.reads, op.writes, op.renames) for op in self.operations)

    def live(self, start: int, made: Collection[int] = ()) -> set[int]:
        """Give the values that operations from `start` on, or the output, need from before.

        Args:
            start: index of the first operation to run.
            made: values that will be put in place by an intervention.
        """
        defined = set(made)
        needed: set[int] = set()
        for op in self.operations[start:]:
            needed.update(v for v in op.reads if v not in defined)
            needed.update(old for old, _ in op.renames if old not in defined)
            defined.update(op.writes)
        needed.update(v for v in refs(self.output) if v not in defined)
        return needed

    def replay(self, start: int, values: Mapping[int, Tensor], *, output: Any = None) -> Any:
        """Run the operations from `start` on and give the model's output.

        The same aten operations run on the same kept tensors, so an unchanged value gives the
        recorded output to the bit.

        Args:
            start: index of the first operation to run.
            values: the intervention: value to tensor, put in the place of what was recorded.
                They are not written to.
            output: structure of `Ref` to give instead of the model's output.

        Raises:
            ViolationError: a value that is needed was not kept.
        """
        wanted = self.output if output is None else output
        plan = self._plan(start, frozenset(values), frozenset(refs(wanted)))
        environment = self._initial(start, values, plan)
        with torch.no_grad():
            for index in range(start, len(self.operations)):
                op = self.operations[index]
                result = op.run(environment)
                for old, new in op.renames:
                    if old in environment:
                        environment[new] = environment[old]
                if type(op.result) is Ref:
                    environment[op.result.value] = result
                else:
                    _bind(op.result, result, environment)
                for value in plan.last_use.get(index, ()):
                    environment.pop(value, None)
        return substitute(wanted, environment)

    def share_plans(self, other: Program) -> None:
        """Take over the plans for replays of a program of equal structure."""
        self._plans = other._plans

    def _plan(self, start: int, made: frozenset[int], wanted: frozenset[int]) -> _Plan:
        key = (start, made, wanted)
        if key not in self._plans:
            live = self.live(start, made)
            self._plans[key] = _Plan(
                live, self._overwritten(start, live | made), self._last_use(start, wanted)
            )
        return self._plans[key]

    def _initial(self, start: int, values: Mapping[int, Tensor], plan: _Plan) -> dict[int, Tensor]:
        """Give the tensors a replay starts from; those that it overwrites as private copies."""
        environment = dict(values)
        for value in plan.live:
            if value not in self.kept:
                raise ViolationError(
                    f"replay from operation {start} needs value {value}, which was not kept; "
                    "record again keeping what `live` names."
                )
            environment[value] = self.kept[value]
        storages = {environment[v].untyped_storage()._cdata for v in plan.overwritten}
        copies: dict[int, Tensor] = {}
        for value, tensor in environment.items():
            if storages and tensor.untyped_storage()._cdata in storages:
                environment[value] = copy_with_aliases(tensor, copies)
        return environment

    def _overwritten(self, start: int, begin: set[int]) -> set[int]:
        """Give the values of `begin` whose storage the operations from `start` write to."""
        # A view that is made during the replay writes through to the tensor that it views.
        origins = {value: {value} for value in begin}
        found: set[int] = set()
        for op in self.operations[start:]:
            if op.function.is_view:
                for new in op.writes:
                    for old in op.reads:
                        origins[new] = origins.get(new, set()) | origins.get(old, set())
            for old, new in op.renames:
                found |= origins.get(old, set())
                origins[new] = origins.get(old, set())
        return found & begin

    def _last_use(self, start: int, wanted: frozenset[int]) -> dict[int, list[int]]:
        """Give, by operation, the values that nothing reads after it."""
        last: dict[int, int] = {}
        for index in range(start, len(self.operations)):
            op = self.operations[index]
            for value in (*op.reads, *op.writes, *(old for old, _ in op.renames)):
                last[value] = index
        dropped: dict[int, list[int]] = {}
        for value, index in last.items():
            if value not in wanted:
                dropped.setdefault(index, []).append(value)
        return dropped


class _Plan(NamedTuple):
    """What a replay needs to know beforehand; it follows from the structure alone.

    Attributes:
        live: values that it starts from.
        overwritten: those of them that it writes to, and so must copy.
        last_use: by operation, the values that can be freed after it.
    """

    live: set[int]
    overwritten: set[int]
    last_use: dict[int, list[int]]


def refs(structure: Any) -> Iterable[int]:
    """Give the numbers of all `Ref` inside nested tuples, lists and dicts."""
    if isinstance(structure, Ref):
        yield structure.value
    elif isinstance(structure, tuple | list):
        for item in structure:
            yield from refs(item)
    elif isinstance(structure, dict):
        for item in structure.values():
            yield from refs(item)


def substitute(structure: Any, values: Mapping[int, Any]) -> Any:
    """Give `structure` with each `Ref` replaced by its entry in `values`."""
    if isinstance(structure, Ref):
        return values[structure.value]
    if isinstance(structure, tuple | list):
        return like(structure, [substitute(item, values) for item in structure])
    if isinstance(structure, dict):
        return {key: substitute(item, values) for key, item in structure.items()}
    return structure


def like(structure: Any, items: list[Any]) -> Any:
    """Give the items as a list, tuple or named tuple, as `structure` is."""
    if isinstance(structure, list):
        return items
    return type(structure)(*items) if hasattr(structure, "_fields") else tuple(items)


def _bind(structure: Any, result: Any, environment: dict[int, Tensor]) -> None:
    if isinstance(structure, Ref):
        environment[structure.value] = result
    elif isinstance(structure, tuple | list):
        for item, part in zip(structure, result, strict=True):
            _bind(item, part, environment)


def copy_with_aliases(tensor: Tensor, copies: dict[int, Tensor]) -> Tensor:
    """Copy a tensor's storage once for all tensors that share it.

    Args:
        tensor: to copy, with its strides and offset.
        copies: the copies made so far, by storage; the new one is added.
    """
    storage = tensor.untyped_storage()
    if storage._cdata not in copies:
        flat = torch.empty(0, dtype=torch.uint8, device=tensor.device)
        copies[storage._cdata] = flat.set_(storage.clone())
    copy = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return copy.set_(
        copies[storage._cdata].untyped_storage(),
        tensor.storage_offset(),
        tensor.size(),
        tensor.stride(),
    )
