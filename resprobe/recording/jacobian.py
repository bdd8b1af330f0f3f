"""The Jacobians of every block on a few fixed samples, while a network trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from resprobe.blocks.intervene import Runner
from resprobe.blocks.samples import count_samples
from resprobe.errors import InputError
from resprobe.example import run_bare
from resprobe.linalg.linearise import linearise
from resprobe.quantities.block_functions import PARTS, by_block
from resprobe.quantities.jacobian import norms_of
from resprobe.quantities.spectrum import extremes_of
from resprobe.recording.model import uncompiled
from resprobe.store.training import JACOBIAN, JACOBIAN_SCALARS, jacobian_group

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from resprobe.blocks.block import Blocks
    from resprobe.blocks.path import Path
    from resprobe.recording.file import RecordFile
    from resprobe.store.schema import Group


class FixedSamples:
    """Measures the Jacobians of a network that is being trained, in evaluation mode.

    Nothing of the training changes: modes are put back, and in evaluation mode neither buffers
    nor random states are touched.

    Args:
        model: the network.
        samples: its argument, or all positional ones as a tuple, with the samples first.
        blocks: those that were found when the recording began.

    Raises:
        InputError: there is no sample, the network does not take them, it has other blocks in
            evaluation mode, or its blocks are no functions that can be measured.
    """

    def __init__(self, model: nn.Module, samples: Tensor | tuple[Any, ...], blocks: Blocks) -> None:
        self._model, self._samples = model, samples
        _require_tensors(samples)
        with _evaluating(model):
            args = samples if isinstance(samples, tuple) else (samples,)
            try:
                run_bare(model, args, {})
            except InputError as error:
                raise InputError(f"jacobian_samples: {error}") from error
            self._runner = Runner(model, samples)
            if [b.name for b in self._runner.blocks] != [b.name for b in blocks]:
                raise InputError(
                    "in evaluation mode the model has other residual blocks than in training mode, "
                    "so its Jacobians can't be followed; leave out jacobian_every."
                )
            self._runner.find_samples()
            try:
                self._try()
            except InputError as error:
                raise InputError(
                    f"the Jacobians that jacobian_every asks for can't be measured: {error}"
                ) from error

    def row(self) -> dict[str, NDArray[Any]]:
        """Give every scalar at the present weights, `(1, sample, block, part)` float64.

        Raises:
            InputError: a Jacobian is not finite, as where the training diverges.
        """
        with _evaluating(self._model):
            return {name: values[None] for name, values in self._rows().items()}

    def missing(self) -> dict[str, NDArray[Any]]:
        """Give the row of a step at which nothing could be measured: NaN."""
        shape = (1, count_samples(self._samples), len(self._runner.blocks), len(PARTS))
        return {name: np.full(shape, np.nan) for name in JACOBIAN_SCALARS}

    def _paths(self) -> Iterator[Path]:
        whole = self._runner.run(self._samples, functions=True)
        return (whole.path(block, part=part) for block in whole.blocks for part in PARTS)

    def _try(self) -> None:
        """Make every function, and measure the first."""
        paths = list(self._paths())
        for path in paths:
            linearise(path)
        norms_of(paths[0], first_sample=0)

    def _rows(self) -> dict[str, NDArray[Any]]:
        def each() -> Iterator[Mapping[str, NDArray[Any]]]:
            for path in self._paths():
                found = {**norms_of(path, first_sample=0), **extremes_of(path, left=False)}
                yield {name: found[name] for name in JACOBIAN_SCALARS}

        return by_block(self._runner.blocks, each())


def _require_tensors(samples: Any) -> None:
    given = samples if isinstance(samples, tuple) else (samples,)
    if not given or not all(isinstance(one, torch.Tensor) for one in given):
        kinds = ", ".join(type(one).__name__ for one in given) or "nothing"
        raise InputError(
            f"jacobian_samples is {kinds}; give a tensor of samples, or a tuple of tensors where "
            "the model takes several."
        )
    if count_samples(samples) < 1:
        raise InputError("jacobian_samples holds no sample; give a few, such as x[:4].")


class Following:
    """Measures the Jacobians at some steps and puts their rows into the file; or never does.

    Args:
        every: steps between measurements, 0 for never.
        samples: what the network is called with.
    """

    def __init__(self, every: int, samples: Tensor | tuple[Any, ...] | None) -> None:
        self._every, self._samples = every, samples
        self._measured: FixedSamples | None = None

    def begin(self, model: nn.Module, blocks: Blocks) -> list[Group]:
        """Make ready to measure; give the group of the file that it needs.

        Raises:
            InputError: see `FixedSamples`.
        """
        if self._samples is None:
            return []
        self._model = model
        self._measured = FixedSamples(model, self._samples, blocks)
        return [jacobian_group(blocks, count_samples(self._samples))]

    def measure(self, step: int, file: RecordFile | None) -> None:
        """Measure after this step, if it is one of those that are."""
        if self._every == 0 or (step - 1) % self._every:
            return
        if self._measured is None or file is None or file.failed:
            return
        try:
            with uncompiled(self._model):
                found = self._measured.row()
        except (InputError, RuntimeError, ArithmeticError, np.linalg.LinAlgError) as error:
            # Whatever the measurement meets, the training goes on.
            found = self._measured.missing()
            reason = str(error).strip().splitlines()[0]
            file.say_once(
                "jacobians",
                f"warning: the Jacobians at step {step} can't be measured and are NaN: {reason}",
            )
        # Rows that wait would wait for this one's time, too.
        file.put(JACOBIAN, {"step": np.asarray([step]), **found})


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, without gradients and autocast, for a while."""
    modes = [(module, module.training) for module in model.modules()]
    device = next(model.parameters()).device.type
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(device, enabled=False):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
