"""The operations of a recorded forward pass, and their replay after an intervention.

Values are in static single assignment: an in-place write gives the tensor, and every other tensor
on its storage, a new value. Replay runs the same aten operations on the same kept tensors, so what
was not changed comes out the same to the bit; operations that nothing asked for needs are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from resprobe.blocks.structure import Ref, leaves, like, rebuild
from resprobe.errors import ViolationError


class ControlFlowChanged(Exception):  # noqa: N818  # no error: the model would have gone elsewhere
    """After an intervention the model would have run other operations than were recorded."""


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
        args, kwargs: as executed, each tensor replaced by a `Ref`; parameters stand as themselves.
        result: like what it returned, tensors replaced by `Ref`.
        reads: numbers of the values it read.
        writes: numbers of the values it made, in-place results included.
        renames: `(old, new)` values of tensors that it overwrote, aliases included.
        module: path of the innermost module whose forward ran it ("" for the root).
        scope: which entry of a module this was, so that two calls of one module differ.
        call: the Python call that ran it, None where none was seen.
        parameters: names of the parameters among its arguments.
        places: positions and values of the tensors among `args`, None if some are nested.
        guard: whether the model's Python code may have read its result and gone its way by it.
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
    guard: bool

    @property
    def structure(self) -> tuple[Any, ...]:
        """What must be equal for two operations to have the same place in their programs."""
        return self.function, self.reads, self.writes, self.renames

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
        externals: value to tensor of what the pass met from outside: buffers, caches, constants.
        random_states: of torch's generators before the pass, empty if it drew no random number.
        as_expected: whether the operations are those of an earlier recording, where one was given.
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
    externals: dict[int, Tensor] = field(default_factory=dict)
    random_states: list[Tensor] = field(default_factory=list)
    as_expected: bool = True
    _plans: dict[Any, _Plan] = field(default_factory=dict, repr=False)
    _tails: dict[Any, _Tail] = field(default_factory=dict, repr=False)
    _makers: dict[int, int] = field(default_factory=dict, repr=False)

    def structure(self) -> tuple[Any, ...]:
        """Give what must be equal for two recordings to have the same blocks and values."""
        return tuple(op.structure for op in self.operations)

    def needs(
        self,
        changes: Mapping[int, Tensor | Ref | None],
        *,
        start: int | None = None,
        output: Any = None,
    ) -> set[int]:
        """Give the values that a replay with these changes must find kept.

        Args:
            changes: as in `replay`; None stands for any tensor.
            start: as in `replay`.
            output: as in `replay`.
        """
        return set(self._plan(changes, start, self.output if output is None else output).live)

    def needed_operations(
        self, changes: Mapping[int, Tensor | Ref], *, output: Any = None
    ) -> list[int]:
        """Give the operations that a replay of everything with these changes would run.

        Args:
            changes: as in `replay`; none for what the output itself needs.
            output: as in `replay`.
        """
        plan = self._plan(changes, 0, self.output if output is None else output)
        return [step.operation for step in chain(plan.steps, plan.tail) if step.run]

    def replay(
        self,
        changes: Mapping[int, Tensor | Ref],
        *,
        start: int | None = None,
        output: Any = None,
    ) -> Any:
        """Run again what follows an intervention and give the model's output.

        The same aten operations run on the same kept tensors, so an unchanged value gives the
        recorded output to the bit.

        Args:
            changes: the intervention: value to the tensor that takes its place (it is not
                written to), or to the `Ref` of another value of the replay that does.
            start: index of the first operation to run; None for that of the first change.
            output: structure of `Ref` to give instead of the model's output.

        Raises:
            ViolationError: a value that is needed was not kept.
            ControlFlowChanged: the model's Python code read a number that the intervention
                changed, so it might have run other operations.
        """
        wanted = self.output if output is None else output
        plan = self._plan(changes, start, wanted)
        environment = self._initial(plan, changes)
        watch = None if plan.watched else _Watch()
        with torch.no_grad():
            for step in chain(plan.steps, plan.tail):
                if watch is not None and step.run:
                    watch.before(self.operations[step.operation], environment)
                changed = [self._change(value, changes, environment, step) for value in step.bound]
                if step.run:
                    self._run(self.operations[step.operation], environment)
                for value, tensor in zip(step.bound, changed, strict=True):
                    if step.run:
                        # For other tensors on the same storage: they must show the change too.
                        environment[value].copy_(tensor)
                    else:
                        environment[value] = tensor.clone() if value in plan.private else tensor
                        if watch is not None:
                            watch.bound(value, tensor, environment[value])
                for value in step.freed:
                    environment.pop(value, None)
        if watch is not None:
            plan.settle(watch.written)
        return substitute(wanted, environment)

    def share_plans(self, other: Program) -> None:
        """Take over the plans for replays of a program of equal structure."""
        self._plans, self._tails, self._makers = other._plans, other._tails, other._makers

    def maker(self, value: int) -> int | None:
        """Give the operation that made a value, None for an argument of the model."""
        if not self._makers:
            self._makers.update(
                (made, index) for index, op in enumerate(self.operations) for made in op.writes
            )
        return self._makers.get(value)

    # -- running -------------------------------------------------------------------------------

    def _run(self, op: Operation, environment: dict[int, Tensor]) -> None:
        result = op.run(environment)
        for old, new in op.renames:
            if old in environment:
                environment[new] = environment[old]
        if type(op.result) is Ref:
            environment[op.result.value] = result
        elif not isinstance(op.result, Tensor):
            _bind(op.result, result, environment)
        if op.guard:
            self._require_same(op, result)

    def _require_same(self, op: Operation, result: Any) -> None:
        """Raise if what Python reads of a result is not what it read when recorded."""
        if isinstance(op.result, Tensor):
            same = torch.equal(result, op.result)
        elif isinstance(result, Tensor):
            same = tuple(result.shape) == self.shapes[op.result.value]
        elif isinstance(result, tuple | list):
            pairs = zip(result, op.result, strict=True)
            same = all(tuple(t.shape) == self.shapes[r.value] for t, r in pairs)
        else:
            same = result == op.result or (math.isnan(result) and math.isnan(op.result))
        if not same:
            raise ControlFlowChanged

    def _change(
        self,
        value: int,
        changes: Mapping[int, Tensor | Ref],
        environment: dict[int, Tensor],
        step: _Step,
    ) -> Tensor:
        """Give the tensor that takes a value's place, as it is before the operation runs."""
        change = changes[value]
        tensor = environment[change.value] if isinstance(change, Ref) else change
        tensor = tensor.to(self.dtypes[value])  # s may be of a narrower type than s + G
        return tensor.clone() if step.run else tensor

    def _initial(self, plan: _Plan, changes: Mapping[int, Tensor | Ref]) -> dict[int, Tensor]:
        """Give the tensors a replay starts from; those that it overwrites as private copies."""
        environment: dict[int, Tensor] = {}
        for value in plan.given:
            change = changes[value]
            assert isinstance(change, Tensor)
            environment[value] = change.clone() if value in plan.private else change
        for value in plan.live:
            if value not in self.kept:
                raise ViolationError(
                    f"the replay needs a tensor (value {value}) that was not kept; give Runner.run "
                    "functions=True for reorder, or keep what `needs` names."
                )
            environment[value] = self.kept[value]
        storages = {environment[v].untyped_storage()._cdata for v in plan.private if v in plan.live}
        copies: dict[int, Tensor] = {}
        for value in plan.live:
            tensor = environment[value]
            if storages and tensor.untyped_storage()._cdata in storages:
                environment[value] = copy_with_aliases(tensor, copies)
        return environment

    # -- planning ------------------------------------------------------------------------------

    def _plan(
        self, changes: Mapping[int, Tensor | Ref | None], start: int | None, wanted: Any
    ) -> _Plan:
        links = frozenset(
            (value, change.value if isinstance(change, Ref) else None)
            for value, change in changes.items()
        )
        targets = frozenset(refs(wanted))
        key = (start, links, targets)
        if key not in self._plans:
            self._plans[key] = self._planned(dict(links), start, targets)
        return self._plans[key]

    def _planned(
        self, links: Mapping[int, int | None], start: int | None, wanted: frozenset[int]
    ) -> _Plan:
        makers = [self.maker(value) for value in links]
        known = [made for made in makers if made is not None]
        if start is None:
            start = min(known, default=0) if len(known) == len(makers) else 0
        after = max([start, *(made + 1 for made in known)])
        tail = self._tail(wanted, after)
        needed = set(tail.needed)
        steps = self._walk_back(links, range(after - 1, start - 1, -1), needed)
        steps = self._freeing(steps, links, tail.needed | wanted)
        given = {value for value in needed if value in links and links[value] is None}
        private = self._overwritten([*steps, *tail.steps], needed)
        return _Plan(steps, tail.steps, needed - given, given, private)

    def _tail(self, wanted: frozenset[int], after: int) -> _Tail:
        """Give what all replays do alike from one operation on; long spans share it."""
        key = (wanted, after)
        if key not in self._tails:
            needed = set(wanted)
            last = self._last(wanted)
            steps = self._walk_back({}, range(last, after - 1, -1), needed)
            self._tails[key] = _Tail(self._freeing(steps, {}, wanted), frozenset(needed))
        return self._tails[key]

    def _walk_back(
        self, links: Mapping[int, int | None], indices: range, needed: set[int]
    ) -> list[_Step]:
        """Walk back from what is needed at the end to what is at the start; give the steps."""
        steps: list[_Step] = []
        for index in indices:
            op = self.operations[index]
            shown = any(new in needed for _, new in op.renames)
            changed = tuple(v for v in op.writes if v in links and (v in needed or shown))
            needed.difference_update(changed)
            needed.update(link for v in changed if (link := links[v]) is not None)
            run = op.guard or any(value in needed for value in op.writes)
            if run:
                needed.difference_update(op.writes)
                needed.update(op.reads)
                needed.update(old for old, _ in op.renames)
            if run or changed:
                steps.append(_Step(index, run, changed, ()))
        return steps[::-1]

    def _last(self, wanted: frozenset[int]) -> int:
        """Give the last operation that can matter: all where the model's output is wanted."""
        if wanted == frozenset(refs(self.output)):
            return len(self.operations) - 1
        makers = (self.maker(value) for value in wanted)
        return max((made for made in makers if made is not None), default=-1)

    def _overwritten(self, steps: Sequence[_Step], begin: set[int]) -> frozenset[int]:
        """Give the values that the steps write to and so must have for themselves.

        These are those of `begin` on whose storage they write; where they write at all, also every
        change, which may stand for a tensor that is read, or written to, elsewhere.
        """
        if not any(
            step.run and (step.bound or self.operations[step.operation].renames) for step in steps
        ):
            return frozenset()
        # A view that is made during the replay writes through to the tensor that it views.
        origins = {value: {value} for value in begin}
        found: set[int] = set()
        for step in steps:
            op = self.operations[step.operation]
            found.update(step.bound)
            if not step.run:
                continue
            if op.function.is_view:
                for new in op.writes:
                    for old in op.reads:
                        origins[new] = origins.get(new, set()) | origins.get(old, set())
            for old, new in op.renames:
                found |= origins.get(old, set())
                origins[new] = origins.get(old, set())
            # A change is copied into what the operation made, such as one part of a split.
            for value in step.bound:
                found |= origins.get(value, set())
        return frozenset(found)

    def _freeing(
        self, steps: list[_Step], links: Mapping[int, int | None], later: frozenset[int]
    ) -> list[_Step]:
        """Note with each step the values that nothing reads after it."""
        last: dict[int, int] = {}
        for place, step in enumerate(steps):
            op = self.operations[step.operation]
            touched: list[int] = [*step.bound]
            touched += [link for v in step.bound if (link := links[v]) is not None]
            if step.run:
                touched += [*op.reads, *op.writes, *(old for old, _ in op.renames)]
            last.update(dict.fromkeys(touched, place))
        freed: dict[int, list[int]] = {}
        for value, place in last.items():
            if value not in later:
                freed.setdefault(place, []).append(value)
        return [
            step._replace(freed=tuple(freed.get(place, ()))) for place, step in enumerate(steps)
        ]


