"""What one malformed input is."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from malformed_damage import Damage, nothing


@dataclass(frozen=True)
class Row:
    """One malformed input.

    Attributes:
        name: what is wrong.
        kind: of the damage, for the count.
        words: after `resprobe`; a list where a word holds what a shell would take apart.
        damage: done to a fresh copy of the good inputs.
        says: what the message must hold, the culprit among it.
        code: the exit code; 1 is a `check` that found violations and says them on stdout.
    """

    name: str
    kind: str
    words: tuple[str, ...]
    says: tuple[str, ...]
    damage: Damage = nothing
    code: int = 2

    @property
    def command(self) -> str:
        return self.words[0]


def row(
    name: str,
    kind: str,
    words: str | list[str],
    *says: str,
    damage: Damage = nothing,
    code: int = 2,
) -> Row:
    parts = shlex.split(words) if isinstance(words, str) else words
    return Row(name, kind, tuple(parts), says, damage, code)
