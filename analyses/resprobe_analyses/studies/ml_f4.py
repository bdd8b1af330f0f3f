"""ML-F4: branches add little to their inputs, except in the first block of a stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from resprobe_analyses.studies.by_seed import endings, mean_in_words, sample_of
from resprobe_analyses.studies.criteria import Directional
from resprobe_analyses.studies.evidence import Evidence
from resprobe_analyses.studies.residual_and_plain import RESIDUAL, Pilots, by_seed, scales
from resprobe_analyses.studies.study import Contrast, Pilot, Study

if TYPE_CHECKING:
    import numpy.typing as npt

    from resprobe.result import Result
    from resprobe_analyses.sweeps.outcomes import PointOutcome

    Floats = npt.NDArray[np.float64]

FIRST, ALONE, SHORTCUT, LATER = (
    "first-blocks",
    "first-blocks-norm-alone",
    "first-blocks-by-shortcut",
    "later-blocks",
)
_TWO = "the paper prints no numbers; below a factor of two nobody would call blocks an exception"


def measure(result: Result, points: Sequence[PointOutcome]) -> Evidence:
    """Compare the first blocks of stages with the later ones inside each residual network.

    Args:
        result: of the analysis `lesion`.
        points: of the sweep.
    """
    data = result.dataset
    branch, inputs, by_shortcut = (
        data[name].transpose("network", "block").values.astype(np.float64)
        for name in ("branch_norm", "input_norm", "branch_shortcut_ratio")
    )
    first = data["index_in_stage"].values == 0
    by_input = branch / inputs
    numbers = {
        FIRST: _excess(by_input, first),
        ALONE: _excess(branch, first),
        SHORTCUT: _excess(by_shortcut, first),
        LATER: np.log(np.median(by_input[:, ~first], axis=1)),
    }
    ours = [point for point in points if point.arm == RESIDUAL]
    samples = {name: sample_of(ours, by_seed(data, found)) for name, found in numbers.items()}
    largest, smallest = (
        mean_in_words(list(by_seed(data, np.log(found)).values()), exponential=True)
        for found in (by_input[:, ~first].max(axis=1), by_input[:, first].min(axis=1))
    )
    return Evidence(
        samples=samples,
        notes=(
            f"Among later blocks the largest mean ‖G‖ by mean ‖x‖ of a network is {largest}; among "
            f"the first blocks of stages the smallest is {smallest}.",
            "Where a stage begins with fewer pixels, ‖s‖ is smaller than ‖x‖, so that by ‖s‖ "
            "alone its block would stand out; the primary number divides by ‖x‖, as the figure "
            "compares.",
            *endings(ours),
        ),
    )


def _excess(norms: Floats, first: npt.NDArray[np.bool_]) -> Floats:
    """Give the logarithm of the mean over first blocks by that over later ones, (network,)."""
    return np.asarray(np.log(norms[:, first].mean(axis=1) / norms[:, ~first].mean(axis=1)))


PILOTS: Pilots = {
    "digits": {
        FIRST: Pilot(0.0287, 3),
        ALONE: Pilot(0.0508, 3),
        SHORTCUT: Pilot(0.0422, 3),
        LATER: Pilot(0.0818, 3),
    },
    "cifar10-16": {
        FIRST: Pilot(0.0235, 3),
        ALONE: Pilot(0.0393, 3),
        SHORTCUT: Pilot(0.0115, 3),
        LATER: Pilot(0.044, 3),
    },
}

STUDY = Study(
    id="ML-F4",
    version=1,
    claim="Within a residual block the branch G(Y) is small beside its input Y, except in the "
    "first block of each stage.",
    source="Chang et al. (2018), Multi-level residual networks from dynamical systems view, "
    "Sec. 3.3 and Fig. 4",
    printed={"in words": "tiny beside the inputs, except in the first block at each stage"},
    contradicted_by="Branches of the first blocks of stages that are, relative to their inputs, "
    "smaller than those of the later blocks of the same network.",
    measure=measure,
    analysis="lesion",
    primary=Contrast(
        FIRST,
        "mean ‖G‖ over images by mean ‖x‖: its mean over the blocks that begin a stage, by that "
        "over the later blocks of the network",
        "1",
        Directional(+1, "log"),
        2.0,
        _TWO,
    ),
    secondary=(
        Contrast(
            ALONE,
            "mean ‖G‖ of the blocks that begin a stage, by that of the later blocks",
            "1",
            Directional(+1, "log"),
            2.0,
            _TWO,
        ),
        Contrast(
            SHORTCUT,
            "mean ‖G‖/‖s‖ (s is what the skip gives) of the blocks that begin a stage, by that of "
            "the later blocks",
            "1",
            Directional(+1, "log"),
            2.0,
            _TWO,
        ),
        Contrast(
            LATER,
            "median over later blocks of mean ‖G‖ by mean ‖x‖, below 1 where branches are smaller "
            "than inputs",
            "1",
            Directional(-1, "log"),
            0.5,
            "a branch of half its input is no longer a small one",
        ),
    ),
    scales=scales(PILOTS),
)
