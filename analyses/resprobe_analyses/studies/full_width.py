"""CIFAR-10 for networks of 16-32-64 channels, the width that Yu and Tomasi have: two image sets."""

from __future__ import annotations

from dataclasses import replace

from resprobe_analyses.studies.images import CIFAR, CIFAR_SUBSET

SUBSET = replace(
    CIFAR_SUBSET,
    meaning=CIFAR_SUBSET.meaning.replace("8-16-32", "16-32-64"),
    settings={**CIFAR_SUBSET.settings, "model.width_factor": 1.0},
)
# Batch, weight decay and momentum as in the recipe: none but weight decay, 1e-4, is printed.
WHOLE = replace(
    CIFAR,
    meaning=CIFAR.meaning.replace("batches of 100", "batches of 128"),
    settings={"record.every": 0, "checkpoint.every_epochs": 20},
)
