"""Jobs for the kill server: whole commands, under a limit on the size of files or to be killed."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import conftest
import dask.distributed
import rich.progress
import sklearn.datasets
import torch
import torch._dynamo
import xarray as xr
from resprobe_models import train as trainer

from resprobe import session as module
from resprobe.cli.main import resprobe_command
from resprobe.store.writer import Writer

# What the commands import on their way; else every fork of the server would do it again.
IMPORTED_FOR_THE_FORKS = (torch._dynamo, xr, trainer, dask, rich, sklearn)
torch.set_num_threads(1)

Promise = Callable[[Any], None]
TINY = [word for setting in conftest.TINY for word in ("--set", setting)]


def _limit(folder: Path) -> None:
    size = int((folder / "limit.txt").read_text())
    if size:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _command(*words: object) -> None:
    resprobe_command.main([str(word) for word in words], prog_name="resprobe")


def train(folder: Path, promise: Promise) -> None:
    """Train the tiny recipe into `folder/run`."""
    _limit(folder)
    _command("train", "resnet-20-digits", *TINY, "-o", folder / "run", "--quiet")


def resume(folder: Path, promise: Promise) -> None:
    """Go on with it."""
    _limit(folder)
    _command("train", "resnet-20-digits", *TINY, "-o", folder / "run", "--resume", "--quiet")


def check(folder: Path, promise: Promise) -> None:
    """Check the run."""
    _command("check", folder / "run")


def collect(folder: Path, promise: Promise) -> None:
    """Collect norms and lesions of `folder/run` in batches of 60; say what is measured and safe."""
    _limit(folder)
    module.BATCH = 60
    rows, append = module.Session.rows, Writer.append

    def measured(self: Any, measurement: Any, indices: Any, start: int, stop: int) -> Any:
        promise({"measured": [measurement.group().path, start]})
        return rows(self, measurement, indices, start, stop)

    def appended(self: Writer, group: str, values: Any) -> None:
        append(self, group, values)
        promise({"safe": [group, self.committed(group)]})

    module.Session.rows = measured
    Writer.append = appended
    _command(
        "collect",
        folder / "run",
        "--quiet",
        "--quantity",
        "branch_norm",
        "--quantity",
        "lesion_error",
    )


def export(folder: Path, promise: Promise) -> None:
    """Export `folder/run`."""
    _limit(folder)
    _command("export", folder / "run", "-o", folder / "export.h5", "--overwrite")