class _Step(NamedTuple):
    """One operation of a replay.

    Attributes:
        operation: its index.
        run: whether it is run; not where all that is needed of it is changed.
        bound: changed values that are put in place after it.
        freed: values that nothing reads afterwards.
    """

    operation: int
    run: bool
    bound: tuple[int, ...]
    freed: tuple[int, ...]


class _Tail(NamedTuple):
    """The end of a replay, after its last change.

    Attributes:
        steps: what it does, in order.
        needed: the values that it starts from.
    """

    steps: list[_Step]
    needed: frozenset[int]


@dataclass(slots=True)
class _Plan:
    """What a replay needs to know beforehand; it follows from the structure alone.

    Attributes:
        steps: what it does up to the last change, in order.
        tail: what it does then, shared with other plans.
        live: kept values that it starts from.
        given: changed values that it starts from.
        private: values that it writes to, and so must copy.
        watched: whether a replay has shown which changes are really written to.
    """

    steps: list[_Step]
    tail: list[_Step]
    live: set[int]
    given: set[int]
    private: frozenset[int]
    watched: bool = False

    def settle(self, written: set[int]) -> None:
        """Copy from now on only those changes that a replay has written to."""
        bound = {value for step in self.steps for value in step.bound}
        self.private -= bound - written
        self.watched = True


