"""The command `resprobe`: finds its commands in the registry and turns errors into messages."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import click

import resprobe
from resprobe import registry
from resprobe.errors import InputError, ResprobeError, UnknownNameError

# The order of the data flow; commands of other packages follow by name.
_ORDER = (
    "train",
    "sweep",
    "collect",
    "analyze",
    "reproduce",
    "inspect",
    "list",
    "check",
    "export",
    "demo",
)


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
        _refuse_empty(args)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an expected error ends it with one message and no traceback."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise _Failed(
                "interrupted. What was committed is kept: the same command goes on from there "
                "(train with --resume)."
            ) from error
        except ResprobeError as error:
            kind = _Refused if isinstance(error, InputError) else _Failed
            raise kind(_one_line(str(error))) from error
        except BrokenPipeError:
            raise  # whoever read our output has seen enough; click ends quietly
        except OSError as error:
            # Every command checks its own paths; this is what a file system still thinks of.
            if error.filename is None:  # HDF5 does not say which file it could not read
                raise _Refused(
                    f"what was given can't be read or written ({_one_line(str(error))}); `resprobe "
                    "check INPUT` says which file is damaged."
                ) from error
            raise _Refused(
                f"{_one_line(str(error.filename))} can't be used ({error.strerror}); give another "
                "path, or repair what is there."
            ) from error


def _refuse_empty(args: list[str]) -> None:
    """Refuse an empty word: as a path it would be the working directory, and all that is in it."""
    for before, word in pairwise(args):
        if word == "" or re.fullmatch(r"--[\w-]+=", word):
            where = word.removesuffix("=") or f"the word after {before}"
            raise _Refused(
                f"{where} is empty; give a value, or leave it out. A shell gives an empty word for "
                "a variable that is not set."
            )


def _one_line(message: str) -> str:
    """Show what a quoted path or name may hold, line breaks and control codes, by its escapes."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in message
    )


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
    """Run the command line."""
    resprobe_command.main(prog_name="resprobe")
