"""Any layout comes back equal by every reader, and damage ends in a message or in right rows."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import stored
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

import resprobe
from resprobe.store.check import check
from resprobe.store.schema import Coordinate, Group, Variable
from resprobe.store.writer import Writer

DTYPES = ["float32", "float64", "int8", "int32", "int64"]
RESERVED = {"committed", "status", "row", "item", "label", "rows"}
# What HDF5 and netCDF allow in a name, minus what they give a meaning of its own.
NAMES = st.text(
    st.characters(exclude_categories=("C", "Z"), exclude_characters="/.@\\"), min_size=1, max_size=8
).filter(lambda name: name not in RESERVED and not name.startswith("_"))
TEXTS = st.text(st.characters(exclude_categories=("C",)), max_size=6)
ATTRIBUTES = st.dictionaries(
    NAMES.map(lambda name: f"a{name}"),
    st.one_of(
        TEXTS,
        st.integers(-(2**63), 2**63 - 1).map(np.int64),
        st.floats(allow_nan=False).map(np.float64),
    ),
    max_size=3,
)


@st.composite
def files(draw):
    """Groups, their rows, how they are cut in batches, and the attributes of the root."""
    groups, tables = [], {}
    paths = draw(st.lists(NAMES, min_size=1, max_size=2, unique=True))
    for place, name in enumerate(paths):
        count = draw(st.integers(0, 12))
        items = draw(st.lists(TEXTS, min_size=1, max_size=3))
        flag = {"flag_values": np.array([0, 1], np.int8), "flag_meanings": "no yes"}
        variables = [Variable("row", ("row",), "int64"), Variable("label", ("row",), "int8", flag)]
        values = {
            "row": np.cumsum(draw(nps.arrays("int64", count, elements=st.integers(1, 2**40)))),
            "label": draw(nps.arrays("int8", count, elements=st.integers(0, 1))),
        }
        whole = {}
        for variable in draw(st.lists(NAMES, max_size=3, unique=True)):
            dtype = draw(st.sampled_from(DTYPES))
            kind = draw(st.sampled_from(["rows", "wide", "whole"]))
            dims = {"rows": ("row",), "wide": ("row", "item"), "whole": ("item",)}[kind]
            shape = tuple({"row": count, "item": len(items)}[dim] for dim in dims)
            variables.append(Variable(variable, dims, dtype, draw(ATTRIBUTES)))
            (whole if kind == "whole" else values)[variable] = draw(nps.arrays(dtype, shape))
        labels = (Coordinate("item", ("item",), items),)
        group = f"/g{place}{name}"
        groups.append(Group(group, "row", tuple(variables), labels, ("row", "label")))
        cuts = sorted({0, count, *draw(st.lists(st.integers(0, count), max_size=3))})
        tables[group] = (values, whole, list(itertools.pairwise(cuts)))
    return groups, tables, draw(ATTRIBUTES), draw(st.integers(1, 5))


def write(path: Path, file) -> None:
    groups, tables, attributes, chunk_rows = file
    writer = Writer(path, groups, attributes, chunk_rows=chunk_rows)
    for group, (values, whole, batches) in tables.items():
        for start, stop in batches:
            writer.append(group, {name: rows[start:stop] for name, rows in values.items()})
        writer.put(group, whole)
    writer.close()


@settings(max_examples=20)
@given(files())
def test_any_layout_is_read_equal_by_us_by_plain_xarray_and_by_h5py(file):
    groups, tables, attributes, _ = file
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.h5"
        write(path, file)
        report = check(path)
        assert report.violations == []
        ours, plain = resprobe.open(path), xr.open_datatree(path, engine="h5netcdf")
        with h5py.File(path, "r") as raw:
            for group in groups:
                values, whole, _ = tables[group.path]
                mine = ours[group.path].to_dataset()
                theirs = plain[group.path].to_dataset()
                for name, expected in {**values, **whole}.items():
                    for found in (mine[name].values, theirs[name].values):
                        np.testing.assert_array_equal(found, expected, err_msg=name)
                    np.testing.assert_array_equal(raw[group.path][name][...], expected)
                    assert raw[group.path][name].dtype == expected.dtype
                    assert mine[name].dims == group.variable(name).dims
                assert list(mine["item"].values) == list(group.coordinates[0].values)
                for variable in group.variables:
                    for key, value in variable.attributes.items():
                        np.testing.assert_array_equal(mine[variable.name].attrs[key], value)
        for key, value in attributes.items():
            assert ours.attrs[key] == value
        ours.close()
        plain.close()


# What a reader may do with a damaged file: refuse it in a sentence, or read it. Rows carry no
# checksum, so a number that was changed itself is not noticed.
READS = """
import contextlib, sys
from pathlib import Path
import h5py, numpy as np
import stored, resprobe
from resprobe.errors import InputError
from resprobe.store.check import check

