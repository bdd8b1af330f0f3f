"""What a study can decide, computed from pilots before anything is run."""

from __future__ import annotations

from dataclasses import dataclass

from resprobe_analyses.studies.study import Setting, Study


@dataclass(frozen=True)
class Power:
    """The chance that a study decides its claim if the true effect is its reference.

    Attributes:
        value: the probability, in [0, 1].
        spread: standard deviation over the pilot's seeds.
        pilot_seeds: how many those were.
        seeds: how many the study will use.
    """

    value: float
    spread: float
    pilot_seeds: int
    seeds: int


def power_before(study: Study, setting: Setting) -> Power | None:
    """Compute the power of a study's primary contrast; None without a pilot or for an exact one."""
    contrast = study.primary
    if contrast is None or setting.sweep is None or contrast.name not in setting.pilots:
        return None
    pilot, seeds = setting.pilots[contrast.name], len(setting.sweep.seeds)
    return Power(
        value=contrast.criterion.power(contrast.reference, pilot.spread, seeds),
        spread=pilot.spread,
        pilot_seeds=pilot.seeds,
        seeds=seeds,
    )
