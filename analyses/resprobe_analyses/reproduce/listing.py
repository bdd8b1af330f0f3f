"""All studies with what they claim, cost and can decide; nothing is run and no torch imported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from resprobe_analyses.reproduce import words
from resprobe_analyses.reproduce.plan import Planned, sharing
from resprobe_analyses.reproduce.power import power_before
from resprobe_analyses.reproduce.record import points_in
from resprobe_analyses.studies.study import Setting, Study


def listing(studies: Iterable[Study]) -> list[dict[str, Any]]:
    """Give one object for each study."""
    return [
        {
            "id": study.id,
            "version": study.version,
            "claim": study.claim,
            "source": study.source,
            "exact": study.exact,
            "rule": "" if study.primary is None else study.primary.criterion.rule,
            "contradicted_by": study.contradicted_by,
            "scales": {
                scale: [_setting(study, scale, setting) for setting in settings]
                for scale, settings in study.scales.items()
            },
        }
        for study in studies
    ]


def _setting(study: Study, scale: str, setting: Setting) -> dict[str, Any]:
    power, sweep = power_before(study, setting), setting.sweep
    others = {row.study.id for row in sharing(Planned(study, scale, setting))} - {study.id}
    return {
        "data": setting.data,
        "meaning": setting.meaning,
        "core_minutes": setting.core_minutes,
        "runs": 0 if sweep is None else points_in(sweep),
        "seeds": 0 if sweep is None else len(sweep.seeds),
        "power": None if power is None else power.value,
        "shares_runs_with": sorted(others),
    }


def as_text(listed: Sequence[Mapping[str, Any]]) -> str:
    """Give the list for people."""
    lines = []
    for study in listed:
        kind = "exact" if study["exact"] else "trained"
        lines.append(f"{study['id']} ({kind}, version {study['version']}): {study['claim']}")
        lines.append(f"  {study['source']}")
        for scale, settings in study["scales"].items():
            lines += [f"  {scale:<8}{_told(setting)}" for setting in settings]
    return "\n".join(lines)


def _told(setting: Mapping[str, Any]) -> str:
    parts = [f"{setting['data']}: {words.core_time(setting['core_minutes'])}"]
    if setting["runs"]:
        runs, seeds = setting["runs"], setting["seeds"]
        parts.append(f"{words.counted(runs, 'run')} with {words.counted(seeds, 'seed')}")
    if setting["power"] is not None:
        parts.append(f"power {setting['power']:.2f}")
    if setting["shares_runs_with"]:
        parts.append(f"shares its runs with {words.listed(setting['shares_runs_with'])}")
    return ", ".join(parts)
