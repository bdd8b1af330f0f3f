"""Studies that are quick and whose outcomes are known, and runs for them without training."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from resprobe_analyses.studies.criteria import Directional
from resprobe_analyses.studies.evidence import Check, Evidence, Sample
from resprobe_analyses.studies.study import Contrast, Pilot, Setting, Study
from resprobe_analyses.sweeps.outcomes import PointOutcome
from resprobe_analyses.sweeps.specification import Arm, Sweep

from resprobe.errors import InputError
from resprobe.result import Analysis, Result

SEEDS = (0, 1, 2, 3, 4)
# A number a seed: what the invented runs give as their test error.
CLEAR = {0: 0.8, 1: 1.0, 2: 1.1, 3: 0.9, 4: 1.2}
SWEEP = Sweep(
    name="invented",
    arms=(Arm("only", "resnet-20-digits"),),
    seeds=SEEDS,
    settings={"model.depth": 8, "train.epochs": 0},
)


def contrast(name: str, rule: Directional = Directional(+1)) -> Contrast:  # noqa: B008
    return Contrast(name, f"The invented {name}.", "1", rule, 0.5, "half of what is printed, 1")


def exact(checks: Sequence[Check]) -> Study:
    def measure() -> Evidence:
        figure = Figure(figsize=(1, 1))
        figure.subplots().plot([0, 1])
        numbers = xr.Dataset({"number": ("place", np.arange(3.0))})
        return Evidence(
            checks=tuple(checks),
            notes=("counted by hand",),
            dataset=numbers,
            figures={"line": figure},
        )

    setting = Setting("exact", "nothing is trained", core_minutes=0.01)
    return Study(
        id="X-EXACT",
        version=1,
        claim="One and one are two.",
        source="Nobody (2018), Table 1",
        printed={"1 + 1": "2"},
        contradicted_by="Another sum.",
        measure=measure,
        primary=None,
        scales={"smoke": (setting,), "small": (setting,)},
    )


def analyze(inputs):
    seeds = [given.seed for given in inputs]
    norms = [float(given.families["norms"]["branch_norm"].mean()) for given in inputs]
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot(seeds, norms)
    return Result(
        dataset=xr.Dataset({"norm": ("seed", norms)}, {"seed": seeds}),
        figures={"norms": figure},
        verdict={"analysis": "invented", "inputs": seeds, "findings": []},
        summary=f"{len(inputs)} runs were read.",
    )


def refuse(inputs):
    raise InputError("these runs are not what is analyzed.")


ANALYSIS = Analysis("invented", "Reads norms.", ("norms",), analyze)
REFUSING = Analysis("refusing", "Refuses.", ("norms",), refuse)


def measure(result: Result, points: Sequence[PointOutcome]) -> Evidence:
    """One value a seed, which the invented run carries; a diverged run counts as −1."""
    ended = [point for point in points if point.trained or point.status == "diverged"]
    values = [point.metrics["test_error"] if point.trained else -1.0 for point in ended]
    sample = Sample(
        seeds=tuple(point.seed for point in ended),
        values=np.array(values),
        diverged=np.array([not point.trained for point in ended], dtype=bool),
    )
    read = set(result.dataset["seed"].values.tolist())
    assert read == {point.seed for point in ended if point.trained}
    beside = Sample(sample.seeds, sample.values - 0.78, sample.diverged)
    return Evidence(samples={"effect": sample, "first": sample, "second": beside})


def trained(**changes) -> Study:
    settings = (Setting("digits", "digits, as they are", SWEEP, core_minutes=2.0),)
    fields = {
        "id": "X-TRAINED",
        "version": 1,
        "claim": "The effect is positive.",
        "source": "Nobody (2018), Fig. 1",
        "printed": {"effect": "1"},
        "contradicted_by": "A negative effect.",
        "measure": measure,
        "primary": contrast("effect"),
        "secondary": (contrast("first"), contrast("second")),
        "scales": {"smoke": settings, "small": settings},
        "analysis": "invented",
        "errata": ("the figure has no axis",),
    }
    return Study(**{**fields, **changes})


def with_pilot(spread: float) -> dict[str, tuple[Setting, ...]]:
    setting = Setting("digits", "digits", SWEEP, {"effect": Pilot(spread, 3)}, 2.0)
    return {"smoke": (setting,), "small": (setting,)}


@dataclass
class Trainer:
    """Takes the place of the sweep engine: copies a finished run for every seed.

    Attributes:
        run: the run.
        values: what the run of a seed gives as its test error.
        ended: status of single seeds; the others are `finished`.
        calls: the folders that were asked for.
    """

    run: Path
    values: Mapping[int, float] = field(default_factory=lambda: CLEAR)
    ended: Mapping[int, str] = field(default_factory=dict)
    calls: list[Path] = field(default_factory=list)

    def __call__(self, sweep: Sweep, folder: Path) -> list[PointOutcome]:
        self.calls.append(folder)
        (folder / "runs").mkdir(parents=True, exist_ok=True)
        (folder / "sweep.toml").write_text("", encoding="utf-8")
        return [self._point(folder, seed) for seed in sweep.seeds]

    def _point(self, folder: Path, seed: int) -> PointOutcome:
        name, status = f"seed{seed}", self.ended.get(seed, "finished")
        run = folder / "runs" / name
        if status == "finished" and not run.exists():
            shutil.copytree(self.run, run)
            text = (run / "recipe.toml").read_text(encoding="utf-8")
            assert text.count("\nseed = 0\n") == 1
            changed = text.replace("\nseed = 0\n", f"\nseed = {seed}\n")
            (run / "recipe.toml").write_text(changed, encoding="utf-8")
        metrics = {"test_error": self.values[seed]} if status == "finished" else {}
        message = "" if status == "finished" else f"{run} did not end well."
        return PointOutcome(name, run, "only", {}, seed, status, 1, 60.0, metrics, message)
