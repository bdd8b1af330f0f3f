"""Jobs for the kill server: short recordings whose every row is known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array
import dask.distributed
import h5netcdf
import numpy as np
import scipy.io
import stored
import xarray as xr

import resprobe
from resprobe.store.export import write_tree
from resprobe.store.reader import read_file
from resprobe.store.writer import Writer

Promise = Callable[[Any], None]
# What reading and exporting import on their way; else every fork would do it again.
IMPORTED_FOR_THE_FORKS = (xr, dask, h5netcdf, scipy)
GROUPS = (stored.LINES, replace(stored.ENDS, path="/ends"))
# One chunk a row: the indexes of the chunks split at the 65th row and again after the 128th.
ROWS, BATCH, EVERY = 135, 9, 45


def ends(count: int) -> dict[str, np.ndarray]:
    """Give the row of `/ends` that follows `count` lines."""
    return {"epoch": np.array([count]), "step": np.array([count]), "error": np.array([1 / count])}


def _writer(path: Path, **options: bool) -> Writer:
    return Writer(path, GROUPS, {"title": "test", "seed": 3}, chunk_rows=1, **options)


def _go_on(writer: Writer, promise: Promise, rows: int = ROWS) -> None:
    promise({"made": True})
    while (done := writer.committed("/lines")) < rows or writer.committed("/ends") < done // EVERY:
        if writer.committed("/ends") < done // EVERY:
            writer.append("/ends", ends(EVERY * (writer.committed("/ends") + 1)))
            promise({"/ends": writer.committed("/ends")})
        else:
            stop = min(done + BATCH, rows)
            writer.append("/lines", stored.rows(done, stop))
            promise({"/lines": stop})
    writer.put("/lines", {"mean_width": np.arange(3.0), "whole": 2.0})
    promise({"totals": True})
    writer.close()
    promise({"closed": True})


def record(folder: Path, promise: Promise) -> None:
    """Record from the beginning."""
    _go_on(_writer(folder / "file.h5"), promise)


def record_long(folder: Path, promise: Promise) -> None:
    """Record so many rows that an index splits below its root."""
    _go_on(_writer(folder / "file.h5"), promise, 900)


def resume(folder: Path, promise: Promise) -> None:
    """Go on in a file, or start it where it was never made."""
    path = folder / "file.h5"
    _go_on(_writer(path, resume=path.exists()), promise)


def resume_long(folder: Path, promise: Promise) -> None:
    """Likewise, for the long recording."""
    path = folder / "file.h5"
    _go_on(_writer(path, resume=path.exists()), promise, 900)


def export(folder: Path, promise: Promise) -> None:
    """Write the file again as an export, over one that is there."""
    groups, attributes = read_file(folder / "file.h5")
    write_tree(groups, attributes, folder / "export.h5")
    promise({"exported": True})


def read(folder: Path, promise: Promise) -> None:
    """Only read, to see that reading changes nothing."""
    resprobe.open(folder / "file.h5").close()
