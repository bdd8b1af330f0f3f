"""Rows written come back, in order, and nothing that exists is overwritten."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import stored
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

import resprobe
from resprobe.errors import InputError
from resprobe.store.schema import STATUS, Group, Variable
from resprobe.store.writer import Writer

DTYPES = st.sampled_from(["float32", "float64", "int8", "int32", "int64"])


@st.composite
def tables(draw):
    """A layout of one group with rows for all its variables, and how they are cut in batches."""
    count = draw(st.integers(0, 20))
    variables, values = [Variable("step", ("step",), "int64")], {"step": np.arange(1, count + 1)}
    for place in range(draw(st.integers(1, 4))):
        dtype = draw(DTYPES)
        wide = draw(st.booleans())
        shape = (count, 3) if wide else (count,)
        dims = ("step", "block") if wide else ("step",)
        name = f"variable_{place}"
        variables.append(Variable(name, dims, dtype))
        values[name] = draw(nps.arrays(dtype, shape))
    group = Group(
        draw(st.sampled_from(["/a", "/a/b", "/some/deep/group"])),
        "step",
        tuple(variables),
        stored.LINES.coordinates,
        ("step",),
    )
    cuts = sorted({0, count, *draw(st.lists(st.integers(0, count), max_size=4))})
    return group, values, list(itertools.pairwise(cuts))


@settings(max_examples=25)
@given(tables(), st.integers(1, 7))
def test_any_group_comes_back_bit_for_bit(table, chunk_rows):
    group, values, batches = table
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.h5"
        writer = Writer(path, [group], {}, chunk_rows=chunk_rows)
        for start, stop in batches:
            writer.append(group.path, {name: rows[start:stop] for name, rows in values.items()})
        writer.close()
        tree = resprobe.open(path)
        found = tree[group.path].to_dataset().load()
        tree.close()
    assert found.attrs["status"] == "finished"
    for variable in group.variables:
        assert found[variable.name].dims == variable.dims
        # what floats cannot tell apart (payloads of NaN) netCDF need not keep
        np.testing.assert_array_equal(found[variable.name].values, values[variable.name])


def test_coordinates_and_attributes_come_back(tmp_path):
    tree = resprobe.open(stored.written(tmp_path / "file.h5", 3, 5))
    lines = tree["lines"].to_dataset()
    assert list(lines["block"].values) == stored.BLOCKS
    assert list(lines["stage"].values) == [0, 0, 1]
    assert set(lines.coords) == {"step", "block", "stage", "label"}
    assert lines["height"].attrs == {"units": "m"}
    assert lines["whole"].item() == 2.0
    assert tree.attrs["title"] == "test"
    assert tree.attrs["seed"] == 3
    assert tree.attrs["rate"] == 0.5
    assert "step" in tree["ends/epoch"].coords
    assert "committed" not in lines.variables


@pytest.mark.parametrize("status", STATUS[1:])
def test_closing_writes_what_became_of_the_recording(tmp_path, status):
    tree = resprobe.open(stored.written(tmp_path / "file.h5", 2, status=status))
    assert tree["lines"].attrs["status"] == status
    assert tree["ends/epoch"].attrs["status"] == status


def test_an_open_file_is_being_recorded(tmp_path):
    writer = stored.new(tmp_path / "file.h5")
    assert resprobe.open(tmp_path / "file.h5")["lines"].attrs["status"] == "recording"
    writer.close()


def test_a_file_that_exists_is_refused_and_unchanged(tmp_path):
    path = tmp_path / "file.h5"
    path.write_bytes(b"precious")
    with pytest.raises(InputError, match=r"file\.h5 exists"):
        stored.new(path)
    assert path.read_bytes() == b"precious"


def test_recording_goes_on_after_the_committed_rows(tmp_path):
    stored.written(tmp_path / "file.h5", 3, 5, status="interrupted")
    writer = stored.new(tmp_path / "file.h5", resume=True)
    assert writer.committed("/lines") == 5
    assert list(writer.rows("/lines")) == [1, 2, 3, 4, 5]
    writer.append("/lines", stored.rows(5, 9))
    assert list(writer.read_rows("/lines", "height", 4, 7)) == [7.5, 9.0, 10.5]
    writer.close()
    lines = resprobe.open(tmp_path / "file.h5")["lines"]
    assert np.array_equal(lines["width"], stored.rows(0, 9)["width"])


def test_rows_after_a_truncation_take_the_place_of_the_forgotten_ones(tmp_path):
    stored.written(tmp_path / "file.h5", 8)
    writer = stored.new(tmp_path / "file.h5", resume=True)
    writer.truncate("/lines", 3)
    assert resprobe.open(tmp_path / "file.h5")["lines"].sizes["step"] == 3
    other = {name: -values for name, values in stored.rows(3, 5).items()}
    writer.append("/lines", {**other, "step": np.array([40, 50])})
    writer.close()
    lines = resprobe.open(tmp_path / "file.h5")["lines"]
    assert list(lines["step"].values) == [1, 2, 3, 40, 50]
    assert list(lines["height"].values) == [1.5, 3.0, 4.5, -6.0, -7.5]


def test_a_truncated_file_reads_the_same_with_plain_xarray_once_it_is_closed(tmp_path):
    stored.written(tmp_path / "file.h5", 8)
    writer = stored.new(tmp_path / "file.h5", resume=True)
    writer.truncate("/lines", 3)
    writer.close()
    assert stored.plain_xarray(tmp_path / "file.h5")["/lines"]["sizes"]["step"] == 3


def other_layouts():
    lines = stored.LINES
    yield (
        "more variables",
        [Group(lines.path, "step", (*lines.variables, Variable("more", ("step",), "int8")))],
    )
    yield "another group", [Group("/others", "step", lines.variables)]
    narrow = tuple(
        Variable(v.name, v.dims, "float32" if v.name == "height" else v.dtype)
        for v in lines.variables
    )
    yield "another dtype", [Group(lines.path, "step", narrow, lines.coordinates)]
    blocks = tuple(type(c)(c.name, c.dims, c.values[:2], c.attributes) for c in lines.coordinates)
    yield "fewer blocks", [Group(lines.path, "step", lines.variables, blocks)]
    renamed = (type(blocks[0])("block", ("block",), ["a", "b", "c"]),)
    yield "other blocks", [Group(lines.path, "step", lines.variables, renamed)]


@pytest.mark.parametrize(("what", "groups"), list(other_layouts()), ids=lambda v: str(v)[:16])
def test_recording_does_not_go_on_in_another_layout(tmp_path, what, groups):
    path = stored.written(tmp_path / "file.h5", 3)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"file\.h5 .* recording can't go on in it"):
        Writer(path, groups, {}, resume=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all", b"\x89HDF\r\n\x1a\n but cut"])
def test_recording_does_not_go_on_in_what_is_no_hdf5(tmp_path, content):
    path = tmp_path / "file.h5"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"file\.h5 can't be read as HDF5"):
        stored.new(path, resume=True)


@pytest.mark.parametrize("locking", [True, False])
def test_a_file_that_this_process_reads_can_be_written_on(tmp_path, locking):
    path = stored.written(tmp_path / "file.h5", 3)
    with h5py.File(path, "r", locking=locking) as file:
        height = file["lines/height"]
        writer = stored.new(path, resume=True)
        writer.append("/lines", stored.rows(3, 5))
        writer.close()
        assert height[:].tolist() == [1.5, 3.0, 4.5]
    assert resprobe.open(path)["lines"].sizes["step"] == 5


def test_rows_that_lack_a_variable_are_refused_before_anything_is_written(tmp_path):
    writer = stored.new(tmp_path / "file.h5")
    incomplete = stored.rows(0, 2)
    del incomplete["height"]
    with pytest.raises(ValueError, match=r"lack.*height"):
        writer.append("/lines", incomplete)
    writer.append("/lines", stored.rows(0, 2))
    writer.close()
    assert resprobe.open(tmp_path / "file.h5")["lines"].sizes["step"] == 2


def test_rows_of_unequal_length_are_refused_before_anything_is_written(tmp_path):
    writer = stored.new(tmp_path / "file.h5")
    uneven = {**stored.rows(0, 3), "height": np.zeros(1)}
    with pytest.raises(ValueError, match=r"height.*1 row"):
        writer.append("/lines", uneven)
    assert writer.committed("/lines") == 0
    writer.close()


def test_unwritten_numbers_are_nan(tmp_path):
    writer = stored.new(tmp_path / "file.h5")
    writer.close()
    lines = resprobe.open(tmp_path / "file.h5")["lines"]
    assert np.isnan(lines["mean_width"].values).all()
    assert np.isnan(lines["whole"].item())


def test_a_file_holds_no_pickles_and_only_declared_layout(tmp_path):
    path = stored.written(tmp_path / "file.h5", 2)
    with h5py.File(path) as file:
        assert set(file) == {"lines", "ends"}
        assert file.attrs["Conventions"].startswith("CF-")
        kinds = set()
        file.visititems(lambda _, item: kinds.add(getattr(item, "dtype", np.dtype("i1")).kind))
    assert kinds <= set("ifO")  # O: variable-length text
