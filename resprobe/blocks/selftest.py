"""The instrument proves itself on the model at hand before it measures it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from resprobe.blocks.discover import unchanged
from resprobe.blocks.intervene import Runner
from resprobe.blocks.passes import Pass
from resprobe.blocks.program import record, unfused
from resprobe.blocks.randomness import random_states
from resprobe.blocks.structure import tensors_in
from resprobe.errors import InputError, ViolationError

if TYPE_CHECKING:
    from torch import Tensor, nn


# Blocks whose lesion is made in the running model as well, spread over the network.
_LESIONS = 16


class SelfTest(NamedTuple):
    """What a self-test found.

    Attributes:
        checks: check to outcome.
        unrepeatable: what the model does not give twice even without the instrument, so that it
            could not be checked, with the largest difference.
        notes: what else is to be known of the checks: which could not be made and why, and how
            much the model's output changes when its fused layers run unfused.
    """

    checks: dict[str, bool]
    unrepeatable: tuple[str, ...]
    notes: tuple[str, ...]


def self_test(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    *,
    training: bool = False,
) -> SelfTest:
    """Check that recording changes nothing and that replay reproduces the model, to the bit.

    Args:
        model: an eager module.
        args: its positional arguments, of a few samples.
        kwargs: its keyword arguments.
        training: for recording while training: no interventions, but it must run backward.

    Returns:
        The checks: outputs, gradients, buffers and random state with recording on and off, in
        evaluation and in training mode, and outputs in evaluation mode without gradients; replay
        after every block; an intervention that puts the recorded sum in its own place; lesions by
        replay against lesions in the running model; parameters, modes and hook counts.

    Raises:
        InputError: the model can't be run on these arguments, or for training not backward.
    """
    test = _Test(model, args, dict(kwargs or {}), training=training)
    before = _state(model)
    test.compare("eval")
    test.compare("train")
    test.compare_without_gradients()
    if not training:
        test.draw()
        test.replay()
    after = _state(model)
    for name, value in before.items():
        test.checks[f"{name} left as they were"] = _equal(value, after[name])
    return SelfTest(test.checks, tuple(test.unrepeatable), tuple(test.notes))


def prove(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    *,
    training: bool = False,
) -> str:
    """Run `self_test` and give one line to store with the measurements.

    A model that does not repeat itself is reported with a Python warning.

    Raises:
        InputError: the model can't be run on these arguments.
        ViolationError: a check does not hold; it is named.
    """
    checks, unrepeatable, notes = self_test(model, args, kwargs, training=training)
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
    return proof + "".join(f"; {note}" for note in notes)


class _Test:
    """A self-test in progress."""

    def __init__(
        self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], *, training: bool
    ) -> None:
        self.checks: dict[str, bool] = {}
        self.unrepeatable: list[str] = []
        self.notes: list[str] = []
        self._model, self._args, self._kwargs = model, args, kwargs
        self._training = training

    def _bare(self) -> Any:
        return self._model(*self._args, **self._kwargs)

    def _recorded(self) -> Any:
        return record(self._model, self._args, self._kwargs, keep=()).result

    def compare(self, mode: str) -> None:
        """Compare what a pass forward and backward gives with and without recording."""
        with _mode(self._model, training=mode == "train"):
            try:
                bare, again = (_traces(self._model, self._bare) for _ in range(2))
            except Exception as error:
                if mode == "eval" or self._training:
                    raise InputError(
                        f"the model can't be run on a few samples ({first_line(error)}), so the "
                        "instrument can't be proven on it; give it inputs of the shape and type "
                        "that it takes."
                    ) from error
                self.notes.append(f"not checked in train mode, which fails: {first_line(error)}")
                return
            seen = _traces(self._model, self._recorded)
        for name, value in bare.items():
            repeated, recorded = again[name], seen[name]
            if value is None or repeated is None:
                self._require_no_gradients(mode)
                self.notes.append(f"no {name} in {mode} mode to check")
            elif not _equal(value, repeated):
                gap = _difference(value, repeated)
                self.unrepeatable.append(f"{name} in {mode} mode, by {gap}")
            else:
                holds = recorded is not None and _equal(value, recorded)
                self.checks[f"{name} unchanged in {mode} mode"] = holds

    def draw(self) -> None:
        """Report a model that draws random numbers in evaluation mode, by running it twice on."""
        with _mode(self._model, training=False), torch.no_grad(), unchanged(self._model):
            first, second = _flat(self._bare()), _flat(self._bare())
        told = any(what.startswith("output in eval mode") for what in self.unrepeatable)
        if not told and not _equal(first, second):
            gap = _difference(first, second)
            self.unrepeatable.append(f"output in eval mode, from one pass to the next, by {gap}")

    def _require_no_gradients(self, mode: str) -> None:
        """Refuse to record the training of a model that can't run backward."""
        if self._training:
            raise InputError(
                f"the model can't be run forward and backward on a few samples in {mode} mode, so "
                "the instrument can't be proven on it; give it arguments on which it trains."
            )

    def compare_without_gradients(self) -> None:
        """Compare outputs where torch may fuse layers, which recording must not."""
        check = "output unchanged in eval mode without gradients"
        with _mode(self._model, training=False), torch.no_grad():
            bare, again, seen = (
                self._output(run) for run in (self._bare, self._bare, self._recorded)
            )
            if not _equal(bare, again):
                return  # said already
            self.checks[check] = _equal(bare, seen)
            if not self.checks[check]:
                with unfused():
                    self.checks[check] = _equal(self._output(self._bare), seen)
                if self.checks[check]:
                    self.notes.append(
                        "fused layers are measured unfused: the output differs by "
                        f"{_difference(bare, seen)}"
                    )

    def replay(self) -> None:
        """Check that interventions which change nothing change nothing."""
        model, args, kwargs = self._model, self._args, self._kwargs
        with _mode(model, training=False), unchanged(model), torch.no_grad():
            whole = Runner(model, args, kwargs).run(args, states=True)
            if whole.random:
                again = (_flat(whole.lesion_anew(block)) for block in whole.blocks)
                first = (_flat(whole.lesion(block)) for block in whole.blocks)
                self.checks["lesions repeat with the same random numbers"] = all(
                    map(_equal, first, again)
                )
                return
            self.checks["replay reproduces the output"] = _replays(whole)
            checked = list(whole.blocks)[:: 1 + len(whole.blocks) // _LESIONS]
            self.checks["lesions are those of the running model"] = all(
                _equal(_flat(whole.lesion(block)), _flat(whole.lesion_anew(block)))
                for block in checked
                if not whole.blocks.plain
            )
            self.checks["a lesion leaves the recording alone"] = _replays(whole)

    def _output(self, run: Callable[[], Any]) -> list[Tensor]:
        with unchanged(self._model):
            return _flat(run())


def first_line(error: BaseException) -> str:
    """Give the first line of an error's message, or its kind where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _replays(whole: Pass) -> bool:
    """Whether a sum put in its own place gives the recorded output, for every block."""
    return all(
        _equal(_flat(whole.replace_sum(block, whole.total(block))), _flat(whole.output))
        for block in whole.blocks
    )


def _traces(model: nn.Module, forward: Callable[[], Any]) -> dict[str, list[Tensor] | None]:
    """Run forward and backward once; give what must not change and undo what did.

    There are no gradients where nothing is trained, or where the model can't run backward.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    with unchanged(model), torch.enable_grad():
        outputs = _flat(forward())
        gradients: list[Tensor] | None = None
        if parameters and any(out.requires_grad for out in outputs):
            try:
                found = torch.autograd.grad(_some_loss(outputs), parameters, allow_unused=True)
                gradients = [gradient for gradient in found if gradient is not None]
            except RuntimeError:
                gradients = None
        return {
            "output": [out.detach() for out in outputs],
            "gradients": gradients,
            "buffers": [buffer.detach().clone() for buffer in model.buffers()],
            "random state": random_states(model),
        }


def _difference(first: list[Tensor], second: list[Tensor]) -> str:
    """Say how far apart two lists of tensors are at most."""
    if [t.shape for t in first] != [t.shape for t in second]:
        return "their shapes"
    gaps = [
        float((a.double() - b.double()).abs().max())
        for a, b in zip(first, second, strict=True)
        if a.numel()
    ]
    return f"up to {max(gaps, default=0.0):.2g}"


def _some_loss(outputs: list[Tensor]) -> Tensor:
    """Give a random linear function of all outputs, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    weighted = [
        (out * torch.randn(out.shape, generator=generator).to(out)).sum()
        for out in outputs
        if out.requires_grad
    ]
    return torch.stack(weighted).sum()


def _state(model: nn.Module) -> dict[str, list[Tensor]]:
    hooks = [
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    ]
    return {
        "parameters": [p.detach().clone() for p in model.parameters()],
        "buffers": [b.detach().clone() for b in model.buffers()],
        "modes": [torch.tensor([module.training for module in model.modules()])],
        "hook counts": [torch.tensor(hooks)],
        "random states": random_states(model),
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
    return list(tensors_in(output))


def _equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return len(first) == len(second) and all(
        a.shape == b.shape and a.dtype == b.dtype and bool(torch.equal(_bits(a), _bits(b)))
        for a, b in zip(first, second, strict=True)
    )


def _bits(x: Tensor) -> Tensor:
    """View floats as integers, so that NaN equals itself and -0 is not 0."""
    kinds = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    return x.contiguous().view(kinds[x.element_size()]) if x.is_floating_point() else x
