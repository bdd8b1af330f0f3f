"""How far each network was trained, and why one cannot be compared with the others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

    from resprobe.result import Input


@dataclass(frozen=True)
class Training:
    """What is known of a training at the checkpoint that is analyzed.

    Attributes:
        target: `train.stop_train_loss` of the recipe, None where it has none.
        loss: training loss of the epoch that ended there, a mean over the epoch's batches while
            the weights moved; None where unknown.
        status: how the training stood then, None where unknown.
        cap: `train.epochs`, None where unknown.
        kept_initial: whether the untrained network was kept as a checkpoint.
    """

    target: float | None
    loss: float | None
    status: str | None
    cap: int | None
    kept_initial: bool = False

    @property
    def reached(self) -> bool | None:
        """Whether the loss is at the target or below; None where that is unknown."""
        if self.target is None or self.loss is None:
            return None
        return self.loss <= self.target

    def shortfall(self) -> str | None:
        """Say why the network did not reach its target; None if it did, or if nobody knows."""
        if self.status == "diverged":
            return "its training diverged"
        if self.reached is not False:
            return None
        below = f"its training loss was {self.loss:.3g}, above the target {self.target:g}"
        if self.status == "reached_cap":
            return f"it hit the cap of {self.cap} epochs: {below}"
        return f"at the checkpoint measured {below}"


def read_training(given: Input, step: int | None, recipe: Mapping[str, Any]) -> Training:
    """Read how far the training had come at a step.

    Args:
        given: one input.
        step: of the checkpoint, None where unknown.
        recipe: of the input.
    """
    metrics = given.checkpoint.get("metrics")
    loss = _number(metrics, "train_loss")
    status = given.checkpoint.get("status")
    recorded = _recorded(given)
    if recorded is not None:
        status = recorded.attrs.get("status", status)
        if loss is None:
            loss = _recorded_loss(recorded, step)
    cap = _number(recipe.get("train"), "epochs")
    return Training(
        target=_number(recipe.get("train"), "stop_train_loss"),
        loss=loss,
        status=None if status is None else str(status),
        cap=None if cap is None else int(cap),
        kept_initial=recipe.get("checkpoint", {}).get("initial") is True,
    )


def _number(table: Any, key: str) -> float | None:
    """Give a number of a table that a person may have edited, None where there is none."""
    value = table.get(key) if isinstance(table, Mapping) else None
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _recorded(given: Input) -> xr.Dataset | None:
    try:
        return given.tree["training/epoch"].to_dataset()
    except KeyError:
        return None


def _recorded_loss(recorded: xr.Dataset, step: int | None) -> float | None:
    if step is None or "train_loss" not in recorded or "step" not in recorded.coords:
        return None
    rows = np.flatnonzero(recorded["step"].values == step)
    return float(recorded["train_loss"].values[rows[-1]]) if rows.size else None
