"""Our own way of opening a file gives what xarray's engine gives, with each variable seen once."""

from __future__ import annotations

import io
from pathlib import Path

import h5py
import numpy as np
import pytest
import stored
import xarray as xr

import resprobe
from resprobe.store import lazy
from resprobe.store.schema import Group, Variable
from resprobe.store.writer import Writer


def by_engine(path: Path) -> dict[str, xr.Dataset]:
    groups = xr.open_groups(path, engine="h5netcdf", phony_dims="access")
    return {name: data for name, data in groups.items() if "committed" in data}


def close(*groups: dict[str, xr.Dataset]) -> None:
    for data in (data for found in groups for data in found.values()):
        data.close()


def assert_same(ours: dict[str, xr.Dataset], theirs: dict[str, xr.Dataset]) -> None:
    assert ours.keys() == theirs.keys()
    for name, data in theirs.items():
        xr.testing.assert_identical(ours[name], data)
        assert ours[name].encoding["unlimited_dims"] == data.encoding["unlimited_dims"]
        for variable in data.variables:
            mine, other = ours[name][variable], data[variable]
            assert mine.dtype == other.dtype
            for key in ("dtype", "chunksizes", "contiguous", "original_shape"):
                assert mine.encoding.get(key) == other.encoding.get(key), (variable, key)


def test_every_file_of_a_run_is_what_the_engine_makes_of_it(collected):
    paths = [collected / "training.h5", *sorted(collected.glob("collected/*/*.h5"))]
    assert len(paths) == 4
    for path in paths:
        ours, theirs = lazy.open_groups(path), by_engine(path)
        assert_same(ours, theirs)
        close(ours, theirs)


@pytest.mark.parametrize("stops", [(), (3, 9)], ids=["no rows", "rows"])
def test_coordinates_texts_and_scalars_too_from_a_file_or_its_content(tmp_path, stops):
    path = stored.written(tmp_path / "file.h5", *(stops or (0,)))
    theirs = by_engine(path)
    ours, read = lazy.open_groups(path), lazy.open_groups(io.BytesIO(path.read_bytes()))
    assert_same(ours, theirs)
    for name, data in theirs.items():
        xr.testing.assert_identical(read[name], data)
    close(ours, read, theirs)


def test_complex_numbers_come_as_they_were_written(tmp_path):
    path = tmp_path / "file.h5"
    variables = (Variable("step", ("step",), "int64"), Variable("z", ("step",), "complex128"))
    writer = Writer(path, [Group("/g", "step", variables, (), ("step",))], {})
    values = np.array([1 + 2j, -3j])
    writer.append("/g", {"step": np.arange(2), "z": values})
    writer.close()
    ours, theirs = lazy.open_groups(path), by_engine(path)
    assert_same(ours, theirs)
    assert np.array_equal(ours["/g"]["z"].values, values)
    close(ours, theirs)


@pytest.mark.parametrize(
    "index",
    [
        {"step": 3},
        {"step": -1, "block": [2, 0]},
        {"step": slice(7, 1, -2)},
        {"step": [5, 1, 1], "block": slice(None)},
        {"step": np.arange(9) % 2 == 0},
        {"step": xr.DataArray([1, 4], dims="at"), "block": xr.DataArray([2, 0], dims="at")},
    ],
    ids=["row", "last", "backwards", "twice", "mask", "points"],
)
def test_any_part_that_is_taken_is_that_of_the_whole(tmp_path, index):
    path = stored.written(tmp_path / "file.h5", 9)
    ours = lazy.open_groups(path)["/lines"]
    whole = by_engine(path)["/lines"].load()
    part = ours.isel(index)
    assert not part["width"].variable._in_memory
    xr.testing.assert_identical(part.load(), whole.isel(index))
    ours.close()
    whole.close()


def test_a_file_that_was_closed_is_opened_again_when_its_values_are_used(tmp_path):
    path = stored.written(tmp_path / "file.h5", 9)
    ours = lazy.open_groups(path)
    close(ours)
    with h5py.File(path, "r+"):  # HDF5 refuses that while it is open for reading
        pass
    assert ours["/lines"]["height"].values[-1] == 13.5


def many(path: Path, count: int) -> Path:
    names = [f"v{place}" for place in range(count)]
    variables = tuple(Variable(name, ("step",), "int64") for name in ("step", *names))
    writer = Writer(path, [Group("/g", "step", variables, (), ("step",))], {})
    writer.append("/g", {variable.name: np.arange(3) for variable in variables})
    writer.close()
    return path


def test_twice_as_many_variables_are_twice_the_work(tmp_path, monkeypatch):
    looked = []
    made = h5py.Dataset.__init__

    def counted(self, *arguments, **options):
        looked.append(1)
        made(self, *arguments, **options)

    monkeypatch.setattr(h5py.Dataset, "__init__", counted)
    counts = []
    for count in (20, 40, 60):
        path = many(tmp_path / f"{count}.h5", count)
        looked.clear()
        resprobe.open(path).close()
        counts.append(len(looked))
    assert counts[2] - counts[1] == counts[1] - counts[0]
    assert counts[2] < 10 * 60


def without_scales(file: h5py.File) -> None:
    file["lines/bare"] = np.arange(9.0)


def of_an_enumeration(file: h5py.File) -> None:
    kind = h5py.enum_dtype({"no": 0, "yes": 1}, basetype="i1")
    made = file.create_dataset("lines/odd", data=np.arange(9) % 2, dtype=kind)
    made.dims[0].attach_scale(file["lines/step"])


def with_a_group_inside(file: h5py.File) -> None:
    file.create_group("lines/inner")


def with_an_odd_attribute(file: h5py.File) -> None:
    file["lines/height"].attrs["bytes"] = np.bytes_("two")


def with_a_longer_variable(file: h5py.File) -> None:
    file["lines/height"].resize(11, axis=0)


@pytest.mark.parametrize(
    "alter",
    [
        without_scales,
        of_an_enumeration,
        with_a_group_inside,
        with_an_odd_attribute,
        with_a_longer_variable,
    ],
)
def test_what_resprobe_does_not_write_is_left_to_the_engine(tmp_path, alter):
    path = stored.written(tmp_path / "file.h5", 9)
    with h5py.File(path, "r+") as file:
        alter(file)
    with pytest.raises(lazy.OtherFormError):
        lazy.open_groups(path)
    with h5py.File(path, "r+"):  # nothing holds it open
        pass


def test_a_file_with_an_addition_of_somebody_else_is_read_by_the_engine(tmp_path):
    path = stored.written(tmp_path / "file.h5", 9)
    with h5py.File(path, "r+") as file:
        with_an_odd_attribute(file)
    tree = resprobe.open(path)
    assert tree["lines"]["height"].attrs["bytes"] == "two"
    assert tree["lines"].sizes["step"] == 9
    tree.close()
