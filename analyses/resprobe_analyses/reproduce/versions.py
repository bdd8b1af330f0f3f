"""No rule judges runs that are older than itself.

What version of a study its runs were begun under is written beside them before they begin, with
the power that it had then; a folder that holds another version, or the same one with other rules,
is refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from resprobe.errors import InputError
from resprobe.files import read_text
from resprobe_analyses.reproduce.files import write_text
from resprobe_analyses.reproduce.fingerprint import row_fingerprint
from resprobe_analyses.reproduce.plan import Planned, sharing, study_folder
from resprobe_analyses.reproduce.power import Power, power_before
from resprobe_analyses.studies.study import Study

FILE = "study.json"


def begin(planned: Planned, out: Path) -> bool:
    """Write down under which version the runs of a row begin, unless that is there already.

    The studies that share its runs are written down with it: their rules too are older than these
    runs only if nothing about them changes from now on.

    Returns:
        Whether the rule was written down before its runs; not so if the folder of the runs was
        there first.
    """
    for row in sharing(planned):
        path = row.folder(out) / FILE
        if path.exists():
            continue
        sweep = row.setting.sweep
        earlier = sweep is not None and (row.sweep_folder(out) / "sweep.toml").exists()
        _write(path, row, before_runs=not earlier)
    return bool(_read(planned.folder(out) / FILE).get("before_runs", False))


def power_beforehand(planned: Planned, out: Path) -> Power | None:
    """Give the power of a row when its runs began, whatever was piloted since.

    That of now where they have not begun; None without a pilot or for an exact study.

    Raises:
        InputError: what was written down can't be read.
    """
    path = planned.folder(out) / FILE
    if not path.exists():
        return power_before(planned.study, planned.setting)
    told = _read(path).get("power")
    try:
        return None if told is None else Power(**told)
    except TypeError as error:
        raise _unreadable(path, error) from error


def refuse_other_versions(studies: Sequence[Study], out: Path) -> None:
    """Refuse a folder with runs that were begun under other rules than the present ones.

    An exact study has no runs; what it checks now is what its row says.

    Raises:
        InputError: it holds such runs; the message names study and versions.
    """
    for study in studies:
        if study.exact:
            continue
        settings = {
            f"{scale}-{setting.data}": setting
            for scale, several in study.scales.items()
            for setting in several
        }
        for path in sorted(study_folder(out, study.id).glob(f"*/{FILE}")):
            begun = _read(path)
            if begun.get("version") != study.version:
                raise InputError(
                    f"{path.parent} was begun under version {begun.get('version')} of {study.id}; "
                    f"the rule of version {study.version} was written at another time and must not "
                    "judge those runs: give another -o."
                )
            setting = settings.get(path.parent.name)
            if setting is None or begun.get("fingerprint") != row_fingerprint(study, setting):
                raise InputError(
                    f"{path.parent} was begun under version {study.version} of {study.id} with "
                    "another rule, contrast or sweep than that version has now; what was changed "
                    "since must not judge those runs: give another -o."
                )


def _write(path: Path, row: Planned, *, before_runs: bool) -> None:
    power = power_before(row.study, row.setting)
    document = {
        "id": row.study.id,
        "version": row.study.version,
        "fingerprint": row_fingerprint(row.study, row.setting),
        "scale": row.scale,
        "data": row.setting.data,
        "power": None if power is None else asdict(power),
        "before_runs": before_runs,
        "begun": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_text(path, json.dumps(document, indent=2) + "\n")


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(read_text(path))
        if isinstance(document, dict):
            return document
        error: object = "no JSON object"
    except (OSError, ValueError, RecursionError) as problem:
        error = problem
    raise _unreadable(path, error)


def _unreadable(path: Path, error: object) -> InputError:
    return InputError(f"{path} can't be read ({error}); take it from a copy, or give another -o.")
