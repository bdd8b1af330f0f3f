"""A file under HDF5 whose changes reach the disk together, in an order that a kill can't harm.

HDF5 flushes what it changed by address: a node of a chunk index that was split may point to nodes
that are not on the disk yet, and the end of the file is told last of all. A process killed between
two such writes left committed rows unreadable. So HDF5 writes into memory here, and a flush puts
everything in place in this order: what is new (nothing refers to it yet), the end of the file,
nodes of the indexes from the root down, and the rest. Of what is rewritten only the bytes that
differ are written, new entries of a node before their number. Whatever the last write was, every
row that was there before can be read.

A kill may also cut one write short, where it goes from one page of memory to the next. What must
change at once therefore never lies across a page: numbers are aligned to 8 bytes, and the beginning
of a node, which changes at once when the root of an index is split, to `NODE_ALIGNMENT`.
"""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np

from resprobe.store.room import reserve

# A node of a chunk index (version 1 B-tree): signature, type, level, number of entries (2 bytes),
# neighbours (2 × 8 bytes), then keys and addresses in turn.
_NODE = b"TREE"
_LEVEL, _NUMBERS = 5, 8
# The beginning of a node that holds two entries of up to three dimensions, which is what is left
# of a root that was split.
NODE_ALIGNMENT = 256
# Nodes of the indexes are not smaller; aligning smaller things would waste room.
NODE_SIZE = 2048


class OrderedFile:
    """What h5py takes for an open file (its driver "fileobj").

    Args:
        path: of an HDF5 file that exists.

    Raises:
        OSError: it can't be opened for writing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("r+b", buffering=0)
        self._at = 0
        self._end = self._end_on_disk = os.fstat(self._file.fileno()).st_size
        # By where they begin; none overlaps another (`_require_apart`).
        self._changes: dict[int, bytes] = {}
        self._discarded = self._overlaps = False

    # -- what HDF5 calls ------------------------------------------------------------------------

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset from the start or the end."""
        self._at = offset if whence == os.SEEK_SET else self._end + offset
        return self._at

    def tell(self) -> int:
        """Give the position."""
        return self._at

    def readinto(self, buffer: memoryview) -> int:
        """Read the file as HDF5 left it: the disk below, its own changes above."""
        start, stop = self._at, self._at + len(buffer)
        self._file.seek(start)
        there = self._file.readinto(buffer) or 0
        buffer[there:] = bytes(len(buffer) - there)
        for offset, data in self._changes.items():
            low, high = max(start, offset), min(stop, offset + len(data))
            if low < high:
                buffer[low - start : high - start] = data[low - offset : high - offset]
        self._at = stop
        return len(buffer)

    def read(self, size: int) -> bytes:
        """Read `size` bytes; h5py takes only what has this method for a file."""
        buffer = bytearray(size)
        self.readinto(memoryview(buffer))
        return bytes(buffer)

    def write(self, data: memoryview) -> int:
        """Keep a change until `commit`."""
        if not self._discarded:
            if len(self._changes.get(self._at, b"")) > len(data):
                self._overlaps = True
            self._changes[self._at] = bytes(data)
        self._at += len(data)
        return len(data)

    def truncate(self, size: int) -> int:
        """Learn where the file ends."""
        self._end = size
        return size

    def flush(self) -> None:
        """Leave it to `commit`."""

    # -- what the writer calls --------------------------------------------------------------------

    def commit(self, what: str) -> None:
        """Put on the disk what HDF5 wrote since the last time.

        Args:
            what: is written, for the message.

        Raises:
            DiskFullError: there is no room; nothing was written.
            OSError: a write failed; what was there before can be read.
            RuntimeError: HDF5 wrote one place in two different pieces, which is not foreseen here;
                nothing was written.
        """
        if self._discarded:
            return
        self._require_apart()
        descriptor = self._file.fileno()
        if self._end > self._end_on_disk:
            room = self._end - self._end_on_disk
            reserve(self._path, descriptor, self._end_on_disk, room, what)
            if os.fstat(descriptor).st_size < self._end:
                self._file.truncate(self._end)
        for offset, data in sorted(self._changes.items(), key=self._turn):
            if offset >= self._end_on_disk:
                self._put(offset, data)
            else:
                self._change(offset, data)
        if os.fstat(descriptor).st_size > self._end:
            self._file.truncate(self._end)
        self._changes.clear()
        self._end_on_disk = self._end

    def discard(self) -> None:
        """Forget what was not committed; what HDF5 still writes goes nowhere."""
        self._changes.clear()
        self._discarded = True

    def close(self) -> None:
        """Close the file on the disk."""
        self._file.close()

    def _require_apart(self) -> None:
        """Refuse changes that overlap: in the order of the disk, the earlier one might hold."""
        starts = sorted(self._changes)
        for start, following in pairwise(starts):
            self._overlaps |= start + len(self._changes[start]) > following
        if self._overlaps:
            raise RuntimeError(
                f"HDF5 {h5py.version.hdf5_version} rewrote a part of a block of {self._path}; this "
                "is a bug of resprobe"
            )

    def _turn(self, change: tuple[int, bytes]) -> tuple[int, int]:
        """Give the place of a change in the order of writing."""
        offset, data = change
        if offset >= self._end_on_disk:
            return 0, 0
        if offset == 0:
            # The superblock tells the end: it grows before, and shrinks after, all that lies there.
            return (1, 0) if self._end >= self._end_on_disk else (4, 0)
        if data[:4] == _NODE:
            return 2, -data[_LEVEL]  # its level: leaves last
        return 3, 0

    def _change(self, offset: int, data: bytes) -> None:
        """Rewrite what differs from the disk."""
        self._file.seek(offset)
        before = self._file.read(len(data)) or b""
        if data[:4] != _NODE or before[:4] != _NODE:
            self._put_changed(offset, before, data)
            return
        same_level = data[_LEVEL] == before[_LEVEL]
        cut = _NUMBERS if same_level else NODE_ALIGNMENT
        head = (offset, before[:cut], data[:cut])
        tail = (offset + cut, before[cut:], data[cut:])
        grows = same_level and _entries(data) >= _entries(before)
        for part in (tail, head) if grows else (head, tail):
            self._put_changed(*part)

    def _put_changed(self, offset: int, before: bytes, data: bytes) -> None:
        differs = np.flatnonzero(
            np.frombuffer(before, np.uint8) != np.frombuffer(data, np.uint8)[: len(before)]
        )
        if len(before) < len(data):
            self._put(offset, data)
        elif len(differs):
            first, last = int(differs[0]), int(differs[-1])
            self._put(offset + first, data[first : last + 1])

    def _put(self, offset: int, data: bytes) -> None:
        self._file.seek(offset)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]


def _entries(node: bytes) -> int:
    return int.from_bytes(node[_LEVEL + 1 : _NUMBERS], "little")
