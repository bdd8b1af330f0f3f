"""Measure a network that is in memory: `collect` from Python."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from resprobe.collect import Samples, by_preset, chosen_families, left_alone
from resprobe.collect_file import collect_file
from resprobe.errors import InputError, UnknownNameError
from resprobe.in_memory import data_of, from_memory
from resprobe.measurable import refuse_unmeasurable, unwrapped
from resprobe.store.reader import open as open_tree

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor, nn

# What messages call the options of `collect`, in the words of this function; in this order.
_IN_PYTHON = {
    r"out with --quantity": "out of quantities",
    r"--quantity (\+?\w+)": r'quantities=["\1"]',
    r" --samples (\d+)": r", samples=\1",
    r"more --samples": "more samples",
    r"--sample-indices names": "samples names",
    r"--output NAME": 'output="NAME"',
    r"a factory FILE\.py:NAME whose network returns": "a module that returns",
    r"--overwrite": "overwrite=True",
    r"another -o": "another out",
    r"another --device": "a model on another device",
    r", and --normalize": " and the scale of the inputs",
    r"give the bare module with --weights": "load them into the bare module",
    r"give --drop-transitions": "leave it out of quantities",
    r"measure a run, or give --model with --data": "leave what takes them out of quantities",
}


def measure(
    model: nn.Module,
    inputs: Tensor | tuple[Tensor, ...] | Mapping[str, Tensor],
    labels: Tensor | Sequence[int],
    out: str | Path,
    *,
    preset: str = "standard",
    quantities: Sequence[str] | None = None,
    samples: int | Sequence[int] | None = None,
    classes: Sequence[str] | None = None,
    output: str | None = None,
    overwrite: bool = False,
) -> xr.DataTree:
    """Measure a network in memory, as `resprobe collect --model` measures one of a file.

    The model runs in evaluation mode where it is; its mode, gradients, buffers and the random
    states are afterwards what they were. The file is one for `resprobe analyze`, `check`,
    `export` and `open`; those of a network before and after fine-tuning are two groups.

    Example:
        >>> before = resprobe.measure(model, x, y, "before.h5")
        >>> fine_tune(model)
        >>> after = resprobe.measure(model, x, y, "after.h5")
        >>> # resprobe analyze lesion after.h5 before.h5

    Args:
        model: on one device, its parameters all float32 or all float64.
        inputs: what it is called with: a tensor `(sample, …)`, a tuple of them for positional
            arguments, or a mapping of them for keyword arguments. They are passed as they are,
            batch by batch, from any device.
        labels: the true classes, `(sample,)` whole numbers from 0.
        out: the file, ending in .h5. One that is there must be of the same network, weights and
            data; families that it has with equal settings are kept, others are added.
        preset: see `resprobe collect --preset`.
        quantities: see `resprobe collect --quantity`: `["lesion_error"]` measures that quantity's
            family alone, `["+block_attribution"]` that beside the preset's.
        samples: how many, drawn by class as `collect` draws them; or the indices of some; None
            for the default of each family.
        classes: names of the classes.
        output: which part of the model's output are the logits; needed where that is not clear.
        overwrite: replace what was measured with other settings, or the whole file of another
            network.

    Returns:
        What the file holds, as `resprobe.open` gives it, but in memory: nothing is left open.

    Raises:
        UnknownNameError: of a preset or a quantity.
        InputError: model, inputs and labels do not go together, the model can't be measured, or
            `out` is something else.
        ViolationError: the self-test fails on the model.
        DiskFullError: no room; what is committed stays.

    A family of the preset that the network does not allow is left out with a Python warning.
    """
    path = Path(out)
    if path.suffix != ".h5":
        raise InputError(
            f"out = {str(out)!r}: give a name that ends in .h5, such as {path.stem}.h5."
        )
    asked = [quantities] if isinstance(quantities, str) else list(quantities or ())
    if quantities is not None and not asked:
        raise InputError(
            "quantities is empty, so there is nothing to measure: name some, or leave it out to "
            f"measure what the preset {preset} has."
        )
    families = chosen_families(preset, asked)
    _refuse_inference_mode()
    model, _ = unwrapped(model)
    refuse_unmeasurable(model)
    images, args, kwargs = data_of(inputs, labels, classes)
    try:
        with _left_as_it_was(model):
            done = collect_file(
                lambda: from_memory(model, images, args, kwargs, output),
                path,
                families,
                samples=_samples(samples),
                optional=by_preset(families, asked),
                overwrite=overwrite,
                leave=left_alone(families, asked),
            )
    except UnknownNameError:
        raise
    except InputError as error:
        raise InputError(_in_python(str(error))) from error
    for item in done:
        if item.left_out:
            warnings.warn(f"{item.family} left out: {_in_python(item.left_out)}", stacklevel=2)
    with closing(open_tree(path)) as tree:
        return tree.load()


def _samples(given: int | Sequence[int] | None) -> Samples:
    if given is None or isinstance(given, int | np.integer):
        return Samples(None if given is None else int(given))
    return Samples(indices=tuple(map(int, given)))


def _refuse_inference_mode() -> None:
    import torch

    if torch.is_inference_mode_enabled():
        raise InputError(
            "measure takes gradients, which torch.inference_mode() forbids; call it outside."
        )


@contextmanager
def _left_as_it_was(model: nn.Module) -> Iterator[None]:
    """Put modes, buffers and random states back, whatever is measured meanwhile."""
    from resprobe.blocks.discover import unchanged

    modes = [(module, module.training) for module in model.modules()]
    try:
        with unchanged(model):
            yield
    finally:
        for module, training in modes:
            module.training = training


def _in_python(text: str) -> str:
    """Say options of the command as arguments of `measure`."""
    for option, argument in _IN_PYTHON.items():
        text = re.sub(option, argument, text)
    return text
