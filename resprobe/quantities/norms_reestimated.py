"""Norms by block with BatchNorm's statistics estimated anew: what an untrained network adds.

Before training BatchNorm holds mean 0 and variance 1, so in evaluation mode it normalises nothing
and the branches of an untrained network grow with its depth for that reason alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from resprobe.quantities.family import sample_group
from resprobe.quantities.quantity import Quantity

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from resprobe.blocks.batch_norm import Statistics
    from resprobe.blocks.block import Block, Blocks
    from resprobe.blocks.passes import Pass
    from resprobe.store.schema import Group

FAMILY = "norms-reestimated"


def _norm(name: str, formula: str, meaning: str) -> Quantity:
    return Quantity(
        name=name,
        family=FAMILY,
        dims=("sample", "block"),
        units="1",
        dtype="float32",
        formula=formula,
        source="definition",
        meaning=f"{meaning}, with BatchNorm's statistics estimated anew from training images.",
        cost="hook",
        measured_by="resprobe.quantities.norms_reestimated:NormsReestimated",
        standard=False,
    )


INPUT_NORM = _norm("reestimated_input_norm", "‖x‖₂", "L2 norm of the block's input")
BRANCH_NORM = _norm("reestimated_branch_norm", "‖G‖₂", "L2 norm of the branch")


class NormsReestimated:
    """Measures the family `norms-reestimated`; see `Reestimating`."""

    sees_blocks = True
    sees_outputs = False
    needs_replays = False
    needs_states = False
    needs_functions = False
    reestimates = True
    counted = ()
    family_name = FAMILY

    def __init__(self, model: nn.Module, blocks: Blocks, classes: Sequence[str]) -> None:
        del model
        self.batch_norm_mode = "eval"
        self._blocks, self._classes = blocks, classes
        self._statistics: Mapping[int, Statistics] = {}
        self._seen: list[tuple[Tensor, Tensor]] = []

    def group(self) -> Group:
        """Give the layout of `/norms-reestimated`."""
        group = sample_group(f"/{FAMILY}", self._blocks, self._classes)
        said = {"batch_norm_mode": self.batch_norm_mode}
        variables = tuple(
            replace(variable, attributes={**variable.attributes, **said})
            if variable.name in (INPUT_NORM.name, BRANCH_NORM.name)
            else variable
            for variable in group.variables
        )
        return replace(group, variables=variables)

    def reestimate(self, batches: Iterable[Callable[[], Pass]]) -> None:
        """Take the statistics of every BatchNorm over training images."""
        from resprobe.blocks.batch_norm import BatchStatistics

        statistics = BatchStatistics()
        for run in batches:
            with statistics:
                run()
        self._seen = []  # of the training images
        self._statistics = statistics.average()

    def running(self) -> AbstractContextManager[Any]:
        """Give the context in which a batch is run for `rows`."""
        from resprobe.blocks.batch_norm import GivenStatistics

        return GivenStatistics(self._statistics) if self._statistics else nullcontext()

    def see(self, block: Block, x: Tensor, s: Tensor, branch: Tensor) -> None:
        """Take the norms of a block."""
        from resprobe.linalg.norms import squared_norm

        self._seen.append((squared_norm(x).sqrt(), squared_norm(branch).sqrt()))

    def see_output(self, block: Block, x: Tensor, x_out: Tensor) -> None:
        """Take nothing."""

    def rows(self, whole: Pass, labels: Tensor) -> dict[str, Tensor]:
        """Give the norms of a batch, `(sample, block)`."""
        import torch

        of_input, of_branch = (torch.stack(one, dim=1) for one in zip(*self._seen, strict=True))
        self._seen = []
        return {INPUT_NORM.name: of_input, BRANCH_NORM.name: of_branch}

    def add(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Take nothing: there are no totals."""

    def totals(self) -> dict[str, Any]:
        """Give nothing."""
        return {}
