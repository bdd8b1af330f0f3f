"""Find the residual blocks of a network from one recorded forward pass, name and describe them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from resprobe.blocks.ancestry import Ancestry
from resprobe.blocks.axes import feature_axis
from resprobe.blocks.block import Block, Blocks, Operand, Source, subsampling
from resprobe.blocks.chains import with_exchangeable
from resprobe.blocks.describe import activations, scale
from resprobe.blocks.joints import Joint, find_joints
from resprobe.blocks.operations import Event, ModuleCall, Program
from resprobe.blocks.program import record
from resprobe.blocks.samples import with_sample_axes
from resprobe.errors import InputError


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
        InputError: it is no eager module of real, unquantised parameters, runs under autocast, or
            `plain_units` names a module that does not exist or did not run.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"find_blocks takes an nn.Module, not a {type(model).__name__}.")
    training = [module for module in model.modules() if module.training]
    try:
        if training:
            model.eval()
        return blocks_as_run(model, example_inputs, example_kwargs)
    finally:
        for module in training:
            module.training = True


def blocks_as_run(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None
) -> Blocks:
    """Find the blocks of `model` in the mode that it is in; like `find_blocks` otherwise."""
    with unchanged(model), torch.no_grad():
        # No tensor is kept: the blocks follow from the structure alone.
        return discover(model, record(model, args, kwargs, keep=()))


def blocks_of_samples(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Blocks:
    """Find the blocks as `blocks_as_run` does, and where their samples lie, by two passes.

    Raises:
        InputError: the samples of a block can't be told apart, see `with_sample_axes`.
    """

    def run(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Program:
        return record(model, args, kwargs, keep=(), expected=structure)

    with unchanged(model), torch.no_grad():
        program = record(model, args, kwargs, keep=())
        structure = program.structure()
        return with_sample_axes(discover(model, program), program, (args, kwargs), run)


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Put buffers and random states back to what they were, whatever runs in between."""
    buffers = [
        (module._buffers, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    held = (*model.parameters(), *(buffer for _, _, buffer, _ in buffers))
    devices = {tensor.device for tensor in held if tensor.is_cuda}
    try:
        with torch.random.fork_rng(devices=sorted(devices, key=str)):
            yield
    finally:
        with torch.no_grad():
            for own, name, buffer, value in buffers:
                own[name] = buffer  # the forward may have put another in its place
                buffer.copy_(value)


def discover(model: nn.Module, program: Program) -> Blocks:
    """Find the blocks of `model` in a program that was recorded from it."""
    known = Ancestry(program)
    joints, refused = find_joints(known)
    ends = activations(known, joints)
    found = [_block(known, joint, end) for joint, end in zip(joints, ends, strict=True)]
    found = [
        replace(block, follows=index > 0 and known.is_made_of(block.input, found[index - 1].output))
        for index, block in enumerate(found)
    ]
    units = getattr(model, "plain_units", None)
    if not found and units:
        found = _plain_units(model, program, tuple(units))
    placed = with_exchangeable(program, _placed(_named(found)))
    return Blocks(tuple(placed), tuple(refused))


def _block(known: Ancestry, joint: Joint, end: tuple[str, int]) -> Block:
    program = known.program
    module = program.operations[joint.operation].module
    within = _call_of(program, joint.operation, module)
    activation, output = end
    return Block(
        name=module or "model",
        stage=0,
        index=joint.operation,
        index_in_stage=0,
        skip=joint.kind,
        activation=activation,
        scale=scale(known, joint),
        input_shape=program.shapes[joint.input][1:],
        output_shape=program.shapes[joint.total][1:],
        parameters=_parameters(known, joint),
        input=joint.input,
        total=joint.total,
        output=output,
        carried=joint.carried,
        branch=joint.branch,
        resume=joint.operation + 1,
        feature_axis=feature_axis(known, joint.source, joint.branch[0].value),
        source=_source(program, joint.input, within),
        module=module,
        occurrence=within.occurrence,
    )


def _parameters(known: Ancestry, joint: Joint) -> tuple[str, ...]:
    """Give the parameters that the branch reads, in the order in which it does."""
    paths = {i for operand in joint.branch for i in known.path(joint.source, operand.value)}
    names: dict[str, None] = {}
    for index in sorted(paths):
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
                total=call.output,
                output=call.output,
                carried=(),
                branch=(Operand(call.output, 1.0, -1, 0, None),),
                resume=call.stop,
                feature_axis=1 if len(program.shapes[call.input]) > 3 else -1,
                source=Source(Event("enter", path, call.occurrence), None),
                module=path,
                occurrence=call.occurrence,
            )
        )
    return sorted(found, key=lambda block: block.index)


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
    """Count the blocks over the network and within runs of one feature shape."""
    placed: list[Block] = []
    stage, within, before = -1, 0, None
    for index, block in enumerate(blocks):
        features = _features(block)
        stage, within = (stage, within + 1) if features == before else (stage + 1, 0)
        placed.append(replace(block, index=index, stage=stage, index_in_stage=within))
        before = features
    return placed


def _features(block: Block) -> tuple[int, int]:
    """Give the numbers of elements and of features: a stage may flatten its positions."""
    return block.elements, block.output_shape[0 if block.feature_axis == 1 else -1]
