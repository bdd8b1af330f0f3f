"""ML-T5: the parameter counts of the multi-level paper's Table 5, all at full size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from resprobe import registry
from resprobe_analyses.studies.evidence import Check, Evidence
from resprobe_analyses.studies.exact import equal, exact_scales
from resprobe_analyses.studies.study import Study

# (name, depth, width factor): counts for 10 classes (CIFAR-10, STL-10) and 100 (CIFAR-100)
TABLE = {
    ("ResNet-14", 14, 1.0): (172_506, 178_356),
    ("ResNet-50", 50, 1.0): (755_802, 761_652),
    ("ResNet-32", 32, 1.0): (464_154, 470_004),
    ("ResNet-122", 122, 1.0): (1_922_394, 1_928_244),
    ("WResNet-14", 14, 2.0): (685_994, 697_604),
    ("WResNet-50", 50, 2.0): (3_013_802, 3_025_412),
    ("WResNet-32", 32, 2.0): (1_849_898, 1_861_508),
    ("WResNet-122", 122, 2.0): (7_669_418, 7_681_028),
}
DATA = ((10, "CIFAR-10 and STL-10"), (100, "CIFAR-100"))

Reading = Literal["A", "B"]
Count = Callable[[int, float, int, Reading], int]


def parameters(depth: int, width_factor: float, classes: int, reading: Reading) -> int:
    """Count the parameters of a pre-activation ResNet with parameter-free shortcuts."""
    import torch

    with torch.device("meta"):  # shapes alone, no memory
        network = registry.load("models", "cifar-resnet")(
            depth=depth, width_factor=width_factor, classes=classes, reading=reading
        )
    return sum(parameter.numel() for parameter in network.parameters())


def measure(count: Count = parameters) -> Evidence:
    """Compare every number of the table with the networks that are built.

    Args:
        count: gives the parameters of a network of some depth, width factor and number of classes
            in one of the two readings of the ends of a pre-activation network.
    """
    checks: list[Check] = []
    for (name, depth, factor), printed in TABLE.items():
        for (classes, data), expected in zip(DATA, printed, strict=True):
            for reading in ("A", "B"):
                measured = count(depth, factor, classes, reading)
                checks.append(equal(f"{name}, {data}, reading {reading}", measured, expected))
    return Evidence(
        checks=tuple(checks),
        notes=(
            "The counts can't tell the two readings of the ends apart: B has BN and ReLU behind "
            "the stem and none in front of the first block, A the other way round.",
            "STL-10's column repeats that of CIFAR-10: 10 classes, and pooling over all positions.",
        ),
    )


STUDY = Study(
    id="ML-T5",
    version=1,
    claim="The networks of 6n + 2 layers have the parameter counts of Table 5.",
    source="Chang et al. (2018), Multi-level residual networks from dynamical systems view, "
    "appendix A, Table 5",
    printed={
        f"{name}, {data}": f"{number:,}"
        for (name, *_), printed in TABLE.items()
        for (_, data), number in zip(DATA, printed, strict=True)
    },
    contradicted_by="One of the 16 networks, built as the text says, has another number of "
    "parameters.",
    measure=measure,
    primary=None,
    scales=exact_scales("all 16 networks at full size", 0.1),
    errata=(
        "Table 5 prints 19,22,394 for 1,922,394.",
        "The last row of Table 5 is called ResNet-122; its counts are those of WResNet-122.",
        "The text halves the feature maps in the first block of each stage; the first stage "
        "keeps them.",
    ),
)
