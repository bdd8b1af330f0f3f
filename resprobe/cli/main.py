"""The command `resprobe`: finds its commands in the registry and turns errors into messages."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

import resprobe
from resprobe import registry
from resprobe.errors import InputError, ResprobeError, UnknownNameError

# The order of the data flow; commands of other packages follow by name.
_ORDER = ("train", "collect", "analyze", "inspect", "list", "check", "export", "demo")


class _Failed(click.ClickException):
    """An expected error as click shows it: one message on stderr, exit 1."""

    exit_code = ResprobeError.exit_code


class _Refused(_Failed):
    """Bad usage or bad input, exit 2."""

    exit_code = InputError.exit_code


class Commands(click.Group):
    """All registered commands, imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names in the order of the data flow."""
        names = registry.entries("commands")
        return sorted(names, key=lambda n: (_ORDER.index(n) if n in _ORDER else len(_ORDER), n))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command by its name."""
        if cmd_name not in registry.entries("commands"):
            return None
        command: click.Command = registry.load("commands", cmd_name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[Any, Any, list[str]]:
        """Find the command that is meant, or list near names."""
        if args and not args[0].startswith("-") and args[0] not in registry.entries("commands"):
            raise _Refused(str(UnknownNameError("command", args[0], registry.entries("commands"))))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an expected error ends it with one message and no traceback."""
        try:
            return super().invoke(ctx)
        except ResprobeError as error:
            kind = _Refused if isinstance(error, InputError) else _Failed
            raise kind(str(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(resprobe.__version__, prog_name="resprobe")
def resprobe_command() -> None:
    """Measure trained residual networks: which blocks matter, is the depth used, is it stable.

    Recipe → train → run directory → collect → HDF5 → analyze → figures and findings. Every
    command works on what another one wrote, and names the next.

    \b
    Example:
        resprobe train resnet-20-digits -o r20
        resprobe collect r20
        resprobe analyze r20
    """


def main() -> None:
    """Run the command line; a file that HDF5 could not write is left without its clean-up."""
    code = 0
    try:
        resprobe_command.main(prog_name="resprobe")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    # HDF5 crashes when it closes a file after a failed write, also at the process's end.
    writer = sys.modules.get("resprobe.store.writer")
    if writer is not None and writer.abandoned():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
