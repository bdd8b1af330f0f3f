"""The part of the ledger's page on one study: its claim, then what came out of every row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from resprobe_analyses.reproduce import words
from resprobe_analyses.reproduce.markdown import bullets, cell, table
from resprobe_analyses.reproduce.section_budget import budget, provenance

Row = Mapping[str, Any]


def section(rows: Sequence[Row], base: str) -> str:
    """Give the section of one study.

    Args:
        rows: of the study, at least one.
        base: folder of the ledger's files as seen from the page.
    """
    parts = [f"## {rows[0]['id']}\n", _declared(rows[-1])]
    for row in rows:
        parts.append(_result(row, base))
    return "\n".join(part.rstrip() + "\n" for part in parts if part)


def _declared(row: Row) -> str:
    lines = [f"**Claim** ({words.sentence(row['source']).rstrip('.')}): {row['claim']}"]
    if row["printed"]:
        told = "; ".join(f"{name}: {value}" for name, value in row["printed"].items())
        lines.append(f"**Printed**: {words.sentence(told)}")
    if row["contrast"] is not None:
        lines.append(f"**Measured**: {_named(row['contrast'])}")
        lines.append(f"**Rule**: {words.sentence(row['rule'])}")
    if row["beside"]:
        rules = [f"{_named(item)} {words.sentence(item['rule'])}" for item in row["beside"]]
        lines.append(f"**Beside it**, adjusted for their number:\n\n{bullets(rules).rstrip()}")
    lines.append(f"**Would contradict it**: {words.sentence(row['contradicted_by'])}")
    lines += [f"**Erratum**: {words.sentence(text)}" for text in row["errata"]]
    changes = " ".join(words.sentence(text) for text in row["history"])
    lines.append(f"**Version** {row['version']} of the rule. {changes}".rstrip())
    return "\n\n".join(lines) + "\n"


def _named(contrast: Row) -> str:
    units = "" if contrast["units"] in ("", "1") else f" (in {contrast['units']})"
    return f"`{contrast['name']}`{units}: {words.sentence(contrast['meaning'])}"


def _result(row: Row, base: str) -> str:
    parts = [
        f"### {row['id']}, {row['data']} ({row['scale']}): {row['outcome']}\n",
        f"{words.sentence(row['data_meaning'])}\n" if row["data_meaning"] else "",
        _power(row),
        _outcome(row),
        _checks(row["checks"]),
        _secondary(row["secondary"]),
        bullets([words.sentence(note) for note in row["notes"]]) if row["notes"] else "",
        budget(row),
        provenance(row, base),
        _figures(row, base),
    ]
    return "\n".join(part for part in parts if part)


def _power(row: Row) -> str:
    power = row["power"]
    if power is None:
        if row["exact"]:
            return ""
        return "No pilot was run at this scale, so that the power beforehand is not known.\n"
    return (
        f"Before the runs: the chance of a decision was {power['value']:.2f} with "
        f"{words.counted(power['seeds'], 'seed')}, if the truth were {_reference(row)}, from a "
        "standard deviation of "
        f"{power['spread']:.2g} over {words.counted(power['pilot_seeds'], 'other seed')}.\n"
    )


def _outcome(row: Row) -> str:
    found = row["measured"]
    if found is None or found["value"] is None:
        return f"{words.sentence(row['reason'])}\n" if row["reason"] else ""
    value = words.measured(found["value"], found["low"], found["high"], found["units"])
    seeds = words.counted(row["seeds"], "seed")
    lines = [f"`{row['contrast']['name']}` = **{value}** over {seeds}: {row['outcome']}."]
    lines.append(words.sentence(row["reason"]))
    if row["needed"]:
        lines.append(
            f"If the truth were {_reference(row)}, {words.needed_seeds(row['needed'])} would "
            "decide it in four of five cases."
        )
    if row["without_diverged"] is not None:
        lines += [
            f"{which} the seeds with diverged runs: {_short(row[key], found['units'])}."
            for which, key in (("With", "with_diverged"), ("Without", "without_diverged"))
        ]
    return " ".join(line for line in lines if line) + "\n"


def _reference(row: Row) -> str:
    return f"{words.number_as_given(row['reference'])} ({row['reference_reason'].rstrip('.')})"


def _short(judgement: Row, units: str) -> str:
    value = words.measured(judgement["value"], judgement["low"], judgement["high"], units)
    return f"{value}, n = {judgement['seeds']}, {judgement['outcome']}"


def _checks(checks: Sequence[Row]) -> str:
    if not checks:
        return ""
    lines = [
        [
            cell(check["name"]),
            cell(check["expected"]),
            cell(check["measured"]),
            "–" if check["error"] is None else f"{check['error']:.2g}",
            "–" if check["bound"] is None else f"{check['bound']:.2g}",
            "yes" if check["holds"] else "**no**",
        ]
        for check in checks
    ]
    return table(("check", "expected", "measured", "error", "bound", "holds"), lines)


def _secondary(judged: Sequence[Row]) -> str:
    if not judged:
        return ""
    lines = [
        [
            f"`{item['name']}`",
            words.measured(item["value"], item["low"], item["high"], item["units"]),
            str(item["seeds"]),
            "–" if item["p_adjusted"] is None else words.p_number(item["p_adjusted"]),
            cell(f"{item['outcome']}: {item['reason']}"),
        ]
        for item in judged
    ]
    head = ("beside it", "measured [95 %]", "n", "p (Holm)", "by its own rule")
    return table(head, lines)


def _figures(row: Row, base: str) -> str:
    return "".join(
        f"![{row['id']} on {row['data']}: {_title(path)}]({base}{path})\n\n"
        for path in row["figures"]
    )


def _title(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".png").partition("-")[2].replace("-", " ")
