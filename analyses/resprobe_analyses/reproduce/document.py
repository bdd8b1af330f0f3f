"""The ledger as a page: what its words mean, one table of all rows, then a section a study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from resprobe_analyses.reproduce import words
from resprobe_analyses.reproduce.markdown import cell, table
from resprobe_analyses.reproduce.record import AT_PAPER_SCALE
from resprobe_analyses.reproduce.section import section
from resprobe_analyses.studies.criteria import (
    CONTRADICTED,
    FAILS,
    HOLDS,
    NOT_ATTEMPTED,
    REPRODUCED,
    UNDECIDED,
)
from resprobe_analyses.studies.criteria.diverged import RULE as DIVERGED

_OPENING = f"""# What of the papers reproduces

Each row is one claim of a paper on one data set, judged by a rule that was written down before the
runs that it judges. A number is a mean over training seeds, in brackets its 95 % interval over
seeds; *n* counts the seeds behind it. Unless the scale is `paper`, networks, data and training are
smaller than the papers', and a verdict goes no further than they do.

- **{REPRODUCED}** (at the scale `paper`: **{AT_PAPER_SCALE}**): the rule says yes.
  **{CONTRADICTED}**: the rule says no.
- **{UNDECIDED}**: the interval allows both; the section says how many seeds would decide it.
- **{NOT_ATTEMPTED}**: fewer than five seeds, or a chance below one half of deciding anything,
  computed before the run from other seeds.
- **{HOLDS}** or **{FAILS}**: an exact claim, checked without training; error and bound are empty
  where equality is meant.
- *p (Holm)*, of what is measured beside the main quantity: below 0.05 where its rule decides,
  either way, adjusted for how many there are; the intervals are not adjusted.
- **not run** or **not judged**: data or finished runs were missing; there is no verdict.

{words.sentence(DIVERGED)}
"""


def document(rows: Sequence[Mapping[str, Any]], base: str = "") -> str:
    """Give the page.

    Args:
        rows: in the order in which they are shown; those of a study follow each other.
        base: folder of the ledger's files as seen from the page, ending in "/" or empty.
    """
    parts = [_OPENING, _counts(rows), _summary(rows)]
    for _, group in groupby(rows, key=lambda row: str(row["id"])):
        parts.append(section(list(group), base))
    return "\n".join(part.rstrip() + "\n" for part in parts)


def _counts(rows: Sequence[Mapping[str, Any]]) -> str:
    found = Counter(str(row["outcome"]) for row in rows)
    told = [f"{outcome} {count}" for outcome, count in found.most_common()]
    if not told:
        return "No rows yet.\n"
    return f"{words.counted(len(rows), 'row')}: {', '.join(told)}. {_runs(rows)}".rstrip() + "\n"


def _runs(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say how many runs are behind all rows; those that several studies share count once."""
    budgets = {
        row["settings"]: row["budget"] for row in rows if row["settings"] and row["evidence"]
    }
    if not budgets:
        return ""
    ended: Counter[str] = Counter()
    for budget in budgets.values():
        ended.update(budget["runs"])
    spent = words.core_time(sum(budget["spent_core_minutes"] for budget in budgets.values()))
    return (
        f"Behind them are {words.counted(ended['trained'], 'trained run')}, {ended['diverged']} "
        f"that diverged and {ended['failed']} that failed, in {spent}."
    )


def _summary(rows: Sequence[Mapping[str, Any]]) -> str:
    head = ("study", "data (scale)", "claim", "printed", "measured [95 %]", "n", "verdict")
    return table(head, [_line(row) for row in rows])


def _line(row: Mapping[str, Any]) -> list[str]:
    anchor = str(row["id"]).lower().replace(".", "").replace("+", "")
    return [
        f"[{row['id']}](#{anchor})",
        f"{row['data']} ({row['scale']})",
        cell(str(row["claim"])),
        _printed(row["printed"]),
        _measured(row),
        str(row["seeds"] or "–"),
        f"**{row['outcome']}**",
    ]


def _printed(printed: Mapping[str, str]) -> str:
    if len(printed) > 3:
        return f"{len(printed)} values"
    return cell("; ".join(f"{name}: {value}" for name, value in printed.items())) or "–"


def _measured(row: Mapping[str, Any]) -> str:
    if row["checks"]:
        held = sum(bool(check["holds"]) for check in row["checks"])
        return f"{held} of {words.counted(len(row['checks']), 'check')}"
    found = row["measured"]
    if found is None or found["value"] is None:
        return "–"
    name = row["contrast"]["name"]
    value = words.measured(found["value"], found["low"], found["high"], found["units"])
    return cell(f"{name} {value}")


def line_of(row: Mapping[str, Any]) -> str:
    """Say in one line what came of a row."""
    measured = _measured(row)
    told = "" if measured == "–" else f" {measured},"
    why = "" if told or not row["reason"] else f" ({row['reason'].rstrip('.')})"
    on = "" if row["exact"] else f" on {row['data']}"
    return f"{row['id']}{on} ({row['scale']}):{told} {row['outcome']}{why}"
