"""What a classifier's outputs say of each sample: loss, margin, right or wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resprobe.quantities.quantity import Quantity

if TYPE_CHECKING:
    from torch import Tensor

_MEASURED_BY = "resprobe.quantities.norms:Norms"

TEST_LOSS = Quantity(
    name="test_loss",
    family="norms",
    dims=("sample",),
    units="nat",
    dtype="float32",
    formula="-log softmax(z)_y",
    source="definition",
    meaning="Cross-entropy of each sample.",
    cost="hook",
    measured_by=_MEASURED_BY,
)
MARGIN = Quantity(
    name="margin",
    family="norms",
    dims=("sample",),
    units="1",
    dtype="float32",
    formula="z_y - max_{k≠y} z_k",
    source="definition",
    meaning="How far the true class's output is above the next, negative where it is wrong.",
    cost="hook",
    measured_by=_MEASURED_BY,
)
CORRECT = Quantity(
    name="correct",
    family="norms",
    dims=("sample",),
    units="1",
    dtype="int8",
    formula="1 if argmax z = y else 0",
    source="definition",
    meaning="Whether the whole network classifies the sample rightly.",
    cost="hook",
    measured_by=_MEASURED_BY,
)
TEST_ERROR = Quantity(
    name="test_error",
    family="norms",
    dims=(),
    units="1",
    dtype="float64",
    formula="1 - mean(correct)",
    source="definition",
    meaning="Fraction of the samples that the whole network classifies wrongly.",
    cost="hook",
    measured_by=_MEASURED_BY,
)
CLASS_ERROR = Quantity(
    name="class_error",
    family="norms",
    dims=("class",),
    units="1",
    dtype="float64",
    formula="1 - mean(correct) over the samples of a class",
    source="definition",
    meaning="Fraction of each class's samples that the whole network classifies wrongly.",
    cost="hook",
    measured_by=_MEASURED_BY,
)


def classification(outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Give loss, margin and correctness of each sample.

    Args:
        outputs: `(sample, class)`, a floating dtype: the logits z.
        labels: `(sample,)` int64: the true classes y.

    Returns:
        `test_loss` and `margin` `(sample,)` float32 or float64, `correct` `(sample,)` int8. With
        ties, `correct` takes the first of the largest outputs, as argmax does.
    """
    import torch
    import torch.nn.functional as F

    outputs = outputs.float() if outputs.element_size() < 4 else outputs
    own = outputs.gather(1, labels.unsqueeze(1)).squeeze(1)
    others = outputs.scatter(1, labels.unsqueeze(1), float("-inf"))
    return {
        "test_loss": F.cross_entropy(outputs, labels, reduction="none"),
        "margin": own - others.amax(dim=1),
        "correct": (outputs.argmax(dim=1) == labels).to(torch.int8),
    }
