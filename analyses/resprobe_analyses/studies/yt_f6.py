"""YT-F6: two equivalent networks in lockstep come apart by rounding, slowly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from resprobe_analyses.equivalence.pairs import divergence
from resprobe_analyses.studies.arms import differences, of_arm, rows_by_arm
from resprobe_analyses.studies.by_seed import endings, mean_in_words, sample_of
from resprobe_analyses.studies.criteria import Band, Directional
from resprobe_analyses.studies.equivalent_networks import TAPS, rounding_bound
from resprobe_analyses.studies.equivalent_pairs import Pilots, rounding_scales
from resprobe_analyses.studies.evidence import Evidence
from resprobe_analyses.studies.exact import ROUNDOFF
from resprobe_analyses.studies.study import Contrast, Pilot, Study
from resprobe_analyses.studies.yt_e2 import STEPS

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

    from resprobe.result import Result
    from resprobe_analyses.studies.arms import Row
    from resprobe_analyses.sweeps.outcomes import PointOutcome

    Floats = npt.NDArray[np.float64]

WEIGHTS, SLOPE = "weight-slope", "loss-slope"
FIRST, KEPT = "float32-to-float64", "weights-after-50-steps"
SINGLE, DOUBLE = "float32", "float64"
# Unit roundoffs are 2⁻²⁴ and 2⁻⁵³.
BITS = 29
# One power of ten over the 328 steps on the digits.
DECADE = 0.003
DECADE_REASON = (
    "one power of ten over the 328 steps on the digits, the least that could be called a "
    "divergence; the paper prints no rate"
)
LAYERS, WIDEST = 20, 64  # of the paper's networks, before a factor of their widths


def measure(result: Result, points: Sequence[PointOutcome]) -> Evidence:
    """Give the growth of the distance of the weights and of the losses, and what it starts from.

    Runs that diverged have no numbers.

    Args:
        result: of the analysis `equivalence`.
        points: of the sweep.
    """
    data, rows = result.dataset, rows_by_arm(result.dataset, points)
    apart = of_arm(_weight_slopes(data), rows, DOUBLE)
    slopes = of_arm(data["log10_loss_slope"].values, rows, DOUBLE)
    # in units of rounding of each arithmetic; 0 where the outputs are equal
    first = {dtype: _logarithm(data, "initial_output_multiple", rows, dtype, np.log2)
             for dtype in (SINGLE, DOUBLE)}  # fmt: skip
    ratio = {seed: BITS + more for seed, more in differences(first[SINGLE], first[DOUBLE]).items()}
    kept = _logarithm(data, "rounding_multiple", rows, DOUBLE, np.log10)
    limits = of_arm(granted(data["width_factor"].values), rows, DOUBLE)
    beside = {seed: value - float(np.log10(limits[seed])) for seed, value in kept.items()}
    doubles = [point for point in points if point.arm == DOUBLE]
    samples = {
        WEIGHTS: sample_of(doubles, apart),
        SLOPE: sample_of(doubles, slopes),
        FIRST: sample_of(points, ratio),
        KEPT: sample_of(doubles, beside),
    }
    return Evidence(samples=samples, notes=(*_notes(data, rows), *endings(points)))


def granted(width_factor: npt.ArrayLike) -> Floats:
    """Give what YT-E2 grants the weights after 50 steps, in units of rounding of the largest.

    Its formula grows with the longest sum of a layer, that over 9 entries of every channel of the
    widest stage.

    Args:
        width_factor: of the networks, shape (network,); 1, or NaN where the recipe names none, is
            16-32-64 channels.
    """
    factors = np.nan_to_num(np.asarray(width_factor, np.float64), nan=1.0)
    terms = [round(TAPS * WIDEST * factor) for factor in factors]
    return np.array([STEPS * rounding_bound(LAYERS, own) / ROUNDOFF for own in terms])


def _weight_slopes(data: xr.Dataset) -> Floats:
    """Give the slope per step of log10 of the largest |T(r) - p|, shape (network,)."""
    table = data["weight_distance"].transpose("network", "training_step").values
    steps = data["training_step"].values
    return np.array([divergence(steps, row).slope for row in table])


def _logarithm(
    data: xr.Dataset, name: str, rows: Mapping[Row, int], dtype: str, logarithm: np.ufunc
) -> dict[int, float]:
    """Give the logarithm of a multiple by seed; where it is 0 there is none."""
    values = of_arm(data[name].values, rows, dtype)
    return {seed: float(logarithm(value)) for seed, value in values.items() if value > 0}


def _notes(data: xr.Dataset, rows: Mapping[Row, int]) -> tuple[str, ...]:
    told = []
    slopes = _weight_slopes(data)
    for dtype in (SINGLE, DOUBLE):
        places = [row for (arm, _), row in rows.items() if arm == dtype]
        if not places:
            continue
        slope = data["log10_loss_slope"].values[places]
        size = np.abs(data["loss_distance"].transpose("network", "training_step").values[places])
        # of runs whose losses differed at all
        last = np.concatenate([row[np.isfinite(row) & (row > 0)][-1:] for row in size])
        told.append(
            f"In {dtype} log₁₀ of the largest |T(r) - p| grows by "
            f"{mean_in_words(100 * slopes[places])} in 100 steps, over the whole run, and "
            f"log₁₀|ΔL| by {mean_in_words(100 * slope)}; |ΔL| ends at "
            f"{mean_in_words(np.log(last), exponential=True)}; it is exactly 0 at "
            f"{int(data['loss_distance_zeros'].values[places].sum())} steps of all runs together, "
            "which the line leaves out: that flattens it, since they are the "
            "smallest ones."
        )
    return (
        *told,
        "The paper calls the divergence very slow and prints no rate. The line is fitted to all "
        "steps, also after the networks have come apart as far as two different ones are, where "
        "the difference grows no more.",
        CHOSEN,
        "Losses, which are means, are often equal to the last bit at the start, so that what "
        "rounding begins with is read from the logits.",
    )


CHOSEN = (
    "The series of the primary contrast was chosen after the pilot and before any run of the "
    "study: a pilot of three other seeds gave slopes of log₁₀|ΔL|, the series of the figure, of "
    "0.013, 0.027 and 0.021 a step, with losses exactly equal at 96, 145 and 167 of 328 steps, "
    "since they are finer than the rounding of the loss itself; five seeds told one decade over "
    "the run with a power of 0.11 only. The largest |T(r) - p|, what the difference of the losses "
    "comes of, was never 0, and gave 0.0136, 0.0145 and 0.0110. The reference is one decade for "
    "both."
)

PILOTS: Pilots = {
    "digits": {
        WEIGHTS: Pilot(0.00183, 3),
        SLOPE: Pilot(0.00707, 3),
        FIRST: Pilot(0.481, 3),
        KEPT: Pilot(0.0396, 3),
    },
}

STUDY = Study(
    id="YT-F6",
    version=1,
    claim="Two equivalent networks trained in lockstep are driven apart by rounding alone, slowly, "
    "in float64.",
    source="Yu and Tomasi (2019), Identity connections in residual nets improve noise stability, "
    "appendix B, Fig. 6",
    printed={"Fig. 6": "curves only; in words: a very slow divergence over training time"},
    contradicted_by="A distance of the weights in float64 that gets smaller as the training goes "
    "on.",
    measure=measure,
    analysis="equivalence",
    primary=Contrast(
        WEIGHTS,
        "slope of log₁₀ of the largest |T(r) - p| against the step, a least-squares line over all "
        "steps in float64",
        "1/step",
        Directional(+1),
        DECADE,
        DECADE_REASON,
    ),
    secondary=(
        Contrast(
            SLOPE,
            "slope of log₁₀|ΔL| against the step, a line likewise, ΔL the difference of the two "
            "networks' losses on one mini-batch; steps at which it is exactly 0 are left out",
            "1/step",
            Directional(+1),
            DECADE,
            DECADE_REASON,
        ),
        Contrast(
            FIRST,
            "log₂ of the largest difference of a logit before the first step, over the largest "
            "logit, in float32 beside float64",
            "1",
            # A factor of four either way: sums are ordered by the size of a number in memory, so
            # that roundings of the two arithmetics are not the same ones, scaled.
            Band(BITS - 2, BITS + 2, claimed=BITS),
            BITS,
            "the ratio of the two unit roundoffs, 2⁻²⁴ and 2⁻⁵³: rounding is what sets them apart",
        ),
        Contrast(
            KEPT,
            "log₁₀ of the largest difference of a weight, T(r) - p, after 50 steps in float64, "
            "over what the formula of YT-E2 grants networks of their width: "
            f"{granted([0.25])[0]:,.0f} units of rounding of the largest weight at 4-8-16 "
            f"channels, {granted([1.0])[0]:,.0f} at 16-32-64",
            "1",
            Directional(-1),
            -0.3,
            "half of what is granted",
        ),
    ),
    scales=rounding_scales(PILOTS),
    errata=("The relative accuracy of float64 is given as 1e-17; it is 1.1e-16.",),
)
