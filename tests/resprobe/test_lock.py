"""One writer at a time, and the second one is told who the first is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest
from torch import nn

from resprobe import Recorder
from resprobe.errors import InputError
from resprobe.store import lock
from resprobe.store.lock import file_lock, is_locked, run_lock

HOLDER = """
import sys
from pathlib import Path
from resprobe.store.lock import run_lock
sys.argv = ["resprobe", "train", "my-recipe"]
with run_lock(Path({run!r})):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(params=["", "import resprobe.store.lock as lock; lock.fcntl = None\n"])
def fcntl_or_none(request, monkeypatch):
    """With and without `flock`; gives what makes another process the same."""
    if request.param:
        monkeypatch.setattr(lock, "fcntl", None)
    return request.param


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `tmp_path` until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER.format(run=str(tmp_path))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.communicate("\n", timeout=30)


def test_a_second_process_is_refused_with_the_pid_and_command_of_the_first(tmp_path, holder):
    with pytest.raises(InputError) as caught, run_lock(tmp_path):
        pass
    assert f"process {holder.pid} on " in str(caught.value)
    assert "(resprobe train my-recipe)" in str(caught.value)
    assert is_locked(tmp_path / ".lock")


def test_a_killed_holder_leaves_no_lock_behind(tmp_path, holder):
    holder.kill()
    holder.wait(timeout=30)
    with run_lock(tmp_path):
        pass
    assert not is_locked(tmp_path / ".lock")


def test_a_second_entry_within_the_process_just_enters(tmp_path):
    with run_lock(tmp_path):
        with run_lock(tmp_path):
            pass
        assert lock._held
    assert not lock._held


def test_the_first_holder_may_leave_before_the_second(tmp_path, fcntl_or_none):
    first, second = run_lock(tmp_path), run_lock(tmp_path)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    taken = subprocess.run(
        [sys.executable, "-c", fcntl_or_none + HOLDER.format(run=str(tmp_path))],
        input="\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert "in use by process" in taken.stderr
    second.__exit__(None, None, None)
    assert not lock._held
    assert list(tmp_path.iterdir()) == []


def test_two_recordings_beside_each_other_end_in_any_order(tmp_path):
    first = Recorder(nn.Identity(), tmp_path / "a.h5")
    second = Recorder(nn.Identity(), tmp_path / "b.h5")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []


def test_threads_enter_and_leave_one_lock_together(tmp_path):
    errors = []

    def enter_often():
        try:
            for _ in range(100):
                with run_lock(tmp_path):
                    assert (tmp_path / ".lock").exists()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=enter_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert not lock._held


def test_our_own_lock_does_not_look_like_somebody_elses(tmp_path):
    with run_lock(tmp_path):
        assert not is_locked(tmp_path / ".lock")
    assert not is_locked(tmp_path / "never-locked")


def test_an_exception_gives_the_lock_back(tmp_path):
    with pytest.raises(KeyError), run_lock(tmp_path), run_lock(tmp_path):
        raise KeyError
    assert not lock._held
    done = subprocess.run(
        [sys.executable, "-c", HOLDER.format(run=str(tmp_path))],
        input="\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.stdout == "held\n"


@pytest.mark.usefixtures("fcntl_or_none")
def test_a_lock_that_can_not_be_made_is_bad_input(tmp_path):
    path = tmp_path / "gone" / ".lock"
    says = rf"{path}, which guards it, can't be made \(No such file or directory\); choose another"
    with pytest.raises(InputError, match=says), file_lock(path, "it"):
        pass
    assert not lock._held


@pytest.mark.parametrize("text", ["[1, 2]", "null", "3", "{}", "{"])
def test_whatever_a_taken_lock_holds_it_is_refused(tmp_path, text):
    (tmp_path / ".lock.held").write_text(text)
    with (
        pytest.raises(InputError, match="the run is in use by another process"),
        lock._exclusive_file(tmp_path / ".lock", "the run"),
    ):
        pass


def test_without_flock_a_file_stands_for_the_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "fcntl", None)
    path = tmp_path / "run.lock"
    with file_lock(path, "the run"), file_lock(path, "the run"):
        assert is_locked(path)
        with pytest.raises(InputError, match=r"process \d+ on .*delete .*run\.lock\.held"):
            lock._exclusive_file(path, "the run").__enter__()
    assert not is_locked(path)


def test_a_lock_that_was_given_back_leaves_no_file(tmp_path):
    with file_lock(tmp_path / "x.h5.lock", "it"):
        assert (tmp_path / "x.h5.lock").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_file_that_was_deleted_meanwhile_is_made_anew(tmp_path, monkeypatch):
    """Between opening and locking, the last holder gave it back and somebody else took it."""
    path = tmp_path / "run.lock"
    flock, times = lock._flock, []

    def late(stream):
        times.append(stream)
        if len(times) == 1:
            path.unlink()
        return flock(stream)

    monkeypatch.setattr(lock, "_flock", late)
    with file_lock(path, "the run"):
        assert len(times) == 2
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_looking_at_a_lock_does_not_take_it(tmp_path):
    path = tmp_path / "run.lock"
    path.touch()
    stop = threading.Event()

    def look():
        while not stop.is_set():
            is_locked(path)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(50):
            with file_lock(path, "the run"):
                pass
    finally:
        stop.set()
        looking.join()
