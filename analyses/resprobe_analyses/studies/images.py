"""What the trained studies train on, and how long: images, width of the networks, schedules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SEEDS = (0, 1, 2, 3, 4)
MORE_SEEDS = tuple(range(10))
PILOT_SEEDS = (100, 101, 102)
SMOKE_SEEDS = (0, 1)


@dataclass(frozen=True)
class Images:
    """A data set as a study uses it.

    Attributes:
        label: short, as in the ledger.
        meaning: images, resolution and width in words.
        recipe: the bundled recipe that is changed.
        settings: dotted keys, equal in all studies on these images.
        samples: test images that are measured.
    """

    label: str
    meaning: str
    recipe: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    samples: int = 500


_SMALL_NETWORK: dict[str, Any] = {
    "model.width_factor": 0.5,
    "data.augment": "none",
    "train.batch_size": 64,
    # steps are not read by any of these studies
    "record.every": 0,
    "checkpoint.every_epochs": 10,
}

SMOKE = Images(
    "digits",
    "200 of scikit-learn's digits, 16x16, networks of 4-8-16 channels, one epoch: only whether it "
    "runs",
    "resnet-20-digits",
    {
        **_SMALL_NETWORK,
        "model.width_factor": 0.25,
        "data.subset": 200,
        "data.test_subset": 100,
    },
    samples=50,
)
DIGITS = Images(
    "digits",
    "scikit-learn's digits, 1,297 training and 500 test images of 16x16, networks of 8-16-32 "
    "channels, no augmentation",
    "resnet-20-digits",
    _SMALL_NETWORK,
)
CIFAR_16 = Images(
    "cifar10-16",
    "CIFAR-10, 2,000 training and 1,000 test images averaged to 16x16, networks of 8-16-32 "
    "channels, no augmentation",
    "resnet-20-cifar10",
    {
        **_SMALL_NETWORK,
        "data.subset": 2000,
        "data.test_subset": 1000,
        "data.resolution": 16,
    },
)
CIFAR_SUBSET = Images(
    "cifar10-10k",
    "CIFAR-10, 10,000 training images of 32x32, networks of 8-16-32 channels, crops and mirror "
    "images",
    "resnet-20-cifar10",
    {
        **_SMALL_NETWORK,
        "data.augment": "crop-flip",
        "data.subset": 10000,
        "data.test_subset": 2000,
    },
    samples=2000,
)
# Chang et al. 2018, Secs. 5.1 and 5.2 and appendix A: batches of 100, weight decay 2e-4, momentum
# 0.9, crops and mirror images, 160 epochs.
CIFAR = Images(
    "cifar10",
    "CIFAR-10, all 50,000 training images of 32x32, networks of 16-32-64 channels, crops and "
    "mirror images, batches of 100",
    "resnet-20-cifar10",
    {
        "train.batch_size": 100,
        "train.weight_decay": 2e-4,
        "record.every": 0,
        "checkpoint.every_epochs": 10,
    },
    samples=2000,
)


def cosine(epochs: int, rate: float) -> dict[str, Any]:
    """Give the keys of a training that ends after so many epochs, at a rate of 0."""
    return {
        "train.epochs": epochs,
        "schedule.name": "cosine",
        "schedule.learning_rate": rate,
        "schedule.milestones": [],
    }


# Chang et al. 2018, Sec. 5.2: from 0.5 to 0.001, again from epochs 60 and 110 of 160 on.
PAPER_TRAINING: dict[str, Any] = {
    **cosine(160, 0.5),
    "schedule.minimum": 0.001,
    "schedule.milestones": ["60 epochs", "110 epochs"],
}