class _Watch:
    """Sees, in the first replay of a plan, which changes share storage with what is written to."""

    def __init__(self) -> None:
        self.written: set[int] = set()
        self._storages: dict[int, set[int]] = {}

    def bound(self, value: int, change: Tensor, copy: Tensor) -> None:
        """Take a change and the tensor that stands for it in this replay."""
        for tensor in (change, copy):
            self._storages.setdefault(tensor.untyped_storage()._cdata, set()).add(value)

    def before(self, op: Operation, environment: Mapping[int, Tensor]) -> None:
        """See what an operation is about to write to."""
        for old, _ in op.renames:
            if old in environment:
                storage = environment[old].untyped_storage()._cdata
                self.written |= self._storages.get(storage, set())


def refs(structure: Any) -> Iterable[int]:
    """Give the numbers of all `Ref` inside a nested structure."""
    return (leaf.value for leaf in leaves(structure) if isinstance(leaf, Ref))


def substitute(structure: Any, values: Mapping[int, Any]) -> Any:
    """Give `structure` with each `Ref` replaced by its entry in `values`."""
    if isinstance(structure, Ref):
        return values[structure.value]
    if type(structure) is tuple or type(structure) is list:
        return like(structure, [substitute(item, values) for item in structure])
    return rebuild(structure, lambda leaf: values[leaf.value] if isinstance(leaf, Ref) else leaf)


def _bind(structure: Any, result: Any, environment: dict[int, Tensor]) -> None:
    if isinstance(structure, Ref):
        environment[structure.value] = result
    elif isinstance(structure, tuple | list):
        for item, part in zip(structure, result, strict=True):
            _bind(item, part, environment)


@cache
def is_guard(function: Any) -> bool:
    """Whether Python can read a number or a size from what an operation returns."""
    tags = function.tags
    return torch.Tag.data_dependent_output in tags or torch.Tag.dynamic_output_shape in tags


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
