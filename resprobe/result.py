"""What an analysis is and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Result:
    """The outcome of one analysis.

    Attributes:
        dataset: every number that the figures and the summary show.
        figures: name to figure; written as `figure-NAME.svg` and `.png`.
        verdict: JSON-ready; at least `analysis`, `inputs` and `findings`.
        summary: plain sentences, one a line.
    """

    dataset: xr.Dataset
    figures: Mapping[str, Figure]
    verdict: Mapping[str, Any]
    summary: str


@dataclass(frozen=True)
class Analysis:
    """The declaration of an analysis: a pure function of recorded data.

    Attributes:
        name: as typed after `resprobe analyze`.
        meaning: one sentence.
        families: the collected families it reads, such as `("norms", "lesion")`.
        function: `function(inputs) -> Result`.
        also: families that it reads where they are; asked for by name, it has them collected
            first where it can.
        source: the papers or books it rests on.
        unasked: whether to run it on inputs for which no analysis was named; None for always.
    """

    name: str
    meaning: str
    families: tuple[str, ...]
    function: Callable[[Sequence[Input]], Result] = field(repr=False)
    also: tuple[str, ...] = ()
    source: str = ""
    unasked: Callable[[Sequence[Input]], bool] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Input:
    """One run, checkpoint of a run or lone file as an analysis sees it.

    Attributes:
        label: short name for figures and sentences (the directory's or file's name, with the step
            where inputs are told apart by it).
        tree: what `resprobe.open` gives.
        families: name to dataset, of the checkpoint that is analyzed.
        step: the step of that checkpoint, None for a lone file.
        group: inputs of an equal resolved recipe but the seed share it, at one step where
            checkpoints were named.
        seed: the training seed, None where unknown.
        checkpoint: what the trainer wrote beside that checkpoint, such as `epoch`, `status` and
            `metrics`; empty where it is not at hand.
    """

    label: str
    tree: xr.DataTree
    families: Mapping[str, xr.Dataset]
    step: int | None
    group: str
    seed: int | None
    checkpoint: Mapping[str, Any] = field(default_factory=dict)
