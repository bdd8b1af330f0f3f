"""What can go wrong, in the user's terms; only the command line turns these into messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# Of what a user gave, the letters that a message repeats.
_LONGEST = 80


def shown(value: object) -> str:
    """Give a value as a message repeats it: on one line, and of what is long the beginning."""
    try:
        text = repr(value[:_LONGEST] if isinstance(value, str) else value)
    except (ValueError, RecursionError):  # thousands of digits, or of lists in lists
        return f"a {type(value).__name__} too long to show"
    length = len(value) if isinstance(value, str) else len(text)
    return text if length <= _LONGEST else f"{text[:_LONGEST]}… ({length:,} letters)"


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
        near = difflib.get_close_matches(name[:_LONGEST], self.known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        super().__init__(
            f"unknown {kind} {shown(name)}: {hint}Known: {', '.join(self.known) or 'none'}."
        )


class MissingPackageError(InputError, ImportError):
    """A package that is needed for what was asked is not installed; the message says which."""


class MissingNameError(InputError, AttributeError):
    """A public name that can't be had without a package, to those who look for names."""


class ChangingError(InputError):
    """A file that is being written changes faster than it can be read; it is not damaged."""


class ViolationError(ResprobeError):
    """A self-test, schema or contract does not hold: the command ends with exit 1."""


class DivergedError(ResprobeError):
    """A training run whose loss is not finite any more; what was recorded is kept."""


class InterruptionError(ResprobeError):
    """A signal asked the command to stop; it did, and what it left can be gone on with."""


class DiskFullError(ResprobeError):
    """No room for what is to be written, or the write failed; every committed row is safe."""
