"""What a recording begins with: which quantities, which blocks, and where its numbers come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from numbers import Real
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings

import torch
from torch import Tensor

from resprobe.blocks.discover import blocks_of_samples
from resprobe.blocks.selftest import prove
from resprobe.errors import InputError, UnknownNameError, shown
from resprobe.provenance import device_attributes, provenance
from resprobe.quantities.quantity import all_quantities

if TYPE_CHECKING:
    from torch import nn

    from resprobe.blocks.block import Blocks

_ALWAYS = ("loss", "accuracy", "learning_rate")


def require_counts(every: object, start_step: object, jacobian_every: object) -> None:
    """Refuse numbers of steps that are none.

    Raises:
        InputError: see there; the argument is named.
    """
    if not _is_count(every, least=1):
        raise InputError(f"every={shown(every)}: record every 1, 2, 3 … steps.")
    if not _is_count(start_step, least=0):
        raise InputError(
            f"start_step={shown(start_step)}: give the number of steps taken before, 0, 1, 2 …."
        )
    if not _is_count(jacobian_every, least=0):
        raise InputError(
            f"jacobian_every={shown(jacobian_every)}: measure Jacobians every 1, 2, 3 … steps, or "
            "give 0 for never."
        )


def require_optimizer(optimizer: object, scaler: object) -> None:
    """Refuse what is no optimizer or no gradient scaler.

    Raises:
        InputError: see there; the argument is named.
    """
    if optimizer is not None and not hasattr(optimizer, "param_groups"):
        raise InputError(
            f"optimizer is a {type(optimizer).__name__}; give the torch.optim.Optimizer that "
            "trains the model, or leave it out."
        )
    if scaler is not None and not callable(getattr(scaler, "scale", None)):
        raise InputError(
            f"scaler is a {type(scaler).__name__}; give the torch.amp.GradScaler that scales the "
            "loss, or leave it out."
        )


def _is_count(value: object, *, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def require_figure(name: str, value: object) -> None:
    """Refuse a loss or accuracy that is not one number; an accuracy may be missing.

    Raises:
        InputError: see there.
    """
    if isinstance(value, Tensor):
        if value.numel() == 1:
            return
        given = f"of shape {tuple(value.shape)}"
    elif isinstance(value, Real) or (value is None and name == "accuracy"):
        return
    else:
        given = f"that is a {type(value).__name__}"
    raise InputError(
        f"Recorder.step was given a {name} {given}; give one number, such as its mean over the "
        "batch."
    )


def chosen(quantities: Sequence[str] | None) -> frozenset[str]:
    """Give the names of what is recorded: those that were asked for, or all.

    Raises:
        InputError: one name was given in place of a list.
        UnknownNameError: of a quantity that is not recorded while training.
    """
    if isinstance(quantities, str):
        raise InputError(f"quantities={shown(quantities)}: give a list, such as [{quantities!r}].")
    known = {
        name for name, q in all_quantities().items() if q.while_training or q.family == "step"
    } | {"weight_norm"}
    for name in quantities or ():
        if name not in known:
            raise UnknownNameError("quantity of a training step", name, known)
    return frozenset(known if quantities is None else {*quantities, *_ALWAYS})


def found_and_proven(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, quiet: bool
) -> tuple[Blocks, str]:
    """Find the blocks of a network in one forward pass, and prove the instrument on it.

    Args:
        model: run without `torch.compile`.
        args: positional arguments of the pass.
        kwargs: its keyword arguments.
        quiet: whether another process says what is to be said.

    Returns:
        The blocks, and the line that is stored of the proof.

    Raises:
        InputError: there are none, or the network can't be recorded.
        ViolationError: the self-test fails.
    """
    device = next(model.parameters()).device
    # The blocks are the same with and without autocast; under it, casts would hide parameters.
    with torch.autocast(device.type, enabled=False):
        blocks = blocks_of_samples(model, args, kwargs)
        if not blocks.blocks:
            raise InputError(
                "no residual blocks were found in the model, so there is nothing to record; a "
                "plain network may declare its units in the attribute plain_units."
            )
        with catch_warnings(action="ignore") if quiet else nullcontext():
            return blocks, _prove(model, args, kwargs)


def _prove(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Prove the instrument on a few samples, or on everything where samples can't be told."""
    if len(args) == 1 and not kwargs and isinstance(args[0], Tensor):
        args = (args[0][:4],)
    return prove(model, args, kwargs, training=True)


def root_attributes(model: nn.Module, *, proof: str, every: int) -> dict[str, Any]:
    """Give where the numbers of a recording come from."""
    first = next(model.parameters())
    return {
        **provenance(),
        **device_attributes(str(first.device), str(first.dtype).removeprefix("torch.")),
        "batch_norm_mode": "train",
        "self_test": proof,
        "record_every": every,
    }
