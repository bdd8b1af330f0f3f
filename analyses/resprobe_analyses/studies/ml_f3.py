"""ML-F3: the mean norm of the branches falls as the reciprocal of the number of blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe_analyses.statistics import power_laws
from resprobe_analyses.studies.by_seed import endings, mean_in_words, sample_of
from resprobe_analyses.studies.criteria import Band, Directional
from resprobe_analyses.studies.evidence import Evidence
from resprobe_analyses.studies.images import (
    CIFAR,
    CIFAR_16,
    CIFAR_SUBSET,
    DIGITS,
    MORE_SEEDS,
    SEEDS,
    SMOKE,
    SMOKE_SEEDS,
    Images,
)
from resprobe_analyses.studies.study import Contrast, Pilot, Setting, Study
from resprobe_analyses.sweeps.specification import Arm, Collection, Sweep

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

    from resprobe.result import Result
    from resprobe_analyses.sweeps.outcomes import PointOutcome

    Floats = npt.NDArray[np.float64]

EXPONENT, LATER, LEARNED = "exponent", "exponent-of-later-blocks", "trained-minus-untrained"
# the versions of the analysis
ALL_BLOCKS, LATER_BLOCKS = "all blocks", "without stage-first blocks"
LEAST_DEPTHS = 5  # of the analysis' rule


def measure(result: Result, points: Sequence[PointOutcome]) -> Evidence:
    """Give the exponents of γ against the number of blocks, one for each seed.

    Runs that diverged or did not reach the training loss are left out by the analysis with the
    depths or seeds that they make incomplete; with fewer than five depths left there is no
    exponent.

    Args:
        result: of the analysis `norm-vs-depth`.
        points: of the sweep.
    """
    data = result.dataset.isel(step_size=0)
    samples = {
        EXPONENT: sample_of(points, _exponents(data, ALL_BLOCKS)),
        LATER: sample_of(points, _exponents(data, LATER_BLOCKS)),
        LEARNED: sample_of(points, _learned(data)),
    }
    return Evidence(samples=samples, notes=(*_notes(data), *endings(points)))


def _exponents(data: xr.Dataset, version: str) -> dict[int, float]:
    table = _gammas(data, "trained", version)
    if _depths(table).sum() < LEAST_DEPTHS:
        return {}
    slopes = data["trained_slope"].sel(version=version).values
    return dict(zip(data["seed"].values.tolist(), slopes.tolist(), strict=True))


def _gammas(data: xr.Dataset, state: str, version: str) -> Floats:
    """Give γ by seed and depth; NaN where it does not count."""
    table = data[f"{state}_gamma_by_depth"].sel(version=version)
    return np.asarray(table.transpose("seed", "depth").values, dtype=np.float64)


def _depths(table: Floats) -> npt.NDArray[np.bool_]:
    return np.asarray(np.isfinite(table).any(axis=0))


def _learned(data: xr.Dataset) -> dict[int, float]:
    """Give the exponent after training minus that before, over equal depths, by seed."""
    trained, untrained = (_gammas(data, state, ALL_BLOCKS) for state in ("trained", "untrained"))
    both = np.isfinite(trained) & np.isfinite(untrained)
    columns = _depths(np.where(both, trained, np.nan))
    rows = both[:, columns].all(axis=1) & columns.any()
    if columns.sum() < LEAST_DEPTHS or not rows.any():
        return {}
    depths = data["depth"].values[columns]
    slopes = [power_laws(depths, table[rows][:, columns])[0] for table in (trained, untrained)]
    seeds = data["seed"].values[rows].tolist()
    return dict(zip(seeds, (slopes[0] - slopes[1]).tolist(), strict=True))


def _notes(data: xr.Dataset) -> tuple[str, ...]:
    told = []
    for state, words in (("trained", "trained"), ("untrained", "untrained")):
        table = _gammas(data, state, ALL_BLOCKS)
        depths = data["depth"].values[_depths(table)].tolist()
        if not depths:
            told.append(f"No exponent of {words} networks: no seed has two depths.")
            continue
        slopes = data[f"{state}_slope"].sel(version=ALL_BLOCKS)
        totals = data[f"{state}_total"].sel(version=ALL_BLOCKS, depth=depths)
        growth = np.log(totals.isel(depth=-1).values / totals.isel(depth=0).values)
        told.append(
            f"Of {words} networks over d = {', '.join(map(str, depths))} the exponent is "
            f"{mean_in_words(slopes.values)}, and γ·d, the sum of ‖G‖ over blocks, at the deepest "
            f"is {mean_in_words(growth, exponential=True)} times that at the shallowest."
        )
    if bool((data["untrained_initial_statistics"].values == 1).any()):
        told.append(
            "BatchNorm of the untrained networks had the statistics of its initialisation, so "
            "their branches were not normalised."
        )
    return tuple(told)


DEPTHS = (8, 14, 20, 32, 44, 56)


def _scales() -> dict[str, tuple[Setting, ...]]:
    # Seed 200, constant rate 0.05: depths 8 and 56 came below 0.05 in epoch 7 (both 0.048).
    digits = _sweep("small", DIGITS, SEEDS, DEPTHS, (0.05, 30))
    # Seed 200: depth 8 came below 1.2 in epoch 11 (1.198), depth 56 in epoch 13 (0.994, 1.225 in
    # epoch 12). Test losses rise by then: 2,000 images are soon learnt by heart.
    cifar = _sweep("small", CIFAR_16, SEEDS, DEPTHS, (1.2, 40))
    return {
        "smoke": (_setting(SMOKE, _sweep("smoke", SMOKE, SMOKE_SEEDS, (8, 14), (10.0, 1)), 0.5),),
        "small": (
            _setting(DIGITS, digits, 4.5, PILOTS[DIGITS.label]),
            _setting(CIFAR_16, cifar, 10.5, PILOTS[CIFAR_16.label]),
        ),
        # Neither target was tried; both are meant to be easy for the shallowest network.
        "medium": (
            _setting(
                CIFAR_SUBSET,
                _sweep("medium", CIFAR_SUBSET, MORE_SEEDS, (14, 20, 32, 56, 110), (1.0, 60)),
                500.0,
            ),
        ),
        "paper": (
            _setting(
                CIFAR, _sweep("paper", CIFAR, SEEDS, (14, 20, 32, 44, 56, 110), (0.5, 60)), 6500.0
            ),
        ),
    }


def _sweep(
    scale: str,
    images: Images,
    seeds: tuple[int, ...],
    depths: tuple[int, ...],
    end: tuple[float, int],
) -> Sweep:
    """Make the sweep; `end` is the training loss that ends a run, and the cap of epochs."""
    target, cap = end
    training: dict[str, Any] = {
        "schedule.name": "constant",  # a falling rate would end the descent at other losses
        "schedule.milestones": [],
        "schedule.learning_rate": 0.05,
        "train.stop_train_loss": target,
        "train.epochs": cap,
        "checkpoint.initial": True,
    }
    return Sweep(
        name=f"depth-{images.label}-{scale}",
        arms=(Arm("", images.recipe),),
        seeds=seeds,
        settings={**images.settings, **training},
        grid={"model.depth": depths},
        collections=(
            Collection(("branch_norm",), images.samples),
            # with its initial statistics BatchNorm would not normalise
            Collection(("reestimated_branch_norm",), images.samples, checkpoint="0"),
        ),
    )


PILOTS: Mapping[str, Mapping[str, Pilot]] = {
    "digits": {EXPONENT: Pilot(0.0118, 3), LATER: Pilot(0.0538, 3), LEARNED: Pilot(0.0372, 3)},
    "cifar10-16": {EXPONENT: Pilot(0.0122, 3), LATER: Pilot(0.0462, 3), LEARNED: Pilot(0.0279, 3)},
}


def _setting(
    images: Images, sweep: Sweep, minutes: float, pilots: Mapping[str, Pilot] | None = None
) -> Setting:
    depths = ", ".join(map(str, sweep.grid["model.depth"]))
    target = sweep.settings["train.stop_train_loss"]
    return Setting(
        data=images.label,
        meaning=f"{images.meaning}; depths {depths}, all to a training loss of {target:g}, "
        f"{len(sweep.seeds)} seeds",
        sweep=sweep,
        pilots=pilots or {},
        core_minutes=minutes,
    )


STUDY = Study(
    id="ML-F3",
    version=1,
    claim="The mean norm γ of the residual branches is inversely proportional to the number of "
    "blocks d.",
    source="Chang et al. (2018), Multi-level residual networks from dynamical systems view, "
    "Sec. 3.2, Eq. 5 and Fig. 3",
    printed={"exponent": "-1 (Eq. 5; the curve of Fig. 3 is said to resemble a reciprocal)"},
    contradicted_by="An exponent of γ against d whose interval leaves out -1 and lies outside "
    "[-1.25, -0.75], as it would if γ fell with the square root of the depth or not at all.",
    measure=measure,
    analysis="norm-vs-depth",
    primary=Contrast(
        EXPONENT,
        "exponent p of γ = c·d^p, γ the mean of ‖G‖ over test images and blocks, one least-squares "
        "slope a seed over all depths, trained to the same training loss",
        "1",
        Band(-1.25, -0.75, claimed=-1.0),
        -0.5,
        "half of the printed exponent of -1",
    ),
    secondary=(
        Contrast(
            LATER,
            "the same exponent without the blocks that begin a stage",
            "1",
            Band(-1.25, -0.75, claimed=-1.0),
            -0.5,
            "half of the printed exponent of -1",
        ),
        Contrast(
            LEARNED,
            "exponent of the trained networks minus that of the same networks before training, "
            "with BatchNorm's statistics estimated",
            "1",
            Directional(-1),
            -0.5,
            "half of the printed exponent, if training alone made it",
        ),
    ),
    scales=_scales(),
)
