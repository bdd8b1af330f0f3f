"""`evidence.json`: every number behind a row, one a seed, and how every run ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from resprobe_analyses.reproduce.files import seen_from, write_text
from resprobe_analyses.reproduce.plan import Planned
from resprobe_analyses.reproduce.values import plain
from resprobe_analyses.studies.evidence import Evidence
from resprobe_analyses.studies.study import Contrast
from resprobe_analyses.sweeps.outcomes import PointOutcome

FILE = "evidence.json"
# Of the row, repeated so that the file can be read alone.
_REPEATED = ("id", "scale", "data", "version", "fingerprint", "outcome", "settings", "versions")


def write_evidence(
    planned: Planned,
    out: Path,
    row: Mapping[str, Any],
    evidence: Evidence,
    points: Sequence[PointOutcome],
) -> None:
    """Write what a study measured.

    Args:
        planned: the study.
        out: folder of the ledger.
        row: of the ledger.
        evidence: what was measured; empty where nothing could be.
        points: how its runs ended; their directories are written as seen from `out`.

    Raises:
        InputError: the folder can't be written.
    """
    study = planned.study
    declared = () if study.primary is None else (study.primary, *study.secondary)
    document = {
        **{key: row[key] for key in _REPEATED},
        "machine": row["machine"],
        "runs_made_by": row["runs_made_by"],
        "contrasts": [_contrast(contrast, evidence) for contrast in declared],
        "checks": [asdict(check) for check in evidence.checks],
        "notes": evidence.notes,
        "runs": [_run(point, out) for point in points],
    }
    text = json.dumps(plain(document), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(planned.folder(out) / FILE, text + "\n")


def _contrast(contrast: Contrast, evidence: Evidence) -> Mapping[str, Any]:
    sample = evidence.samples.get(contrast.name)
    told = {"name": contrast.name, "meaning": contrast.meaning, "units": contrast.units}
    if sample is None:
        return {**told, "seeds": [], "values": [], "diverged": []}
    return {**told, "seeds": sample.seeds, "values": sample.values, "diverged": sample.diverged}


def _run(point: PointOutcome, out: Path) -> Mapping[str, Any]:
    told = asdict(point)
    told["run"] = seen_from(str(point.run), out)
    told["message"] = seen_from(point.message, out)
    return told
