"""Small files for the tests of the store: rows are known functions of their index."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from resprobe.store.schema import Coordinate, Group, Variable
from resprobe.store.writer import Writer

BLOCKS = ["stage1.0", "stage1.1", "kopf/größe"]
LINES = Group(
    "/lines",
    "step",
    (
        Variable("step", ("step",), "int64", {"units": "1"}),
        Variable("label", ("step",), "int64", {"units": "1"}),
        Variable("height", ("step",), "float64", {"units": "m"}),
        Variable("width", ("step", "block"), "float32", {"units": "m"}),
        Variable("mean_width", ("block",), "float64", {"units": "m"}),
        Variable("whole", (), "float64", {"units": "1"}),
    ),
    (
        Coordinate("block", ("block",), BLOCKS, {"long_name": "name"}),
        Coordinate("stage", ("block",), np.array([0, 0, 1], np.int32)),
    ),
    ("step", "label"),
)
ENDS = Group(
    "/ends/epoch",
    "epoch",
    (
        Variable("epoch", ("epoch",), "int64"),
        Variable("step", ("epoch",), "int64"),
        Variable("error", ("epoch",), "float64", {"units": "1"}),
    ),
    (),
    ("epoch", "step"),
)
GROUPS = (LINES, ENDS)
SHORT = Group(
    "/short",
    "step",
    (Variable("step", ("step",), "int64"), Variable("height", ("step",), "float64")),
    (),
    ("step",),
)


def rows(start: int, stop: int) -> dict[str, np.ndarray]:
    """Give the rows of `/lines` whose step is start + 1 to stop."""
    step = np.arange(start + 1, stop + 1)
    return {
        "step": step,
        "label": step % 7,
        "height": 1.5 * step,
        "width": (step[:, None] * np.array([1.0, 2.0, 4.0])).astype(np.float32),
    }


def new(path: Path, **options: object) -> Writer:
    """Begin a file of `GROUPS`."""
    return Writer(path, GROUPS, {"title": "test", "seed": 3, "rate": 0.5}, **options)


def written(path: Path, *stops: int, status: str = "finished") -> Path:
    """Write a file whose lines were appended up to each stop in turn."""
    writer, start = new(path, chunk_rows=4), 0
    for stop in stops:
        writer.append("/lines", rows(start, stop))
        start = stop
    writer.append(
        "/ends/epoch", {"epoch": np.array([1]), "step": np.array([start]), "error": np.array([0.5])}
    )
    writer.put("/lines", {"mean_width": np.arange(3.0), "whole": 2.0})
    writer.close(status)
    return path


def in_process(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code that may import this module in a fresh interpreter."""
    here = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    return subprocess.run(
        [sys.executable, "-c", here + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


_PLAIN = """
import json, sys
import xarray
tree = xarray.open_datatree(sys.argv[1], engine="h5netcdf")
assert not any(name.partition(".")[0] == "resprobe" for name in sys.modules)
found = {}
for node in tree.leaves:
    data = node.to_dataset().load()
    found[node.path] = {
        "sizes": dict(data.sizes),
        "coordinates": sorted(data.coords),
        "values": {name: data[name].values.tolist() for name in data.variables},
        "units": {name: data[name].attrs.get("units") for name in data.variables},
        "attributes": sorted(data.attrs),
    }
print(json.dumps({"groups": found, "root": sorted(tree.dataset.variables)}))
"""


def plain_xarray(path: Path) -> dict[str, dict[str, object]]:
    """Read a file in another process with xarray alone; give its groups."""
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", _PLAIN, str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["root"] == [], "variables at the root break DataTree"
    return document["groups"]