path = Path(sys.argv[1])
whole = bytes.fromhex(Path(sys.argv[2]).read_text())
for line in sys.stdin:
    kind, offset, bit = (int(word) for word in line.split())
    content = bytearray(whole)
    if kind == 0:
        content = content[:offset]
    else:
        content[offset] ^= 1 << bit
    path.write_bytes(content)
    for read in (resprobe.open, check):
        try:
            found = read(path)
            if read is resprobe.open:
                with contextlib.closing(found):
                    for node in found.leaves:
                        node.to_dataset().load()
            print("read", flush=True)
        except InputError as error:
            assert len(str(error).splitlines()) == 1, str(error)
            print("refused", flush=True)
        except Exception as error:
            print(f"{read.__name__} {line.strip()}: {type(error).__name__}: {error}", flush=True)
"""


def reads_of_damage(folder: Path, damages: list[tuple[int, int, int]]) -> list[str]:
    """Read a file damaged in each way, in a process of its own; give what came of it."""
    path = stored.written(folder / "file.h5", 3, 70)
    (folder / "whole.txt").write_text(path.read_bytes().hex())
    here = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    outcomes: list[str] = []
    while len(outcomes) < 2 * len(damages):
        rest = damages[len(outcomes) // 2 :]
        done = subprocess.run(
            [sys.executable, "-c", here + READS, path, folder / "whole.txt"],
            input="".join(f"{kind} {offset} {bit}\n" for kind, offset, bit in rest),
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        outcomes += done.stdout.splitlines()
        if done.returncode:
            outcomes = outcomes[: len(outcomes) // 2 * 2]
            damage = damages[len(outcomes) // 2]
            outcomes += [f"{damage} ends the process: {done.returncode} {done.stderr[-300:]}"] * 2
    return outcomes


def unexpected(outcomes: list[str]) -> tuple[set[str], int]:
    """Give what is neither read nor refused, and apart from it how often HDF5 itself crashed.

    About one flipped bit in a thousand makes the C library read or free what is not its own, which
    no caller can prevent.
    """
    others = {line for line in outcomes if line not in ("read", "refused")}
    crashes = {line for line in others if " ends the process: -" in line}
    return others - crashes, len(crashes)


def drawn_damages(size: int, count: int, seed: int) -> list[tuple[int, int, int]]:
    draw = np.random.default_rng(seed)
    kinds, bits = np.arange(count) % 2, draw.integers(0, 8, count)
    offsets = draw.integers(0, size, count)
    return [(int(k), int(o), int(b)) for k, o, b in zip(kinds, offsets, bits, strict=True)]


def test_a_damaged_file_ends_in_a_message_or_is_read(tmp_path):
    size = stored.written(tmp_path / "measure.h5", 3, 70).stat().st_size
    outcomes = reads_of_damage(tmp_path, drawn_damages(size, 120, seed=0))
    wrong, crashes = unexpected(outcomes)
    assert not wrong
    assert crashes <= 2
    assert {"read", "refused"} <= set(outcomes)


@pytest.mark.slow
def test_two_thousand_damaged_files(tmp_path):
    size = stored.written(tmp_path / "measure.h5", 3, 70).stat().st_size
    outcomes = reads_of_damage(tmp_path, drawn_damages(size, 2000, seed=1))
    wrong, crashes = unexpected(outcomes)
    counts = {word: outcomes.count(word) for word in ("read", "refused")}
    sys.stdout.write(
        f"\n2,000 damaged files, opened and checked: {counts}; crashes inside HDF5: {crashes}; "
        f"otherwise: {wrong}\n"
    )
    assert not wrong
    assert crashes <= 10
