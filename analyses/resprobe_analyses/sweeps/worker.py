"""What happens on a worker: one point is trained and measured, in the worker's own process."""

from __future__ import annotations

import importlib.metadata
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from resprobe.errors import DivergedError, InputError, ResprobeError
from resprobe.store.lock import LOCK, is_locked, run_lock
from resprobe_analyses.sweeps import state
from resprobe_analyses.sweeps.collecting import words_of
from resprobe_analyses.sweeps.commands import call
from resprobe_analyses.sweeps.outcomes import TRAINED
from resprobe_analyses.sweeps.specification import Collection

# Between two looks at a run that another process still works on, in seconds.
_LOOK = 0.5


@dataclass(frozen=True)
class Job:
    """What a worker is sent.

    Attributes:
        folder: of the sweep, absolute and the same on every worker.
        name: of the point.
        threads: on which it is trained and measured.
        collections: what is measured once it is trained.
        data_dir: folder of the data sets' files, if one was given.
        version: of resprobe, which must be the worker's too.
    """

    folder: Path
    name: str
    threads: int
    collections: tuple[Collection, ...]
    data_dir: Path | None
    version: str


@dataclass(frozen=True)
class Ending:
    """How an attempt ended.

    Attributes:
        failed: whether it ended in an error.
        message: one sentence; empty where all went well.
        details: the traceback of an error that nobody foresaw.
    """

    failed: bool = False
    message: str = ""
    details: str = ""


def run_point(job: Job) -> Ending:
    """Train what a point still lacks and measure it; nothing that is complete is repeated.

    The attempt is counted on disk before it begins. A run that another process holds, such as one
    whose worker was given up for lost, is waited for; what ended meanwhile is not begun again.
    """
    own = importlib.metadata.version("resprobe")
    if own != job.version:
        return Ending(True, f"the worker has resprobe {own}, the sweep {job.version}.")
    if not state.recipe_of(job.folder, job.name).exists():
        return Ending(True, f"the worker does not see {job.folder}.")
    begun = time.monotonic()
    try:
        with _run_held(state.run_of(job.folder, job.name)):
            status, *_ = state.status_of(job.folder, job.name, job.collections)
            return Ending() if status in (*TRAINED, "diverged") else _attempt(job, begun)
    except ResprobeError as error:
        return Ending(True, str(error))
    except (Exception, SystemExit) as error:
        return Ending(True, f"{type(error).__name__}: {error}", traceback.format_exc())


def _attempt(job: Job, begun: float) -> Ending:
    known = state.begun(state.read_state(job.folder, job.name))
    state.write_state(job.folder, job.name, known)
    run = state.run_of(job.folder, job.name)
    message = _train(job, run)
    if message:
        seconds = known.seconds + time.monotonic() - begun
        ended = replace(known, ended="diverged", message=message, seconds=seconds)
        state.write_state(job.folder, job.name, ended)
        return Ending(message=message)
    with _threads(job.threads):
        for collection in job.collections:
            call("collect", words_of(collection, run, job.data_dir))
    complete = tuple(state.fingerprint(item) for item in job.collections)
    seconds = known.seconds + time.monotonic() - begun
    state.write_state(job.folder, job.name, replace(known, collected=complete, seconds=seconds))
    return Ending()


def _train(job: Job, run: Path) -> str:
    """Train a run, or go on with it; give a sentence if it diverged."""
    if state.trained_status(run)[0]:
        return ""
    words = [str(state.recipe_of(job.folder, job.name)), "--output", str(run), "--quiet"]
    if (run / "recipe.toml").exists():
        words.append("--resume")
    try:
        call("train", words)
    except DivergedError as error:
        return str(error)
    return ""


@contextmanager
def _run_held(run: Path) -> Iterator[None]:
    """Hold the lock of a run, after whoever holds it now."""
    run.mkdir(parents=True, exist_ok=True)
    free = False
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(run_lock(run))
                break
            except InputError:
                locked = is_locked(run / LOCK)
                if free and not locked:
                    raise
                free = not locked  # given back between the two looks, or it can't be made
                time.sleep(_LOOK if locked else 0)
        yield


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Measure on as many threads as the run was trained on, so that cores are shared alike."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
