"""Rows that are recorded again after a resume: compared with what is stored, which stays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe.store.schema import ENDED, REPLAY
from resprobe.store.training import EPOCHS, UNREPEATABLE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resprobe.store.writer import Writer


@dataclass(frozen=True)
class Replay:
    """What came of recording rows a second time.

    Attributes:
        compared: rows that were there already.
        differing: those of them that came out otherwise.
        first_step: the step of the first one that did, None without any.
        largest_difference: largest relative difference, `|a - b| / max(|a|, |b|)`; infinite where
            one of the two is not finite.
        dropped: rows that were there and not recorded again, because the training ended before
            them, or because other steps are recorded now.
    """

    compared: int = 0
    differing: int = 0
    first_step: int | None = None
    largest_difference: float = 0.0
    dropped: int = 0

    def __add__(self, other: Replay) -> Replay:
        firsts = [step for step in (self.first_step, other.first_step) if step is not None]
        return Replay(
            self.compared + other.compared,
            self.differing + other.differing,
            min(firsts, default=None),
            max(self.largest_difference, other.largest_difference),
            self.dropped + other.dropped,
        )

    def __str__(self) -> str:
        lines = []
        if self.differing:
            lines.append(
                f"from step {self.first_step} on, training again gave other numbers than those "
                f"recorded before ({self.differing} of {self.compared} rows differ so far, by up "
                f"to {self.largest_difference:.1e}); the rows from there on are the new ones"
            )
        if self.dropped:
            lines.append(
                f"{self.dropped} rows recorded before were dropped: this training did not record "
                "their steps"
            )
        return "; ".join(lines)


class ReplayingWriter:
    """Adds rows to a recording that goes on from an earlier row.

    Rows that are there already stay as long as those that come are equal, so that a second kill
    loses none of them. From the first difference on the rest is of another training: it is
    replaced.

    Args:
        writer: of the file; its groups have `REPLAY` and the variable `step`.
        starts: each group's number of rows that are not repeated.
    """

    def __init__(self, writer: Writer, starts: Mapping[str, int]) -> None:
        self._writer = writer
        self._next = dict(starts)
        self._ends = {group: writer.committed(group) for group in starts}
        self._earlier = {group: self._stored(group) for group in starts}
        self._found = {group: Replay() for group in starts}

    @property
    def replay(self) -> Replay:
        """What came of it so far, all groups together."""
        total = Replay()
        for found in self._found.values():
            total += found
        return total

    def append(self, group: str, rows: Mapping[str, NDArray[Any]]) -> None:
        """Compare rows with those that are there, and append what is not.

        Raises:
            DiskFullError: see `Writer.append`.
        """
        at, count = self._next[group], len(rows["step"])
        repeated = max(0, min(count, self._ends[group] - at))
        if repeated:
            equal = self._compare(group, rows, at, repeated)
            self._put(group)
            if equal < repeated and self._writer.committed(group) > at + equal:
                self._writer.truncate(group, at + equal)
        there = self._writer.committed(group) - at
        if there < count:
            self._writer.append(group, {name: values[there:] for name, values in rows.items()})
        self._next[group] = at + count

    def close(self, status: str) -> None:
        """Close the file; a training that ended keeps no rows of an earlier one beyond its end."""
        try:
            if status in ENDED:
                for group, at in self._next.items():
                    if (beyond := self._writer.committed(group) - at) > 0:
                        self._found[group] += Replay(dropped=beyond)
                        self._writer.truncate(group, at)
        finally:
            self._writer.close(status)

    def _compare(self, group: str, rows: Mapping[str, NDArray[Any]], at: int, repeated: int) -> int:
        """Compare rows with the stored ones from `at` on; give how many begin them equal."""
        stored = {name: self._writer.read_anyway(group, name, at, at + repeated) for name in rows}
        other_step = stored["step"] != rows["step"][:repeated]
        if other_step.any():
            same = int(other_step.argmax())
            dropped = self._ends[group] - at - same
            self._found[group] += Replay(dropped=dropped)
            self._ends[group], repeated = at + same, same
        differs = np.zeros(repeated, bool)
        largest = 0.0
        for name, old in stored.items():
            if name in UNREPEATABLE:
                continue
            new = rows[name][:repeated]
            if group == EPOCHS:  # of an epoch that was gone on with, some figures are unknown
                new = np.where(np.isnan(new) | np.isnan(old[:repeated]), old[:repeated], new)
            difference = _relative(old[:repeated], new)
            differs |= difference > 0
            largest = max(largest, float(difference.max(initial=0.0)))
        first = int(differs.argmax()) if differs.any() else None
        step = None if first is None else int(rows["step"][first])
        self._found[group] += Replay(repeated, int(differs.sum()), step, largest)
        return repeated if first is None else first

    def _stored(self, group: str) -> Replay:
        """Give what earlier resumes have found."""
        values = [self._writer.get(group, variable.name) for variable in REPLAY]
        compared, differing, step, largest = values
        return Replay(int(compared), int(differing), int(step) or None, float(largest))

    def _put(self, group: str) -> None:
        total = self._earlier[group] + self._found[group]
        values = (total.compared, total.differing, total.first_step or 0, total.largest_difference)
        names = [variable.name for variable in REPLAY]
        self._writer.put(group, dict(zip(names, values, strict=True)))


def _relative(old: NDArray[Any], new: NDArray[Any]) -> NDArray[np.float64]:
    """Give each row's largest relative difference, `(row,)`; NaN equals NaN.

    `new` is compared as it would be stored.
    """
    shape = (len(old), math.prod(old.shape[1:]))
    a = old.astype(np.float64).reshape(shape)
    b = np.asarray(new).astype(old.dtype).astype(np.float64).reshape(shape)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore", over="ignore"):
        relative = np.abs(a - b) / np.maximum(np.abs(a), np.abs(b))
    relative[~np.isfinite(relative)] = np.inf
    found: NDArray[np.float64] = np.where(same, 0.0, relative).max(axis=1, initial=0.0)
    return found
