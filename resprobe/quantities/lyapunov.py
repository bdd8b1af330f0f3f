"""Finite-time Lyapunov exponents along the blocks of a stage, and how a perturbation grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from resprobe.quantities.block_functions import BlockFunctions, generators, map_of
from resprobe.quantities.family import sample_group
from resprobe.quantities.quantity import Quantity
from resprobe.store.schema import Coordinate

if TYPE_CHECKING:
    from torch import Tensor

    from resprobe.blocks.block import Block, Blocks
    from resprobe.blocks.passes import Pass
    from resprobe.linalg.lyapunov import Exponents
    from resprobe.store.schema import Group

# How many of the leading exponents.
EXPONENTS = 4
# Size of the finite perturbation beside ‖x‖.
PERTURBATION = 1e-3


def _of_stages(
    name: str, dims: tuple[str, ...], formula: str, meaning: str, source: str
) -> Quantity:
    return Quantity(
        name=name,
        family="lyapunov",
        dims=("sample", "block", *dims),
        units="1",
        dtype="float64",
        formula=formula,
        source=source,
        meaning=meaning,
        cost="jacobian",
        measured_by="resprobe.quantities.lyapunov:Lyapunov",
        standard=False,
    )


LYAPUNOV_EXPONENTS = _of_stages(
    "lyapunov_exponents",
    ("exponent",),
    "1/l · Σ log r_ii of the QR decompositions along the first l of a run of L blocks of one "
    "shape, from the leading directions of J_L … J_1: at its end 1/L · ln σ_i(J_L … J_1)",
    "Growth per block, up to this one, along the directions that a run of blocks of one shape "
    "stretches most: at its last block the finite-time Lyapunov exponents; NaN outside of runs.",
    "Benettin et al. 1980; Goldhirsch, Sulem and Orszag 1987",
)
LYAPUNOV_EXPONENTS_ERROR = _of_stages(
    "lyapunov_exponents_error",
    ("exponent",),
    "‖(1 - V Vᵀ) JᵀJ v‖/(2 L σ²), J = J_L … J_1, V the directions, at the last block of a run",
    "Distance within which an exponent of the whole run lies, to first order; NaN before its end.",
    "definition",
)
PERTURBATION_GROWTH = _of_stages(
    "perturbation_growth",
    (),
    f"1/L · ln(‖Φ(x + εv) - Φ(x)‖/ε‖v‖), Φ the L blocks, ε‖v‖ = {PERTURBATION:g}·‖x‖, v random",
    "Exponential growth per block of a small random perturbation over the same blocks.",
    "definition",
)


def runs_of(blocks: Blocks) -> list[list[Block]]:
    """Give the runs of blocks of one shape, each starting from what the one before it made."""
    runs: list[list[Block]] = []
    for before, block in pairwise((None, *blocks)):
        assert block is not None
        if block.input_shape != block.output_shape:
            continue
        joins = (
            before is not None
            and bool(runs)
            and runs[-1][-1] is before
            and block.follows
            and before.output_shape == block.input_shape
        )
        if joins:
            runs[-1].append(block)
        else:
            runs.append([block])
    return runs


class Lyapunov(BlockFunctions):
    """Measures the family `lyapunov`."""

    family = "lyapunov"

    def group(self) -> Group:
        """Give the layout of `/lyapunov`."""
        group = sample_group("/lyapunov", self.blocks, self._classes)
        exponent = Coordinate(
            "exponent",
            ("exponent",),
            np.arange(EXPONENTS, dtype=np.int64),
            {"long_name": "number of the exponent, the largest first", "units": "1"},
        )
        return replace(group, coordinates=(*group.coordinates, exponent))

    def try_on(self, whole: Pass) -> float:
        """Raise `InputError` if a block in a run is no function of each sample alone."""
        from resprobe.linalg.linearise import linearise

        for run in runs_of(self.blocks):
            for block in run:
                linearise(whole.path(block))
        return 0.0

    def rows(self, whole: Pass, labels: Tensor) -> dict[str, Tensor]:
        """Give exponents `(sample, block, exponent)` and growth `(sample, block)` of a batch."""
        import torch

        shape = (len(labels), len(self.blocks))
        missing = torch.full(shape, float("nan"), dtype=torch.float64, device=labels.device)
        exponents = missing[:, :, None].repeat(1, 1, EXPONENTS)
        errors = exponents.clone()
        growth = missing.clone()
        for run in runs_of(self.blocks):
            places = [block.index for block in run]
            found, grown = along(whole, run, first_sample=self.measured)
            count = found.values.shape[2]
            exponents[:, places, :count] = found.values
            errors[:, places[-1], :count] = found.errors
            growth[:, places] = grown
        return {
            "lyapunov_exponents": exponents,
            "lyapunov_exponents_error": errors,
            "perturbation_growth": growth,
        }


def along(whole: Pass, run: Sequence[Block], first_sample: int) -> tuple[Exponents, Tensor]:
    """Give the exponents, and the growth `(sample, block)`, along a run.

    Args:
        whole: the pass.
        run: the blocks, in order.
        first_sample: its number in the collection; seeds the perturbations.
    """
    import torch

    from resprobe.linalg.lyapunov import finite_growth, lyapunov_exponents

    paths = [whole.path(block) for block in run]
    x = paths[0].point()
    count = min(EXPONENTS, x[0].numel())
    shape = x.shape[1:]
    drawn = generators(first_sample, len(x), run[0].index)
    v = [torch.randn(shape, generator=one, dtype=torch.float64) for one in drawn]
    maps = [map_of(path)[0] for path in paths]
    exponents = lyapunov_exponents(maps, count)
    growth = finite_growth(paths, x, relative_size=PERTURBATION, v=torch.stack(v))
    return exponents, growth
