"""The ledger: one row for every study, scale and data set, kept as JSON and as a readable page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resprobe.errors import InputError
from resprobe.files import read_text
from resprobe_analyses.reproduce.document import document
from resprobe_analyses.reproduce.files import write_text
from resprobe_analyses.reproduce.values import plain
from resprobe_analyses.studies.study import SCALES

# Of the layout of ledger.json.
SCHEMA = 1
JSON, PAGE = "ledger.json", "ledger.md"
# What every row has; one that lacks some of it is not one that we wrote.
KEYS = frozenset((
    "id", "scale", "data", "data_meaning", "version", "fingerprint", "claim", "source",
    "printed", "errata", "contradicted_by", "history", "exact", "contrast", "rule", "reference",
    "reference_reason", "beside", "power", "outcome", "reason", "complete", "measured",
    "with_diverged", "without_diverged", "seeds", "needed", "secondary", "checks", "notes",
    "budget", "settings", "commit", "dirty", "versions", "machine", "runs_made_by", "figures",
    "folder", "evidence", "recorded",
))  # fmt: skip

Row = Mapping[str, Any]


@dataclass
class Ledger:
    """Rows by id, scale and data.

    Attributes:
        folder: where it is written.
        rows: the rows.
    """

    folder: Path
    rows: dict[tuple[str, str, str], Row] = field(default_factory=dict)

    def enter(self, row: Row) -> None:
        """Take a row in, in the place of an earlier one of the same id, scale and data."""
        self.rows[_key(row)] = plain(row)

    def write(self) -> None:
        """Write both files, the JSON first; each is whole at any time.

        Raises:
            InputError: the folder can't be written.
        """
        rows = in_order(self.rows.values())
        write_text(self.folder / JSON, as_json(rows))
        write_text(self.folder / PAGE, document(rows))


def read_ledger(folder: Path) -> Ledger:
    """Read a ledger; a folder without one gives an empty one.

    Raises:
        InputError: it is damaged, or of another schema.
    """
    path = folder / JSON
    if not path.exists():
        return Ledger(folder)
    try:
        found = json.loads(read_text(path))
        schema, rows = found["schema"], found["rows"]
        whole = all(row.keys() >= KEYS for row in rows)
        ledger = Ledger(folder, {_key(row): row for row in rows})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path} is no ledger ({error}); take it from a copy, or give another -o."
        ) from error
    if schema != SCHEMA or not whole:
        raise InputError(
            f"{path} has schema {schema!r} or lacks keys, expected all those of schema {SCHEMA}; "
            "give another -o."
        )
    return ledger


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Give rows by id, then scale, smallest first, then data."""
    return sorted(rows, key=_place)


def _place(row: Row) -> tuple[str, int, str]:
    name, scale, data = _key(row)
    return name, SCALES.index(scale) if scale in SCALES else len(SCALES), data


def as_json(rows: Iterable[Row]) -> str:
    """Give ledger.json's text."""
    content = {"schema": SCHEMA, "rows": list(rows)}
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _key(row: Row) -> tuple[str, str, str]:
    return str(row["id"]), str(row["scale"]), str(row["data"])
