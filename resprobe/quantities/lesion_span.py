"""What dropping the branches of several blocks in a row, their skips kept, does to every sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe.quantities.family import Tally, sample_group
from resprobe.quantities.outputs import CORRECT, TEST_ERROR, TEST_LOSS, classification
from resprobe.quantities.quantity import Quantity
from resprobe.quantities.spans import inside, spans, with_lengths

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from resprobe.blocks.block import Block, Blocks
    from resprobe.blocks.passes import Pass
    from resprobe.store.schema import Group, Variable

_SOURCE = (
    "Veit, Wilber, Belongie 2016, Sec. 4.2; Gromov et al. 2024 (The Unreasonable Ineffectiveness "
    "of the Deeper Layers)"
)
_PAST_THE_END = -1


def _of_spans(
    name: str, dims: tuple[str, ...], dtype: str, formula: str, meaning: str, *, units: str = "1"
) -> Quantity:
    return Quantity(
        name=name,
        family="lesion-span",
        dims=dims,
        units=units,
        dtype=dtype,
        formula=formula,
        source=_SOURCE,
        meaning=meaning,
        cost="lesion",
        measured_by="resprobe.quantities.lesion_span:LesionSpan",
        standard=False,
    )


SPAN_LESION_ERROR = _of_spans(
    "span_lesion_error",
    ("block", "length"),
    "float64",
    "1 - mean(span_lesion_correct)",
    "Test error with the branches of the span dropped that begins with the block, their skips "
    "kept; NaN where the span passes the end.",
)
SPAN_LESION_LOSS = _of_spans(
    "span_lesion_loss",
    ("sample", "block", "length"),
    "float32",
    "-log softmax(z without G of every block of the span)_y",
    "Cross-entropy of each sample with the branches of the span dropped; NaN past the end.",
    units="nat",
)
SPAN_LESION_CORRECT = _of_spans(
    "span_lesion_correct",
    ("sample", "block", "length"),
    "int8",
    "1 if argmax z = y else 0, without G of every block of the span; -1 past the end",
    "Whether the sample is classified rightly with the branches of the span dropped.",
)


class LesionSpan:
    """Measures the family `lesion-span`: the branches of every contiguous span dropped in turn.

    Spans of one block are the lesions of the family `lesion`, to the bit.
    """

    sees_blocks = False
    sees_outputs = False
    needs_replays = True
    needs_states = False
    needs_functions = False
    reestimates = False
    counted = ("correct", "span_lesion_correct")

    def __init__(self, model: nn.Module, blocks: Blocks, classes: Sequence[str]) -> None:
        del model
        self._blocks, self._classes = blocks, classes
        self._inside = inside(len(blocks))
        self._tally = Tally(classes)
        self._seen = 0
        self._right = np.zeros(self._inside.shape, np.int64)

    def group(self) -> Group:
        """Give the layout of `/lesion-span`."""
        group = sample_group(
            "/lesion-span", self._blocks, self._classes, also=(CORRECT, TEST_LOSS, TEST_ERROR)
        )
        variables = tuple(_flagged(variable) for variable in group.variables)
        return with_lengths(replace(group, variables=variables), len(self._blocks))

    def see(self, block: Block, x: Tensor, s: Tensor, branch: Tensor) -> None:
        """Take nothing: a lesion needs no tensor of a branch."""

    def see_output(self, block: Block, x: Tensor, x_out: Tensor) -> None:
        """Take nothing."""

    def rows(self, whole: Pass, labels: Tensor) -> dict[str, Tensor]:
        """Give loss and correctness, whole `(sample,)` and lesioned `(sample, block, length)`."""
        import torch

        intact = classification(whole.output, labels)
        shape = (len(labels), len(self._blocks), len(self._blocks))
        correct = torch.full(shape, _PAST_THE_END, dtype=torch.int8, device=labels.device)
        loss = torch.full(shape, float("nan"), dtype=torch.float32, device=labels.device)
        # span by span: the outputs of all spans at once would fill the memory where there are
        # many blocks and many classes
        for first, last in spans(len(self._blocks)):
            lesioned = classification(whole.lesion_span(first, last), labels)
            correct[:, first, last - first] = lesioned["correct"]
            loss[:, first, last - first] = lesioned["test_loss"]
        return {
            "correct": intact["correct"],
            "test_loss": intact["test_loss"],
            "span_lesion_correct": correct,
            "span_lesion_loss": loss,
        }

    def add(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Take a batch into the errors."""
        self._tally.add(rows)
        self._seen += len(rows["correct"])
        self._right += (rows["span_lesion_correct"] == 1).sum(axis=0)

    def totals(self) -> dict[str, Any]:
        """Give the test error, whole and by lesioned span."""
        error = (self._seen - self._right) / self._seen
        return {
            "test_error": self._tally.error(),
            "span_lesion_error": np.where(self._inside, error, np.nan),
        }


def _flagged(variable: Variable) -> Variable:
    """Say in CF's words what the numbers of `span_lesion_correct` mean."""
    if variable.name != SPAN_LESION_CORRECT.name:
        return variable
    flags = {
        "flag_values": np.array([_PAST_THE_END, 0, 1], np.int8),
        "flag_meanings": "past_the_end wrong right",
    }
    return replace(variable, attributes={**variable.attributes, **flags})
