"""A part of a recorded program as calls that write to nothing, so that torch.func can take it.

Programs record what ran: in-place operations and writes through views among it. Here each becomes
an operation that makes a new tensor; tensors that shared memory with the one that was written get
new values too, by carrying the write back to the tensor that they all are views of.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from resprobe.blocks.kinds import SHAPE_ONLY
from resprobe.blocks.lineage import LAYOUTS, Lineages, View, inexpressible, renamed_from
from resprobe.blocks.operations import Operation, Program, refs, substitute
from resprobe.blocks.python_calls import NUMBERS
from resprobe.blocks.replacements import REPLACEMENTS, copied, refuse_random, same
from resprobe.blocks.structure import Ref, rebuild

aten = torch.ops.aten


@dataclass(frozen=True)
class FunctionalCall:
    """A call without side effects.

    Attributes:
        function: the aten overload, or what stands for it.
        args, kwargs: tensors of the program replaced by `Ref`; parameters stand as themselves.
        result: structure of `Ref`, None for results that are no tensors.
        name: of the aten operation, without overload or trailing underscore; "write_back" and
            "views" for what carries a write through views.
        operation: what was recorded.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any
    name: str
    operation: Operation

    @cached_property
    def reads(self) -> tuple[int, ...]:
        """The values that it takes, in order, as often as it takes them."""
        return tuple(refs((self.args, self.kwargs)))

    @cached_property
    def makes(self) -> tuple[int, ...]:
        """The values that it makes."""
        return tuple(refs(self.result))

    @cached_property
    def _places(self) -> tuple[tuple[int, int], ...] | None:
        plain = tuple((i, a.value) for i, a in enumerate(self.args) if type(a) is Ref)
        return plain if len(plain) == len(self.reads) else None

    def run(self, values: dict[int, Tensor]) -> None:
        """Execute it on these values and add what it makes."""
        self.bind(self.apply(values), values)

    def apply(self, values: dict[int, Tensor]) -> Any:
        """Execute it on these values."""
        if self._places is None:
            args, kwargs = substitute(self.args, values), substitute(self.kwargs, values)
            return self.function(*args, **kwargs)
        args = list(self.args)
        for place, value in self._places:
            args[place] = values[value]
        return self.function(*args, **self.kwargs)

    def bind(self, result: Any, values: dict[int, Tensor]) -> None:
        """Note what it returned under the values that it makes."""
        if type(self.result) is Ref:
            values[self.result.value] = result
        else:
            for item, part in zip(self.result, result, strict=True):
                if type(item) is Ref:
                    values[item.value] = part


class Functional:
    """Makes the calls that lead from one value of a program to others.

    Args:
        program: the recording.
        source: the value that is given.
        replacements: what stands for operations, by their names.
    """

    def __init__(
        self,
        program: Program,
        source: int,
        replacements: Mapping[str, Callable[..., Tensor]] = REPLACEMENTS,
    ) -> None:
        self.program = program
        self.input = source
        self._replacements = replacements
        made = program.maker(source)
        self._start = 0 if made is None else made + 1
        self._lineages = Lineages(program, source)

    def calls(self, wanted: Iterable[int], given: Collection[int] = ()) -> list[FunctionalCall]:
        """Give what is to be run, in order, from the input and what was there before it.

        Args:
            wanted: the values to make.
            given: values that need not be made.
        """
        found: dict[int, FunctionalCall] = {}
        order: list[tuple[tuple[int, int], FunctionalCall]] = []
        heap: list[tuple[int, int, int]] = []
        seen: set[int] = set()

        def need(value: int) -> None:
            place = None if value in given or value in seen else self._place(value)
            if place is not None:
                seen.add(value)
                heapq.heappush(heap, (-place[0], -place[1], value))

        for value in wanted:
            need(value)
        while heap:
            index, rank, value = heapq.heappop(heap)
            if value in found:
                continue
            call = self._call(value, -index)
            order.append(((-index, -rank), call))
            found.update(dict.fromkeys(call.makes, call))
            for read in call.reads:
                need(read)
        return [call for _, call in sorted(order, key=lambda item: item[0])]

    # -- where a value comes from --------------------------------------------------------------

    def _place(self, value: int) -> tuple[int, int] | None:
        """Give the operation that makes a value, and its turn there; None if it is just given."""
        if value == self.input:
            return None
        if value in self._lineages.synthetic:
            return self._lineages.synthetic[value][1], 1
        made = self.program.maker(value)
        if made is None or made < self._start:
            return None
        op = self.program.operations[made]
        old = renamed_from(op, value)
        if old is None or old == (target := self._lineages.target(op)):
            return made, 0
        return made, 1 if self._lineages.of(target)[0] == old else 2

    # -- calls ---------------------------------------------------------------------------------

    def _call(self, value: int, index: int) -> FunctionalCall:
        op = self.program.operations[index]
        if value in self._lineages.synthetic:
            old: int | None = self._lineages.synthetic[value][0]
        else:
            old = renamed_from(op, value)
        if old is None:
            return self._plain(op)
        target = self._lineages.target(op)
        if old == target:
            return _out_of_place(self.program, op, value, self._replacements)
        if op.function in LAYOUTS:
            return FunctionalCall(same, (Ref(old),), {}, Ref(value), "alias", op)
        root, views = self._lineages.of(old)
        if root != self._lineages.of(target)[0]:
            raise inexpressible(op, "writes to memory that a tensor from before it shares")
        if not views:
            return self._write_back(op, index, value, old)
        return FunctionalCall(
            partial(_views, views, replacements=self._replacements),
            (Ref(self._lineages.renamed(root, index)),),
            {},
            Ref(value),
            "views",
            op,
        )

    def _plain(self, op: Operation) -> FunctionalCall:
        name = _name(op.function)
        if op.function in SHAPE_ONLY:
            return self._filled(op, name)
        if op.function in (aten.as_strided.default,):
            raise inexpressible(op, "reads memory by strides")
        refuse_random(op, name)
        replacement = self._replacements.get(name)
        if replacement is None:
            return FunctionalCall(op.function, op.args, op.kwargs, op.result, name, op)
        first = op.result if isinstance(op.result, Ref) else op.result[0]
        return FunctionalCall(replacement, op.args, op.kwargs, first, name, op)

    def _filled(self, op: Operation, name: str) -> FunctionalCall:
        """Give the call of what takes only a shape from a tensor: it depends on none."""
        refuse_random(op, name)
        function = partial(_filled, self.program, op, name)
        return FunctionalCall(function, (), {}, op.result, name, op)

    def _write_back(self, op: Operation, index: int, value: int, root: int) -> FunctionalCall:
        """Give the call that writes the new value of a view into what it is a view of."""
        target = self._lineages.target(op)
        written = self._lineages.renamed(target, index)
        _, views = self._lineages.of(target)
        function = partial(_write_back, views)
        args = (Ref(root), Ref(written))
        return FunctionalCall(function, args, {}, Ref(value), "write_back", op)


