"""Pairs trained in lockstep, a residual network and the plain one that equals it: what studies run.

YT-T2 and YT-F2 share their runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe_analyses.statistics.counts import rate_interval
from resprobe_analyses.studies.full_width import SUBSET, WHOLE
from resprobe_analyses.studies.images import (
    DIGITS,
    MORE_SEEDS,
    SEEDS,
    SMOKE,
    SMOKE_SEEDS,
    Images,
)
from resprobe_analyses.studies.simplified_networks import UNTRAINED, paper_steps
from resprobe_analyses.studies.study import Pilot, Setting
from resprobe_analyses.sweeps.specification import Arm, Sweep

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

    from resprobe_analyses.sweeps.outcomes import PointOutcome

Pilots = Mapping[str, Mapping[str, Pilot]]

DEPTH = "model.depth"
SEEDS_OF = {"smoke": SMOKE_SEEDS, "small": MORE_SEEDS, "medium": MORE_SEEDS, "paper": SEEDS}
# The residual network is drawn by HMWI, as the architecture does by default, and the plain one is
# T of it.
PAIR: Mapping[str, Any] = {"model.name": "simplified-resnet", "pair.network": "equivalent"}


def on_par_scales(pilots: Pilots) -> dict[str, tuple[Setting, ...]]:
    """Give the settings of pairs that are compared by their errors, by scale.

    In float32, but for the scale of the paper, which used float64: in a short training the larger
    roundings set the networks as far apart as those of float64 do in a long one, and networks that
    did not come apart would be on par without any training.

    Args:
        pilots: of a study at the scale `small`, by label of the data and name of the contrast.
    """
    # Seed 200, depth 20, batches of 32. At a rate of 0.01 one network of the pair fell back to
    # chance while the other came to 1.26 in 8 epochs; at 0.005 both learnt, to 0.076 and 0.082 in
    # 16 epochs and errors of 0.040 and 0.050, after their weights had come apart by 0.002 at step
    # 180 and by 0.2 at step 360. CIFAR-10 and depths 32 and 44 would take three times as long.
    three = (20, 32, 44)
    double = {**_training(200, batch=128), "train.dtype": "float64"}
    smoke = _on_par("smoke", SMOKE, (20,), _training(1))
    digits = _on_par("small", DIGITS, (20,), _training(16, rate=0.005))
    medium = _on_par("medium", SUBSET, three, _training(60))
    paper = _on_par("paper", WHOLE, three, double)
    return {
        "smoke": (_setting(SMOKE, smoke, 0.4),),
        "small": (_setting(DIGITS, digits, 6.0, pilots.get(DIGITS.label, {})),),
        "medium": (_setting(SUBSET, medium, 2500.0),),
        "paper": (_setting(WHOLE, paper, 70000.0),),
    }


def _on_par(
    scale: str, images: Images, depths: tuple[int, ...], training: Mapping[str, Any]
) -> Sweep:
    return Sweep(
        name=f"equivalent-{images.label}-{scale}",
        arms=(Arm("", images.recipe, PAIR),),
        seeds=SEEDS_OF[scale],
        settings={
            **images.settings,
            **training,
            # both networks are compared at recorded steps only, and need not be at every one
            "record.every": 20,
        },
        grid={DEPTH: depths},
    )


def rounding_scales(pilots: Pilots) -> dict[str, tuple[Setting, ...]]:
    """Give the settings of pairs that come apart by rounding, in float32 and float64, by scale.

    Args:
        pilots: as for `on_par_scales`.
    """
    narrow = replace(
        DIGITS,
        meaning=DIGITS.meaning.replace("8-16-32", "4-8-16"),
        settings={**DIGITS.settings, "model.width_factor": 0.25},
    )
    smoke = _rounding("smoke", SMOKE, _constant(1))
    digits = _rounding("small", narrow, _constant(8))  # of 41 steps each
    medium = _rounding("medium", SUBSET, _constant(10))
    paper = _rounding("paper", WHOLE, _training(200, batch=128))
    return {
        "smoke": (_setting(SMOKE, smoke, 0.4),),
        "small": (_setting(narrow, digits, 5.5, pilots.get(narrow.label, {})),),
        "medium": (_setting(SUBSET, medium, 500.0),),
        "paper": (_setting(WHOLE, paper, 20000.0),),
    }


def _rounding(scale: str, images: Images, training: Mapping[str, Any]) -> Sweep:
    return Sweep(
        name=f"equivalent-rounding-{images.label}-{scale}",
        arms=tuple(
            Arm(dtype, images.recipe, {**PAIR, "train.dtype": dtype})
            for dtype in ("float32", "float64")
        ),
        seeds=SEEDS if scale == "small" else SEEDS_OF[scale],
        settings={**images.settings, **training, DEPTH: 20, "record.every": 1},
    )


def _training(epochs: int, *, rate: float = 0.01, batch: int = 32) -> dict[str, Any]:
    """Give the keys of a training by the paper's steps; its rate is 0.01."""
    return {**paper_steps(epochs, batch=batch), "schedule.learning_rate": rate}


