"""Find the residual blocks of a network from one recorded forward pass.

An addition is a block where one operand is the other's ancestor through a short path (identity,
slice, pad, pooling, 1×1 projection, norm, scaling) while the other went through parameters. Names
and library classes play no part; values are never looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import nn

from resprobe.blocks.ancestry import Ancestry
from resprobe.blocks.block import Block, Blocks, Refusal, Source, subsampling
from resprobe.blocks.operations import Event, ModuleCall, Operation, Program, refs
from resprobe.blocks.program import record
from resprobe.errors import InputError

aten = torch.ops.aten

_ADDITIONS = {aten.add.Tensor, aten.add_.Tensor}
_NORMS = {
    aten.native_batch_norm.default,
    aten._native_batch_norm_legit.default,
    aten._native_batch_norm_legit_no_training.default,
    aten.cudnn_batch_norm.default,
    aten.miopen_batch_norm.default,
    aten._batch_norm_with_update.default,
    aten._batch_norm_no_update.default,
    aten.native_layer_norm.default,
    aten.native_group_norm.default,
}
# The steps that a skip may take, with the kind that each makes of it.
_STEPS = {
    **dict.fromkeys(_NORMS, "norm"),
    aten.alias.default: "identity",
    aten.clone.default: "identity",
    aten.detach.default: "identity",
    aten.view.default: "identity",
    aten._unsafe_view.default: "identity",
    aten.permute.default: "identity",
    aten.transpose.int: "identity",
    aten.t.default: "identity",
    aten._to_copy.default: "identity",
    aten.slice.Tensor: "pooled",
    aten.avg_pool1d.default: "pooled",
    aten.avg_pool2d.default: "pooled",
    aten.avg_pool3d.default: "pooled",
    aten.max_pool2d_with_indices.default: "pooled",
    aten.max_pool3d_with_indices.default: "pooled",
    aten.constant_pad_nd.default: "padded",
    aten.cat.default: "padded",
    aten.mul.Tensor: "scaled",
    aten.mul_.Tensor: "scaled",
    aten.div.Tensor: "scaled",
    aten.div_.Tensor: "scaled",
    aten.convolution.default: "projection",
}
_ACTIVATIONS = {
    aten.relu.default,
    aten.relu_.default,
    aten.leaky_relu.default,
    aten.leaky_relu_.default,
    aten.gelu.default,
    aten.silu.default,
    aten.silu_.default,
    aten.elu.default,
    aten.elu_.default,
    aten.hardtanh.default,
    aten.hardtanh_.default,
    aten.tanh.default,
    aten.sigmoid.default,
}


def find_blocks(model: nn.Module, *example_inputs: Any, **example_kwargs: Any) -> Blocks:
    """Find the residual blocks of `model`, or the units that a plain network declares.

    One forward pass is run in evaluation mode without gradients; mode, parameters, buffers and
    random state are left as they were.

    Args:
        model: any eager module. A plain network has no additions; if it carries `plain_units`, a
            tuple of module paths, these are its blocks, with skip `none`.
        *example_inputs: positional arguments of its forward.
        **example_kwargs: keyword arguments of its forward.

    Returns:
        The blocks in the order of execution, and every refused addition with its reason.

    Raises:
        InputError: the model is compiled, scripted or runs under autocast, or `plain_units` names
            a module that does not exist or did not run.
    """
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        return blocks_as_run(model, example_inputs, example_kwargs)
    finally:
        for module, mode in modes.items():
            module.training = mode


def blocks_as_run(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None
) -> Blocks:
    """Find the blocks of `model` in the mode that it is in; like `find_blocks` otherwise."""
    with unchanged(model), torch.no_grad():
        # No tensor is kept: the blocks follow from the structure alone.
        program = record(model, args, kwargs, keep=())
    return discover(model, program)


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Put buffers and random states back to what they were, whatever runs in between."""
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    devices = {p.device for p in (*model.parameters(), *model.buffers()) if p.is_cuda}
    try:
        with torch.random.fork_rng(devices=sorted(devices, key=str)):
            yield
    finally:
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


def discover(model: nn.Module, program: Program) -> Blocks:
    """Find the blocks of `model` in a program that was recorded from it."""
    analysis = Ancestry(program)
    found: list[Block] = []
    refused: list[Refusal] = []
    for index, op in enumerate(program.operations):
        if op.function not in _ADDITIONS:
            continue
        outcome = _judge(analysis, index, op)
        if isinstance(outcome, str):
            refused.append(Refusal(f"{op.module or 'model'} (operation {index})", outcome))
        else:
            found.append(outcome)
    units = getattr(model, "plain_units", None)
    if not found and units:
        found = _plain_units(model, program, tuple(units))
    return Blocks(tuple(_placed(_named(found))), tuple(refused))


