"""However full the disk: every file opens with its committed rows, and room makes all good."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from killing import KillServer, build_shim

import resprobe

# Where the errors of the jobs are said in one line, they hold none of this.
NOT_A_MESSAGE = ("Traceback", "core dumped", "Fatal Python error")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = KillServer(build_shim(tmp_path_factory.mktemp("shim")), "command_jobs")
    yield server
    server.stop()


def run(server, job: str, folder: Path, limit: int = 0):
    """Run a command under a limit on the size of files; give its ending."""
    (folder / "limit.txt").write_text(str(limit))
    ending = server.run(job, folder)
    assert ending.signal == 0, f"{job} at {limit} bytes died of signal {ending.signal}"
    assert not any(word in ending.errors for word in NOT_A_MESSAGE), ending.errors
    return ending


def steps_in(path: Path) -> xr.Dataset:
    tree = resprobe.open(path)
    steps = tree["training/step"].to_dataset().load()
    tree.close()
    return steps


def assert_files_are_whole(folder: Path, reference: Path) -> int:
    """Open every file by every way; compare recorded steps with the reference; count them."""
    for path in folder.rglob("*.h5*"):
        assert not path.name.endswith(".new"), f"{path} is a leftover"
        with h5py.File(path) as file:
            file.visititems(lambda _, item: item[()] if isinstance(item, h5py.Dataset) else None)
        xr.open_datatree(path, engine="h5netcdf").close()
    path = folder / "run" / "training.h5"
    if not path.exists():
        return 0
    found, expected = steps_in(path), steps_in(reference / "run" / "training.h5")
    count = found.sizes["step"]
    for name in found.data_vars:
        np.testing.assert_array_equal(found[name], expected[name][:count], err_msg=name)
    return count


def last_weights(folder: Path) -> bytes:
    return max((folder / "run/checkpoints").glob("step-????????.safetensors")).read_bytes()


@pytest.fixture(scope="module")
def reference(server, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    assert run(server, "train", folder).code == 0
    return folder


def train_on_a_full_disk(server, reference: Path, folder: Path, limit: int) -> str:
    """Train under a limit, look, and go on with room; give what happened under the limit."""
    ending = run(server, "train", folder, limit)
    rows = assert_files_are_whole(folder, reference)
    there = list((folder / "run").glob("checkpoints/step-????????.safetensors"))
    if ending.code == 0:
        outcome = "trained" if rows == 8 else "trained, recording stopped"
    else:
        assert ending.code in (1, 2)
        assert len(ending.errors.strip().splitlines()) >= 1
        assert "room" in ending.errors, ending.errors
        outcome = "ended with a message" + (", a checkpoint there" if there else "")
    if (folder / "run" / "recipe.toml").exists():
        assert run(server, "check", folder).code in (0, 1)
    else:
        shutil.rmtree(folder / "run")
    again = "resume" if (folder / "run").exists() else "train"
    ending = run(server, again, folder)
    assert ending.code == 0, ending.errors
    assert last_weights(folder) == last_weights(reference)
    assert_files_are_whole(folder, reference)
    return outcome


def sizes(reference: Path, count: int) -> list[int]:
    largest = max(path.stat().st_size for path in reference.rglob("*") if path.is_file())
    return [int(size) for size in np.geomspace(150, 1.1 * largest, count)]


def test_training_on_a_full_disk_ends_in_the_same_bits_once_there_is_room(
    server, reference, tmp_path
):
    for limit in sizes(reference, 20)[9::8]:
        folder = tmp_path / str(limit)
        folder.mkdir()
        train_on_a_full_disk(server, reference, folder, limit)


@pytest.mark.slow
def test_training_at_twenty_sizes_of_a_full_disk(server, reference, tmp_path):
    outcomes: Counter[str] = Counter()
    for limit in sizes(reference, 20):
        folder = tmp_path / str(limit)
        folder.mkdir()
        outcomes[train_on_a_full_disk(server, reference, folder, limit)] += 1
    sys.stdout.write(f"\n20 sizes of a full disk: {dict(outcomes)}; all resumed to the same bits\n")


@pytest.mark.parametrize(
    "share",
    [pytest.param(0.02, marks=pytest.mark.slow), 0.3, pytest.param(0.9, marks=pytest.mark.slow)],
)
def test_collecting_on_a_full_disk_goes_on_where_it_stopped(server, reference, tmp_path, share):
    shutil.copytree(reference / "run", tmp_path / "whole" / "run")
    assert run(server, "collect", tmp_path / "whole").code == 0
    files = sorted((tmp_path / "whole/run/collected").glob("*/*.h5"))
    largest = max(path.stat().st_size for path in files)
    folder = tmp_path / "full"
    shutil.copytree(reference / "run", folder / "run")
    ending = run(server, "collect", folder, int(share * largest))
    assert ending.code == 1
    assert "no room on the disk" in ending.errors
    safe = dict(p["safe"] for p in ending.promised if "safe" in p)
    assert_files_are_whole(folder, reference)
    assert run(server, "check", folder).code == 0
    ending = run(server, "collect", folder)
    assert ending.code == 0, ending.errors
    for group, start in (p["measured"] for p in ending.promised if "measured" in p):
        assert start >= safe.get(group, 0)
    for path in files:
        found = resprobe.open(folder / path.relative_to(tmp_path / "whole"))
        expected = resprobe.open(path)
        for node in expected.leaves:
            assert node.to_dataset().identical(found[node.path].to_dataset())
        found.close()
        expected.close()


def test_an_export_that_does_not_fit_leaves_nothing_behind(server, reference, tmp_path):
    shutil.copytree(reference / "run", tmp_path / "run")
    assert run(server, "export", tmp_path).code == 0
    size = (tmp_path / "export.h5").stat().st_size
    (tmp_path / "export.h5").unlink()
    for limit in (1, size - 1):
        ending = run(server, "export", tmp_path, limit)
        assert ending.code == 1
        assert "no room" in ending.errors
        assert sorted(path.name for path in tmp_path.iterdir()) == ["limit.txt", "run"]
