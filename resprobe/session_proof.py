"""Prove the instrument on a network, before anything is measured."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from resprobe.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from resprobe.blocks.block import Blocks
    from resprobe.blocks.intervene import Runner
    from resprobe.source import Source

# Samples of the pass that finds the blocks and proves the instrument.
_EXAMPLE = 4


def example_of(source: Source) -> tuple[tuple[Tensor, ...], Mapping[str, Tensor], int]:
    """Give the inputs of that pass, and how many samples they hold."""
    first = np.arange(min(_EXAMPLE, len(source.images)))
    args, kwargs, _ = source.inputs(0, len(first), first)
    return args, kwargs, len(first)


def proven(source: Source) -> tuple[Runner, str]:
    """Find the blocks of a network and prove the instrument on it.

    Returns:
        What runs batches through the network, and what the self-test says.

    Raises:
        InputError: the network does not take the samples, gives no logits, or has no residual
            blocks; the additions that were refused are named.
        ViolationError: the self-test fails on it.
    """
    import torch

    from resprobe.blocks.intervene import Runner
    from resprobe.blocks.selftest import prove

    args, kwargs, samples = example_of(source)
    with torch.no_grad():
        _require_logits(source, args, kwargs, samples)
        runner = Runner(source.model, args, kwargs, select=source.select)
    if not runner.blocks.blocks:
        raise InputError(
            f"the network has no residual blocks to measure{_refused(runner.blocks)}; a "
            "plain network may declare its units in the attribute plain_units."
        )
    with torch.no_grad():
        runner.find_samples()
    return runner, prove(source.model, args, kwargs)


def _require_logits(
    source: Source, args: tuple[Tensor, ...], kwargs: Mapping[str, Tensor], samples: int
) -> None:
    """Run the bare network, so that what it says itself of its inputs is told."""
    from resprobe.example import run_bare
    from resprobe.quantities.outputs import refuse_no_logits

    logits = source.select(run_bare(source.model, args, kwargs))
    refuse_no_logits(logits, samples, int(source.images.labels.max()) + 1)


def _refused(blocks: Blocks) -> str:
    """Say why additions were refused, the most frequent reasons first."""
    reasons = Counter(refusal.reason for refusal in blocks.refused)
    if not reasons:
        return " (it adds nothing in its forward pass)"
    shown = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common(3))
    more = f"; and {len(reasons) - 3} more reasons" if len(reasons) > 3 else ""
    return f" (all {reasons.total()} additions were refused: {shown}{more})"
