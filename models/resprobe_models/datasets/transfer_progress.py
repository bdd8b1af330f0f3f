"""What a person sees of a download, on stderr: a bar, a line every few seconds, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import Progress

LINE_SECONDS = 5.0


class Shown:
    """Shows nothing; a download reports here."""

    def say(self, text: str) -> None:
        """Show one sentence."""

    def start(self, done: int, total: int | None) -> None:
        """Begin at byte `done` of `total`; None where the server does not say."""

    def at(self, done: int) -> None:
        """Show that `done` bytes are there."""


class Lines(Shown):
    """Plain lines, for logs and pipes."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._total: int | None = None
        self._last = time.monotonic()

    def say(self, text: str) -> None:
        """Write a line."""
        click.echo(text, err=True)

    def start(self, done: int, total: int | None) -> None:
        """Remember the size."""
        self._total = total

    def at(self, done: int) -> None:
        """Write a line if the last one is some seconds old."""
        if time.monotonic() - self._last >= LINE_SECONDS:
            self._last = time.monotonic()
            of = "" if self._total is None else f" of {self._total / 1e6:,.0f}"
            self.say(f"{self._name}: {done / 1e6:,.0f}{of} MB")


class Bar(Shown):
    """A bar with size, speed and time left, on a terminal."""

    def __init__(self, name: str, bar: Progress) -> None:
        self._bar, self._task = bar, bar.add_task(name, total=None)

    def say(self, text: str) -> None:
        """Write a line above the bar."""
        self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def start(self, done: int, total: int | None) -> None:
        """Set the bar's ends."""
        self._bar.update(self._task, completed=done, total=total)

    def at(self, done: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=done)


@contextmanager
def make_shown(name: str) -> Iterator[Shown]:
    """Choose by where stderr goes; a command that was given --quiet shows nothing."""
    context = click.get_current_context(silent=True)
    if context is not None and context.params.get("quiet"):
        yield Shown()
    elif not sys.stderr.isatty():
        yield Lines(name)
    else:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as bar:
            yield Bar(name, bar)
