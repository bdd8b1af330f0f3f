"""YT-F7: trained residual networks, made plain, keep their largest weights at the ID entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from resprobe_analyses.studies.arms import differences, of_arm, rows_by_arm
from resprobe_analyses.studies.by_seed import endings, mean_in_words, sample_of
from resprobe_analyses.studies.criteria import Directional
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

SHARE, LARGE_SHARE, ABOVE, MODE = "id-share", "large-id-share", "above-0.7", "id-mode"
BEFORE, AFTER = 0, -1  # states, in the order of their steps
HIGH = 0.7
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
    contrasts = {
        SHARE: _table(data, "ID share", AFTER),
        LARGE_SHARE: _table(data, "large ID share", AFTER),
        ABOVE: above,
    }
    values = {
        name: differences(of_arm(numbers, rows, RESIDUAL), of_arm(numbers, rows, PLAIN))
        for name, numbers in contrasts.items()
    }
    samples = {name: sample_of(points, own) for name, own in values.items()}
    residual = [point for point in points if point.arm == RESIDUAL]
    samples[MODE] = sample_of(residual, of_arm(_modes(data) - HIGH, rows, RESIDUAL))
    return Evidence(
        samples=samples, notes=(*_notes(data, rows), *learnt_note(points), *endings(points))
    )


def _table(data: xr.Dataset, statistic: str, state: int) -> Floats:
    """Give one statistic of the weights of all networks, shape (network,)."""
    chosen = data["weight_table"].sel(statistic=statistic).isel(state=state)
    return np.asarray(chosen.transpose("network").values, dtype=np.float64)


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
            f"{figures['above 0.7', AFTER]} weights."
        )
    return (
        *told,
        "Counts and masses grow with the network and the spread of KWI falls with its width: only "
        "shares are laid beside the printed ones.",
    )


PILOTS: Pilots = {
    "digits": {
        SHARE: Pilot(0.00408, 3),
        LARGE_SHARE: Pilot(0.0029, 3),
        ABOVE: Pilot(0.00185, 3),
        MODE: Pilot(0.00153, 3),
    },
}

STUDY = Study(
    id="YT-F7",
    version=1,
    claim="After training the ID entries still hold most of the mass of large weights of a "
    "residual network made plain, and little of that of a plain network.",
    source="Yu and Tomasi (2019), Identity connections in residual nets improve noise stability, "
    "Sec. 4, appendix C, Table 3 and Fig. 7",
    printed={
        "mass of the ID entries beside the mass of weights of at least 0.25, after training": "76 "
        "% (residual), 10.29 % (plain), depth 32",
        "plain weights above 0.7": "1 before, 26 after training",
        "mode of the residual network's ID entries after training": "around 0.9",
    },
    contradicted_by="A share of the ID entries that is no larger in trained residual networks than "
    "in trained plain ones of the same seed.",
    measure=measure,
    analysis="equivalence",
    primary=Contrast(
        SHARE,
        "mass of the ID entries beside the mass of all weights of magnitude 0.25 and more, all "
        "convolutions, after training: residual network made plain minus plain network of the same "
        "seed",
        "1",
        Directional(+1),
        0.33,
        "half of the printed difference, 0.76 minus 0.10",
    ),
    secondary=(
        Contrast(
            LARGE_SHARE,
            "the same with the mass of those ID entries only that are of magnitude 0.25 and more",
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
            "in the window of 0.1 that holds the most, minus 0.7, which few plain weights reach",
            "1",
            Directional(+1),
            0.1,
            "half of the printed 0.9 minus 0.7. A band around 0.9, meant at first, was given up "
            "before the study was run: a training as short as here leaves the mode where it "
            "began, at 1.01 in the pilot, which is no less high",
        ),
    ),
    scales=scales(PILOTS),
)
