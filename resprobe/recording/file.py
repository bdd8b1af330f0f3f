"""The file of a recording while it is written, and what went wrong on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe.errors import DiskFullError
from resprobe.handover import Rows, WritingThread
from resprobe.recording.step import BATCH_ROWS
from resprobe.store.replay import Replay, ReplayingWriter
from resprobe.store.schema import STATUS
from resprobe.store.training import EPOCHS, STEP
from resprobe.store.writer import Writer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resprobe.store.schema import Group

# The longest that a row waits for being handed over, in seconds.
_PATIENCE = 10.0
# So many rows are looked at for whether weights change.
_FIRST_ROWS = 4


class RecordFile:
    """Takes the rows of a training, hands them to the writing thread, and says what went wrong.

    A full disk ends the recording and not the training; other errors of the thread are raised.

    Args:
        path: of the file, which `begin` makes.
        tell: takes a sentence.

    Attributes:
        thread: that writes, once the file is made.
    """

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        self.path = path
        self.thread: WritingThread | None = None
        self._tell = tell
        self._rows: dict[str, Rows] = {}
        self._epochs = 0
        self._epoch_rows: list[dict[str, Any]] = []
        self._last_handover = time.monotonic()
        self._full: DiskFullError | None = None
        self._replaying: ReplayingWriter | None = None
        self._told: set[str] = set()
        self._looked = False
        self._unmoved = ""

    def begin(
        self,
        groups: Sequence[Group],
        attributes: Mapping[str, Any],
        rows: Mapping[str, Rows],
        *,
        go_on: tuple[int, int] | None,
    ) -> None:
        """Make the file, or go on in the one that is there.

        Args:
            groups: that it has.
            attributes: of its root.
            rows: in which a group's are gathered before they are handed over.
            go_on: after which step and how many steps apart, where a file may be there.

        Raises:
            InputError: the file can't be made or gone on in.
        """
        resume = go_on is not None and self.path.exists()
        try:
            writer = Writer(self.path, groups, attributes, chunk_rows=BATCH_ROWS, resume=resume)
            if resume and go_on is not None:
                self._replaying = self._go_on(writer, [group.path for group in groups], *go_on)
        except DiskFullError as error:
            self._full = error
            self.report()
            return
        if go_on is not None and go_on[0] > 0 and not resume:
            self._tell(
                f"warning: there is no {self.path} to go on in, so its first row will be after "
                f"step {go_on[0]}."
            )
        self.thread = WritingThread(self._replaying or writer, self._look)
        self._rows = dict(rows)

    @property
    def failed(self) -> bool:
        """Whether nothing can be written any more."""
        broken = self.thread is not None and self.thread.error is not None
        return broken or self._full is not None

    @property
    def replay(self) -> Replay:
        """What came of recording rows again that an earlier life of the training had recorded."""
        return Replay() if self._replaying is None else self._replaying.replay

    def added(self) -> None:
        """Hand over the rows where a batch of them is full, or where they have waited long."""
        late = time.monotonic() - self._last_handover > _PATIENCE
        if late or any(rows.full for rows in self._rows.values()):
            self.hand_over()

    def put(self, group: str, row: Mapping[str, Any]) -> None:
        """Hand over one row by itself, which took long to measure, after those before it."""
        self.hand_over()
        if self.thread is not None:
            self.thread.put(group, row)

    def end_epoch(self, values: Mapping[str, float], step: int) -> None:
        """Add the row of an epoch that ended at this step."""
        self._epochs += 1
        row = {**values, "epoch": self._epochs, "step": step}
        self._epoch_rows.append({name: np.asarray([value]) for name, value in row.items()})
        self.hand_over()

    def hand_over(self) -> None:
        """Give what there is to the writing thread."""
        self._last_handover = time.monotonic()
        if self.thread is None:
            return
        for group, rows in self._rows.items():
            if len(rows):
                self.thread.put(group, rows.take())
        for row in self._epoch_rows:
            self.thread.put(EPOCHS, row)
        self._epoch_rows.clear()
        self.report()

    def flush(self) -> None:
        """Wait until all rows so far are safe in the file."""
        self.hand_over()
        if self.thread is not None:
            self.thread.flush()
        self.report()

    def close(self, status: str) -> None:
        """Write what there is and what became of the recording, and close the file."""
        if self.thread is None:
            return
        try:
            self.hand_over()
        finally:
            self.thread.close(status)
        self.report()

    def report(self) -> None:
        """Say once that recording stopped, and that a repetition differs; training goes on.

        Other errors of the writing thread are raised.
        """
        replay = self.replay
        if replay.differing:
            self.say_once("differing", f"warning: {replay}.")
        elif replay.dropped:
            self.say_once("dropped", f"warning: {replay}.")
        if self._unmoved:
            self.say_once("unmoved", self._unmoved)
        error = self._full or (self.thread.error if self.thread is not None else None)
        if error is None:
            return
        if not isinstance(error, DiskFullError):
            if "raised" in self._told:
                return
            self._told.add("raised")
            raise error
        self.say_once("full", f"Recording stopped, training goes on: {error}")

    def say_once(self, what: str, text: str) -> None:
        """Tell a sentence, unless one of this kind was told already."""
        if what not in self._told:
            self._told.add(what)
            self._tell(text)

    def _look(self, group: str, rows: Mapping[str, NDArray[Any]]) -> None:
        """Notice in the first rows whether weights change at all; in the writing thread."""
        name = "parameter_update_norm" if "parameter_update_norm" in rows else "update_norm"
        if group != STEP or self._looked or name not in rows or len(rows[name]) < _FIRST_ROWS:
            return
        self._looked = True
        still = (rows[name] == 0).all(axis=1) & (rows["learning_rate"] != 0)
        if 2 * still.sum() >= len(still):
            self._unmoved = (
                f"warning: in {still.sum()} of the first {len(still)} recorded steps no weight had "
                "changed; call Recorder.step once after each optimizer.step(), not before it and "
                "not after every micro-batch."
            )

    def _go_on(
        self, writer: Writer, groups: Sequence[str], start: int, every: int
    ) -> ReplayingWriter:
        """Find the rows that training goes on from; say so if rows before it are missing."""
        starts = {group: int((writer.read(group, "step") <= start).sum()) for group in groups}
        self._epochs = starts[EPOCHS]
        before = writer.rows(STEP)[: starts[STEP]]
        last = int(before[-1]) if len(before) else 1 - every
        following = last + (int(before[-1] - before[-2]) if len(before) > 1 else every)
        if following <= start:
            self._tell(
                f"warning: steps {following} to {start} are not in {self.path}: "
                "its recording ended before the checkpoint that training goes on from."
            )
        for group in groups:
            writer.put(group, {"status": STATUS.index("recording")})
        return ReplayingWriter(writer, starts)
