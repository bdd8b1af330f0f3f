"""Other packages' commands called within the process: the door to the trainer and the collector."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import click

from resprobe import registry
from resprobe.errors import InputError

# Of standard output, and of torch's settings: both belong to the whole process.
_turn = threading.Lock()


def call(name: str, arguments: Sequence[str]) -> str:
    """Run a command in this process and give what it prints.

    Standard output is caught meanwhile, and the trainer sets torch's threads, both for the whole
    process: another thread's call waits.

    Args:
        name: of a registered command.
        arguments: the words after it.

    Raises:
        InputError: the command refuses the words.
        ResprobeError: what the command raises.
    """
    command: click.Command = registry.load("commands", name)
    stdout = io.StringIO()
    with _turn, contextlib.redirect_stdout(stdout), _refusals(name):
        command.main(list(arguments), prog_name=name, standalone_mode=False)
    return stdout.getvalue()


def parse(name: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Read the words after a command without running it, and give its parameters.

    Raises:
        InputError: the command refuses the words.
    """
    command: click.Command = registry.load("commands", name)
    with _refusals(name), command.make_context(name, list(arguments)) as context:
        return dict(context.params)


@contextlib.contextmanager
def _refusals(name: str) -> Iterator[None]:
    """Turn what click says of words into an error of ours."""
    try:
        yield
    except click.ClickException as error:
        raise InputError(f"{name}: {error.format_message()}") from error
