"""Run what is missing of a sweep on the workers of a cluster, and say how every run ended."""

from __future__ import annotations

import importlib.metadata
import logging
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resprobe.errors import InputError, ResprobeError
from resprobe.files import real_path
from resprobe.store.lock import LOCK, file_lock
from resprobe_analyses.sweeps import cluster, state
from resprobe_analyses.sweeps.collecting import check_collection
from resprobe_analyses.sweeps.folder import make, prepare, refuse_another
from resprobe_analyses.sweeps.log import Log, line_of
from resprobe_analyses.sweeps.outcomes import PointOutcome
from resprobe_analyses.sweeps.points import Point, points_of
from resprobe_analyses.sweeps.progress import Progress, Quiet
from resprobe_analyses.sweeps.specification import Sweep
from resprobe_analyses.sweeps.table import write_table
from resprobe_analyses.sweeps.worker import Ending, Job, run_point

if TYPE_CHECKING:
    from distributed import Client, Future

# Between two looks at the workers, in seconds; a run that ends is noticed at once.
_LOOK = 1.0


def run_sweep(
    sweep: Sweep,
    out: Path,
    *,
    scheduler: str | None = None,
    runs_per_device: int = 1,
    data_dir: Path | None = None,
    retry_failed: bool = False,
    retries: int = 1,
    progress: Progress | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> list[PointOutcome]:
    """Train and measure what `out` still lacks of a sweep.

    Every point is a run directory, `out/runs/NAME`. What is complete is kept, what was begun is
    gone on with from its last checkpoint, also after a kill of this process or of a worker. A run
    that fails is tried again, then left; the others go on. A diverged run has ended.

    The local workers are processes of their own, which import the main module again: a script
    calls this below `if __name__ == "__main__":`.

    Args:
        sweep: what to run.
        out: directory of the sweep; an earlier one of the same sweep, which may have had fewer
            seeds, values, arms or collections.
        scheduler: address of a dask scheduler; None for worker processes on this machine.
        runs_per_device: runs at once on each GPU, or on each core where there is none; an
            existing cluster has its own workers.
        data_dir: folder of the data sets' files.
        retry_failed: try the runs again that an earlier start gave up.
        retries: how often a failing run is tried again.
        progress: shows how it goes; nothing is shown without one.
        tell: gets sentences for a person.

    Returns:
        How every point ended, in the order of the sweep.

    Raises:
        InputError: a recipe, a key, a value, the directory, the scheduler or a worker does not
            allow it; nothing was begun.
        ResprobeError: the scheduler is gone.
    """
    if runs_per_device < 1:
        raise InputError(f"--runs-per-device {runs_per_device}: give 1 or a larger whole number.")
    cluster.require_distributed()
    if scheduler is not None:
        cluster.require_scheduler(scheduler)
    out = real_path(out)
    refuse_another(sweep, out)
    for collection in sweep.collections:
        check_collection(collection)
    data_dir = None if data_dir is None else real_path(data_dir)
    points = points_of(sweep, data_dir)
    make(out)
    with file_lock(out / LOCK, f"the sweep {out}"):
        refuse_another(sweep, out)  # again under the lock: another sweep may have begun here since
        prepare(sweep, points, out)
        runner = _Runner(
            sweep,
            out,
            points,
            data_dir=data_dir,
            retries=retries,
            progress=progress or Quiet(),
            tell=tell,
        )
        return runner.go(scheduler, runs_per_device, retry_failed=retry_failed)


class _Runner:
    """One start of a sweep: which points are waiting, which are under way, how they ended."""

    def __init__(
        self,
        sweep: Sweep,
        out: Path,
        points: Sequence[Point],
        *,
        data_dir: Path | None,
        retries: int,
        progress: Progress,
        tell: Callable[[str], None],
    ) -> None:
        self.sweep, self.out, self.points, self.data_dir = sweep, out, points, data_dir
        self.left = {point.name: retries for point in points}
        self.progress, self.tell, self.log = progress, tell, Log(out)
        self.waiting: deque[Point] = deque()
        self.running: dict[Future[Ending], Point] = {}
        # Workers at the last look, and those of them that took runs.
        self.seen: set[str] = set()
        self.fit: set[str] = set()

    def go(
        self, scheduler: str | None, runs_per_device: int, *, retry_failed: bool
    ) -> list[PointOutcome]:
        """Run what is missing."""
        outcomes = {point.name: self._outcome(point) for point in self.points}
        for point in self.points:
            ended = outcomes[point.name].status
            if ended == "missing" or (ended == "failed" and retry_failed):
                self.waiting.append(point)
        kept = len(self.points) - len(self.waiting)
        self._say(f"{len(self.points)} runs, {kept} of them complete")
        if self.waiting:
            self.progress.start(len(self.points), kept)
            try:
                with self._workers(scheduler, runs_per_device) as client:
                    self._run(client, outcomes)
            finally:
                self.progress.stop()
                self._write_table(outcomes)
        else:
            self._write_table(outcomes)
        return [outcomes[point.name] for point in self.points]

    @contextmanager
    def _workers(self, scheduler: str | None, runs_per_device: int) -> Iterator[Client]:
        if scheduler is None:
            opened = cluster.local_workers(tuple(self.waiting), runs_per_device)
        else:
            opened = cluster.existing_workers(scheduler, self.out)
        with _quiet_dask(), opened as (client, words):
            self._say(words)
            with cluster.admitted_workers(client, self.out):
                yield client

    def _run(self, client: Client, outcomes: dict[str, PointOutcome]) -> None:
        """Keep every worker at one run until all have ended."""
        from distributed import wait

        try:
            while self.waiting or self.running:
                self._send(client)
                with suppress(TimeoutError):
                    wait(list(self.running), timeout=_LOOK, return_when="FIRST_COMPLETED")
                for future in [future for future in self.running if future.done()]:
                    self._ended(future, outcomes)
        except (OSError, CancelledError) as error:
            of_files = (getattr(error, name, None) is not None for name in ("filename", "errno"))
            if any(of_files) and not isinstance(error, ConnectionError):
                raise
            raise ResprobeError(
                "the scheduler is gone; what was trained is kept, and the same command goes on "
                "from there."
            ) from error
        finally:
            if client.status == "running":
                # A run that is under way elsewhere can't be stopped; what waits is taken back.
                client.cancel(list(self.running), force=True)

    def _send(self, client: Client) -> None:
        """Send one point to every free worker.

        More would wait there, and count as lost with a worker that never began them.
        """
        fit = self._look_at(client)
        while self.waiting and len(self.running) < max(1, len(fit)):
            point = self.waiting.popleft()
            future = client.submit(
                run_point,
                self._job(point),
                key=f"resprobe-{point.name}-{uuid.uuid4()}",
                resources={cluster.RESOURCE: 1},
            )
            self.running[future] = point
            self.progress.running([point.name for point in self.running.values()])

    def _look_at(self, client: Client) -> set[str]:
        """Give the workers that take runs; tell of those that went, and of those that don't."""
        workers = cluster.workers_of(client)
        fit = {address for address, fits in workers.items() if fits}
        for address in sorted(self.fit - fit):
            self._say(f"the worker {address} is gone; its run goes on with another one")
        strangers = sorted(workers.keys() - fit - self.seen)
        for sentence in cluster.unfit_workers(client, self.out, strangers).values():
            self._say(f"no runs for one that came: {sentence}")
        if fit - self.fit and self.running:
            # dask looks for a worker when one comes, which is before it gets its resource.
            placed = {key for keys in client.processing().values() for key in keys}
            lost = [f for f in self.running if f.key not in placed and not f.done()]
            client.cancel(lost, force=True)
            self.waiting.extendleft(self.running.pop(future) for future in lost)
        self.seen, self.fit = {*workers}, fit
        return fit

    def _job(self, point: Point) -> Job:
        return Job(
            folder=self.out,
            name=point.name,
            threads=point.threads,
            collections=self.sweep.collections,
            data_dir=self.data_dir,
            version=importlib.metadata.version("resprobe"),
        )

    def _ended(self, future: Future[Ending], outcomes: dict[str, PointOutcome]) -> None:
        point = self.running.pop(future)
        ending = _ending(future)
        if ending.details:
            self.log.write(f"{point.name}: {ending.details}")
        if ending.failed and self.left[point.name] > 0:
            self.left[point.name] -= 1
            self._say(f"{point.name} failed and is tried again: {ending.message}")
            self.waiting.append(point)
            return
        if ending.failed:
            known = state.read_state(self.out, point.name)
            failed = replace(known, ended="failed", message=ending.message)
            state.write_state(self.out, point.name, failed)
        outcome = outcomes[point.name] = self._outcome(point)
        self.log.write(line_of(outcome))
        self.progress.ended(outcome)
        self.progress.running([point.name for point in self.running.values()])
        self._write_table(outcomes)

    def _outcome(self, point: Point) -> PointOutcome:
        return state.outcome_of(self.out, point, self.sweep.collections)

    def _write_table(self, outcomes: dict[str, PointOutcome]) -> None:
        write_table(self.out, [outcomes[point.name] for point in self.points])

    def _say(self, text: str) -> None:
        self.log.write(text)
        self.tell(text)


def _ending(future: Future[Ending]) -> Ending:
    """Give what a worker said, or what kept it from saying anything."""
    if future.status == "finished":
        ending: Ending = future.result()
        return ending
    from distributed import KilledWorker

    error: Any = future.exception() if future.status == "error" else None
    if isinstance(error, KilledWorker):
        times = error.allowed_failures + 1
        return Ending(True, f"{times} workers died while they ran it, perhaps for lack of memory.")
    if error is None:
        raise CancelledError(future.key)  # by a scheduler that went
    return Ending(True, f"its worker gave it back ({error}).")


@contextmanager
def _quiet_dask() -> Iterator[None]:
    """Keep dask's own log off the terminal: what a person should know of it is told."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
