"""A writer killed between any two system writes, or within one, loses nothing committed.

The slow tests print what they counted; run them with `-m slow -s`.
"""

from __future__ import annotations

import itertools
import random
import shutil
import sys
from collections import Counter
from pathlib import Path

import kill_jobs
import numpy as np
import pytest
import stored
import xarray as xr
from killing import Ending, KillServer, build_shim

import resprobe
from resprobe.store.check import check

SIGKILL = 9


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = KillServer(build_shim(tmp_path_factory.mktemp("shim")), "kill_jobs")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def whole(server, tmp_path_factory):
    """Give the file that a job writes undisturbed, and how many calls it takes."""
    made = {}

    def one(job: str) -> tuple[Path, int]:
        if job not in made:
            folder = tmp_path_factory.mktemp(job)
            ending = server.run(job, folder)
            assert ending.code == 0, ending.errors
            made[job] = (folder / "file.h5", ending.calls)
        return made[job]

    return one


def promised(ending: Ending) -> dict[str, int]:
    found: dict[str, int] = {}
    for promise in ending.promised:
        found.update(promise)
    return found


def assert_rows_are_right(path: Path, safe: dict[str, int]) -> None:
    """Compare every committed row with what is known of it, read by xarray alone and by us."""
    tree = xr.open_datatree(path, engine="h5netcdf")
    plain = {name: tree[name].to_dataset().load() for name in ("lines", "ends")}
    tree.close()
    tree = resprobe.open(path)
    ours = {name: tree[name].to_dataset().load() for name in ("lines", "ends")}
    tree.close()
    count = ours["lines"].sizes["step"]
    assert count >= safe.get("/lines", 0)
    for name, values in stored.rows(0, count).items():
        np.testing.assert_array_equal(ours["lines"][name].values, values, err_msg=name)
        np.testing.assert_array_equal(plain["lines"][name].values[:count], values, err_msg=name)
    count = ours["ends"].sizes["epoch"]
    assert count >= safe.get("/ends", 0)
    expected = kill_jobs.EVERY * np.arange(1, count + 1)
    np.testing.assert_array_equal(ours["ends"]["epoch"].values, expected)
    np.testing.assert_array_equal(ours["ends"]["error"].values, 1 / expected)
    np.testing.assert_array_equal(plain["ends"]["error"].values[:count], 1 / expected)
    if "totals" in safe:
        assert ours["lines"]["whole"] == 2.0
    assert check(path).violations == []


def assert_equal(path: Path, reference: Path) -> None:
    """Compare all groups of two files."""
    found, expected = resprobe.open(path), resprobe.open(reference)
    for node in expected.leaves:
        assert node.to_dataset().load().identical(found[node.path].to_dataset().load()), node.path
    found.close()
    expected.close()


def kill_and_resume(server, whole, folder, job, call, *, again=0) -> str:
    """Kill a job, look at its file, finish it (killed once more if asked) and compare it."""
    path = folder / "file.h5"
    at, half = call
    ending = server.run(job, folder, at, half=half)
    assert ending.signal == SIGKILL, f"call {at} was never made"
    safe = promised(ending)
    outcome = "no file yet"
    if path.exists():
        assert_rows_are_right(path, safe)
        outcome = "closed" if "closed" in safe else "recording"
    else:
        assert safe == {}
    resume = job.replace("record", "resume")
    if again:
        ending = server.run(resume, folder, again, half=half)
        if path.exists():
            assert_rows_are_right(path, safe | promised(ending))
    ending = server.run(resume, folder)
    assert ending.code == 0, ending.errors
    assert_equal(path, whole(job)[0])
    shutil.rmtree(folder)
    return outcome


def drawn(calls: int, count: int, seed: int) -> list[tuple[int, bool]]:
    """Give calls to be killed at, spread over all of them, half of them in the middle."""
    draw = random.Random(seed)
    edges = np.linspace(1, calls + 1, count + 1).astype(int)
    return [
        (draw.randrange(low, max(high, low + 1)), bool(place % 2))
        for place, (low, high) in enumerate(itertools.pairwise(edges))
    ]


def test_a_kill_between_two_writes_loses_no_committed_row(server, whole, tmp_path):
    calls = whole("record")[1]
    for at, half in drawn(calls, 16, seed=0):
        folder = tmp_path / f"{at}-{half}"
        folder.mkdir()
        kill_and_resume(server, whole, folder, "record", (at, half))


@pytest.mark.parametrize("half", [False, True])
def test_a_kill_while_an_index_is_split_loses_no_committed_row(server, whole, tmp_path, half):
    """Each row is a chunk; the 65th splits the root of its index, in the batch of rows 64 to 72."""
    calls = whole("record")[1]
    for at in range(calls * 63 // 135, calls * 72 // 135, 9):
        folder = tmp_path / str(at)
        folder.mkdir()
        kill_and_resume(server, whole, folder, "record", (at, half))


def test_a_kill_while_the_file_is_made_leaves_none_or_a_whole_one(server, whole, tmp_path):
    for at in range(1, 6):
        folder = tmp_path / str(at)
        folder.mkdir()
        kill_and_resume(server, whole, folder, "record", (at, at % 2 == 0))


def test_a_kill_during_an_export_leaves_the_old_file_or_the_new_one(server, whole, tmp_path):
    reference, _ = whole("record")
    shutil.copy(reference, tmp_path / "file.h5")
    calls = server.run("export", tmp_path).calls
    complete = (tmp_path / "export.h5").read_bytes()
    assert_equal(tmp_path / "export.h5", reference)
    for there in (b"what was there before", None):
        for at in {2, calls // 2, calls}:
            (tmp_path / "export.h5").unlink(missing_ok=True)
            if there is not None:
                (tmp_path / "export.h5").write_bytes(there)
            assert server.run("export", tmp_path, at, half=at % 2 == 0).signal == SIGKILL
            found = (tmp_path / "export.h5").read_bytes() if there is not None else None
            assert found in (there, complete)
            assert server.run("export", tmp_path).code == 0
            assert_equal(tmp_path / "export.h5", reference)


@pytest.mark.slow
def test_two_hundred_kills_lose_no_committed_row(server, whole, tmp_path):
    outcomes: Counter[str] = Counter()
    cases = [("record", (at, half)) for at, half in drawn(whole("record")[1], 140, seed=1)]
    cases += [("record_long", call) for call in drawn(whole("record_long")[1], 60, seed=2)]
    draw = random.Random(3)
    twice = 0
    for place, (job, call) in enumerate(cases):
        folder = tmp_path / str(place)
        folder.mkdir()
        again = draw.randrange(1, 200) if place % 4 == 0 else 0
        twice += bool(again)
        outcomes[kill_and_resume(server, whole, folder, job, call, again=again)] += 1
    sys.stdout.write(
        f"\n{len(cases)} kills between or within system writes ({twice} of them killed again while "
        f"resuming): {dict(outcomes)}; committed rows lost: 0; files that do not open: 0; resumed "
        f"files equal to the uninterrupted one: {len(cases)}\n"
    )


@pytest.mark.slow
def test_every_kill_of_one_batch_that_splits_an_index(server, whole, tmp_path):
    calls = whole("record")[1]
    points = [
        (at, half) for at in range(calls * 60 // 135, calls * 75 // 135) for half in (False, True)
    ]
    for at, half in points:
        folder = tmp_path / f"{at}-{half}"
        folder.mkdir()
        kill_and_resume(server, whole, folder, "record", (at, half))
    sys.stdout.write(f"\n{len(points)} kills around the split of an index: no row lost\n")
