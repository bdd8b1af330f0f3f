"""One row of the ledger: everything that a reader needs of a study at a scale on one data set."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from resprobe.errors import InputError
from resprobe.run_recipe import read_run_recipe
from resprobe_analyses.reproduce.fingerprint import row_fingerprint
from resprobe_analyses.reproduce.judging import Secondary
from resprobe_analyses.reproduce.machine import machine, made_by
from resprobe_analyses.reproduce.plan import Planned, sharing
from resprobe_analyses.reproduce.power import Power
from resprobe_analyses.studies.criteria import REPRODUCED, BothWays, Judgement
from resprobe_analyses.studies.evidence import Evidence
from resprobe_analyses.studies.study import SCALES, Contrast
from resprobe_analyses.sweeps.file import to_toml
from resprobe_analyses.sweeps.outcomes import PointOutcome
from resprobe_analyses.sweeps.specification import Sweep

# Beside the outcomes of rules: nothing was run for want of data or of finished runs.
NOT_RUN, NOT_JUDGED = "not run", "not judged"
# What the rules call reproduced at small scale was there made with the paper's own settings.
AT_PAPER_SCALE = "reproduced"
PAPER = SCALES[-1]

Fields = Mapping[str, Any]


def new_row(planned: Planned, power: Power | None, versions: Fields) -> dict[str, Any]:
    """Give what a row says before anything is run; its outcome is still that of a row not run."""
    study, setting = planned.study, planned.setting
    sweep = setting.sweep
    return {
        "id": study.id,
        "scale": planned.scale,
        "data": setting.data,
        "data_meaning": setting.meaning,
        "version": study.version,
        "fingerprint": row_fingerprint(study, setting),
        "claim": study.claim,
        "source": study.source,
        "printed": dict(study.printed),
        "errata": study.errata,
        "contradicted_by": study.contradicted_by,
        "history": study.history,
        "exact": study.exact,
        "contrast": None if study.primary is None else _contrast(study.primary),
        "rule": "" if study.primary is None else study.primary.criterion.rule,
        "reference": None if study.primary is None else study.primary.reference,
        "reference_reason": "" if study.primary is None else study.primary.reference_reason,
        "beside": [{**_contrast(item), "rule": item.criterion.rule} for item in study.secondary],
        "power": None if power is None else asdict(power),
        "outcome": NOT_RUN,
        "reason": "",
        "complete": False,
        "measured": None,
        "with_diverged": None,
        "without_diverged": None,
        "seeds": 0,
        "needed": None,
        "secondary": [],
        "checks": [],
        "notes": [],
        "budget": _budget(planned, ()),
        "settings": "" if sweep is None else to_toml(sweep),
        "commit": versions["git_commit"],
        "dirty": bool(versions["git_dirty"]),
        "versions": dict(versions),
        "machine": machine(),
        "runs_made_by": {},
        "figures": [],
        "evidence": "",
        "folder": planned.folder(Path()).as_posix(),
        "recorded": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def with_checks(evidence: Evidence, judgement: Judgement) -> Fields:
    """Give what an exact study adds to its row."""
    return {
        "outcome": judgement.outcome,
        "reason": judgement.reason,
        "complete": True,
        "checks": [asdict(check) for check in evidence.checks],
        "notes": evidence.notes,
    }


def with_samples(
    evidence: Evidence,
    contrast: Contrast,
    primary: BothWays,
    secondary: Sequence[Secondary],
    scale: str,
) -> Fields:
    """Give what a trained study adds to its row once its contrasts are judged."""
    found, kept = primary.verdict, primary.without_diverged
    return {
        "outcome": _at_scale(found.outcome, scale),
        "reason": found.reason,
        "measured": _measured(found, contrast),
        "with_diverged": _both_ways(primary.with_diverged, scale),
        "without_diverged": None if kept is None else _both_ways(kept, scale),
        "seeds": found.seeds,
        "needed": found.needed,
        "secondary": [_secondary(item, scale) for item in secondary],
        "notes": evidence.notes,
    }


def with_runs(planned: Planned, points: Sequence[PointOutcome]) -> Fields:
    """Give what the runs of a row add to it: how they ended, what they cost, what they ran on."""
    unended = [point for point in points if not point.trained and point.status != "diverged"]
    return {
        "complete": not unended,
        "budget": _budget(planned, points),
        "runs_made_by": made_by(point.run for point in points if point.trained),
    }


def _measured(judgement: Judgement, contrast: Contrast) -> Fields:
    return {
        "value": judgement.value,
        "low": judgement.low,
        "high": judgement.high,
        "p_value": judgement.p_value,
        "units": contrast.units,
    }


def _contrast(contrast: Contrast) -> Fields:
    return {"name": contrast.name, "meaning": contrast.meaning, "units": contrast.units}


def _at_scale(outcome: str, scale: str) -> str:
    return AT_PAPER_SCALE if outcome == REPRODUCED and scale == PAPER else outcome


def _both_ways(judgement: Judgement, scale: str) -> Fields:
    return {**asdict(judgement), "outcome": _at_scale(judgement.outcome, scale)}


def _secondary(judged: Secondary, scale: str) -> Fields:
    judgement, contrast = judged.judgement, judged.contrast
    return {
        **_contrast(contrast),
        **_measured(judgement, contrast),
        "p_adjusted": judged.p_adjusted,
        "outcome": _at_scale(judgement.outcome, scale),
        "reason": judgement.reason,
        "seeds": judgement.seeds,
        "needed": judgement.needed,
    }


def _budget(planned: Planned, points: Sequence[PointOutcome]) -> Fields:
    sweep = planned.setting.sweep
    ended = Counter("trained" if point.trained else point.status for point in points)
    runs = 0 if sweep is None else points_in(sweep)
    others = {row.study.id for row in sharing(planned)} - {planned.study.id}
    return {
        "declared_core_minutes": planned.setting.core_minutes,
        "spent_core_minutes": sum(_core_seconds(point) for point in points) / 60,
        "shared_with": sorted(others),
        "runs": {
            "planned": runs,
            "trained": ended["trained"],
            "diverged": ended["diverged"],
            "failed": ended["failed"],
            "missing": runs - ended["trained"] - ended["diverged"] - ended["failed"],
        },
    }


def points_in(sweep: Sweep) -> int:
    """Count the runs of a sweep."""
    gridded = math.prod(len(values) for values in sweep.grid.values())
    return len(sweep.arms) * gridded * len(sweep.seeds)


def _core_seconds(point: PointOutcome) -> float:
    """Give the wall time of a run times its threads."""
    try:
        threads = int(read_run_recipe(point.run)[1]["train"]["threads"])
    except (InputError, LookupError, TypeError, ValueError):
        threads = 1
    return point.seconds * max(threads, 1)
