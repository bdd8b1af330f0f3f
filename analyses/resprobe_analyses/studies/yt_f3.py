"""YT-F3: the layer cushions of simplified residual networks are above those of plain ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from resprobe_analyses.studies.arms import differences, of_arm, rows_by_arm
from resprobe_analyses.studies.by_seed import endings, sample_of
from resprobe_analyses.studies.criteria import Directional
from resprobe_analyses.studies.evidence import Evidence
from resprobe_analyses.studies.residual_and_plain import PLAIN, RESIDUAL, Pilots
from resprobe_analyses.studies.simplified_networks import OF_THOSE, learnt, learnt_note, scales
from resprobe_analyses.studies.study import Contrast, Pilot, Study

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

    from resprobe.result import Result
    from resprobe_analyses.sweeps.outcomes import PointOutcome

    Floats = npt.NDArray[np.float64]

REMOVED, KEPT, CHOICE = "removed", "kept", "removed-minus-kept"
TENTH_REMOVED, TENTH_KEPT = "layer-10-removed", "layer-10-kept"
TENTH = 9  # layer 10, the stem counted as the first
NORMS = {REMOVED: "ID entries removed", KEPT: "ID entries kept"}


def measure(result: Result, points: Sequence[PointOutcome]) -> Evidence:
    """Compare the layer cushions of residual and plain networks, image by image, layer by layer.

    Diverged runs and those that learnt nothing have none.

    Args:
        result: of the analysis `cushions`.
        points: of the sweep.
    """
    data, known = result.dataset, learnt(points)
    deltas = {name: _deltas(data, known, norm) for name, norm in NORMS.items()}
    means = {
        name: {seed: float(one.mean()) for seed, one in own.items()} for name, own in deltas.items()
    }
    values = {
        **means,
        CHOICE: differences(means[REMOVED], means[KEPT]),
        TENTH_REMOVED: _tenth(data, known, NORMS[REMOVED]),
        TENTH_KEPT: _tenth(data, known, NORMS[KEPT]),
    }
    samples = {name: sample_of(points, own) for name, own in values.items()}
    notes = [_layers_note(NORMS[name], deltas[name]) for name in NORMS if deltas[name]]
    return Evidence(samples=samples, notes=(*notes, *learnt_note(points), *endings(points)))


def _deltas(data: xr.Dataset, known: Sequence[PointOutcome], norm: str) -> dict[int, Floats]:
    """Give Cliff's delta of the residual over the plain network by seed, shape (layer,)."""
    rows = rows_by_arm(data, known)
    both = {seed for _, seed in rows if {(RESIDUAL, seed), (PLAIN, seed)} <= rows.keys()}
    if not both:
        return {}
    seeds, first = data["seed"].values, data["group"].values == data["group"].values[0]
    # the analysis pairs the seeds that its two groups share, in ascending order
    paired = sorted(set(seeds[first].tolist()) & set(seeds[~first].tolist()))
    sign = 1.0 if first[rows[RESIDUAL, min(both)]] else -1.0
    table = data["layer_delta"].sel(norm=norm).transpose("pair", "layer").values
    return {
        seed: sign * row.astype(np.float64)
        for seed, row in zip(paired, table, strict=True)
        if seed in both
    }


def _tenth(data: xr.Dataset, known: Sequence[PointOutcome], norm: str) -> dict[int, float]:
    """Give the log ratio of the medians over images of layer 10, residual over plain, by seed."""
    chosen = data["layer_cushion"].sel(norm=norm, quantile=0.5).isel(layer=TENTH)
    logs = np.log(np.asarray(chosen.transpose("network").values, dtype=np.float64))
    rows = rows_by_arm(data, known)
    return differences(of_arm(logs, rows, RESIDUAL), of_arm(logs, rows, PLAIN))


def _layers_note(words: str, deltas: dict[int, Floats]) -> str:
    each = np.mean(list(deltas.values()), axis=0)
    below = [str(index + 1) for index in np.flatnonzero(each <= 0)]
    which = f" (the others: {', '.join(below)})" if below else ""
    return (
        f"With {words}, {each.size - len(below)} of {each.size} layers have the larger cushions in "
        f"the residual networks by Cliff's delta, the mean over seeds{which}; printed: all but 2."
    )


PILOTS: Pilots = {
    "digits": {
        REMOVED: Pilot(0.0172, 3),
        KEPT: Pilot(0.214, 3),
        CHOICE: Pilot(0.208, 3),
        TENTH_REMOVED: Pilot(0.107, 3),
        TENTH_KEPT: Pilot(0.0788, 3),
    },
}

_REFERENCE = 0.4
_REASON = (
    "half of what all layers but 2 of 20, each wholly above, would give; the paper prints "
    "histograms of one layer and no numbers"
)
_TENTH_REASON = (
    "the histograms can't be read as numbers; a fifth is the least to be called to the right"
)

STUDY = Study(
    id="YT-F3",
    version=1,
    claim="The layer cushions of simplified residual networks are larger than those of plain ones, "
    "in nearly all layers, where both learnt.",
    source="Yu and Tomasi (2019), Identity connections in residual nets improve noise stability, "
    "Sec. 5 and Fig. 3",
    printed={
        "layer 10": "the histogram of the residual network lies right of that of the plain one, at "
        "depths 20 and 32 (figure)",
        "layers": "all but 2, at either depth",
    },
    contradicted_by="Cushions of residual networks that lie below those of plain networks of the "
    "same seed in the average over layers.",
    measure=measure,
    analysis="cushions",
    primary=Contrast(
        REMOVED,
        "Cliff's delta over test images of the layer cushions, residual over plain network of the "
        "same seed, the mean over all layers, ‖A‖_F without the ID entries (the paper's choice)"
        + OF_THOSE,
        "1",
        Directional(+1),
        _REFERENCE,
        _REASON,
    ),
    secondary=(
        Contrast(
            KEPT,
            "the same with ‖A‖_F of the whole layer, the 1s of the skip included (the definition "
            "that the paper prints)",
            "1",
            Directional(+1),
            _REFERENCE,
            _REASON,
        ),
        Contrast(
            CHOICE,
            "the first minus the second: what the choice of the norm adds to the contrast",
            "1",
            Directional(+1),
            _REFERENCE,
            "as large as what would matter of the contrast itself",
        ),
        Contrast(
            TENTH_REMOVED,
            "median over test images of the cushion of layer 10, residual over plain, without the "
            "ID entries",
            "1",
            Directional(+1, "log"),
            1.2,
            _TENTH_REASON,
        ),
        Contrast(
            TENTH_KEPT,
            "the same with the ID entries",
            "1",
            Directional(+1, "log"),
            1.2,
            _TENTH_REASON,
        ),
    ),
    scales=scales(PILOTS),
    errata=(
        "The cushion is defined with the norm of the whole layer and measured with that of the "
        "layer without its ID entries, for residual networks: how much of the contrast is that "
        "choice is a contrast of its own here.",
    ),
)
