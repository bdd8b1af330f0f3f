"""The fingerprint of every bundled study's rule, contrasts and sweeps, by its version.

`python tests/analyses/study_versions.py` writes `study_versions.json` anew. It refuses a study
whose rule changed although the committed ledger holds a row of that very version: such a study
needs a new version, with a line of history that says what changed and why.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from resprobe_analyses.reproduce.fingerprint import study_fingerprint
from resprobe_analyses.reproduce.plan import registered

FILE = Path(__file__).with_suffix(".json")
LEDGER = Path(__file__).resolve().parents[2] / "analyses" / "ledger" / "ledger.json"


def declared() -> dict[str, dict[str, object]]:
    """Version and fingerprint of the studies as they are declared now, by id."""
    return {
        name: {"version": study.version, "fingerprint": study_fingerprint(study)}
        for name, study in registered().items()
    }


def judged() -> set[tuple[str, int]]:
    """Ids and versions of which the committed ledger holds a row."""
    if not LEDGER.exists():
        return set()
    rows = json.loads(LEDGER.read_text(encoding="utf-8"))["rows"]
    return {(row["id"], row["version"]) for row in rows if row["evidence"]}


def changed_after_a_run(recorded, present, judged) -> list[str]:
    """Ids of studies whose rule is another one though the ledger has rows of their version."""
    return [
        name
        for name, told in present.items()
        if name in recorded
        and recorded[name]["version"] == told["version"]
        and recorded[name]["fingerprint"] != told["fingerprint"]
        and (name, told["version"]) in judged
    ]


def main() -> None:
    present = declared()
    recorded = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    wrong = changed_after_a_run(recorded, present, judged())
    if wrong:
        sys.exit(
            f"{', '.join(wrong)}: the ledger holds rows of this version; raise the study's "
            "version and say in its history what changed and why."
        )
    FILE.write_text(json.dumps(present, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