def _constant(epochs: int) -> dict[str, Any]:
    """Give the keys of a training at the paper's first rate."""
    return {**_training(epochs), "schedule.name": "constant", "schedule.milestones": []}


def _setting(
    images: Images, sweep: Sweep, minutes: float, pilots: Mapping[str, Pilot] | None = None
) -> Setting:
    depths = ", ".join(map(str, sweep.grid.get(DEPTH, (sweep.settings.get(DEPTH),))))
    epochs = sweep.settings["train.epochs"]
    dtypes = [arm.name for arm in sweep.arms if arm.name]
    dtypes = dtypes or [sweep.settings.get("train.dtype", "float32")]
    return Setting(
        data=images.label,
        meaning=f"{images.meaning}; pairs of simplified networks of depth {depths}, "
        f"{epochs} epoch{'' if epochs == 1 else 's'} in {' and '.join(dtypes)}, "
        f"{len(sweep.seeds)} seeds",
        sweep=sweep,
        pilots=pilots or {},
        core_minutes=minutes,
    )


def couples_at(data: xr.Dataset, points: Sequence[PointOutcome], depth: int) -> dict[int, int]:
    """Give where the pairs of a depth stand along `couple` in `equivalence`, by seed.

    Args:
        data: of the analysis.
        points: of the sweep.
        depth: of the networks.
    """
    place = {str(name): row for row, name in enumerate(data["couple_label"].values)}
    return {
        point.seed: place[point.name]
        for point in points
        if point.settings[DEPTH] == depth and point.name in place
    }


def fallen_note(data: xr.Dataset, points: Sequence[PointOutcome]) -> tuple[str, ...]:
    """Say how many networks ended at chance, of either kind; they count like all others.

    Args:
        data: of the analysis.
        points: whose pairs are told of; nothing is said if none of them is there.
    """
    place = {str(name): row for row, name in enumerate(data["network"].values)}
    names = [point.name for point in points if point.name in place]
    if not names:
        return ()
    told = []
    # the run of a pair is the residual network, its partner the plain one
    for kind, variable in (("residual", "train_error"), ("plain", "partner_train_error")):
        table = data[variable].transpose("network", "epoch").values
        ends = {name: _last(table[place[name]]) for name in names}
        fallen = [name for name in names if ends[name] > UNTRAINED]
        low, high = rate_interval(len(fallen), len(names))
        which = f" ({', '.join(fallen)})" if fallen else ""
        told.append(
            f"{len(fallen)} of {len(names)} {kind} networks{which}, 95 % interval of the rate "
            f"{float(low):.2f} to {float(high):.2f}"
        )
    return (
        f"At the last epoch networks that err on more than {UNTRAINED:g} of the training images, "
        f"never having left chance or fallen back to it: {'; '.join(told)}. They are not left out.",
    )


def _last(values: npt.NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known[-1]) if known.size else float("nan")
