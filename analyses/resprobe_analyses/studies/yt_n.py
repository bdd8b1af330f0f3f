"""YT-N: noise on a layer's weights changes the output of residual networks less than of plain ones.

"The same amount of noise" is read as noise of the same size beside the layer that it falls on, with
the 1s of the skip as a part of the layer: that is the norm in the definition of the cushion, which
is to stand for this stability. Noise of the same absolute size would favour whatever network has
larger weights, though a ReLU network computes the same when one layer is scaled up and another
down.
"""

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

KEPT, REMOVED, ERROR = "kept", "removed", "error-added"
# of the levels that are measured where none are asked for
LEVEL, STRONG = 0.1, 0.3


def measure(result: Result, points: Sequence[PointOutcome]) -> Evidence:
    """Compare how strongly residual and plain networks answer noise on the weights of one layer.

    Of each network the mean over layers, images and draws counts. Diverged runs and those that
    learnt nothing have no number.

    Args:
        result: of the analysis `noise-stability`.
        points: of the sweep.
    """
    data, known = result.dataset, learnt(points)
    changes = {
        norm: _by_arm(data, known, _over_layers(data, "log_output_change", norm, LEVEL))
        for norm in (KEPT, REMOVED)
    }
    added = _by_arm(data, known, _over_layers(data, "error_change", KEPT, STRONG))
    values = {
        **{norm: differences(own[RESIDUAL], own[PLAIN]) for norm, own in changes.items()},
        ERROR: differences(added[RESIDUAL], added[PLAIN]),
    }
    samples = {name: sample_of(points, own) for name, own in values.items()}
    ratios = _by_arm(data, known, data["noise_ratio"].mean("layer").values)
    notes = [
        f"Under noise of {LEVEL:g} of the norm of a layer's weight, with the 1s of a skip, the "
        f"logits of a {arm} network change by {_in_words(changes[KEPT][arm], log=True)} of their "
        f"norm, the geometric mean; the norm without ID entries is {_in_words(ratios[arm])} of "
        f"that with them; noise of {STRONG:g} adds {_in_words(added[arm])} to the test error."
        for arm in (RESIDUAL, PLAIN)
    ]
    return Evidence(samples=samples, notes=(*notes, *learnt_note(points), *endings(points)))


def _over_layers(data: xr.Dataset, name: str, norm: str, level: float) -> Floats:
    """Give the mean over layers under noise of one level, shape (network,)."""
    chosen = data[name].sel(norm=norm).sel(level=level, method="nearest", tolerance=1e-6)
    return np.asarray(chosen.mean("layer").transpose("network").values, dtype=np.float64)


def _by_arm(
    data: xr.Dataset, known: Sequence[PointOutcome], numbers: Floats
) -> dict[str, dict[int, float]]:
    rows = rows_by_arm(data, known)
    return {arm: of_arm(numbers, rows, arm) for arm in (RESIDUAL, PLAIN)}


def _in_words(numbers: Mapping[int, float], *, log: bool = False) -> str:
    return mean_in_words(list(numbers.values()), exponential=log)


PILOTS: Pilots = {
    "digits": {KEPT: Pilot(0.105, 3), REMOVED: Pilot(0.109, 3), ERROR: Pilot(0.00586, 3)},
}

_REASON = "the paper prints no number; a fifth less is the least to speak of"

STUDY = Study(
    id="YT-N",
    version=1,
    claim="The same amount of noise on the weights of a layer changes the output of a simplified "
    "residual network less than that of a plain one.",
    source="Yu and Tomasi (2019), Identity connections in residual nets improve noise stability, "
    "Sec. 5",
    printed={"in words": "a smaller effect on the output, because of the large ID entries"},
    contradicted_by="Outputs of residual networks that change more than those of plain networks of "
    "the same seed, in the average over layers.",
    measure=measure,
    analysis="noise-stability",
    primary=Contrast(
        KEPT,
        f"relative change of the logits under Gaussian noise on one layer's weight, ‖ΔW‖_F "
        f"{LEVEL:g} of ‖W‖_F with the 1s of the skip, residual over plain network of the same "
        "seed; the geometric mean over layers, test images and draws",
        "1",
        Directional(-1, "log"),
        0.8,
        _REASON,
    ),
    secondary=(
        Contrast(
            REMOVED,
            f"the same with ‖ΔW‖_F {LEVEL:g} of ‖W‖_F without the ID entries, the norm in which "
            "the paper measures cushions",
            "1",
            Directional(-1, "log"),
            0.8,
            _REASON,
        ),
        Contrast(
            ERROR,
            f"test error that noise of {STRONG:g} of ‖W‖_F, with the 1s, adds, the mean over "
            "layers, residual minus plain",
            "1",
            Directional(-1),
            0.02,
            "two of a hundred test images are the least to speak of",
        ),
    ),
    scales=scales(PILOTS),
)
