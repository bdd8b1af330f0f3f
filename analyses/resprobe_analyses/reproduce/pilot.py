"""Measure how much the contrasts of a study spread over seeds that are not the study's.

Run as `python -m resprobe_analyses.reproduce.pilot ML-F3 digits -o pilots`, it trains the sweep
of a setting with the pilots' seeds and prints the spread of every contrast, and the power that
follows for the study's own number of seeds. The figures are written into the study's declaration
by hand, before the study itself is run. Studies that share a sweep share its pilot.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from resprobe import registry
from resprobe.errors import InputError, ResprobeError, UnknownNameError
from resprobe_analyses.reproduce.plan import Planned
from resprobe_analyses.reproduce.trained import measure_trained
from resprobe_analyses.studies.images import PILOT_SEEDS
from resprobe_analyses.studies.study import SCALES, Contrast, Pilot, Setting, Study

if TYPE_CHECKING:
    from resprobe_analyses.studies.evidence import Evidence


def pilot(study: Study, setting: Setting, out: Path, data_dir: Path | None) -> Evidence:
    """Train a setting with the pilots' seeds and measure the study's contrasts.

    Args:
        study: a trained one.
        setting: of it.
        out: folder of the sweep and of the analysis; what was trained there is not repeated.
        data_dir: folder of the data set's files.

    Raises:
        ResprobeError: the study trains nothing, no run was trained to its end, or see `run_sweep`.
    """
    from resprobe_analyses.sweeps.run import run_sweep

    if setting.sweep is None:
        raise InputError(f"{study.id} trains nothing, so it has no pilot.")
    sweep = replace(setting.sweep, name=f"{setting.sweep.name}-pilot", seeds=PILOT_SEEDS)
    points = run_sweep(sweep, out / sweep.name, data_dir=data_dir, tell=_tell)
    planned = Planned(study, "pilot", replace(setting, sweep=sweep))
    return measure_trained(planned, points, out / f"{study.id}-{setting.data}")


def spreads(study: Study, evidence: Evidence) -> dict[str, Pilot]:
    """Give the spread of every contrast of which two seeds or more differ, by its name."""
    return {
        contrast.name: Pilot(contrast.criterion.spread(sample), sample.present.size)
        for contrast in contrasts(study)
        if np.unique((sample := evidence.samples[contrast.name]).present).size > 1
    }


def contrasts(study: Study) -> tuple[Contrast, ...]:
    """Give the primary contrast, if there is one, and the others."""
    return (*(() if study.primary is None else (study.primary,)), *study.secondary)


def _tell(text: str) -> None:
    click.echo(text, err=True)


def _setting(study: Study, scale: str, data: str) -> Setting:
    settings = {setting.data: setting for setting in study.scales.get(scale, ())}
    if data not in settings:
        raise UnknownNameError(f"data of {study.id} at the scale {scale}", data, settings)
    return settings[data]


@click.command()
@click.argument("study_id", metavar="ID")
@click.argument("data", metavar="DATA")
@click.option("--scale", type=click.Choice(SCALES), default="small", show_default=True)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the data set's files.")
def main(study_id: str, data: str, scale: str, out: Path, data_dir: Path | None) -> None:
    r"""Measure the spread of the contrasts of the study ID on DATA.

    \b
    Example:
        python -m resprobe_analyses.reproduce.pilot ML-F3 digits -o pilots
    """
    try:
        study: Study = registry.load("studies", study_id)
        setting = _setting(study, scale, data)
        evidence = pilot(study, setting, out, data_dir)
    except ResprobeError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(2 if isinstance(error, InputError) else 1) from error
    for note in evidence.notes:
        click.echo(note)
    seeds = 0 if setting.sweep is None else len(setting.sweep.seeds)
    found = spreads(study, evidence)
    for contrast in contrasts(study):
        values = ", ".join(f"{value:.4g}" for value in evidence.samples[contrast.name].values)
        if contrast.name not in found:
            click.echo(f"{contrast.name}: {values}; no two seeds have different values")
            continue
        one = found[contrast.name]
        power = contrast.criterion.power(contrast.reference, one.spread, seeds)
        click.echo(
            f"{contrast.name}: {values}; Pilot({one.spread:.3g}, {one.seeds}), power at "
            f"{contrast.reference:g} with {seeds} seeds {power:.3f}"
        )


if __name__ == "__main__":
    main()
