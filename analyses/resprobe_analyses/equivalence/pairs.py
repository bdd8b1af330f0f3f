"""Two networks in lockstep: their distances in units of rounding, and how fast they grow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resprobe_analyses import statistics

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# Unit roundoff: the largest relative error of rounding one number.
UNITS = {"float64": 2.0**-53, "float32": 2.0**-24}
LOCKSTEP = 50  # steps after which weights are compared
QUARTER = 4  # the last of so many parts of the steps tells whether a difference still grows


@dataclass(frozen=True)
class Pair:
    """What was recorded of two networks step by step; every array has the shape (step,).

    Attributes:
        dtype: of the arithmetic, a key of `UNITS`.
        step: optimizer steps taken, ascending.
        loss: of the run's batch, NaN where not recorded.
        loss_distance: loss of the run minus that of its partner, before the update.
        output_distance: largest difference of a logit, before the update.
        output_scale: largest logit.
        gradient_distance: largest difference of an entry of the gradient.
        gradient_scale: largest entry.
        weight_distance: largest difference of a weight of T(r) and p, after the update.
        weight_scale: largest weight.
    """

    dtype: str
    step: Integers
    loss: Floats
    loss_distance: Floats
    output_distance: Floats
    output_scale: Floats
    gradient_distance: Floats
    gradient_scale: Floats
    weight_distance: Floats
    weight_scale: Floats

    @property
    def unit(self) -> float:
        """Unit roundoff u of the arithmetic."""
        return UNITS[self.dtype]

    def multiple(self, what: str) -> Floats:
        """Give distance/(u·scale) of "output", "gradient" or "weight", shape (step,)."""
        distance = np.asarray(getattr(self, f"{what}_distance"))
        scale = self.unit * np.asarray(getattr(self, f"{what}_scale"))
        # two networks of zeros are equal
        nothing = np.where(distance == 0, 0.0, np.nan)
        return np.asarray(np.divide(distance, scale, out=nothing, where=scale > 0))

    def lockstep(self) -> int:
        """Give the place of step 50, or of the last one before it that was recorded."""
        return max(int(np.searchsorted(self.step, LOCKSTEP, side="right")) - 1, 0)

    def initial(self, what: str) -> float:
        """Give the multiple at the starting weights, NaN where step 1 was not recorded."""
        return float(self.multiple(what)[0]) if self.step[0] == 1 else float("nan")


@dataclass(frozen=True)
class Divergence:
    """How the difference of two losses grows: log₁₀|ΔL| against the step.

    Attributes:
        logarithm: shape (step,), NaN where ΔL is zero or not finite.
        zeros: at how many steps ΔL is exactly 0, left out of the line.
        not_finite: at how many it is not finite, left out too.
        first: log₁₀|ΔL| at the first step that has one, NaN without any.
        first_step: that step, -1 without any.
        slope: of the least-squares line, per step; NaN below two steps.
        start: of the line at step 1.
        farthest: largest distance of a point from the line, in powers of ten.
        late: slope of the line through the last quarter of these points alone.
        late_error: standard error of that slope, of points taken as independent; both are NaN
            where the quarter has fewer than three points.
    """

    logarithm: Floats
    zeros: int
    not_finite: int
    first: float
    first_step: int
    slope: float
    start: float
    farthest: float
    late: float
    late_error: float


def divergence(step: Integers, loss_distance: Floats) -> Divergence:
    """Fit a line to log₁₀|ΔL|; steps without a logarithm are counted and left out.

    A difference finer than the rounding of the losses themselves reads as 0. Where there are many
    such steps, those that stay are the large ones: the line starts too high and rises too slowly.

    Args:
        step: shape (step,).
        loss_distance: ΔL, shape (step,).
    """
    size = np.abs(loss_distance)
    known = np.isfinite(size) & (size > 0)
    logarithm = np.full(size.shape, np.nan)
    logarithm[known] = np.log10(size[known])
    slope = start = farthest = float("nan")
    if known.sum() > 1:
        slopes, intercepts = statistics.lines(step[known], logarithm[known][None])
        slope, start = float(slopes[0]), float(intercepts[0] + slopes[0])
        farthest = float(np.abs(logarithm[known] - start - slope * (step[known] - 1)).max())
    late, late_error = _late(step[known], logarithm[known])
    first = int(np.argmax(known)) if known.any() else -1
    return Divergence(
        logarithm=logarithm,
        zeros=int((size == 0).sum()),
        not_finite=int((~np.isfinite(size)).sum()),
        first=float(logarithm[first]) if known.any() else float("nan"),
        first_step=int(step[first]) if known.any() else -1,
        slope=slope,
        start=start,
        farthest=farthest,
        late=late,
        late_error=late_error,
    )


def _late(step: Integers, logarithm: Floats) -> tuple[float, float]:
    """Give the slope of the last quarter of the points, and its standard error."""
    own = slice(-(step.size // QUARTER), None)
    if step.size < 3 * QUARTER:
        return float("nan"), float("nan")
    slopes, intercepts = statistics.lines(step[own], logarithm[own][None])
    apart = logarithm[own] - intercepts[0] - slopes[0] * step[own]
    spread = np.square(step[own] - step[own].mean()).sum()
    return float(slopes[0]), float(np.sqrt(np.square(apart).sum() / (apart.size - 2) / spread))
