"""What can go wrong, in the user's terms; only the command line turns these into messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ResprobeError(Exception):
    """Base of every error that resprobe raises on purpose; `exit_code` is the command's."""

    exit_code = 1


class InputError(ResprobeError):
    """Bad usage or bad input: the message says what was given, what was expected, what to do."""

    exit_code = 2


class UnknownNameError(InputError):
    """A name that nothing answers to; the message lists near names and all valid ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, tuple(sorted(known))
        near = difflib.get_close_matches(name, self.known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        super().__init__(
            f"unknown {kind} {name!r}: {hint}Known: {', '.join(self.known) or 'none'}."
        )


class ViolationError(ResprobeError):
    """A self-test, schema or contract does not hold: the command ends with exit 1."""


class DivergedError(ResprobeError):
    """A training run whose loss is not finite any more; what was recorded is kept."""


class DiskFullError(ResprobeError):
    """No room for what is to be written, or the write failed; every committed row is safe."""
