"""Studies reproduced one after the other; after each the ledger on disk says what is known."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resprobe.errors import DiskFullError, ResprobeError
from resprobe.store.lock import LOCK, file_lock
from resprobe_analyses.reproduce import record
from resprobe_analyses.reproduce.drawn import figures_in, write_drawn
from resprobe_analyses.reproduce.evidence_file import FILE as EVIDENCE
from resprobe_analyses.reproduce.evidence_file import write_evidence
from resprobe_analyses.reproduce.files import make_folder, seen_from
from resprobe_analyses.reproduce.fingerprint import row_fingerprint
from resprobe_analyses.reproduce.judging import judge, judge_secondary
from resprobe_analyses.reproduce.ledger import Ledger, Row, read_ledger
from resprobe_analyses.reproduce.machine import versions
from resprobe_analyses.reproduce.plan import Planned
from resprobe_analyses.reproduce.trained import measure_trained
from resprobe_analyses.reproduce.versions import (
    begin,
    power_beforehand,
    refuse_other_versions,
)
from resprobe_analyses.studies.criteria import (
    MINIMUM_POWER,
    NOT_ATTEMPTED,
    attempted,
    judge_checks,
)
from resprobe_analyses.studies.evidence import Evidence
from resprobe_analyses.sweeps.outcomes import PointOutcome
from resprobe_analyses.sweeps.specification import Sweep

# It shows that everything works, in seconds, and is run whatever it can decide.
ALWAYS_RUN = "smoke"


@dataclass(frozen=True)
class Means:
    """How runs come about.

    Attributes:
        train: runs what is missing of a sweep in a folder and says how every run ended.
        lacking: says in one sentence which data a row needs that are not at hand; "" if none.
        tell: takes a line of progress.
    """

    train: Callable[[Sweep, Path], Sequence[PointOutcome]]
    lacking: Callable[[Planned], str]
    tell: Callable[[str], None]


@dataclass(frozen=True)
class Reproduced:
    """What one call gave.

    Attributes:
        ledger: with all rows of its folder.
        rows: those that were asked for, in that order.
        kept: how sentences name those that were there already.
    """

    ledger: Ledger
    rows: list[Row]
    kept: list[str]


def reproduce(planned: Sequence[Planned], out: Path, means: Means) -> Reproduced:
    """Reproduce studies and enter them in the ledger of a folder, one at a time.

    Args:
        planned: the rows to be made; a trained one that the ledger holds whole is kept.
        out: the folder.
        means: how runs come about.

    Raises:
        InputError: the folder holds runs that were begun under other rules, a damaged ledger, or
            can't be written; or another process writes it.
        ResprobeError: what training raises that is not about a single run.
    """
    make_folder(out)
    with file_lock(out / LOCK, f"the ledger {out}"):
        refuse_other_versions(list({row.study.id: row.study for row in planned}.values()), out)
        ledger = read_ledger(out)
        kept = []
        for number, row in enumerate(planned, start=1):
            there = _earlier(ledger, row)
            if there is not None and there["complete"]:
                means.tell(f"{row.title} is in the ledger already and kept")
                kept.append(row.title)
                continue
            means.tell(f"{row.title} ({number} of {len(planned)})")
            made = _made(row, out, means)
            if there is not None and there["evidence"] and not made["evidence"]:
                # what some of its runs gave is not lost because the others can't be made now
                means.tell(f"{row.title}: the earlier row is kept, for {made['reason']}")
                kept.append(row.title)
                continue
            ledger.enter(made)
            ledger.write()
            means.tell(f"{row.title}: {made['outcome']}")
        ledger.write()  # a kill between its two files left the page behind
        return Reproduced(ledger, [ledger.rows[row.key] for row in planned], kept)


def _earlier(ledger: Ledger, planned: Planned) -> Row | None:
    """Give the row that the same rule gave before; none of an exact study, whose rule is code.

    No fingerprint tells whether that code is what it was, and to run it again takes seconds.
    """
    there = ledger.rows.get(planned.key)
    if planned.study.exact or there is None:
        return None
    same = there["version"] == planned.study.version and there["fingerprint"] == row_fingerprint(
        planned.study, planned.setting
    )
    return there if same else None


def _made(planned: Planned, out: Path, means: Means) -> dict[str, Any]:
    row = record.new_row(planned, power_beforehand(planned, out), versions())
    if planned.study.exact:
        return _exact(planned, out, row)
    power = row["power"]
    if power is not None and not attempted(power["value"]) and planned.scale != ALWAYS_RUN:
        reason = (
            f"the chance of a decision is {power['value']:.2f}, below {MINIMUM_POWER:g}; it was "
            "computed before any run, and none was made for it"
        )
        return {**row, "outcome": NOT_ATTEMPTED, "reason": reason}
    return _trained(planned, out, row, means)


def _exact(planned: Planned, out: Path, row: dict[str, Any]) -> dict[str, Any]:
    started = time.monotonic()
    try:
        evidence: Evidence = planned.study.measure()  # type: ignore[call-arg]  # an exact one's
        found = record.with_checks(evidence, judge_checks(evidence.checks))
    except DiskFullError:
        raise
    except ResprobeError as error:
        return {**row, "outcome": record.NOT_JUDGED, "reason": seen_from(str(error), out)}
    write_drawn(evidence, planned.folder(out))
    spent = {"spent_core_minutes": (time.monotonic() - started) / 60}
    row = {**row, **found, "budget": {**row["budget"], **spent}}
    return _written(planned, out, row, evidence, ())


def _trained(planned: Planned, out: Path, row: dict[str, Any], means: Means) -> dict[str, Any]:
    contrast, sweep = planned.study.primary, planned.setting.sweep
    if contrast is None or sweep is None:
        raise ValueError(f"{planned.title} has nothing to train")
    lacking = means.lacking(planned)
    if lacking:
        return {**row, "reason": lacking}
    promised = begin(planned, out)
    points = means.train(sweep, planned.sweep_folder(out))
    row |= record.with_runs(planned, points)
    evidence = Evidence()
    try:
        evidence = measure_trained(planned, points, planned.folder(out))
        primary = judge(contrast, evidence)
        secondary = judge_secondary(planned.study, evidence)
    except DiskFullError:
        raise
    except ResprobeError as error:
        reason = seen_from(str(error), out)
        row |= {"outcome": record.NOT_JUDGED, "reason": reason, "complete": False}
    else:
        row |= record.with_samples(evidence, contrast, primary, secondary, planned.scale)
    if not promised:
        earlier = "its runs were there before this rule was recorded beside them"
        row["notes"] = [*row["notes"], earlier]
    return _written(planned, out, row, evidence, points)


def _written(
    planned: Planned,
    out: Path,
    row: dict[str, Any],
    evidence: Evidence,
    points: Sequence[PointOutcome],
) -> dict[str, Any]:
    # beside a row without a verdict those of an earlier one may still lie
    there = [] if row["outcome"] == record.NOT_JUDGED else figures_in(planned.folder(out))
    figures = [f"{row['folder']}/{name}" for name in there]
    row = {**row, "figures": figures, "evidence": f"{row['folder']}/{EVIDENCE}"}
    write_evidence(planned, out, row, evidence, points)
    return row
