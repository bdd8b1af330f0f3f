"""Write a tree of datasets as one finished netCDF file, or a table as CSV."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe.errors import InputError
from resprobe.store.room import reserve_new
from resprobe.store.schema import CONVENTIONS, REPLAY, SCHEMA_VERSION, STATUS

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

_METADATA_ROOM = 1 << 20


def write_tree(groups: Mapping[str, xr.Dataset], attributes: Mapping[Any, Any], path: Path) -> None:
    """Write groups as `read_file` gives them into one file, put in place when it is whole.

    Args:
        groups: path to dataset, with `rows` and `status` among its attributes.
        attributes: of the root.
        path: of the file; one that is there is replaced.

    Raises:
        InputError: it can't be written; nothing is left behind and nothing replaced.
        DiskFullError: there is no room; likewise.
    """
    import xarray as xr

    unborn = path.with_name(path.name + ".new")
    tree = xr.DataTree.from_dict({name: _with_bookkeeping(ds) for name, ds in groups.items()})
    kept = {name: value for name, value in attributes.items() if not str(name).startswith("_")}
    tree.attrs = {
        **kept,
        "Conventions": CONVENTIONS,
        "resprobe_schema": np.int64(SCHEMA_VERSION),
    }
    # Chunks and metadata take some room of their own.
    need = int(1.25 * sum(dataset.nbytes for dataset in groups.values())) + _METADATA_ROOM
    try:
        reserve_new(unborn, need, "everything")
        tree.to_netcdf(unborn, engine="h5netcdf")
        unborn.replace(path)
    except (OSError, UnicodeError) as error:  # a damaged attribute may be no text any more
        unborn.unlink(missing_ok=True)
        raise InputError(f"{path} can't be written ({error}); give another path.") from error


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, its index as the first columns, put in place when it is whole.

    Numbers are written so that they read back as they are, missing ones as nothing.

    Args:
        table: as `block_table` gives it.
        path: of the file; one that is there is replaced.

    Raises:
        InputError: it can't be written; nothing is left behind and nothing replaced.
    """
    unborn = path.with_name(path.name + ".new")
    try:
        table.reset_index().to_csv(unborn, index=False, encoding="utf-8", lineterminator="\n")
        unborn.replace(path)
    except OSError as error:
        unborn.unlink(missing_ok=True)
        raise InputError(f"{path} can't be written ({error}); give another path.") from error


def _with_bookkeeping(dataset: xr.Dataset) -> xr.Dataset:
    """Give back the two scalars that the reader turned into attributes."""
    rows = dataset.attrs["rows"]
    written = dataset.copy()
    status = written.attrs.pop("status")
    written["committed"] = np.int64(dataset.sizes[rows])
    written["committed"].attrs["long_name"] = "rows that are safely written"
    written["status"] = np.int8(STATUS.index(status))
    written["status"].attrs.update(
        {
            "long_name": "what became of the recording",
            "flag_values": np.arange(len(STATUS), dtype=np.int8),
            "flag_meanings": " ".join(STATUS),
        }
    )
    for scalar in REPLAY:
        if scalar.name in written.attrs:
            value = np.dtype(scalar.dtype).type(written.attrs.pop(scalar.name))
            written[scalar.name] = ((), value, scalar.attributes)
    for name, variable in written.variables.items():
        # Encodings of the file it came from (chunks, fill values of int8) do not carry over.
        variable.encoding = {"_FillValue": np.nan} if variable.dtype.kind == "f" else {}
        if name in dataset.dims:
            variable.encoding = {}
    return written
