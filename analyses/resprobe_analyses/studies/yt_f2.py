"""YT-F2: at the same training loss a residual network errs less than its equivalent plain one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from resprobe_analyses.studies.by_seed import endings, mean_in_words, sample_of
from resprobe_analyses.studies.criteria import Directional
from resprobe_analyses.studies.equivalent_pairs import (
    DEPTH,
    Pilots,
    couples_at,
    fallen_note,
    on_par_scales,
)
from resprobe_analyses.studies.evidence import Evidence
from resprobe_analyses.studies.study import Contrast, Pilot, Study

if TYPE_CHECKING:
    import xarray as xr

    from resprobe.result import Result
    from resprobe_analyses.sweeps.outcomes import PointOutcome

MATCHED, LAST = "matched-error-difference", "last-error-difference"
SHOWN = 20  # the depth of Fig. 2
# Of the loss of a network that knows nothing of ten classes: a plateau at chance, which losses
# leave and come back to by rounding, is nothing to compare errors on.
BELOW = 0.9
DEEPEST = BELOW * math.log(10)


def measure(result: Result, points: Sequence[PointOutcome]) -> Evidence:
    """Give the differences of the errors of the pairs of depth 20, one for each seed.

    A pair of which the run diverged has no number; one whose two curves have no loss below the
    untrained one in common has none at matched loss.

    Args:
        result: of the analysis `equivalence`.
        points: of the sweep.
    """
    data = result.dataset
    own = [point for point in points if point.settings[DEPTH] == SHOWN]
    places = couples_at(data, own, SHOWN)
    shared = {seed: row for seed, row in places.items() if _lowest(data, row) <= DEEPEST}
    samples = {
        name: sample_of(own, {seed: float(data[stored].values[row]) for seed, row in rows.items()})
        for name, stored, rows in (
            (MATCHED, "matched_error_difference", shared),
            (LAST, "test_error_difference", places),
        )
    }
    notes = (*_notes(data, places, shared), *fallen_note(data, own), *endings(own))
    return Evidence(samples=samples, notes=notes)


def _lowest(data: xr.Dataset, row: int) -> float:
    """Give the lowest training loss that both networks of a pair pass, NaN without any."""
    if "level_loss" not in data:
        return math.nan
    levels = data["level_loss"].transpose("couple", "level").values[row]
    return float(np.min(levels[np.isfinite(levels)], initial=math.inf))


def _notes(
    data: xr.Dataset, places: Mapping[int, int], shared: Mapping[int, int]
) -> tuple[str, ...]:
    both = (
        "The two networks of a pair start equal and see the same mini-batches, so that nothing but "
        "rounding tells them apart: a difference that stands over seeds would be one of rounding. "
        "The paper shuffles the batches of its 13 plain and 13 residual networks, which adds "
        "chance, but no side."
    )
    left_out = [
        str(data["couple_label"].values[row]) for seed, row in places.items() if seed not in shared
    ]
    told = [both]
    if left_out:
        told.append(
            f"{len(left_out)} of {len(places)} pairs have no training loss of at most "
            f"{DEEPEST:.3g}, {BELOW:g} times the untrained one, in common and no number at matched "
            f"loss: {', '.join(left_out)}."
        )
    rows = list(shared.values())
    if rows:
        levels = data["level_loss"].transpose("couple", "level").values[rows]
        errors = [
            mean_in_words(np.nanmean(data[name].values[rows], axis=1))
            for name in ("residual_error_at_level", "plain_error_at_level")
        ]
        told.append(
            f"Each pair is compared at {levels.shape[1]} training losses that both its networks "
            f"pass, from {np.nanmax(levels):.3g} down to {np.nanmin(levels):.3g} over all pairs: "
            f"the residual ones err on {errors[0]}, the plain ones on {errors[1]} there."
        )
    return tuple(told)


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
        "20 levels that both pass; pairs whose two curves have no loss in common of at most "
        f"{DEEPEST:.3g}, {BELOW:g} times the untrained one, are left out and counted",
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
