"""What a person sees while a sweep runs: a live display, plain lines, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TextIO

from resprobe_analyses.sweeps.log import line_of
from resprobe_analyses.sweeps.outcomes import PointOutcome

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID


class Progress(Protocol):
    """A sweep reports here; every call may come any number of times between start and stop."""

    def start(self, total: int, ended: int) -> None:
        """Begin; `ended` of `total` runs have ended already."""

    def running(self, names: Sequence[str]) -> None:
        """Show the runs that are under way."""

    def ended(self, outcome: PointOutcome) -> None:
        """Show how a run ended."""

    def line(self, text: str) -> None:
        """Show one sentence."""

    def stop(self) -> None:
        """Leave the terminal in order."""


class Quiet:
    """Shows nothing."""

    def start(self, total: int, ended: int) -> None:
        """Do nothing."""

    def running(self, names: Sequence[str]) -> None:
        """Do nothing."""

    def ended(self, outcome: PointOutcome) -> None:
        """Do nothing."""

    def line(self, text: str) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


class Lines(Quiet):
    """One plain line for each run that ended, for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._ended, self._total = stream, 0, 0

    def start(self, total: int, ended: int) -> None:
        """Count the runs."""
        self._total, self._ended = total, ended

    def ended(self, outcome: PointOutcome) -> None:
        """Write the line."""
        self._ended += 1
        self.line(f"[{self._ended} of {self._total}] {line_of(outcome)}")

    def line(self, text: str) -> None:
        """Write the line and flush it."""
        self._stream.write(text + "\n")
        self._stream.flush()


class LiveBar(Quiet):
    """A bar with what is done, running and failed and the time left, on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._failed = 0

    def start(self, total: int, ended: int) -> None:
        """Draw the bar."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("runs"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[words]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(file=self._stream),
            # Runs of minutes: the speed is that of the last hours, not of the last seconds.
            speed_estimate_period=6 * 3600,
        )
        self._task = self._bar.add_task("runs", total=total, completed=ended, words="")
        self._bar.start()

    def running(self, names: Sequence[str]) -> None:
        """Say how many are under way."""
        failed = f", {self._failed} failed" if self._failed else ""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, words=f"{len(names)} running{failed}")

    def ended(self, outcome: PointOutcome) -> None:
        """Move the bar, and write a line above it."""
        self._failed += outcome.status == "failed"
        self.line(line_of(outcome))
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task)

    def line(self, text: str) -> None:
        """Write a line above the bar."""
        if self._bar is None:
            self._stream.write(text + "\n")
        else:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def stop(self) -> None:
        """Let the terminal go."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def make_progress(*, quiet: bool = False, stream: TextIO | None = None) -> Progress:
    """Choose by where the output goes: nothing if quiet, a bar on a terminal, else lines.

    Args:
        quiet: show nothing.
        stream: standard error unless given.
    """
    stream = sys.stderr if stream is None else stream
    if quiet:
        return Quiet()
    return LiveBar(stream) if stream.isatty() else Lines(stream)
