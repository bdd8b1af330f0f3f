"""The instrument proves itself on the model at hand before it measures it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from resprobe.blocks.intervene import Pass, Runner
from resprobe.blocks.program import record
from resprobe.errors import ViolationError

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


def self_test(model: nn.Module, batch: Tensor) -> SelfTest:
    """Check that recording changes nothing and that replay reproduces the model, to the bit.

    Args:
        model: an eager module.
        batch: a few samples, `(sample, …)`, as the model takes them.

    Returns:
        The checks: outputs, gradients, buffers and random state with recording on and off, in
        evaluation and in training mode; replay after every block; an intervention that puts the
        recorded sum in its own place; parameters, modes and hook counts.
    """
    before = _state(model, batch)
    checks: dict[str, bool] = {}
    unrepeatable = []
    for mode in ("eval", "train"):
        with _mode(model, training=mode == "train"):
            bare, again = (_gradients(model, batch, lambda: model(batch)) for _ in range(2))
            seen = _gradients(model, batch, lambda: record(model, (batch,), keep=()).result)
        for name in ("output", "gradients", "buffers", "random state"):
            if _equal(bare[name], again[name]):
                checks[f"{name} unchanged in {mode} mode"] = _equal(bare[name], seen[name])
            else:
                unrepeatable.append(f"{name} in {mode} mode")
    with _mode(model, training=False), torch.no_grad():
        runner = Runner(model, batch)
        whole = runner.run(batch, branches=True)
        checks["replay reproduces the output"] = _replays(whole)
        for block in whole.blocks:
            whole.lesion(block)
        checks["a lesion leaves the recording alone"] = _replays(whole)
    after = _state(model, batch)
    for name, value in before.items():
        checks[f"{name} left as they were"] = _equal(value, after[name])
    return SelfTest(checks, tuple(unrepeatable))


def prove(model: nn.Module, batch: Tensor) -> str:
    """Run `self_test` and give one line to store with the measurements.

    A model that does not repeat itself is reported with a Python warning.

    Raises:
        ViolationError: a check does not hold; it is named.
    """
    checks, unrepeatable = self_test(model, batch)
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


def _gradients(
    model: nn.Module, batch: Tensor, forward: Callable[[], Any]
) -> dict[str, list[Tensor]]:
    """Run forward and backward once; give what must not change and undo what did."""
    buffers = [buffer.detach().clone() for buffer in model.buffers()]
    random = _random_state(batch)
    parameters = [p for p in model.parameters() if p.requires_grad]
    with torch.enable_grad():
        outputs = _flat(forward())
        generator = torch.Generator().manual_seed(0)
        loss = torch.stack(
            [
                (out * torch.randn(out.shape, generator=generator).to(out)).sum()
                for out in outputs
                if out.requires_grad
            ]
        ).sum()
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    state = {
        "output": [out.detach() for out in outputs],
        "gradients": [g for g in gradients if g is not None],
        "buffers": [buffer.detach().clone() for buffer in model.buffers()],
        "random state": _random_state(batch),
    }
    torch.set_rng_state(random[0])
    if batch.is_cuda:
        torch.cuda.set_rng_state(random[1], batch.device)
    with torch.no_grad():
        for buffer, value in zip(model.buffers(), buffers, strict=True):
            buffer.copy_(value)
    return state


def _random_state(batch: Tensor) -> list[Tensor]:
    on_device = [torch.cuda.get_rng_state(batch.device)] if batch.is_cuda else []
    return [torch.get_rng_state(), *on_device]


def _state(model: nn.Module, batch: Tensor) -> dict[str, list[Tensor]]:
    hooks = [
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    ]
    return {
        "parameters": [p.detach().clone() for p in model.parameters()],
        "buffers": [b.detach().clone() for b in model.buffers()],
        "modes": [torch.tensor([module.training for module in model.modules()])],
        "hook counts": [torch.tensor(hooks)],
        "random states": _random_state(batch),
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