class _Skip(NamedTuple):
    source: int
    kind: str


def _judge(known: Ancestry, index: int, op: Operation) -> Block | str:
    """Give the block that an addition makes, or the reason why it makes none."""
    reason = _no_sum_of_features(known, op)
    if reason is not None:
        return reason
    program = known.program
    first, second = refs(op.args[:2])
    candidates = []
    for shortcut, branch in ((first, second), (second, first)):
        skip = _skip_of(known, shortcut, branch)
        if skip is not None:
            candidates.append((skip, shortcut, branch))
    if not candidates:
        return "neither operand is the other's ancestor through a short path"
    if len(candidates) == 2:
        return "both operands reach a common ancestor by a short path: an average of branches"
    skip, shortcut, branch = candidates[0]
    total = op.writes[0]
    within = _call_of(program, index, op.module)
    output, activation = _activated(known, index, total)
    return Block(
        name=op.module or "model",
        stage=0,
        index=index,
        index_in_stage=0,
        skip=skip.kind,
        activation=activation,
        scale=_scale(known, branch),
        input_shape=program.shapes[skip.source][1:],
        output_shape=program.shapes[total][1:],
        parameters=_parameters(known, skip.source, branch),
        input=skip.source,
        shortcut=shortcut,
        branch=branch,
        output=output,
        resume=index + 1,
        addition=op.call,
        branch_first=branch == first,
        source=_source(program, skip.source, within),
        module=op.module,
        occurrence=within.occurrence,
    )


def _no_sum_of_features(known: Ancestry, op: Operation) -> str | None:
    """Say why an addition does not add two features of the samples, None if it does."""
    shapes, dtypes = known.program.shapes, known.program.dtypes
    operands = list(refs(op.args[:2]))
    reasons = (
        (
            len(operands) < 2,
            "an operand is a parameter or a constant: a bias or a positional embedding",
        ),
        (
            op.kwargs.get("alpha", 1) != 1,
            "an addition with a factor (alpha) on one operand",
        ),
        (
            len({shapes[value] for value in operands}) > 1,
            "operands of different shapes: a bias, a mask or a gate",
        ),
        (
            any(not dtypes[v].is_floating_point or len(shapes[v]) < 2 for v in operands),
            "not an addition of features of samples",
        ),
        (
            not all(known.depends_on_input(value) for value in operands),
            "an operand does not depend on the input: a positional embedding or a constant",
        ),
    )
    return next((reason for holds, reason in reasons if holds), None)


def _skip_of(known: Ancestry, shortcut: int, branch: int) -> _Skip | None:
    """Walk back from one operand through short steps to the nearest ancestor of the other."""
    steps: list[str] = []
    value = shortcut
    while True:
        if known.is_ancestor(value, branch) and _learned_path(known, value, branch):
            return _Skip(value, _kind(steps))
        if value not in known.maker:
            return None
        op = known.program.operations[known.maker[value]]
        step = _short_step(known, op, value)
        if step is None:
            return None
        value = next(v for v in op.reads if known.depends_on_input(v))
        steps.append(step)


def _learned_path(known: Ancestry, source: int, end: int) -> bool:
    return any(known.learns(index) for index in known.path(source, end))


def _short_step(known: Ancestry, op: Operation, value: int) -> str | None:
    """Name the kind of a step that a skip may take, None for any other operation."""
    if len([v for v in op.reads if known.depends_on_input(v)]) != 1:
        return None
    if op.function in _NORMS and op.writes[0] != value:
        return None  # the saved statistics of a norm are no features
    if op.function is aten.convolution.default and not _is_pointwise(op):
        return None
    return _STEPS.get(op.function)


def _is_pointwise(op: Operation) -> bool:
    weight = op.args[1]
    return isinstance(weight, torch.Tensor) and all(size == 1 for size in weight.shape[2:])


def _kind(steps: list[str]) -> str:
    for step, kind in (
        ("projection", "projection"),
        ("padded", "padded"),
        ("pooled", "pooled"),
        ("scaled", "scaled"),
        ("norm", "scaled"),
    ):
        if step in steps:
            return kind
    return "identity"


