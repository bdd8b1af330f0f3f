"""How the runs of a sweep ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A run that was trained to its end; `diverged` is an end too, and never repeated.
TRAINED = ("finished", "reached_target", "reached_cap")


@dataclass(frozen=True)
class PointOutcome:
    """How one run of a sweep ended.

    Attributes:
        name: of its directory in `DIR/runs/`.
        run: the directory.
        arm: name of its arm.
        settings: its keys of the grid and of the arm, by dotted key.
        seed: of its training.
        status: `finished`, `reached_target`, `reached_cap`, `diverged`, `failed` (every attempt
            ended in an error) or `missing` (not begun or not ended).
        attempts: how often it was begun, over all starts of the sweep.
        seconds: wall time of training and collecting, in seconds; without attempts that were killed
            or failed.
        metrics: of the last epoch: `train_loss`, `train_error`, `test_loss`, `test_error`.
        message: what went wrong, in one sentence; empty where nothing did.
    """

    name: str
    run: Path
    arm: str
    settings: Mapping[str, Any]
    seed: int
    status: str
    attempts: int
    seconds: float
    metrics: Mapping[str, float]
    message: str = ""

    @property
    def trained(self) -> bool:
        """Whether it was trained to its end."""
        return self.status in TRAINED
