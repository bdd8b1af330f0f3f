"""Files are read while they are written: no error, no wrong row, and nobody is stopped."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import stored
import xarray as xr

import resprobe
from resprobe.errors import ChangingError
from resprobe.store import check_file, hdf5
from resprobe.store.lock import file_lock

HERE = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"

WRITES_ON = """
import itertools, time
import numpy as np
import stored
from pathlib import Path
from resprobe.store.lock import run_lock

path, stop = Path(sys.argv[1]), Path(sys.argv[2])
with run_lock(path.parent):
    writer = stored.new(path, chunk_rows=64)
    print("ready", flush=True)
    for start in itertools.count(0, 3):
        writer.append("/lines", stored.rows(start, start + 3))
        writer.put("/lines", {"whole": start, "mean_width": np.full(3, start)})
        time.sleep(0.01)
        if stop.exists():
            break
    writer.close()
"""


def assert_rows_are_right(lines: xr.Dataset) -> int:
    count = lines.sizes["step"]
    for name, values in stored.rows(0, count).items():
        np.testing.assert_array_equal(lines[name].values, values, err_msg=name)
    return count


@pytest.fixture
def writing(tmp_path):
    """A file that another process writes until the test is over."""
    path, stop = tmp_path / "file.h5", tmp_path / "stop"
    process = subprocess.Popen(
        [sys.executable, "-c", HERE + WRITES_ON, path, stop], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    yield path, process
    stop.touch()
    process.communicate(timeout=60)
    assert process.returncode == 0
    tree = xr.open_datatree(path, engine="h5netcdf")
    assert assert_rows_are_right(tree["lines"].to_dataset().load()) % 3 == 0
    tree.close()


def read_often(writing, times: int) -> list[int]:
    path, process = writing
    seen = []
    for _ in range(times):
        lines = resprobe.open(path)["lines"].to_dataset()
        seen.append(assert_rows_are_right(lines))
    assert process.poll() is None, "the writer must still have been writing"
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]
    return seen


def test_reading_while_another_process_writes_never_fails_and_shows_no_wrong_row(writing):
    read_often(writing, 60)


@pytest.mark.slow
def test_a_thousand_live_reads(writing):
    seen = read_often(writing, 1000)
    sys.stdout.write(
        f"\n1,000 reads of a live file while it grew from {seen[0]} to {seen[-1]} rows "
        f"({len(set(seen))} different moments): 0 errors, 0 wrong rows\n"
    )


def test_an_open_notebook_blocks_neither_the_writer_nor_a_resume(tmp_path):
    path = stored.written(tmp_path / "file.h5", 2, status="interrupted")
    notebook = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, xarray\n"
            "tree = xarray.open_datatree(sys.argv[1], engine='h5netcdf')\n"
            "print('open', flush=True)\n"
            "sys.stdin.readline()\n"
            "print(tree['lines']['height'].values.tolist())",
            path,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert notebook.stdout.readline() == "open\n"
    mine = resprobe.open(path)
    writer = stored.new(path, resume=True)
    writer.append("/lines", stored.rows(2, 90))
    writer.close()
    said, _ = notebook.communicate("\n", timeout=60)
    assert said == "[1.5, 3.0]\n"
    assert mine["lines"]["height"].values.tolist() == [1.5, 3.0]
    assert assert_rows_are_right(resprobe.open(path)["lines"].to_dataset()) == 90


def test_a_tree_of_an_interrupted_recording_survives_that_its_index_is_split(tmp_path):
    path = tmp_path / "file.h5"
    writer = stored.new(path, chunk_rows=1)
    writer.append("/lines", stored.rows(0, 60))
    writer.close("interrupted")
    before = resprobe.open(path)
    writer = stored.new(path, chunk_rows=1, resume=True)
    writer.append("/lines", stored.rows(60, 200))
    writer.close()
    assert assert_rows_are_right(before["lines"].to_dataset()) == 60


HOLDS = """
import sys
from pathlib import Path
from resprobe.store.lock import file_lock
sys.argv = ["resprobe", *sys.argv[2:], sys.argv[1]]
with file_lock(Path(sys.argv[-1]), "it"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize(
    ("lock", "words"), [(".lock", ("train", "-o")), ("collected/step-00000008/.lock", ("collect",))]
)
def test_a_second_trainer_or_collector_is_told_who_is_first(run, resprobe, lock, words):
    path = run / lock
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS, path, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "held\n"
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    if words[0] == "train":
        result = resprobe("train", run / "recipe.toml", "-o", run, "--resume", "--quiet")
    else:
        result = resprobe("collect", run, "--quiet")
    holder.communicate("\n", timeout=60)
    assert result.exit_code == 2
    assert f"process {holder.pid} on {os.uname().nodename} (resprobe {words[0]}" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file() and p != path} == {
        p: content for p, content in before.items() if p != path
    }


