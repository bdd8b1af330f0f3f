"""Runs: within-stage blocks of one shape in a row, along which perturbations are followed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resprobe_analyses.reading import Integers, Layout
from resprobe_analyses.stability.families import BLOCK
from resprobe_analyses.stability.records import Network

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """Blocks in a row that keep one shape.

    Attributes:
        stage: they are in.
        blocks: their positions, ascending, shape (block of the run,).
    """

    stage: int
    blocks: Integers

    @property
    def last(self) -> int:
        """Position of its last block, where its exponents are those of the whole run."""
        return int(self.blocks[-1])


def runs_of(layout: Layout) -> tuple[Run, ...]:
    """Give the runs of a network, first to last; a transition begins no run and is in none."""
    found: list[Run] = []
    members: list[int] = []
    for place, within in enumerate(layout.within):
        new = bool(members) and layout.stage[place] != layout.stage[members[-1]]
        if members and (new or not within):
            found.append(Run(int(layout.stage[members[0]]), np.array(members)))
            members = []
        if within:
            members.append(place)
    if members:
        found.append(Run(int(layout.stage[members[0]]), np.array(members)))
    return tuple(found)


def measured_runs(net: Network) -> tuple[Run, ...]:
    """Give the runs at whose end a Lyapunov exponent is known on an image."""
    if net.lyapunov is None:
        return ()
    known = np.asarray(np.isfinite(net.lyapunov.exponents[..., 0]).any(axis=0))
    return tuple(run for run in runs_of(net.layout) if known[run.last])


def run_of_stage(net: Network, stage: int) -> Run | None:
    """Give the longest measured run of a stage, the first of equals; None without any."""
    inside = [run for run in measured_runs(net) if run.stage == stage]
    return max(inside, key=lambda run: run.blocks.size, default=None)


def leading(net: Network, run: Run) -> Floats:
    """Give the leading exponent of a run, shape (image,); NaN where it was not collected."""
    if net.lyapunov is None:
        return np.full(1, np.nan)
    return net.lyapunov.exponents[:, run.last, 0]


def growth(net: Network, run: Run) -> Floats:
    """Give the growth of a random perturbation over a run, per block, shape (image,)."""
    if net.lyapunov is None:
        return np.full(1, np.nan)
    return net.lyapunov.growth[:, run.last]


def growth_bounds(net: Network, run: Run) -> Floats:
    """Give the most that any perturbation can grow along a run, per block.

    A product of Jacobians has at most the product of their largest singular values as norm.

    Returns:
        Mean of ln σ_max over the first blocks of the run, shape (image, block of the run); NaN
        from a block without a known norm on.
    """
    largest = net.norms.spectral_norm[:, run.blocks, BLOCK]
    with np.errstate(divide="ignore"):  # a block may send everything to 0
        logarithms = np.log(largest)
    return np.cumsum(logarithms, axis=1) / np.arange(1, run.blocks.size + 1)
