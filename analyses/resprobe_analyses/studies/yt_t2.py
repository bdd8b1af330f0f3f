"""YT-T2: a residual network and the plain one that starts equal end on par."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from resprobe_analyses.studies.by_seed import endings, mean_in_words, sample_of
from resprobe_analyses.studies.criteria import Equivalence
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
    import numpy.typing as npt
    import xarray as xr

    from resprobe.result import Result
    from resprobe_analyses.sweeps.outcomes import PointOutcome

    Floats = npt.NDArray[np.float64]

ERROR, LOSS = "error-difference", "log-loss-ratio"
# Table 2: errors of the plain and the residual network by depth; the largest gap is that at 32.
PRINTED = {20: (0.1121, 0.1131), 32: (0.1085, 0.1143), 44: (0.1159, 0.1182)}
MARGIN = 0.0058
# Training losses of depth 20, the most different ones of Table 2.
LOSS_MARGIN = math.log(0.04287 / 0.04132)


def measure(result: Result, points: Sequence[PointOutcome]) -> Evidence:
    """Give the differences at the last epoch, the mean over depths, one for each seed.

    A pair of which the run diverged has no numbers, and its seed none either.

    Args:
        result: of the analysis `equivalence`.
        points: of the sweep.
    """
    data = result.dataset
    errors = data["test_error_difference"].values
    losses = _log_loss_ratio(data)
    samples = {
        ERROR: sample_of(points, _over_depths(data, points, errors)),
        LOSS: sample_of(points, _over_depths(data, points, losses)),
    }
    return Evidence(
        samples=samples, notes=(*_notes(data, points), *fallen_note(data, points), *endings(points))
    )


def _depths(points: Sequence[PointOutcome]) -> list[int]:
    return sorted({int(point.settings[DEPTH]) for point in points})


def _over_depths(
    data: xr.Dataset,
    points: Sequence[PointOutcome],
    numbers: Floats,
) -> dict[int, float]:
    """Give the mean over depths by seed, for the seeds that have all of them."""
    tables = [couples_at(data, points, depth) for depth in _depths(points)]
    seeds = set.intersection(*(set(table) for table in tables))
    return {seed: float(np.mean([numbers[table[seed]] for table in tables])) for seed in seeds}


def _log_loss_ratio(data: xr.Dataset) -> Floats:
    """Give ln(last loss of the residual network / that of the plain one), shape (couple,)."""
    place = {str(name): row for row, name in enumerate(data["network"].values)}
    ours, theirs = (
        data[name].transpose("network", "epoch").values.astype(np.float64)
        for name in ("train_loss", "partner_train_loss")
    )
    found = []
    for name in data["couple_label"].values:
        row = place[str(name)]
        known = np.flatnonzero(np.isfinite(ours[row]) & np.isfinite(theirs[row]))
        last = known[-1] if known.size else -1
        # the run of a pair is the residual network, its partner the plain one
        found.append(float(np.log(ours[row, last] / theirs[row, last])))
    return np.array(found)


def _notes(data: xr.Dataset, points: Sequence[PointOutcome]) -> tuple[str, ...]:
    told = []
    place = {str(name): row for row, name in enumerate(data["network"].values)}
    for depth in _depths(points):
        rows = [place[p.name] for p in points
                if p.settings[DEPTH] == depth and p.name in place]  # fmt: skip
        ends = [
            data[name].transpose("network", "epoch").isel(network=rows, epoch=-1).values
            for name in ("test_error", "partner_test_error", "train_loss")
        ]
        residual, plain, loss = (mean_in_words(values) for values in ends)
        apart = (data["weight_distance"] / data["weight_scale"]).transpose("network", ...)
        last = np.concatenate([row[np.isfinite(row)][-1:] for row in apart.values[rows]])
        printed = PRINTED[depth]
        told.append(
            f"Depth {depth}: the residual networks err on {residual}, the plain ones on {plain} "
            f"of the test images ({printed[1]:.4f} and {printed[0]:.4f} in print, on CIFAR-10), "
            f"at a training loss of {loss}. Their weights T(r) and p are apart by "
            f"{mean_in_words(np.log(last), exponential=True)} of the largest one."
        )
    return (
        *told,
        f"The margin is the largest gap of Table 2, {MARGIN:g} at depth 32; in all three of its "
        "rows the plain network is the better one.",
    )


PILOTS: Pilots = {"digits": {ERROR: Pilot(0.00416, 3), LOSS: Pilot(0.416, 3)}}

STUDY = Study(
    id="YT-T2",
    version=1,
    claim="A residual and a plain network that start equivalent and are trained in lockstep end "
    "with test errors on par, whatever rounding did on the way.",
    source="Yu and Tomasi (2019), Identity connections in residual nets improve noise stability, "
    "appendix B, Table 2",
    printed={
        f"error at depth {depth}": f"plain {plain:.4f}, residual {residual:.4f}"
        for depth, (plain, residual) in PRINTED.items()
    },
    contradicted_by=f"Errors of the residual networks that differ from those of their plain "
    f"partners by more than {MARGIN:g} on average, on either side.",
    measure=measure,
    analysis="equivalence",
    primary=Contrast(
        ERROR,
        "test error of the residual network minus that of its plain partner after the last epoch, "
        "the mean over depths",
        "1",
        Equivalence(MARGIN, "the largest gap of Table 2, at depth 32"),
        0.0,
        "no difference: if arithmetic were exact, there would be none",
    ),
    secondary=(
        Contrast(
            LOSS,
            "natural logarithm of the residual network's training loss over its partner's, last "
            "epoch, the mean over depths",
            "1",
            Equivalence(LOSS_MARGIN, "the largest of Table 2, 0.04287 over 0.04132 at depth 20"),
            0.0,
            "no difference: if arithmetic were exact, there would be none",
        ),
    ),
    scales=on_par_scales(PILOTS),
)
