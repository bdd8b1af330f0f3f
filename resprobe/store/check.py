"""Check that files are whole, keep their schema, and belong together."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resprobe import checkpoints
from resprobe.converted import CERTIFICATE, converted_weights
from resprobe.errors import ChangingError, InputError
from resprobe.files import refuse_special
from resprobe.run_recipe import read_run_recipe, recipe_path
from resprobe.store.check_file import examine, leaf_groups
from resprobe.store.hdf5 import FLUSH, hdf5, require_ours
from resprobe.store.lock import LOCK, is_locked
from resprobe.store.reader import (
    PARTNER,
    collected_checkpoint,
    is_run,
    is_sweep,
    partner_of,
    recording_in,
    run_files,
    runs_of_sweep,
)
from resprobe.store.schema import STATUS


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
    """Check a run directory, all runs of a sweep, a collected checkpoint, or a file.

    A directory that a Recorder wrote is its file.

    Raises:
        InputError: it is no such directory; or a file that is not HDF5 or not resprobe's.
    """
    report = Report()
    path = recording_in(path) or path
    if path.is_dir():
        if is_sweep(path):
            for run in (run for runs in runs_of_sweep(path) for run in runs):
                if is_run(run):  # else it was made but not begun
                    _check_run(run, report)
            return report
        chosen = collected_checkpoint(path)
        if chosen is not None:
            _check_collected(path, *chosen, report)
            return report
        if not is_run(path):
            raise InputError(
                f"{path} is no run directory (it holds neither recipe.toml nor source.toml); give "
                "the directory that `resprobe train -o` or `resprobe collect -o` wrote."
            )
        _check_run(path, report)
    else:
        with hdf5(path) as file:
            require_ours(file, path)
        _check_file(path, report)
    return report


def _check_run(run: Path, report: Report) -> None:
    recipe = recipe_path(run)
    report.files.append(recipe)
    try:
        tables = read_run_recipe(run)[1]
        report.violations += [
            f"{recipe} lacks the table [{name}]" for name in ("model", "data") if name not in tables
        ]
    except InputError as error:
        report.violations.append(str(error))
        tables = {}
    digests = _check_checkpoints(run, report)
    _check_recording(run, tables, _trained(run, digests, report), report)
    for _, path in run_files(run):
        _check_file(path, report)
        _check_origin(run, path, digests, report)
    live = is_locked(run / LOCK)
    if live:
        report.notes.append(f"{run} is being trained now")
    for partial in sorted((run / "collected").glob("*/*.partial")):
        report.notes.append(
            f"{partial} is an interrupted collection; `resprobe collect` resumes it"
        )
    _check_pair(run, tables, report)


def _check_collected(folder: Path, run: Path, step: int, report: Report) -> None:
    """Check what was collected of one checkpoint, and that it was measured on its weights."""
    weights = run / checkpoints.FOLDER / f"{checkpoints.stem(step)}.safetensors"
    digests = {}
    if weights.is_file():
        digests[checkpoints.stem(step)] = hashlib.sha256(weights.read_bytes()).hexdigest()
    files = sorted(folder.glob("*.h5"))
    for path in files:
        _check_file(path, report)
        _check_origin(run, path, digests, report)
    if not files:
        report.notes.append(f"{folder}: nothing is collected of this checkpoint")


def _check_pair(run: Path, tables: dict[str, Any], report: Report) -> None:
    """Check the run of the partner, and that a run of a pair has it with all checkpoints."""
    partner = partner_of(run)
    pair = tables.get("pair")
    if isinstance(pair, dict) and pair.get("network", "none") != "none":
        theirs = checkpoints.steps(run / PARTNER)
        missing = [checkpoints.stem(step) for step in checkpoints.steps(run) if step not in theirs]
        if missing:
            report.violations.append(
                f"{run / PARTNER} lacks {', '.join(missing)}, but the recipe trains a pair"
            )
    if partner is not None:
        _check_run(partner, report)


def _trained(run: Path, digests: dict[str, str], report: Report) -> list[str]:
    """Give the checkpoints that training wrote there, by stem; check that each has its state."""
    if not (run / "recipe.toml").exists():  # a foreign model's checkpoint has no trainer
        return []
    try:
        converted = converted_weights(run)
    except InputError as error:
        report.violations.append(str(error))
        converted = set()
    if (run / CERTIFICATE).exists():
        report.files.append(run / CERTIFICATE)
    trained = [stem for stem, digest in digests.items() if digest not in converted]
    for stem in trained:
        state = run / checkpoints.FOLDER / f"{stem}.state.safetensors"
        if not state.exists():
            report.violations.append(f"{state} is missing: training can't go on from {stem}")
    return trained


def _check_recording(run: Path, tables: dict[str, Any], trained: list[str], report: Report) -> None:
    """Check that a run that records while training has its recording."""
    record = tables.get("record")
    every = record.get("every", 0) if isinstance(record, dict) else 0
    path = run / "training.h5"
    steps_done = any(stem != checkpoints.stem(0) for stem in trained)
    if steps_done and isinstance(every, int) and every >= 1 and not path.exists():
        report.violations.append(f"{path} is missing, but the recipe records every {every} steps")


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
        if path.is_file():
            digests[stem] = hashlib.sha256(path.read_bytes()).hexdigest()
        state = path.with_name(f"{stem}.state.safetensors")
        if state.exists():
            report.files.append(state)
            problem = _broken_safetensors(state)
            if problem:
                report.violations.append(f"{state} is damaged: {problem}")
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
        refuse_special(path)
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
    except (
        InputError,
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
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
            names = sorted(leaf_groups(file))
            if names and names != [f"/{path.stem}"]:
                report.violations.append(
                    f"{path} holds {', '.join(names)} instead of /{path.stem} alone"
                )
            for name, group in leaf_groups(file).items():
                status = int(group["status"][()])
                if status != STATUS.index("finished") and status in range(len(STATUS)):
                    report.violations.append(f"{path}{name}: its status is {STATUS[status]}")
    except (InputError, OSError, RuntimeError, KeyError):
        return  # already reported
    if weights is not None and weights != digests[stem]:
        report.violations.append(f"{path} was measured on other weights than those of {stem}")


def _check_file(path: Path, report: Report) -> None:
    report.files.append(path)
    try:
        violations, unfinished = examine(path)
        if violations and is_locked(path.parent / LOCK):
            # What looks like damage may be a flush under way: look at one moment between two.
            time.sleep(FLUSH)
            violations, unfinished = examine(path, frozen=True)
    except ChangingError as error:
        report.notes.append(f"not checked: {error}")
        return
    report.violations += violations
    if unfinished:
        report.notes.append(
            f"{path}: {', '.join(unfinished)} is being recorded or was killed; committed rows are "
            "safe"
        )
