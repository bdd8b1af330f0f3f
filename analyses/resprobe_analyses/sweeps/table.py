"""The summary of a sweep: one row a point, as `sweep.csv` and as `sweep.h5`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe_analyses.sweeps.outcomes import TRAINED, PointOutcome
from resprobe_analyses.sweeps.state import METRICS, write_whole

if TYPE_CHECKING:
    import xarray as xr

TABLE, CSV = "sweep.h5", "sweep.csv"
STATUSES = (*TRAINED, "diverged", "failed", "missing")
_ABOUT = {
    "seed": "seed of the training",
    "attempts": "how often the run was begun",
    "seconds": "wall time of the last attempt, training and collecting",
    "train_loss": "mean training loss of the last epoch",
    "train_error": "training error of the last epoch",
    "test_loss": "mean test loss of the last epoch",
    "test_error": "test error of the last epoch",
}


def write_table(folder: Path, outcomes: Sequence[PointOutcome]) -> None:
    """Write both forms of the summary; a reader never sees half of one."""
    write_whole(folder / CSV, _csv(outcomes))
    unborn = folder / f".{TABLE}.new"
    try:
        table(outcomes).to_netcdf(unborn, engine="h5netcdf")
        unborn.replace(folder / TABLE)
    finally:
        unborn.unlink(missing_ok=True)


def table(outcomes: Sequence[PointOutcome]) -> xr.Dataset:
    """Give the summary with one dimension, `point`.

    Returns:
        `status` int8 with flags; `seed` and `attempts` int64; `seconds` and the metrics of the last
        epoch float64, NaN where there are none; `arm` and `message` text; and every key that varies
        by its dotted name, float64 if all its values are numbers, else text.
    """
    import xarray as xr

    rows = _rows(outcomes)
    columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
    variables = {
        name: ("point", _array(name, values), _attributes(name))
        for name, values in columns.items()
        if name != "point"
    }
    return xr.Dataset(variables, {"point": ("point", _texts(columns.get("point", [])))})


def _rows(outcomes: Sequence[PointOutcome]) -> list[dict[str, Any]]:
    varied = list(dict.fromkeys(key for outcome in outcomes for key in outcome.settings))
    return [
        {
            "point": outcome.name,
            "arm": outcome.arm,
            **{key: outcome.settings.get(key) for key in varied},
            "seed": outcome.seed,
            "status": outcome.status,
            "attempts": outcome.attempts,
            "seconds": outcome.seconds,
            **{name: outcome.metrics.get(name, float("nan")) for name in METRICS},
            "message": outcome.message,
        }
        for outcome in outcomes
    ]


def _csv(outcomes: Sequence[PointOutcome]) -> str:
    rows = _rows(outcomes)
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        cells = {name: _cell(value) for name, value in row.items()}
        writer.writerow({**cells, "seconds": f"{row['seconds']:.3f}"})
    return text.getvalue()


def _cell(value: Any) -> Any:
    """Give a value as spreadsheets read it: nothing for what is not there."""
    missing = value is None or (isinstance(value, float) and np.isnan(value))
    return "" if missing else value


def _array(name: str, values: list[Any]) -> np.ndarray[Any, Any]:
    if name == "status":
        return np.array([STATUSES.index(value) for value in values], np.int8)
    if name in ("seed", "attempts"):
        return np.array(values, np.int64)
    there = [value for value in values if value is not None]
    if there and all(isinstance(value, int | float) for value in there):
        return np.array([np.nan if value is None else value for value in values], np.float64)
    return _texts(["" if value is None else value for value in values])


def _texts(values: list[Any]) -> np.ndarray[Any, Any]:
    texts = [
        value if isinstance(value, str) else json.dumps(value, default=str) for value in values
    ]
    return np.array(texts, dtype=object)


def _attributes(name: str) -> dict[str, Any]:
    if name == "status":
        flags = np.arange(len(STATUSES), dtype=np.int8)
        return {
            "long_name": "how the run ended",
            "flag_values": flags,
            "flag_meanings": " ".join(STATUSES),
        }
    units = {"seconds": "s"}.get(name, "1")
    if name in _ABOUT:
        return {"long_name": _ABOUT[name], "units": units}
    return {
        "long_name": {"arm": "arm", "message": "what went wrong"}.get(name, f"recipe key {name}")
    }
