"""Check that files are whole, keep their schema, and belong together."""

from __future__ import annotations

import hashlib
import json
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from resprobe import checkpoints
from resprobe.errors import InputError
from resprobe.quantities.quantity import all_quantities
from resprobe.store.hdf5 import FLUSH, hdf5, snapshot
from resprobe.store.lock import is_locked
from resprobe.store.reader import is_run, read_file, run_files
from resprobe.store.schema import SCHEMA_VERSION, STATUS
from resprobe.store.training import EPOCH


@dataclass
class Report:
    """What a check found.

    Attributes:
        violations: what breaks the schema or is damaged, one sentence each.
        notes: what is in order but worth knowing.
        files: what was looked at.
    """

    violations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)


def check(path: Path) -> Report:
    """Check a run directory or a file.

    Raises:
        InputError: it is no run directory; or a file that is not HDF5 or not resprobe's.
    """
    report = Report()
    if path.is_dir():
        if not is_run(path):
            raise InputError(
                f"{path} is no run directory (it holds neither recipe.toml nor source.toml); give "
                "the directory that `resprobe train -o` or `resprobe collect -o` wrote."
            )
        _check_run(path, report)
    else:
        with hdf5(path) as file:
            _require_ours(file, path)
        _check_file(path, report)
    return report


def _require_ours(file: h5py.File, path: Path) -> None:
    version = file.attrs.get("resprobe_schema")
    if version is None:
        raise InputError(
            f"{path} is HDF5 but not resprobe's (it has no attribute resprobe_schema); give a "
            "file that resprobe wrote."
        )
    if int(np.ravel(version)[0]) > SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema {int(np.ravel(version)[0])}, newer than this resprobe's "
            f"{SCHEMA_VERSION}; upgrade resprobe."
        )


# -- a run --------------------------------------------------------------------------------------


def _check_run(run: Path, report: Report) -> None:
    recipe = run / ("recipe.toml" if (run / "recipe.toml").exists() else "source.toml")
    report.files.append(recipe)
    try:
        tables = tomllib.loads(recipe.read_text(encoding="utf-8"))
        report.violations += [
            f"{recipe} lacks the table [{name}]" for name in ("model", "data") if name not in tables
        ]
    except (OSError, ValueError) as error:
        report.violations.append(f"{recipe} can't be read: {error}")
    digests = _check_checkpoints(run, report)
    for _, path in run_files(run):
        _check_file(path, report)
        _check_origin(run, path, digests, report)
    live = is_locked(run / ".lock")
    if live:
        report.notes.append(f"{run} is being trained now")
    for partial in sorted((run / "collected").glob("*/*.partial")):
        report.notes.append(
            f"{partial} is an interrupted collection; `resprobe collect` resumes it"
        )


def _check_checkpoints(run: Path, report: Report) -> dict[str, str]:
    """Check that each checkpoint is whole; give the digests of their weights by stem."""
    digests = {}
    steps = checkpoints.steps(run)
    if not steps:
        report.notes.append(f"{run} holds no checkpoint")
    for step in steps:
        stem = checkpoints.stem(step)
        path = run / checkpoints.FOLDER / f"{stem}.safetensors"
        report.files.append(path)
        problem = _broken_safetensors(path)
        if problem:
            report.violations.append(f"{path} is damaged: {problem}")
        digests[stem] = hashlib.sha256(path.read_bytes()).hexdigest()
        state = path.with_name(f"{stem}.state.safetensors")
        if state.exists():
            report.files.append(state)
            problem = _broken_safetensors(state)
            if problem:
                report.violations.append(f"{state} is damaged: {problem}")
        elif (run / "recipe.toml").exists():  # a foreign model's checkpoint has no trainer
            report.violations.append(f"{state} is missing: training can't go on from {stem}")
        try:
            info = checkpoints.read_info(run, step)
        except InputError as error:
            report.violations.append(str(error))
            continue
        if info.get("step") != step:
            report.violations.append(f"{path.with_suffix('.json')} says step {info.get('step')}")
    return digests


def _broken_safetensors(path: Path) -> str:
    """Say what is wrong with a safetensors file, "" if nothing is; needs no torch."""
    size = path.stat().st_size
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > size:
                return "its header is cut off"
            header = json.loads(stream.read(length))
            end = max(
                (
                    entry["data_offsets"][1]
                    for name, entry in header.items()
                    if name != "__metadata__"
                ),
                default=0,
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"its header can't be read ({error})"
    return "" if 8 + length + end == size else f"it has {size} bytes instead of {8 + length + end}"


def _check_origin(run: Path, path: Path, digests: dict[str, str], report: Report) -> None:
    """Check that a collected file was measured on the checkpoint that is there."""
    if path.parent == run:
        return
    stem = path.parent.name
    if stem not in digests:
        report.violations.append(f"{path} was measured on a checkpoint that is not there: {stem}")
        return
    try:
        with hdf5(path) as file:
            weights = file.attrs.get("weights_sha256")
            for name, group in _leaf_groups(file).items():
                status = int(group["status"][()])
                if status != STATUS.index("finished") and status in range(len(STATUS)):
                    report.violations.append(f"{path}{name}: its status is {STATUS[status]}")
    except (InputError, OSError, RuntimeError, KeyError):
        return  # already reported
    if weights is not None and weights != digests[stem]:
        report.violations.append(f"{path} was measured on other weights than those of {stem}")


# -- a file -------------------------------------------------------------------------------------


def _check_file(path: Path, report: Report) -> None:
    report.files.append(path)
    violations, unfinished = _examine(path)
    if violations and is_locked(path.parent / ".lock"):
        # What looks like damage may be a flush under way: look at one moment between two.
        time.sleep(FLUSH)
        violations, unfinished = _examine(path, frozen=True)
    report.violations += violations
    if unfinished:
        report.notes.append(
            f"{path}: {', '.join(unfinished)} is being recorded or was killed; committed rows are "
            "safe"
        )


def _examine(path: Path, *, frozen: bool = False) -> tuple[list[str], list[str]]:
    """Give what is wrong with a file, and the groups that are still being recorded."""
    try:
        with hdf5(path, snapshot(path) if frozen else None) as file:
            _require_ours(file, path)
            groups = _leaf_groups(file)
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
    except InputError as error:
        return [str(error)], []
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        return [f"{path} is damaged: {error}"], []
    return found, unfinished


def _leaf_groups(file: h5py.File) -> dict[str, h5py.Group]:
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
    return problems


def _required(name: str) -> list[str]:
    """Give the variables that a group of this name must have."""
    family = name.rsplit("/", 1)[-1]
    if family == "epoch":
        return [variable.name for variable in EPOCH]
    if family == "step":
        return ["step", "block", "parameter", "loss"]
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


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
