"""The instrument proves itself on the model at hand before it measures it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from resprobe.blocks.discover import unchanged
from resprobe.blocks.intervene import Pass, Runner
from resprobe.blocks.program import record
from resprobe.errors import InputError, ViolationError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from resprobe.blocks.block import Block


class SelfTest(NamedTuple):
    """What a self-test found.

    Attributes:
        checks: check to outcome.
        unrepeatable: what the model does not give twice even without the instrument, so that it
            could not be checked.
    """

    checks: dict[str, bool]
    unrepeatable: tuple[str, ...]


def self_test(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    *,
    replays: bool = True,
) -> SelfTest:
    """Check that recording changes nothing and that replay reproduces the model, to the bit.

    Args:
        model: an eager module.
        args: its positional arguments, of a few samples.
        kwargs: its keyword arguments.
        replays: check interventions too; recording while training needs none.

    Returns:
        The checks: outputs, gradients, buffers and random state with recording on and off, in
        evaluation and in training mode; replay after every block; an intervention that puts the
        recorded sum in its own place; parameters, modes and hook counts.

    Raises:
        InputError: the model can't be run forward and backward on these arguments.
    """
    kwargs = kwargs or {}
    before = _state(model)
    checks: dict[str, bool] = {}
    unrepeatable = []
    for mode in ("eval", "train"):
        with _mode(model, training=mode == "train"):
            bare, again = (_gradients(model, lambda: model(*args, **kwargs)) for _ in range(2))
            seen = _gradients(model, lambda: record(model, args, kwargs, keep=()).result)
        for name in ("output", "gradients", "buffers", "random state"):
            if _equal(bare[name], again[name]):
                checks[f"{name} unchanged in {mode} mode"] = _equal(bare[name], seen[name])
            else:
                unrepeatable.append(f"{name} in {mode} mode")
    if replays:
        with _mode(model, training=False), unchanged(model), torch.no_grad():
            whole = Runner(model, args, kwargs).run(args, branches=True)
            checks["replay reproduces the output"] = _replays(whole)
            for block in whole.blocks:
                whole.lesion(block)
            checks["a lesion leaves the recording alone"] = _replays(whole)
    after = _state(model)
    for name, value in before.items():
        checks[f"{name} left as they were"] = _equal(value, after[name])
    return SelfTest(checks, tuple(unrepeatable))


def prove(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    *,
    replays: bool = True,
) -> str:
    """Run `self_test` and give one line to store with the measurements.

    A model that does not repeat itself is reported with a Python warning.

    Raises:
        ViolationError: a check does not hold; it is named.
    """
    checks, unrepeatable = self_test(model, args, kwargs, replays=replays)
    failed = [name for name, holds in checks.items() if not holds]
    if failed:
        raise ViolationError(
            f"the self-test failed on this model: not '{failed[0]}'"
            f"{f' (and {len(failed) - 1} more)' if len(failed) > 1 else ''}; nothing was measured, "
            "because the instrument would misreport it."
        )
    proof = f"{len(checks)} checks hold: " + "; ".join(checks)
    if unrepeatable:
        what = ", ".join(unrepeatable)
        warnings.warn(
            f"the model does not give the same twice ({what}), with or without resprobe; what is "
            "measured of it varies likewise.",
            stacklevel=2,
        )
        proof += f"; not repeatable by itself: {what}"
    return proof


def _replays(whole: Pass) -> bool:
    """Whether a sum put in its own place gives the recorded output, for every block."""
    return all(
        _equal(_flat(whole.replace_sum(block, _sum(whole, block))), _flat(whole.output))
        for block in whole.blocks
    )


def _sum(whole: Pass, block: Block) -> Tensor:
    _, s, branch = whole.tensors(block)
    if block.skip == "none":
        return branch
    return branch + s if block.branch_first else s + branch


def _gradients(model: nn.Module, forward: Callable[[], Any]) -> dict[str, list[Tensor]]:
    """Run forward and backward once; give what must not change and undo what did."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    with unchanged(model), torch.enable_grad():
        try:
            outputs = _flat(forward())
            gradients = torch.autograd.grad(_some_loss(outputs), parameters, allow_unused=True)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"the model can't be run forward and backward on a few samples ({reason}), so the "
                "instrument can't be proven on it; give it arguments on which it trains."
            ) from error
        return {
            "output": [out.detach() for out in outputs],
            "gradients": [g for g in gradients if g is not None],
            "buffers": [buffer.detach().clone() for buffer in model.buffers()],
            "random state": _random_states(model),
        }


def _some_loss(outputs: list[Tensor]) -> Tensor:
    """Give a random linear function of all outputs, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    weighted = [
        (out * torch.randn(out.shape, generator=generator).to(out)).sum()
        for out in outputs
        if out.requires_grad
    ]
    return torch.stack(weighted).sum()


def _random_states(model: nn.Module) -> list[Tensor]:
    devices = {p.device for p in model.parameters() if p.is_cuda}
    return [
        torch.get_rng_state(),
        *(torch.cuda.get_rng_state(device) for device in sorted(devices, key=str)),
    ]


def _state(model: nn.Module) -> dict[str, list[Tensor]]:
    hooks = [
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    ]
    return {
        "parameters": [p.detach().clone() for p in model.parameters()],
        "buffers": [b.detach().clone() for b in model.buffers()],
        "modes": [torch.tensor([module.training for module in model.modules()])],
        "hook counts": [torch.tensor(hooks)],
        "random states": _random_states(model),
    }


@contextmanager
def _mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _flat(output: Any) -> list[Tensor]:
    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(output, dict):
        return [tensor for item in output.values() for tensor in _flat(item)]
    if isinstance(output, tuple | list):
        return [tensor for item in output for tensor in _flat(item)]
    return []


def _equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return len(first) == len(second) and all(
        a.shape == b.shape and a.dtype == b.dtype and bool(torch.equal(_bits(a), _bits(b)))
        for a, b in zip(first, second, strict=True)
    )


def _bits(x: Tensor) -> Tensor:
    """View floats as integers, so that NaN equals itself and -0 is not 0."""
    kinds = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    return x.contiguous().view(kinds[x.element_size()]) if x.is_floating_point() else x
