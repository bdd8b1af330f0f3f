"""YT-F2: at the same training loss a residual network errs less than its equivalent plain one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from resprobe_analyses.studies.by_seed import endings, mean_in_words, sample_of
from resprobe_analyses.studies.criteria import Directional
from resprobe_analyses.studies.equivalent_pairs import DEPTH, Pilots, couples_at, on_par_scales
from resprobe_analyses.studies.evidence import Evidence
from resprobe_analyses.studies.study import Contrast, Pilot, Study

if TYPE_CHECKING:
    import xarray as xr

    from resprobe.result import Result
    from resprobe_analyses.sweeps.outcomes import PointOutcome

MATCHED, LAST = "matched-error-difference", "last-error-difference"
SHOWN = 20  # the depth of Fig. 2


def measure(result: Result, points: Sequence[PointOutcome]) -> Evidence:
    """Give the differences of the errors of the pairs of depth 20, one for each seed.

    A pair of which the run diverged has no number.

    Args:
        result: of the analysis `equivalence`.
        points: of the sweep.
    """
    data = result.dataset
    own = [point for point in points if point.settings[DEPTH] == SHOWN]
    places = couples_at(data, own, SHOWN)
    samples = {
        name: sample_of(own, {seed: float(data[stored].values[row])
                              for seed, row in places.items()})
        for name, stored in (
            (MATCHED, "matched_error_difference"),
            (LAST, "test_error_difference"),
        )
    }  # fmt: skip
    return Evidence(samples=samples, notes=(*_notes(data, places), *endings(own)))


def _notes(data: xr.Dataset, places: dict[int, int]) -> tuple[str, ...]:
    both = (
        "The two networks of a pair start equal and see the same mini-batches, so that nothing but "
        "rounding tells them apart: a difference that stands over seeds would be one of rounding. "
        "The paper shuffles the batches of its 13 plain and 13 residual networks, which adds "
        "chance, but no side."
    )
    rows = list(places.values())
    if not rows or "level_loss" not in data:
        return (both,)
    side = [str(name) for name in data["side"].values].index(
        str(data["couple_side"].values[rows[0]])
    )
    levels = data["level_loss"].values[side]
    levels = levels[np.isfinite(levels)]
    if not levels.size:
        return (both, "The curves of these networks have no training loss in common.")
    errors = [
        mean_in_words(np.nanmean(data[name].values[rows], axis=1))
        for name in ("residual_error_at_level", "plain_error_at_level")
    ]
    return (
        both,
        f"Compared at {levels.size} training losses from {levels[0]:.3g} down to {levels[-1]:.3g}, "
        f"which all these networks pass: the residual ones err on {errors[0]}, the plain ones on "
        f"{errors[1]} there.",
    )


PILOTS: Pilots = {"digits": {MATCHED: Pilot(0.00164, 3), LAST: Pilot(0.00416, 3)}}

STUDY = Study(
    id="YT-F2",
    version=1,
    claim="At the same training loss residual networks err less than plain ones that are "
    "initialised equivalently to them.",
    source="Yu and Tomasi (2019), Identity connections in residual nets improve noise stability, "
    "Sec. 5 and Fig. 2",
    printed={"Fig. 2": "curves only, 13 plain and 13 residual networks of depth 20"},
    contradicted_by="Residual networks that err more than their plain partners at the same "
    "training loss.",
    measure=measure,
    analysis="equivalence",
    primary=Contrast(
        MATCHED,
        "test error of the residual network minus that of its plain partner, each when its "
        "training loss first comes down to a level (interpolated between epochs), the mean over "
        "20 levels",
        "1",
        Directional(-1),
        0.0066,
        "half of the 0.0132 by which the networks of depth 20 of Table 1, which do not start "
        "equal, differ; Fig. 2 has no numbers",
    ),
    secondary=(
        Contrast(
            LAST,
            "the same difference after the last epoch, at whatever losses these are",
            "1",
            Directional(-1),
            0.0066,
            "as for the other",
        ),
    ),
    scales=on_par_scales(PILOTS),
    errata=(
        "Networks initialised equivalently compute the same function and are trained alike (Secs. "
        "3 and 4.1), so that only rounding and the order of batches are left to make a difference.",
    ),
)
