"""YT-F7: what training leaves the ID entries of residual networks of the mass of large weights.

A share near 1 in residual networks and near 0 in plain ones is there before any training: the
difference is one of initialisation, and can't come out against the paper. What training decides is
where the share of the residual networks goes. The paper's goes from 1.00 to 0.76 in 200 epochs.

The primary contrast was the difference of the shares of residual and plain networks after training
and was changed before any run of the study was judged, but after a pilot of three other seeds on
the digits, in which the share of the residual networks went from 0.999 to 0.993. The band for the
mode is the rule that was written first; the same pilot had it at 1.01, outside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from resprobe_analyses.studies.arms import differences, of_arm, rows_by_arm
from resprobe_analyses.studies.by_seed import endings, mean_in_words, sample_of
from resprobe_analyses.studies.criteria import Band, Directional
from resprobe_analyses.studies.evidence import Evidence
from resprobe_analyses.studies.residual_and_plain import PLAIN, RESIDUAL, Pilots
from resprobe_analyses.studies.simplified_networks import learnt, learnt_note, scales
from resprobe_analyses.studies.study import Contrast, Pilot, Study

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

    from resprobe.result import Result
    from resprobe_analyses.sweeps.outcomes import PointOutcome

    Floats = npt.NDArray[np.float64]

SHARE, CHANGE, DIFFERENCE = "id-share", "change-of-the-difference", "id-share-difference"
LARGE_SHARE, ABOVE, MODE = "large-id-share", "above-0.7", "id-mode"
BEFORE, AFTER = 0, -1  # states, in the order of their steps
PRINTED = 0.76
MODE_BINS = 5  # of 0.02: a hundred entries make no mode of a single bin


def measure(result: Result, points: Sequence[PointOutcome]) -> Evidence:
    """Compare the weights of residual networks, made plain, with those of plain ones.

    Diverged runs and those that learnt nothing have no number.

    Args:
        result: of the analysis `equivalence`, weights before and after training.
        points: of the sweep.
    """
    data, rows = result.dataset, rows_by_arm(result.dataset, learnt(points))
    above = _table(data, "above 0.7", AFTER) / _table(data, "ID entries", AFTER)
    share = _table(data, "ID share", AFTER)
    contrasts = {
        CHANGE: share - _table(data, "ID share", BEFORE),
        DIFFERENCE: share,
        LARGE_SHARE: _table(data, "large ID share", AFTER),
        ABOVE: above,
    }
    values = {
        name: differences(of_arm(numbers, rows, RESIDUAL), of_arm(numbers, rows, PLAIN))
        for name, numbers in contrasts.items()
    }
    samples = {name: sample_of(points, own) for name, own in values.items()}
    residual = [point for point in points if point.arm == RESIDUAL]
    samples[SHARE] = sample_of(residual, of_arm(share, rows, RESIDUAL))
    samples[MODE] = sample_of(residual, of_arm(_modes(data), rows, RESIDUAL))
    return Evidence(
        samples=samples, notes=(*_notes(data, rows), *learnt_note(points), *endings(points))
    )


def _table(data: xr.Dataset, statistic: str, state: int) -> Floats:
    """Give one statistic of the weights of all networks, shape (network,)."""
    chosen = data["weight_table"].sel(statistic=statistic).isel(state=state)
    return np.asarray(chosen.transpose("network").values, dtype=np.float64)


def _growth(data: xr.Dataset) -> Floats:
    """Give by how much the norm of all weights changed, relative, shape (network,).

    By the triangle inequality the weights moved by no less.
    """
    norms = [
        np.hypot(_table(data, "mean", state), _table(data, "standard deviation", state))
        for state in (BEFORE, AFTER)
    ]
    return np.asarray(np.abs(norms[1] / norms[0] - 1))


def _modes(data: xr.Dataset) -> Floats:
    """Give where most ID entries lie after training, shape (network,).

    That is the mean of those in the window that holds the most; equal windows count alike.
    """
    counts = data["id_entry_histogram"].isel(state=AFTER).transpose("network", "bin").values
    bins = data["bin"].values
    windows = np.lib.stride_tricks.sliding_window_view(counts, MODE_BINS, axis=1)
    sums = windows.sum(axis=2)
    places = np.lib.stride_tricks.sliding_window_view(bins, MODE_BINS)
    means = (windows * places).sum(axis=2) / np.maximum(sums, 1)
    best = sums == sums.max(axis=1, keepdims=True)
    return np.asarray(np.mean(means, axis=1, where=best), dtype=np.float64)


def _notes(data: xr.Dataset, rows: Mapping[tuple[str, int], int]) -> tuple[str, ...]:
    told = []
    for arm in (RESIDUAL, PLAIN):
        figures = {
            (name, state): mean_in_words(
                list(of_arm(_table(data, name, state), rows, arm).values())
            )
            for name in ("ID share", "above 0.7", "ID mass", "large mass")
            for state in (BEFORE, AFTER)
        }
        made_plain = ", made plain," if arm == RESIDUAL else ""
        told.append(
            f"Weights of a {arm} network{made_plain} before and after training: mass of the ID "
            f"entries {figures['ID mass', BEFORE]} and {figures['ID mass', AFTER]}, mass of at "
            f"least 0.25 {figures['large mass', BEFORE]} and {figures['large mass', AFTER]}, the "
            f"first beside the second {figures['ID share', BEFORE]} and "
            f"{figures['ID share', AFTER]}; above 0.7 {figures['above 0.7', BEFORE]} and "
            f"{figures['above 0.7', AFTER]} weights. The norm of all weights changed by "
            f"{mean_in_words(list(of_arm(_growth(data), rows, arm).values()))} of itself: they "
            "moved by that much or more."
        )
    before, after = (
        mean_in_words(
            list(
                differences(
                    *(of_arm(_table(data, "ID share", state), rows, arm)
                      for arm in (RESIDUAL, PLAIN))
                ).values()
            )
        )
        for state in (BEFORE, AFTER)
    )  # fmt: skip
    told.append(
        f"The share of the ID entries, residual minus plain, is {before} by initialisation alone "
        f"and {after} after training (printed: 0.84 and 0.66)."
    )
    return (
        *told,
        "Counts and masses grow with the network and the spread of KWI falls with its width: only "
        "shares are laid beside the printed ones.",
        CHANGED,
    )


CHANGED = (
    "The primary contrast was the difference of the shares after training, which initialisation "
    "alone decides, and was changed to the share that training leaves, before any run of the study "
    "was judged but after a pilot of three other seeds on the digits in which that share went from "
    "0.999 to 0.993, the weights having moved by 21 to 26 % of their norm, and the mode was at "
    "1.01: trainings so short are expected to come out against either band."
)

PILOTS: Pilots = {
    "digits": {
        SHARE: Pilot(0.00342, 3),
        CHANGE: Pilot(0.00382, 3),
        DIFFERENCE: Pilot(0.00408, 3),
        LARGE_SHARE: Pilot(0.0029, 3),
        ABOVE: Pilot(0.00185, 3),
        MODE: Pilot(0.00153, 3),
    },
}

STUDY = Study(
    id="YT-F7",
    version=1,
    claim="Training takes the mass of the ID entries of a residual network made plain from all of "
    "the mass of large weights down to about three quarters of it, and leaves them most of it; "
    "that their share is far above that of a plain network is so by initialisation (+0.93 on the "
    "digits before any training).",
    source="Yu and Tomasi (2019), Identity connections in residual nets improve noise stability, "
    "Sec. 4, appendix C, Table 3 and Fig. 7",
    printed={
        "mass of the ID entries beside the mass of weights of at least 0.25, after training": "76 "
        "% (residual), 10.29 % (plain), depth 32",
        "plain weights above 0.7": "1 before, 26 after training",
        "mode of the residual network's ID entries after training": "around 0.9",
    },
    contradicted_by="A share after training of less than one half, or one that is still nearer to "
    "the 1.00 of the initialisation than to the printed 0.76.",
    measure=measure,
    analysis="equivalence",
    primary=Contrast(
        SHARE,
        "mass of the ID entries beside the mass of all weights of magnitude 0.25 and more, all "
        "convolutions, of the residual network made plain after training, of those that learnt",
        "1",
        # from one half, most of the mass, to half way from the printed share to that before
        # training
        Band(0.5, 0.88, claimed=PRINTED),
        PRINTED,
        "printed, after 200 epochs at depth 32; 1.00 before",
    ),
    secondary=(
        Contrast(
            CHANGE,
            "that share after training minus before, residual minus plain network of the same seed",
            "1",
            Directional(-1),
            -0.09,
            "half of the printed change, from 1.00 minus 0.16 to 0.76 minus 0.10",
        ),
        Contrast(
            DIFFERENCE,
            "that share after training, residual minus plain network of the same seed; by "
            "initialisation alone it is +0.93 (digits), which a training as short as that of the "
            "small scale, in which weights move by about a quarter of their norm, can't undo",
            "1",
            Directional(+1),
            0.33,
            "half of the printed difference, 0.76 minus 0.10",
        ),
        Contrast(
            LARGE_SHARE,
            "the same difference, likewise by initialisation, with the mass of those ID entries "
            "only that are of magnitude 0.25 and more",
            "1",
            Directional(+1),
            0.33,
            "half of the printed difference, in which all ID entries count",
        ),
        Contrast(
            ABOVE,
            "weights above 0.7 after training beside the number of ID entries, residual minus "
            "plain",
            "1",
            Directional(+1),
            0.5,
            "printed are 26 plain weights beside 1,072 ID entries, and for the residual network a "
            "mode around 0.9: half of the latter above 0.7 is the least that this can mean",
        ),
        Contrast(
            MODE,
            "where most ID entries of the residual network lie after training, the mean of those "
            "in the window of 0.1 that holds the most",
            "1",
            Band(0.8, 1.0, claimed=0.9),
            0.9,
            "printed, around 0.9",
        ),
    ),
    scales=scales(PILOTS),
)
