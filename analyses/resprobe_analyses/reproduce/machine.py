"""What a reader must know of the machine and the code behind a number; never a path."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from resprobe.provenance import provenance

# Attributes that hold the words of whoever ran the command, or say nothing of a number.
_LEFT_OUT = ("title", "command", "created")
# Of a run's files: by which code, on what, on how many threads and on which data it was trained.
_OF_RUNS = (
    "resprobe_version",
    "torch_version",
    "git_commit",
    "git_dirty",
    "device_name",
    "threads",
    "dtype",
    "data_fingerprint",
)


def versions() -> dict[str, Any]:
    """Give versions of resprobe and its libraries, the commit, and whether it was changed."""
    return {key: value for key, value in provenance().items() if key not in _LEFT_OUT}


def machine() -> dict[str, Any]:
    """Give the processor, its cores that this process may use, and the memory in GiB."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gib": _memory(),
    }


def made_by(runs: Iterable[Path]) -> dict[str, list[Any]]:
    """Give by which code, on what, on how many threads and on which data runs were made.

    Of everything all that occurs: two fingerprints of data say that runs of two data sets, or of
    two subsets, are behind a number.

    It is read from each run's record of its training, or where none was kept from the first file
    that was collected.
    """
    found: dict[str, set[Any]] = {name: set() for name in _OF_RUNS}
    for run in runs:
        attributes = _attributes(run)
        for name in _OF_RUNS:
            if name in attributes:
                found[name].add(np.asarray(attributes[name]).item())  # netCDF's are arrays
    return {name: sorted(values) for name, values in found.items()}


def _attributes(run: Path) -> dict[str, Any]:
    recorded = run / "training.h5"
    files = [recorded] if recorded.exists() else sorted((run / "collected").glob("*/*.h5"))
    try:
        with h5py.File(files[0], "r", locking=False) as file:
            return dict(file.attrs)
    except (OSError, IndexError):
        return {}  # it was analyzed, so that what is gone is no news to the reader of the ledger


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None
