"""Loss and error of networks over their epochs, and their errors at one training loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resprobe_analyses.equivalence.weights import State

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

EPOCH_VALUES = ("epoch", "train_loss", "train_error", "test_loss", "test_error")
LEVELS = 20  # training losses at which errors are compared
SQUARED = 2.0**-23  # relative error of the square of a norm that is stored in float32


@dataclass(frozen=True)
class Curve:
    """What was recorded of one network at the end of every epoch.

    Attributes:
        epoch: epochs completed, shape (epoch,).
        step: steps at their end, likewise.
        train_loss: mean over the epoch's batches while the weights moved, likewise.
        train_error, test_loss, test_error: likewise.
        decay: λ', the weight decay times its scale.
        penalized: ‖w‖² that the weight decay acts on, after the last recorded step, from norms that
            are stored in float32; NaN where it is not known.
        squared: sum of the squares of all parameters, which `penalized` is taken from.
        normed: that step, -1 without any.
    """

    epoch: Floats
    step: Integers
    train_loss: Floats
    train_error: Floats
    test_loss: Floats
    test_error: Floats
    decay: float
    penalized: float
    squared: float
    normed: int

    @property
    def cost(self) -> float:
        """Training loss of the last epoch with the penalty, L + λ'/2·‖w‖²."""
        loss = float(self.train_loss[-1])
        return loss + self.decay / 2 * self.penalized if self.decay else loss

    @property
    def cost_error(self) -> float:
        """How far off `cost` may be, since the norms are stored in float32."""
        return self.decay / 2 * SQUARED * self.squared if self.decay else 0.0


def squared_norm(every: float, *, toward_identity: bool, state: State | None) -> float:
    """Give the ‖w‖² that weight decay acts on.

    Args:
        every: sum of the squares of all parameters, those of a plain network p.
        toward_identity: whether the penalty is ‖T⁻¹(p)‖²; Σ(w - 1)² = Σw² - 2Σw + Σ1 over the ID
            entries needs their sum.
        state: the distribution of the weights at the very step of `every`, None where none was
            collected there.

    Returns:
        NaN where the ID entries are needed and not known.
    """
    if not toward_identity:
        return every
    if state is None:
        return float("nan")
    return every - 2 * state.id_sum + state.id_count


def error_at(loss: Floats, error: Floats, levels: Floats) -> Floats:
    """Give the error when the training loss first comes down to each of some levels.

    Between two epochs both are interpolated along one straight line.

    Args:
        loss: after each epoch, shape (epoch,).
        error: likewise.
        levels: shape (level,).

    Returns:
        Shape (level,); NaN for a level above the first loss, or that is never reached.
    """
    found = np.full(levels.shape, np.nan)
    for place, level in enumerate(levels):
        below = np.flatnonzero(loss <= level)
        if not below.size or (below[0] == 0 and loss[0] < level):
            continue
        after = int(below[0])
        before = max(after - 1, 0)
        fall = loss[before] - loss[after]
        share = (loss[before] - level) / fall if fall > 0 else 0.0
        found[place] = error[before] + share * (error[after] - error[before])
    return found


def shared_levels(curves: Sequence[Curve]) -> Floats:
    """Give training losses that all curves pass, evenly spaced by their logarithm, falling.

    Each couple has levels of its own: one network that stays at chance would otherwise leave all
    the others nothing but the plateau.

    Returns:
        Shape (level,); empty where the curves have no losses in common.
    """
    if not curves:
        return np.empty(0)
    losses = [curve.train_loss for curve in curves]
    high = min(float(loss[0]) for loss in losses)
    low = max(float(np.min(loss)) for loss in losses)
    if not 0 < low < high < np.inf:
        return np.empty(0)
    levels = np.geomspace(high, low, LEVELS)
    levels[[0, -1]] = high, low  # a rounding beyond an end would be no common level
    return levels
