"""How far a block turns the feature vector of each position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from resprobe.quantities.family import sample_group
from resprobe.quantities.quantity import Quantity

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from resprobe.blocks.block import Block, Blocks
    from resprobe.blocks.passes import Pass
    from resprobe.store.schema import Group

BLOCK_INFLUENCE = Quantity(
    name="block_influence",
    family="influence",
    dims=("sample", "block"),
    units="1",
    dtype="float32",
    formula="mean over positions of 1 - ⟨x, x_out⟩/(‖x‖·‖x_out‖), along the features",
    source=(
        "Men et al. 2024 (ShortGPT: Layers in Large Language Models are More Redundant Than You "
        "Expect), Eq. 1"
    ),
    meaning=(
        "How far a block turns the features of each token or pixel, per sample: 0 not at all, "
        "1 to a right angle; NaN where the block changes the shape."
    ),
    cost="hook",
    measured_by="resprobe.quantities.influence:Influence",
)


def block_influence(x: Tensor, x_out: Tensor, axis: int) -> Tensor:
    """Give the block influence of each sample, `1 - cos(x, x_out)` averaged over positions.

    The paper averages over samples as well; here that is left to the reader.

    Args:
        x: `(sample, …)`, the block's input.
        x_out: `(sample, …)`, its output.
        axis: of the features, counted with the sample dimension.

    Returns:
        `(sample,)` float64 in [0, 2]; NaN where the shapes differ, and for a sample without a
        position at which both vectors have a direction.
    """
    from resprobe.linalg.angles import mean_cosine_gap

    if x.shape != x_out.shape:
        return x.new_full((x.shape[0],), float("nan")).double()
    return mean_cosine_gap(x, x_out, axis)


class Influence:
    """Measures the family `influence`: how far every block turns its input."""

    sees_blocks = False
    sees_outputs = True
    needs_replays = False
    needs_states = False
    needs_functions = False
    reestimates = False
    counted = ()

    def __init__(self, model: nn.Module, blocks: Blocks, classes: Sequence[str]) -> None:
        del model
        self._blocks, self._classes = blocks, classes
        self._seen: list[Tensor] = []

    def group(self) -> Group:
        """Give the layout of `/influence`."""
        return sample_group("/influence", self._blocks, self._classes)

    def see(self, block: Block, x: Tensor, s: Tensor, branch: Tensor) -> None:
        """Take nothing: x_out is not there yet."""

    def see_output(self, block: Block, x: Tensor, x_out: Tensor) -> None:
        """Take the block influence of a block."""
        self._seen.append(block_influence(x, x_out, block.feature_axis))

    def rows(self, whole: Pass, labels: Tensor) -> dict[str, Tensor]:
        """Give the block influence `(sample, block)` of a batch."""
        import torch

        del whole, labels
        seen, self._seen = self._seen, []
        return {"block_influence": torch.stack(seen, dim=1)}

    def add(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Take nothing: no total is made of it."""

    def totals(self) -> dict[str, Any]:
        """Give nothing: every variable is per sample."""
        return {}
