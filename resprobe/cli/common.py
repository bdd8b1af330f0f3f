"""What several commands share: options, progress on stderr, JSON on stdout."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import click

# How often a line in a log says how far a measurement is, in seconds.
_TOLD_AGAIN = 60.0

F = TypeVar("F", bound=Callable[..., Any])


def output_options(function: F) -> F:
    """Add --json and --quiet."""
    function = click.option("--quiet", is_flag=True, help="No progress on stderr.")(function)
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(
        function
    )


def emit(as_json: bool, document: Mapping[str, Any] | list[Any], text: str) -> None:
    """Print a result on stdout: one JSON document for programs, or text for people."""
    click.echo(json.dumps(document, indent=2, default=str) if as_json else text)


def say(text: str, *, quiet: bool = False) -> None:
    """Tell a person what is going on, on stderr."""
    if not quiet:
        click.echo(text, err=True)


@contextmanager
def counting(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show how far a measurement is: a bar on a terminal, a line at the end elsewhere."""
    if quiet:
        yield lambda name, done, total: None
        return
    if not sys.stderr.isatty():
        told: dict[str, float] = {}

        def line(name: str, done: int, total: int) -> None:
            if done == total:
                say(f"{name}: {total} samples")
            elif time.monotonic() - told.get(name, -_TOLD_AGAIN) >= _TOLD_AGAIN:
                told[name] = time.monotonic()
                say(f"{name}: {done} of {total} samples")

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    with Progress(
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        "samples",
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as progress:
        tasks: dict[str, Any] = {}

        def advance(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total)
            progress.update(tasks[name], completed=done)

        yield advance
