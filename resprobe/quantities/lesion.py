"""What dropping one block's branch, its skip kept, does to every sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from resprobe.quantities.family import Tally, sample_group
from resprobe.quantities.outputs import CORRECT, TEST_ERROR, TEST_LOSS, classification
from resprobe.quantities.quantity import Quantity

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from resprobe.blocks.block import Block, Blocks
    from resprobe.blocks.passes import Pass
    from resprobe.store.schema import Group

_MEASURED_BY = "resprobe.quantities.lesion:Lesion"
_SOURCE = (
    "Veit, Wilber, Belongie 2016, Sec. 4.1; Chang et al. 2018 (Multi-level residual networks), "
    "Sec. 3.3"
)

LESION_ERROR = Quantity(
    name="lesion_error",
    family="lesion",
    dims=("block",),
    units="1",
    dtype="float64",
    formula="1 - mean(lesion_correct)",
    source=_SOURCE,
    meaning="Test error of the network with this block's branch dropped and its skip kept.",
    cost="lesion",
    measured_by=_MEASURED_BY,
)
LESION_LOSS = Quantity(
    name="lesion_loss",
    family="lesion",
    dims=("sample", "block"),
    units="nat",
    dtype="float32",
    formula="-log softmax(z without G of the block)_y",
    source=_SOURCE,
    meaning="Cross-entropy of each sample with this block's branch dropped.",
    cost="lesion",
    measured_by=_MEASURED_BY,
)
LESION_CORRECT = Quantity(
    name="lesion_correct",
    family="lesion",
    dims=("sample", "block"),
    units="1",
    dtype="int8",
    formula="1 if argmax z = y else 0, without G of the block",
    source=_SOURCE,
    meaning="Whether the sample is classified rightly with this block's branch dropped.",
    cost="lesion",
    measured_by=_MEASURED_BY,
)


class Lesion:
    """Measures the family `lesion`: every single block dropped in turn.

    The pass over a batch is recorded once; a lesion replays what comes after its block.
    """

    sees_blocks = False
    sees_outputs = False
    needs_replays = True
    needs_states = False
    needs_functions = False
    reestimates = False
    counted = ("correct", "lesion_correct")

    def __init__(self, model: nn.Module, blocks: Blocks, classes: Sequence[str]) -> None:
        del model
        self._blocks, self._classes = blocks, classes
        self._tally = Tally(classes)
        self._seen = 0
        self._right: NDArray[Any] | int = 0

    def group(self) -> Group:
        """Give the layout of `/lesion`."""
        return sample_group(
            "/lesion", self._blocks, self._classes, also=(CORRECT, TEST_LOSS, TEST_ERROR)
        )

    def see(self, block: Block, x: Tensor, s: Tensor, branch: Tensor) -> None:
        """Take nothing: a lesion needs no tensor of a branch."""

    def see_output(self, block: Block, x: Tensor, x_out: Tensor) -> None:
        """Take nothing."""

    def rows(self, whole: Pass, labels: Tensor) -> dict[str, Tensor]:
        """Give loss and correctness, whole `(sample,)` and lesioned `(sample, block)`."""
        import torch

        intact = classification(whole.output, labels)
        outputs = torch.cat([whole.lesion(block) for block in self._blocks])
        lesioned = classification(outputs, labels.repeat(len(self._blocks)))
        by_block = (len(self._blocks), len(labels))
        return {
            "correct": intact["correct"],
            "test_loss": intact["test_loss"],
            "lesion_correct": lesioned["correct"].reshape(by_block).T,
            "lesion_loss": lesioned["test_loss"].reshape(by_block).T,
        }

    def add(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Take a batch into the errors."""
        self._tally.add(rows)
        self._seen += len(rows["correct"])
        self._right = self._right + rows["lesion_correct"].sum(axis=0, dtype="int64")

    def totals(self) -> dict[str, Any]:
        """Give the test error, whole and by lesioned block."""
        return {
            "test_error": self._tally.error(),
            "lesion_error": (self._seen - self._right) / self._seen,
        }
