"""ML-L1: deleting a block that halves the feature maps does more harm than deleting another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from resprobe_analyses.studies.by_seed import (
    diverged_seeds,
    endings,
    mean_in_words,
    sample_of,
)
from resprobe_analyses.studies.criteria import Directional
from resprobe_analyses.studies.evidence import Evidence
from resprobe_analyses.studies.residual_and_plain import (
    PLAIN,
    RESIDUAL,
    Pilots,
    by_seed,
    interpretable,
    rows,
    scales,
    uninterpretable_note,
)
from resprobe_analyses.studies.study import Contrast, Pilot, Study

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

    from resprobe.result import Result
    from resprobe_analyses.sweeps.outcomes import PointOutcome

    Floats = npt.NDArray[np.float64]

TRANSITIONS, RANKING, VEIT = "transitions", "norm-and-harm", "plain-minus-residual"


def measure(result: Result, points: Sequence[PointOutcome]) -> Evidence:
    """Compare lesions of transitions and of other blocks, and of residual and plain networks.

    A diverged run answers at chance with and without a lesion: its lesions add no error, and its
    lesions leave it nothing above chance. Other networks near chance have no number.

    Args:
        result: of the analysis `lesion`.
        points: of the sweep.
    """
    data = result.dataset
    transition = data["transition"].values == 1
    error, increase = (
        data[name].transpose("network", "block").values.astype(np.float64)
        for name in ("lesion_error", "lesion_error_increase")
    )
    whole = data["test_error"].values.astype(np.float64)
    chance = float(data["chance_error"].values.mean())
    lost = (error[:, ~transition].mean(axis=1) - whole) / (chance - whole)
    within = increase[:, ~transition].mean(axis=1)
    excess = interpretable(data, increase[:, transition].mean(axis=1) - within)
    ranking = interpretable(
        data, data["rank_correlation"].sel(predictor="branch_shortcut_ratio").values
    )
    ours = [point for point in points if point.arm == RESIDUAL]
    diverged = diverged_seeds(ours)
    samples = {
        TRANSITIONS: sample_of(ours, by_seed(data, excess) | dict.fromkeys(diverged, 0.0)),
        RANKING: sample_of(ours, by_seed(data, ranking)),
        VEIT: sample_of(points, _plain_minus_residual(data, interpretable(data, lost), points)),
    }
    return Evidence(samples=samples, notes=(*_notes(data, within), *endings(points)))


def _plain_minus_residual(
    data: xr.Dataset, lost: Floats, points: Sequence[PointOutcome]
) -> dict[int, float]:
    """Give what a lesion takes of a plain network minus what it takes of the residual one, by seed.

    Args:
        data: of the analysis `lesion`.
        lost: share of the accuracy above chance that a within-stage lesion takes, the mean over
            such lesions, shape (network,).
        points: of the sweep.
    """
    diverged = {(point.arm, point.seed) for point in points if point.status == "diverged"}
    arms = {arm: by_seed(data, lost, plain=arm == PLAIN) for arm in (RESIDUAL, PLAIN)}
    for arm, seed in diverged:
        arms[arm][seed] = 1.0
    return {
        seed: arms[PLAIN][seed] - arms[RESIDUAL][seed]
        for seed in arms[PLAIN].keys() & arms[RESIDUAL].keys()
    }


def _notes(data: xr.Dataset, within: Floats) -> tuple[str, ...]:
    told = []
    for plain, words in ((False, "residual"), (True, "plain")):
        kinds = rows(data, plain=plain)
        whole = [float(data["test_error"].values[place]) for place in kinds.values()]
        harm = [float(within[place]) for place in kinds.values()]
        told.append(
            f"A {words} network errs on {mean_in_words(whole)} of the test images; deleting one "
            f"within-stage block adds {mean_in_words(harm)}, the mean over those blocks."
        )
        told += uninterpretable_note(data, plain=plain)
    return (
        *told,
        "The paper says that other deletions change nothing notably, without a size; the figure "
        "above is for the reader to judge.",
    )


PILOTS: Pilots = {
    "digits": {
        TRANSITIONS: Pilot(0.0434, 3),
        RANKING: Pilot(0.389, 3),
        VEIT: Pilot(0.0434, 3),
    },
}

STUDY = Study(
    id="ML-L1",
    version=2,
    claim="Deleting a residual block that halves the feature maps raises the test error more than "
    "deleting another one (that the others do nothing notable has no size in print and is not "
    "judged).",
    source="Chang et al. (2018), Multi-level residual networks from dynamical systems view, "
    "Sec. 3.3, after Veit et al. 2016",
    printed={
        "in words": "a modest effect of removing a downsampling block, none noticeable of others"
    },
    contradicted_by="Deletions of the blocks that halve the feature maps that add less error than "
    "deletions of the other blocks of the same network.",
    measure=measure,
    analysis="lesion",
    primary=Contrast(
        TRANSITIONS,
        "error added by deleting a block that changes the shape (its skip stays) minus that by "
        "deleting another block, each the mean over such blocks of a residual network",
        "1",
        Directional(+1),
        0.1,
        "the paper prints no numbers; anyone would call a tenth of the test images notable. "
        "Two of a hundred, meant at first, are below what five seeds can tell by the pilot on the "
        "digits (spread 0.043), and were given up for it before the study was run",
    ),
    secondary=(
        Contrast(
            RANKING,
            "rank correlation within stages of ‖G‖/‖s‖ and the error that the deletion adds, over "
            "the blocks of a residual network that keep the shape",
            "1",
            Directional(+1, "correlation", items=16),
            0.5,
            "the explanation by small branches is of use if it orders the blocks at least so well",
        ),
        Contrast(
            VEIT,
            "share of the accuracy above chance that deleting a within-stage unit takes from a "
            "plain network, minus that from its residual twin of the same seed",
            "1",
            Directional(+1),
            0.1,
            "no number is printed; a tenth of what a network has learnt is the least to speak of",
        ),
    ),
    scales=scales(PILOTS),
    history=(
        "Version 2: a network that errs on more than half as many images as chance does has no "
        "number, as in the analysis `lesion`. Under version 1 all networks on cifar10-16 were "
        "such ones and were counted, and so were those of its pilot, which is withdrawn. The runs "
        "were made anew.",
    ),
)