def _name(function: Any) -> str:
    if function is NUMBERS:
        return "numbers"
    name: str = function.overloadpacket.__name__
    return name


def _out_of_place(
    program: Program,
    op: Operation,
    value: int,
    replacements: Mapping[str, Callable[..., Tensor]],
) -> FunctionalCall:
    """Give the call that makes what an in-place operation leaves in its tensor."""
    name = _name(op.function).removesuffix("_")
    refuse_random(op, name)
    if name == "copy":
        copy = partial(copied, program.shapes[value], program.dtypes[value])
        return FunctionalCall(copy, op.args[1:2], {}, Ref(value), name, op)
    if op.function in (aten.zero_.default, aten.fill_.Scalar):
        number = op.args[1] if name == "fill" else 0
        full = partial(_full, program, value, number)
        return FunctionalCall(full, (), {}, Ref(value), name, op)
    if op.function in LAYOUTS:
        return FunctionalCall(_layout(op.function), op.args, op.kwargs, Ref(value), name, op)
    packet = getattr(aten, name, None)
    function: Any = getattr(packet, op.function._overloadname, None)
    if function is None:
        raise inexpressible(op, "writes in place and has no form that does not")
    function = replacements.get(name, function)
    return FunctionalCall(function, op.args, op.kwargs, Ref(value), name, op)


def _filled(program: Program, op: Operation, name: str) -> Tensor:
    value = op.result.value
    shape, dtype = program.shapes[value], program.dtypes[value]
    source = next(iter(refs((op.args, op.kwargs))), None)
    device = op.kwargs.get("device") or _device(program, source)
    if "empty" in name:  # whatever is in it is overwritten, so any number will do
        return torch.zeros(shape, dtype=dtype, device=device)

    def stand_in(leaf: Any) -> Any:
        if not isinstance(leaf, Ref):
            return leaf
        blank = torch.empty((), dtype=program.dtypes[leaf.value], device=device)
        return blank.expand(program.shapes[leaf.value])

    result: Tensor = op.function(*rebuild(op.args, stand_in), **rebuild(op.kwargs, stand_in))
    return result


def _layout(function: Any) -> Callable[..., Tensor]:
    """Give the view that an operation leaves in its tensor."""
    view: Callable[..., Tensor] = getattr(Tensor, _name(function).removesuffix("_"))
    return view


def _full(program: Program, value: int, number: float) -> Tensor:
    shape, dtype = program.shapes[value], program.dtypes[value]
    return torch.full(shape, number, dtype=dtype, device=_device(program, value))


def _device(program: Program, value: int | None) -> torch.device:
    """Give the device that a value is on; any other tensor tells where it was not kept."""
    known = program.kept.get(value) if value is not None else None
    tensors = [known] if known is not None else [*program.kept.values()]
    return tensors[0].device if tensors else torch.device("cpu")


def _views(
    views: Sequence[View],
    tensor: Tensor,
    replacements: Mapping[str, Callable[..., Tensor]] = REPLACEMENTS,
) -> Tensor:
    """Apply the views that lead from one tensor to another."""
    for op, item in views:
        known = _layout(op.function) if op.function in LAYOUTS else op.function
        function = replacements.get(_name(op.function), known)
        result = function(tensor, *op.args[1:], **op.kwargs)
        tensor = result if isinstance(result, Tensor) else result[item]
    return tensor


def _write_back(views: Sequence[View], root: Tensor, written: Tensor) -> Tensor:
    """Give a tensor after a write to what the views lead to from it.

    Where each of its numbers stands in the view is found by taking the views of their places.
    """
    if all(_name(op.function) in ("alias", "detach") for op, _ in views):
        return written
    places = torch.arange(root.numel(), device=root.device).reshape(root.shape)
    places = _views(views, places).reshape(-1)
    flat = root.reshape(-1).scatter(0, places, written.to(root.dtype).reshape(-1))
    return flat.reshape(root.shape)
