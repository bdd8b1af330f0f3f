"""Check that one file is whole and keeps its schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from resprobe.errors import ChangingError, InputError
from resprobe.quantities.quantity import all_quantities, of_family
from resprobe.store.hdf5 import hdf5, require_ours, snapshot
from resprobe.store.reader import read_file
from resprobe.store.schema import REPLAY, STATUS
from resprobe.store.training import EPOCH, JACOBIAN, JACOBIAN_SCALARS, PAIR


def examine(path: Path, *, frozen: bool = False) -> tuple[list[str], list[str]]:
    """Give what is wrong with a file, and the groups that are still being recorded.

    Raises:
        ChangingError: the file is being written too fast to be read.
    """
    try:
        with hdf5(path, snapshot(path) if frozen else None) as file:
            require_ours(file, path)
            groups = leaf_groups(file)
            found = [
                f"{path}{name}: {line}"
                for name, group in groups.items()
                for line in _check_group(name, group)
            ]
            if not groups:
                found.append(f"{path} holds no group of measurements")
            loose = [name for name, item in file.items() if isinstance(item, h5py.Dataset)]
            if loose:
                found.append(f"{path} holds variables outside its groups: {', '.join(loose)}")
            unfinished = [
                name
                for name, group in groups.items()
                if "status" in group and int(group["status"][()]) == 0
            ]
        if not found:
            groups_read, _ = read_file(path)
            for dataset in groups_read.values():
                dataset.close()
    except ChangingError:
        raise
    except InputError as error:
        return [str(error)], []
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        return [f"{path} is damaged: {error}"], []
    return found, unfinished


def leaf_groups(file: h5py.File) -> dict[str, h5py.Group]:
    """Give every group that holds variables, by its path."""
    found: dict[str, h5py.Group] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Group) and any(
            isinstance(child, h5py.Dataset) for child in item.values()
        ):
            found[f"/{name}"] = item

    file.visititems(visit)
    return found


def _check_group(name: str, group: h5py.Group) -> list[str]:
    problems = []
    missing = [part for part in ("committed", "status") if part not in group]
    if "rows" not in group.attrs:
        missing.append("the attribute rows")
    if missing:
        return [f"lacks {', '.join(missing)}"]
    rows = _text(group.attrs["rows"])
    committed, status = int(group["committed"][()]), int(group["status"][()])
    if not 0 <= status < len(STATUS):
        problems.append(f"status {status} is none of {', '.join(STATUS)}")
    if committed < 0:
        problems.append(f"committed is {committed}")
    for required in _required(name):
        if required not in group:
            problems.append(f"the variable {required} is missing")
    for label, dataset in group.items():
        if isinstance(dataset, h5py.Dataset):
            problems += _check_dimensions(label, dataset, rows, committed)
            if not name.endswith("/epoch"):  # its means are of the same names, in float64
                problems += _check_declaration(label, dataset)
    problems += _check_rows(group, rows, committed)
    problems += _check_replay(group)
    return problems


def _required(name: str) -> list[str]:
    """Give the variables that a group of this name must have."""
    if name.endswith(JACOBIAN):  # in an exported file also that of a partner
        return ["step", "sample", "block", "part", *JACOBIAN_SCALARS]
    family = name.rsplit("/", 1)[-1]
    if family == "epoch":
        return [variable.name for variable in EPOCH]
    if family == "step":
        return ["step", "block", "parameter", "loss"]
    if name.endswith(PAIR):
        return ["step", *(quantity.name for quantity in of_family("pair"))]
    declared = [q.name for q in all_quantities().values() if q.family == family and q.measured_by]
    return ["sample", "block", *declared] if declared else []


def _check_dimensions(label: str, dataset: h5py.Dataset, rows: str, committed: int) -> list[str]:
    problems: list[str] = []
    if dataset.is_scale:
        return problems
    for axis, dimension in enumerate(dataset.dims):
        if len(dimension) != 1:
            problems.append(f"axis {axis} of {label} has no dimension scale")
            continue
        scale = dimension[0]
        name = str(scale.name).rsplit("/", 1)[-1]
        if name == rows:
            if dataset.shape[axis] < committed:
                problems.append(
                    f"{label} holds {dataset.shape[axis]} rows, but {committed} are committed"
                )
        elif scale.shape[0] != dataset.shape[axis]:
            problems.append(
                f"{label} has length {dataset.shape[axis]} along {name}, which has {scale.shape[0]}"
            )
    return problems


def _check_declaration(label: str, dataset: h5py.Dataset) -> list[str]:
    """Compare a variable with the quantity that it stores."""
    quantity = all_quantities().get(label)
    if quantity is None:
        return []
    units = _text(dataset.attrs.get("units", ""))
    problems = []
    if units != quantity.units:
        problems.append(f"{label} has units {units!r} instead of {quantity.units!r}")
    if dataset.dtype != np.dtype(quantity.dtype):
        problems.append(f"{label} has dtype {dataset.dtype} instead of {quantity.dtype}")
    return problems


def _check_rows(group: h5py.Group, rows: str, committed: int) -> list[str]:
    if rows not in group:
        return [f"the coordinate {rows} is missing"]
    dataset = group[rows]
    if dataset.shape[0] < committed:
        return [f"{rows} holds {dataset.shape[0]} rows, but {committed} are committed"]
    values = dataset[:committed]
    if len(values) > 1 and not bool((np.diff(values) > 0).all()):
        return [f"{rows} does not increase from row to row"]
    if len(values) and values[0] < 0:
        return [f"{rows} begins with {values[0]}"]
    return []


def _check_replay(group: h5py.Group) -> list[str]:
    """Check what is stored of rows that were recorded again; recordings alone have it."""
    names = [variable.name for variable in REPLAY]
    there = [name for name in names if name in group]
    if not there:
        return []
    if there != names:
        return [f"lacks {', '.join(name for name in names if name not in there)}"]
    compared, differing, step, largest = (group[name][()] for name in names)
    if not 0 <= differing <= compared:
        return [f"replay_differing is {differing} where replay_compared is {compared}"]
    if (differing > 0) != (step > 0) or (differing > 0) != (largest > 0):
        return [
            f"replay_differing is {differing}, but replay_first_step {step} and "
            f"replay_largest_difference {largest}"
        ]
    return []


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
