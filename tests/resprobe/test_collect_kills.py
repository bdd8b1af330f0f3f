"""A killed collection goes on where it was, and its files are those of an uninterrupted one."""

from __future__ import annotations

import random
import shutil
import sys

import pytest
import xarray as xr
from killing import KillServer, build_shim

import resprobe
from resprobe.store.check import check


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = KillServer(build_shim(tmp_path_factory.mktemp("shim")), "command_jobs")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def whole(server, trained, tmp_path_factory):
    """A folder with the run collected undisturbed, and how many calls that takes."""
    folder = tmp_path_factory.mktemp("whole")
    fill(folder, trained)
    ending = server.run("collect", folder)
    assert ending.code == 0, ending.errors
    return folder, ending.calls


def fill(folder, trained):
    shutil.copytree(trained, folder / "run")
    (folder / "limit.txt").write_text("0")


def said(ending, what):
    return [promise[what] for promise in ending.promised if what in promise]


def kill_and_resume(server, whole, trained, folder, call):
    fill(folder, trained)
    at, half = call
    killed = server.run("collect", folder, at, half=half)
    assert killed.signal == 9
    safe = dict(said(killed, "safe"))
    for path in (folder / "run").glob("collected/*/*.h5*"):
        if path.suffix != ".new":  # not born yet: it gets its name when it is whole
            xr.open_datatree(path, engine="h5netcdf").close()
    assert check(folder / "run").violations == []
    resumed = server.run("collect", folder)
    assert resumed.code == 0, resumed.errors
    again = said(resumed, "measured")
    assert all(start >= safe.get(group, 0) for group, start in again)
    # Every batch is measured once, but for the one that was under way.
    times = said(killed, "measured") + again
    assert len(times) - len({tuple(item) for item in times}) <= 1
    reference = whole[0]
    for path in (reference / "run").glob("collected/*/*"):
        found = resprobe.open(folder / path.relative_to(reference))
        expected = resprobe.open(path)
        for node in expected.leaves:
            assert node.to_dataset().identical(found[node.path].to_dataset()), path
        found.close()
        expected.close()
    assert not list((folder / "run").glob("collected/*/*.partial*"))
    shutil.rmtree(folder)


def test_a_killed_collection_goes_on_without_measuring_again(server, whole, trained, tmp_path):
    calls = whole[1]
    draw = random.Random(0)
    for at in (draw.randrange(calls // 2, calls), calls):
        kill_and_resume(server, whole, trained, tmp_path / str(at), (at, at % 2 == 0))


@pytest.mark.slow
def test_forty_kills_of_a_collection(server, whole, trained, tmp_path):
    draw = random.Random(1)
    points = [(draw.randrange(1, whole[1] + 1), bool(place % 2)) for place in range(36)]
    points += [(whole[1] - k, False) for k in range(4)]  # the renames are last
    for place, call in enumerate(points):
        kill_and_resume(server, whole, trained, tmp_path / str(place), call)
    sys.stdout.write(f"\n{len(points)} killed collections: same files, nothing measured twice\n")