def test_a_file_whose_writer_is_gone_is_read_once(tmp_path, monkeypatch):
    path = tmp_path / "file.h5"
    writer = stored.new(path)
    writer.append("/lines", stored.rows(0, 4))
    writer.abandon()
    reads = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: reads.append(self) or read_bytes(self))
    assert hdf5.snapshot(path) == read_bytes(path)
    assert len(reads) == 1


@pytest.mark.parametrize(("changed", "passes"), [(-60, 1), (60, 2)])
def test_one_pass_is_enough_where_the_last_write_is_long_ago(
    tmp_path, monkeypatch, changed, passes
):
    """One just now (here: in the future) may have the time of the next one, so two are compared."""
    path = stored.written(tmp_path / "file.h5", 4)
    # Not a whole second, which would look like a file system that counts in seconds.
    at = time.time_ns() // 10**9 * 10**9 + changed * 10**9 + 1
    os.utime(path, ns=(at, at))
    read_bytes, reads = Path.read_bytes, []
    monkeypatch.setattr(Path, "read_bytes", lambda self: reads.append(self) or read_bytes(self))
    with file_lock(tmp_path / ".lock", "it"):
        assert hdf5.snapshot(path) == read_bytes(path)
    assert len(reads) == passes


class Flushed:
    """A file that a writer changes every 0.3 s, in a world where time passes only in here."""

    def __init__(self, path, monkeypatch, seconds_of_a_pass):
        self.path, self.now = path, 1000.1
        read_bytes = Path.read_bytes

        def half_by_half(path):
            first = read_bytes(path)[:8]
            self.pass_time(seconds_of_a_pass)
            return first + read_bytes(path)[8:]

        path.write_bytes(b"")
        self.pass_time(0)
        monkeypatch.setattr(Path, "read_bytes", half_by_half)
        clock = SimpleNamespace(
            sleep=self.pass_time, monotonic=lambda: self.now, time_ns=lambda: int(self.now * 1e9)
        )
        monkeypatch.setattr(hdf5, "time", clock)

    def pass_time(self, seconds):
        self.now += seconds
        flushes = int(self.now / 0.3)
        at = (
            int(flushes * 0.3 * 1e9) | 1
        )  # not a whole second, which would look like a coarse clock
        if self.path.stat().st_mtime_ns != at:
            self.path.write_text(f"{flushes:08}" * 2)
            os.utime(self.path, ns=(at, at))


@pytest.mark.parametrize("seconds", [0.05, 0.16, 0.2, 0.25])
def test_a_large_live_file_is_read_where_one_pass_fits_between_two_flushes(
    tmp_path, monkeypatch, seconds
):
    # Patched in a context: a report of a failure needs the true ones.
    with file_lock(tmp_path / ".lock", "it"), monkeypatch.context() as patch:
        content = hdf5.snapshot(Flushed(tmp_path / "file.h5", patch, seconds).path)
    assert content[:8] == content[8:], "it is of two moments"


def test_a_file_that_changes_in_every_pass_is_tried_ten_times(tmp_path, monkeypatch):
    with file_lock(tmp_path / ".lock", "it"), monkeypatch.context() as patch:
        flushed = Flushed(tmp_path / "file.h5", patch, 0.4)
        with pytest.raises(ChangingError, match="changes faster than it can be read"):
            hdf5.snapshot(flushed.path)
    assert flushed.now >= 1000 + 10 * 0.4


def test_check_of_a_file_that_changes_too_fast_is_a_note(run, resprobe, monkeypatch):
    def changes(path, *_, **__):
        raise ChangingError(f"{path} changes faster than it can be read; try again.")

    monkeypatch.setattr(check_file, "snapshot", changes)
    monkeypatch.setattr(check_file, "read_file", changes)
    result = resprobe("check", run)
    assert result.exit_code == 0, result.output
    assert "changes faster than it can be read" in result.output


def test_a_writer_that_came_and_went_meanwhile_is_noticed(tmp_path, monkeypatch):
    path = stored.written(tmp_path / "file.h5", 4)
    read_bytes, reads = Path.read_bytes, []

    def while_it_is_read(self):
        content = read_bytes(self)
        if not reads:
            writer = stored.new(path, resume=True)
            writer.append("/lines", stored.rows(4, 400))
            writer.close()
            later = time.time_ns() + 10**9
            os.utime(path, ns=(later, later))
        reads.append(content)
        return content

    monkeypatch.setattr(Path, "read_bytes", while_it_is_read)
    assert hdf5.snapshot(path) == read_bytes(path) == reads[-1]
    assert len(reads) == 2
