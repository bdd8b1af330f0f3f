"""`resprobe.open` and plain xarray give what was committed, finished, killed or still growing."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import stored
import xarray as xr

import resprobe
from resprobe.errors import InputError
from resprobe.store.reader import family, grouping


def test_plain_xarray_opens_a_finished_file_with_every_dimension_named(tmp_path):
    groups = stored.plain_xarray(stored.written(tmp_path / "file.h5", 3, 5))
    assert set(groups) == {"/lines", "/ends/epoch"}
    lines = groups["/lines"]
    assert lines["sizes"] == {"step": 5, "block": 3}
    assert lines["coordinates"] == ["block", "label", "stage", "step"]
    assert lines["values"]["block"] == stored.BLOCKS
    assert lines["values"]["width"] == stored.rows(0, 5)["width"].tolist()
    assert lines["values"]["committed"] == 5
    assert lines["units"]["height"] == "m"


def test_plain_xarray_opens_every_file_of_a_run(collected):
    paths = [collected / "training.h5", *sorted(collected.glob("collected/*/*.h5"))]
    assert len(paths) == 4
    for path in paths:
        for name, group in stored.plain_xarray(path).items():
            assert not any(dim.startswith("phony_dim") for dim in group["sizes"]), name
            missing = [
                variable
                for variable, units in group["units"].items()
                if units is None
                and variable not in group["coordinates"]
                and variable not in ("committed", "status")
            ]
            assert missing == [], "every measured variable carries its units"


def test_a_run_opens_as_one_tree_with_a_group_for_each_checkpoint(collected):
    tree = resprobe.open(collected)
    names = {"/training/step", "/training/epoch"} | {
        f"/step-00000008/{family}" for family in ("norms", "lesion", "influence")
    }
    assert {node.path for node in tree.leaves} == names
    assert tree.attrs["seed"] == 0
    assert "resnet" in tree.attrs["recipe"]
    step, norms = family(tree, "norms")
    assert step == 8
    assert norms.sizes["sample"] == 500
    assert family(tree, "jacobian") is None


def test_a_finished_file_is_read_lazily(collected):
    (path,) = collected.glob("collected/*/norms.h5")
    tree = resprobe.open(path)
    assert not tree["norms"].to_dataset()["branch_norm"].variable._in_memory
    tree.close()


def test_rows_beyond_the_committed_ones_never_appear(tmp_path):
    path = stored.written(tmp_path / "file.h5", 6)
    with h5py.File(path, "r+") as file:
        file["lines/committed"][()] = 4
    for status in (0, 1):
        with h5py.File(path, "r+") as file:
            file["lines/status"][()] = status
        lines = resprobe.open(path)["lines"]
        assert list(lines["step"].values) == [1, 2, 3, 4]
        assert lines["width"].shape == (4, 3)


def test_one_process_may_use_resprobe_and_plain_xarray_side_by_side(tmp_path):
    path = stored.written(tmp_path / "file.h5", 6)
    ours = resprobe.open(path)
    plain = xr.open_datatree(path, engine="h5netcdf")
    again = resprobe.open(path)
    for tree in (ours, plain, again):
        assert tree["lines"]["height"].values[-1] == 9.0
        tree.close()
    plain = xr.open_datatree(path, engine="h5netcdf")
    ours = resprobe.open(path)
    assert np.array_equal(plain["lines"]["width"].values, ours["lines"]["width"].values)
    ours.close()
    plain.close()


def test_a_file_that_was_rewritten_shows_its_new_rows(tmp_path):
    path = stored.written(tmp_path / "file.h5", 2)
    first = resprobe.open(path)
    assert first["lines"].sizes["step"] == 2
    first.close()
    path.unlink()
    stored.written(path, 5)
    assert resprobe.open(path)["lines"].sizes["step"] == 5


def test_an_open_tree_does_not_keep_the_recording_process_from_going_on(tmp_path):
    path = stored.written(tmp_path / "file.h5", 2, status="interrupted")
    tree = resprobe.open(path)
    code = (
        "import stored; from pathlib import Path; w = stored.new(Path(sys.argv[1]), resume=True);"
        "w.append('/lines', stored.rows(2, 4)); w.close()"
    )
    done = stored.in_process(code, path)
    assert done.returncode == 0, done.stderr
    tree.close()
    assert resprobe.open(path)["lines"].sizes["step"] == 4


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def foreign(path: Path) -> None:
    path.unlink()
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(3)


def newer(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["resprobe_schema"] = np.int64(99)


def cut_rows(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["lines/committed"][()] = 400


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (damaged, "is damaged or truncated"),
        (foreign, "is HDF5 but not resprobe's"),
        (newer, "has schema 99, newer than this resprobe's 1; upgrade"),
        (cut_rows, "400 rows of /lines are committed but holds 3"),
        (lambda path: path.write_text("a,b\n1,2\n"), "is not an HDF5 file"),
        (lambda path: path.write_bytes(b""), "is not an HDF5 file"),
        (lambda path: path.unlink(), "does not exist"),
    ],
    ids=["damaged", "foreign", "newer", "rows", "text", "empty", "gone"],
)
def test_what_is_no_whole_file_of_ours_is_refused_by_name(tmp_path, harm, words):
    path = stored.written(tmp_path / "file.h5", 3)
    harm(path)
    with pytest.raises(InputError, match=r"file\.h5") as caught:
        resprobe.open(path)
    assert words in str(caught.value)


def test_a_directory_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="is no run directory"):
        resprobe.open(tmp_path)


def test_runs_that_differ_in_seed_place_and_device_alone_are_of_one_group():
    def recipe(**train: object) -> dict[str, object]:
        return {"model": {"depth": 8}, "data": {"dir": train.pop("dir", "")}, "train": train}

    first = grouping(recipe(seed=0, device="cpu", dir="a"))
    second = grouping(recipe(seed=1, device="cuda", dir="b"))
    other = grouping(recipe(seed=0, device="cpu", dir="a", epochs=3))
    assert first["group"] == second["group"] != other["group"]
    assert (first["seed"], second["seed"]) == (0, 1)


def test_rows_that_the_index_of_a_file_has_lost_are_missed(tmp_path):
    """HDF5 would give fill values for them, and nobody would know."""
    path = stored.written(tmp_path / "file.h5", 9)
    with h5py.File(path, "r+") as file:
        file["lines/height"].resize(4, axis=0)
        file["lines/height"].resize(9, axis=0)
    with pytest.raises(InputError, match=r"rows of lines/height are not in it"):
        resprobe.open(path)


def test_runs_that_recorded_and_kept_other_things_are_of_one_group():
    one = {"model": {"depth": 20}, "train": {"seed": 0}, "record": {"every": 1}}
    other = {
        "model": {"depth": 20},
        "train": {"seed": 1},
        "record": {"every": 10, "jacobian_every": 100},
        "checkpoint": {"initial": True},
    }
    deeper = {**one, "model": {"depth": 56}}
    assert grouping(one)["group"] == grouping(other)["group"] != grouping(deeper)["group"]
    assert (grouping(one)["seed"], grouping(other)["seed"]) == (0, 1)
