"""A full disk, a failed write or a kill takes nothing that was committed."""

from __future__ import annotations

import errno
import os
import signal

import numpy as np
import pytest
import stored

import resprobe
from resprobe.errors import DiskFullError
from resprobe.handover import WritingThread
from resprobe.store.ordered import OrderedFile


def no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def full_disk(monkeypatch):
    """From the call on, no space can be reserved."""
    return lambda: monkeypatch.setattr(os, "posix_fallocate", no_room)


def test_a_full_disk_stops_recording_before_anything_is_written(tmp_path, full_disk):
    writer = stored.new(tmp_path / "file.h5", chunk_rows=4)
    writer.append("/lines", stored.rows(0, 4))
    full_disk()
    with pytest.raises(DiskFullError, match=r"no room .*file\.h5.*every committed row is safe"):
        writer.append("/lines", stored.rows(4, 8))
    assert writer.committed("/lines") == 4
    writer.close("stopped_disk_full")
    lines = resprobe.open(tmp_path / "file.h5")["lines"]
    assert lines.attrs["status"] == "stopped_disk_full"
    assert np.array_equal(lines["height"], stored.rows(0, 4)["height"])


def test_recording_goes_on_once_there_is_room_again(tmp_path, full_disk, monkeypatch):
    writer = stored.new(tmp_path / "file.h5", chunk_rows=4)
    writer.append("/lines", stored.rows(0, 4))
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", no_room)
        with pytest.raises(DiskFullError):
            writer.append("/lines", stored.rows(4, 8))
    writer.append("/lines", stored.rows(4, 8))
    writer.close()
    lines = resprobe.open(tmp_path / "file.h5")["lines"]
    assert np.array_equal(lines["step"], np.arange(1, 9))


def test_reserved_room_is_given_back_when_the_file_is_closed(tmp_path):
    path = stored.written(tmp_path / "file.h5", *range(3, 60, 3))
    assert path.stat().st_size < 60_000


def test_a_new_file_on_a_full_disk_says_so(tmp_path, full_disk):
    full_disk()
    with pytest.raises(DiskFullError, match=r"no room .*file\.h5"):
        stored.new(tmp_path / "file.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_platform_that_reserves_nothing_on_this_file_system_still_records(tmp_path, monkeypatch):
    def unsupported(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    stored.written(tmp_path / "file.h5", 3)
    assert resprobe.open(tmp_path / "file.h5")["lines"].sizes["step"] == 3


def test_the_writing_thread_marks_a_recording_that_a_full_disk_stopped(tmp_path, full_disk):
    thread = WritingThread(stored.new(tmp_path / "file.h5", chunk_rows=4))
    thread.put("/lines", stored.rows(0, 4))
    while thread.error is None and len(resprobe.open(tmp_path / "file.h5")["lines"]["step"]) < 4:
        pass
    full_disk()
    thread.put("/lines", stored.rows(4, 8))
    thread.put("/lines", stored.rows(8, 12))
    thread.close("finished")
    assert isinstance(thread.error, DiskFullError)
    lines = resprobe.open(tmp_path / "file.h5")["lines"]
    assert lines.attrs["status"] == "stopped_disk_full"
    assert list(lines["step"].values) == [1, 2, 3, 4]


@pytest.mark.parametrize("failing", range(12))
def test_a_write_that_fails_on_the_way_takes_no_committed_row(tmp_path, monkeypatch, failing):
    path = tmp_path / "file.h5"
    writer = stored.new(path, chunk_rows=1)
    writer.append("/lines", stored.rows(0, 64))
    writes = 0

    def fails(self, offset, data):
        nonlocal writes
        writes += 1
        if writes > failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        put(self, offset, data)

    put = OrderedFile._put
    with monkeypatch.context() as patch:
        patch.setattr(OrderedFile, "_put", fails)
        with pytest.raises(DiskFullError, match=r"file\.h5 failed.*every committed row is safe"):
            writer.append("/lines", stored.rows(64, 65))
    plain = stored.plain_xarray(path)["/lines"]["values"]
    assert plain["height"][:64] == stored.rows(0, 64)["height"].tolist()
    writer.append("/lines", stored.rows(64, 70))
    writer.close()
    lines = resprobe.open(path)["lines"]
    assert np.array_equal(lines["width"], stored.rows(0, 70)["width"])


@pytest.mark.parametrize(
    "pieces", [((0, 8), (0, 4)), ((0, 8), (4, 8)), ((4, 8), (0, 5)), ((0, 9), (4, 1))]
)
def test_pieces_that_overlap_are_refused_and_nothing_is_written(tmp_path, pieces):
    path = tmp_path / "file"
    path.write_bytes(bytes(16))
    ordered = OrderedFile(path)
    for offset, size in pieces:
        ordered.seek(offset)
        ordered.write(b"x" * size)
    with pytest.raises(RuntimeError, match="a part of a block"):
        ordered.commit("it")
    assert path.read_bytes() == bytes(16)
    ordered.close()


def test_a_block_that_is_written_again_is_replaced_and_neighbours_stay(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(16))
    ordered = OrderedFile(path)
    for offset, data in ((4, b"old!"), (0, b"left"), (4, b"new!"), (8, b"tail"), (8, b"longer")):
        ordered.seek(offset)
        ordered.write(data)
    ordered.commit("it")
    assert path.read_bytes() == b"leftnew!longer" + bytes(2)
    ordered.close()


def test_a_process_that_never_closes_its_file_ends_in_peace(tmp_path):
    code = (
        "import stored; from pathlib import Path; w = stored.new(Path(sys.argv[1]));"
        "w.append('/lines', stored.rows(0, 4)); w._file['lines/height'][0] = 99"
    )
    done = stored.in_process(code, tmp_path / "file.h5")
    assert (done.returncode, done.stderr) == (0, "")
    assert resprobe.open(tmp_path / "file.h5")["lines"]["height"][0] == 1.5


KILLED = """
import os, signal
import stored
from pathlib import Path

writer = stored.new(Path(sys.argv[1]), chunk_rows=4)
commits, when = int(sys.argv[2]), sys.argv[3]
commit = writer._commit

def counted(group, count):
    global commits
    commits -= 1
    if commits == 0 and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    commit(group, count)
    if commits == 0:
        os.kill(os.getpid(), signal.SIGKILL)

writer._commit = counted
for start in range(0, 300, 3):
    writer.append("/lines", stored.rows(start, start + 3))
"""


@pytest.mark.parametrize("commits", [1, 2, 17])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_killed_process_loses_no_committed_row(tmp_path, commits, when):
    path = tmp_path / "file.h5"
    done = stored.in_process(KILLED, path, commits, when)
    assert done.returncode == -signal.SIGKILL, done.stderr
    safe = 3 * (commits if when == "after" else commits - 1)
    lines = resprobe.open(path)["lines"]
    assert lines.attrs["status"] == "recording"
    for name, values in stored.rows(0, safe).items():
        np.testing.assert_array_equal(lines[name].values, values)
    plain = stored.plain_xarray(path)["/lines"]["values"]
    for name, values in stored.rows(0, safe).items():
        assert plain[name][:safe] == values.tolist()
    writer = stored.new(path, resume=True)
    writer.append("/lines", stored.rows(safe, safe + 2))
    writer.close()
    lines = resprobe.open(path)["lines"]
    assert np.array_equal(lines["width"], stored.rows(0, safe + 2)["width"])
