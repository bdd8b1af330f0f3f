"""What a person sees while a network trains: a live bar, plain lines, or nothing."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from resprobe_models.loop import Figures


class Progress(Protocol):
    """The trainer reports here; every call may come any number of times between start and stop."""

    def start(self, total_steps: int, step: int, batch_size: int) -> None:
        """Begin at `step` of `total_steps`."""

    def look(self, step: int, figures: Figures) -> None:
        """Show where training stands within an epoch."""

    def line(self, text: str) -> None:
        """Show one sentence: an epoch's figures, a warning."""

    def stop(self) -> None:
        """Leave the terminal in order."""


class Quiet:
    """Shows nothing."""

    def start(self, total_steps: int, step: int, batch_size: int) -> None:
        """Do nothing."""

    def look(self, step: int, figures: Figures) -> None:
        """Do nothing."""

    def line(self, text: str) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


class Lines(Quiet):
    """One plain line an epoch, for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def line(self, text: str) -> None:
        """Write the line and flush it."""
        self._stream.write(text + "\n")
        self._stream.flush()


class LiveBar:
    """A bar with loss, accuracy, images a second and the time left, on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._batch_size, self._first, self._begun = 0, 0, 0.0

    def start(self, total_steps: int, step: int, batch_size: int) -> None:
        """Draw the bar."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._batch_size, self._first, self._begun = batch_size, step, time.perf_counter()
        self._bar = Progress(
            TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=Console(file=self._stream),
        )
        self._task = self._bar.add_task("train", total=total_steps, completed=step, figures="")
        self._bar.start()

    def look(self, step: int, figures: Figures) -> None:
        """Move the bar."""
        if self._bar is None or self._task is None:
            return
        elapsed = max(time.perf_counter() - self._begun, 1e-9)
        rate = (step - self._first) * self._batch_size / elapsed
        text = f"loss {figures.loss:.3f}  accuracy {1 - figures.error:.3f}  {rate:,.0f} images/s"
        self._bar.update(self._task, completed=step, figures=text)

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