def _activated(known: Ancestry, index: int, total: int) -> tuple[int, str]:
    """Give the block's output and whether its own activation follows the addition."""
    operations = known.program.operations
    block = operations[index]
    readers = known.readers.get(total, [])
    if len(readers) == 1:
        after = operations[readers[0]]
        inside = after.scope == block.scope or (
            block.module != "" and after.module.startswith(block.module + ".")
        )
        if after.function in _ACTIVATIONS and inside:
            return after.writes[0], "post"
    return total, "pre"


def _scale(known: Ancestry, branch: int) -> float:
    if branch in known.maker:
        op = known.program.operations[known.maker[branch]]
        if op.function in (aten.mul.Tensor, aten.mul_.Tensor):
            factors = [arg for arg in op.args if isinstance(arg, int | float)]
            if factors:
                return float(factors[0])
    return 1.0


def _parameters(known: Ancestry, source: int, branch: int) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for index in known.path(source, branch):
        names.update(dict.fromkeys(sorted(known.names(index))))
    return tuple(names)


def _call_of(program: Program, index: int, path: str) -> ModuleCall:
    """Give the innermost call of a module that ran an operation."""
    around = [c for c in program.modules if c.path == path and c.start <= index < c.stop]
    return max(around, key=lambda call: call.start)


def _source(program: Program, value: int, within: ModuleCall) -> Source:
    """Say where a value can be met while the model runs: best as the input of the block itself."""
    if within.input == value:
        return Source(Event("enter", within.path, within.occurrence), None)
    for call in program.modules:
        if call.output == value and call.stop <= within.stop:
            return Source(Event("leave", call.path, call.occurrence), None)
    for call in program.modules:
        if call.input == value and call.start <= within.stop:
            return Source(Event("enter", call.path, call.occurrence), None)
    return Source(None, program.produced_by.get(value))


def _plain_units(model: nn.Module, program: Program, units: tuple[str, ...]) -> list[Block]:
    known = dict(model.named_modules())
    calls = {call.path: call for call in program.modules}
    found = []
    for path in units:
        if path not in known or path not in calls:
            raise InputError(
                f"plain_units names {path!r}, which is "
                f"{'no module of the model' if path not in known else 'never called'}; "
                "give the paths of modules that run in every forward pass."
            )
        call = calls[path]
        if call.input is None or call.output is None:
            raise InputError(f"the plain unit {path!r} must map one tensor to one tensor.")
        into, out = (program.shapes[value][1:] for value in (call.input, call.output))
        if subsampling(into, out) is None:
            raise InputError(
                f"the plain unit {path!r} maps features of shape {into} to {out}, which no "
                "shortcut without parameters does (subsampling, then added channels); leave it "
                "out of plain_units."
            )
        names = [f"{path}.{name}" for name, _ in known[path].named_parameters()]
        found.append(
            Block(
                name=path,
                stage=0,
                index=call.stop,
                index_in_stage=0,
                skip="none",
                activation="pre",
                scale=1.0,
                input_shape=program.shapes[call.input][1:],
                output_shape=program.shapes[call.output][1:],
                parameters=tuple(names),
                input=call.input,
                shortcut=None,
                branch=call.output,
                output=call.output,
                resume=call.stop,
                addition=None,
                branch_first=True,
                source=Source(Event("enter", path, call.occurrence), None),
                module=path,
                occurrence=call.occurrence,
            )
        )
    return sorted(found, key=lambda block: block.index)


@dataclass
class _Stage:
    shape: tuple[int, ...] | None = None
    number: int = -1
    count: int = 0


def _named(blocks: list[Block]) -> list[Block]:
    """Number the blocks that share a module's path, in the order of execution."""
    shared = Counter(block.name for block in blocks)
    seen: Counter[str] = Counter()
    named = []
    for block in blocks:
        name = block.name
        if shared[name] > 1:
            named.append(replace(block, name=f"{name}:{seen[name]}"))
            seen[name] += 1
        else:
            named.append(block)
    return named


def _placed(blocks: list[Block]) -> list[Block]:
    """Count the blocks over the network and within runs of one output shape."""
    placed = []
    stage = _Stage()
    for index, block in enumerate(blocks):
        if block.output_shape != stage.shape:
            stage = _Stage(block.output_shape, stage.number + 1, 0)
        placed.append(replace(block, index=index, stage=stage.number, index_in_stage=stage.count))
        stage.count += 1
    return placed
