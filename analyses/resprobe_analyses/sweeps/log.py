"""`log.txt` of a sweep: plain lines with the time of day, and one line on how a run ended."""

from __future__ import annotations

import contextlib
from datetime import datetime
from pathlib import Path

from resprobe_analyses.sweeps.outcomes import PointOutcome

LOG = "log.txt"


class Log:
    """The log of a sweep; every line is appended and flushed."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOG

    def write(self, text: str) -> None:
        """Append a line; a full disk stops the log, not the sweep."""
        stamp = datetime.now().astimezone().isoformat(timespec="seconds")
        with contextlib.suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            file.write(f"{stamp} {text}\n")


def line_of(outcome: PointOutcome) -> str:
    """Say in one line how a run ended."""
    words = outcome.status.replace("_", " ")
    if outcome.attempts > 1:
        words += f" at attempt {outcome.attempts}"
    if "test_error" in outcome.metrics:
        words += f", test error {outcome.metrics['test_error']:.4f}"
    words += f", {outcome.seconds:.1f} s"
    return f"{outcome.name}: {words}{': ' + outcome.message if outcome.message else ''}"
