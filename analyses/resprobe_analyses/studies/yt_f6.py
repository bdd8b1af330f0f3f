"""YT-F6: the losses of two equivalent networks come apart by rounding, slowly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from resprobe_analyses.studies.arms import differences, of_arm, rows_by_arm
from resprobe_analyses.studies.by_seed import endings, mean_in_words, sample_of
from resprobe_analyses.studies.criteria import Band, Directional
from resprobe_analyses.studies.equivalent_pairs import Pilots, rounding_scales
from resprobe_analyses.studies.evidence import Evidence
from resprobe_analyses.studies.exact import ROUNDOFF
from resprobe_analyses.studies.study import Contrast, Pilot, Study
from resprobe_analyses.studies.yt_e2 import TRAINING_BOUND

if TYPE_CHECKING:
    import xarray as xr

    from resprobe.result import Result
    from resprobe_analyses.studies.arms import Row
    from resprobe_analyses.sweeps.outcomes import PointOutcome

SLOPE, FIRST, KEPT = "slope", "float32-to-float64", "weights-after-50-steps"
SINGLE, DOUBLE = "float32", "float64"
# Unit roundoffs are 2⁻²⁴ and 2⁻⁵³.
BITS = 29
# What YT-E2 grants the weights after 50 steps, in units of rounding.
GRANTED = TRAINING_BOUND / ROUNDOFF


def measure(result: Result, points: Sequence[PointOutcome]) -> Evidence:
    """Give the growth of the difference of the losses, and what it starts from.

    Runs that diverged have no numbers.

    Args:
        result: of the analysis `equivalence`.
        points: of the sweep.
    """
    data, rows = result.dataset, rows_by_arm(result.dataset, points)
    slopes = of_arm(data["log10_loss_slope"].values, rows, DOUBLE)
    # in units of rounding of each arithmetic; 0 where the outputs are equal
    first = {dtype: _logarithm(data, "initial_output_multiple", rows, dtype, np.log2)
             for dtype in (SINGLE, DOUBLE)}  # fmt: skip
    ratio = {seed: BITS + more for seed, more in differences(first[SINGLE], first[DOUBLE]).items()}
    kept = _logarithm(data, "rounding_multiple", rows, DOUBLE, np.log10)
    beside = {seed: value - np.log10(GRANTED) for seed, value in kept.items()}
    doubles = [point for point in points if point.arm == DOUBLE]
    samples = {
        SLOPE: sample_of(doubles, slopes),
        FIRST: sample_of(points, ratio),
        KEPT: sample_of(doubles, beside),
    }
    return Evidence(samples=samples, notes=(*_notes(data, rows), *endings(points)))


def _logarithm(
    data: xr.Dataset, name: str, rows: Mapping[Row, int], dtype: str, logarithm: np.ufunc
) -> dict[int, float]:
    """Give the logarithm of a multiple by seed; where it is 0 there is none."""
    values = of_arm(data[name].values, rows, dtype)
    return {seed: float(logarithm(value)) for seed, value in values.items() if value > 0}


def _notes(data: xr.Dataset, rows: Mapping[Row, int]) -> tuple[str, ...]:
    told = []
    for dtype in (SINGLE, DOUBLE):
        places = [row for (arm, _), row in rows.items() if arm == dtype]
        if not places:
            continue
        slope = data["log10_loss_slope"].values[places]
        size = np.abs(data["loss_distance"].transpose("network", "training_step").values[places])
        # of runs whose losses differed at all
        last = np.concatenate([row[np.isfinite(row) & (row > 0)][-1:] for row in size])
        told.append(
            f"In {dtype} log₁₀|ΔL| grows by {mean_in_words(100 * slope)} in 100 steps, over the "
            f"whole run, and |ΔL| ends at {mean_in_words(np.log(last), exponential=True)}; it is "
            f"exactly 0 at {int(data['loss_distance_zeros'].values[places].sum())} steps of all "
            "runs together, which the line leaves out: that flattens it, since they are the "
            "smallest ones."
        )
    return (
        *told,
        "The paper calls the divergence very slow and prints no rate. The line is fitted to all "
        "steps, also after the networks have come apart as far as two different ones are, where "
        "the difference grows no more.",
        "Losses, which are means, are often equal to the last bit at the start, so that what "
        "rounding begins with is read from the logits.",
    )


PILOTS: Pilots = {
    "digits": {SLOPE: Pilot(0.00707, 3), FIRST: Pilot(0.481, 3), KEPT: Pilot(0.0396, 3)},
}

STUDY = Study(
    id="YT-F6",
    version=1,
    claim="Rounding alone lets the losses of two equivalent networks in lockstep diverge, slowly, "
    "in float64.",
    source="Yu and Tomasi (2019), Identity connections in residual nets improve noise stability, "
    "appendix B, Fig. 6",
    printed={"Fig. 6": "curves only; in words: a very slow divergence over training time"},
    contradicted_by="A difference of the losses in float64 that gets smaller as the training goes "
    "on.",
    measure=measure,
    analysis="equivalence",
    primary=Contrast(
        SLOPE,
        "slope of log₁₀|ΔL| against the step, a least-squares line over all steps in float64, ΔL "
        "the difference of the two networks' losses on one mini-batch",
        "1/step",
        Directional(+1),
        0.012,
        "no rate is printed; losses that are equal to 16 digits and, four powers of ten later, "
        "after the 328 steps on the digits, still to 12 would be called equal by most. One power "
        "of ten, meant at first, is below what five seeds can tell by the pilot (spread 0.007), "
        "and was given up for it before the study was run",
    ),
    secondary=(
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
            f"over what YT-E2 grants, {GRANTED:,.0f} units of rounding of the largest weight",
            "1",
            Directional(-1),
            -0.3,
            "half of what is granted",
        ),
    ),
    scales=rounding_scales(PILOTS),
    errata=("The relative accuracy of float64 is given as 1e-17; it is 1.1e-16.",),
)
