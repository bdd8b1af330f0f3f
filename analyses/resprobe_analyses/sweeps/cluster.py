"""Where the runs of a sweep are run: workers of this machine's own, or an existing cluster's."""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resprobe.errors import InputError
from resprobe_analyses.sweeps.points import Point

if TYPE_CHECKING:
    from distributed import Client

# Every fit worker has one of it, and every run takes one.
RESOURCE = "resprobe-run"
# A scheduler that does not answer within that time is refused, in seconds.
ANSWER = 5.0
# File systems of a network may show a new file late, in seconds.
_SEEN_WITHIN = 5.0


def require_distributed() -> None:
    """Refuse to go on without dask.distributed.

    Raises:
        InputError: it is not installed.
    """
    try:
        import distributed  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise InputError(
            "a sweep needs dask.distributed, which is not installed; run "
            '`pip install "resprobe[distributed]"`.'
        ) from error


def require_scheduler(address: str) -> None:
    """Refuse a scheduler that does not answer.

    Raises:
        InputError: it does not, or the address is none.
    """
    with ThreadPoolExecutor(1) as aside:  # a notebook has a loop of its own in this thread
        refused = aside.submit(asyncio.run, _no_answer(address)).result()
    if refused:
        raise InputError(
            f"the scheduler at {address} {refused}; start it (`dask scheduler`), or give the "
            "address that it printed, such as tcp://10.0.0.1:8786."
        )


@contextmanager
def local_workers(points: Sequence[Point], runs_per_device: int) -> Iterator[tuple[Client, str]]:
    """Give a client of worker processes on this machine, and say in words which they are.

    Args:
        points: to run.
        runs_per_device: workers for each GPU, or for each core where there is none.

    Raises:
        InputError: a recipe names a GPU by number.
    """
    from distributed import Client, Nanny, Scheduler, SpecCluster

    environments, words = _places(points, runs_per_device)
    quiet = logging.CRITICAL
    workers = {
        number: {
            "cls": Nanny,
            "options": {
                "host": "127.0.0.1",
                "nthreads": 1,
                "memory_limit": 0,
                "dashboard": False,
                "dashboard_address": "127.0.0.1:0",
                "silence_logs": quiet,
                "env": environment,
            },
        }
        for number, environment in enumerate(environments)
    }
    # Its HTTP server takes any port: the usual one may be taken.
    options = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    scheduler = {"cls": Scheduler, "options": options}
    with (
        _local_settings(),
        SpecCluster(workers=workers, scheduler=scheduler, silence_logs=quiet) as cluster,
        Client(cluster, set_as_default=False) as client,
        client.as_current(),
    ):
        yield client, words


@contextmanager
def existing_workers(address: str, folder: Path) -> Iterator[tuple[Client, str]]:
    """Give a client of a scheduler that is running already, and say in words which it is.

    Args:
        address: of one that answers.
        folder: of the sweep, which every worker must see.

    Raises:
        InputError: a worker has another resprobe or does not see the folder.
    """
    from distributed import Client

    client = Client(address, timeout=ANSWER, set_as_default=False)
    with client, client.as_current():
        unfit = unfit_workers(client, folder, list(workers_of(client)))
        if unfit:
            raise InputError(next(iter(unfit.values())))
        count = len(workers_of(client))
        yield client, f"{count} worker{'' if count == 1 else 's'} of {address}"


async def _no_answer(address: str) -> str:
    """Say what is wrong with a scheduler, or nothing.

    dask's own client waits for ever for one that takes the connection and says nothing.
    """
    from distributed import Security, rpc

    try:
        arguments = Security().get_connection_args("client")
        async with asyncio.timeout(ANSWER), rpc(address, connection_args=arguments) as scheduler:
            identity = await scheduler.identity()
    except Exception as error:  # what is no scheduler may answer anything
        if isinstance(error, TimeoutError) or "Timed out" in str(error):
            return f"does not answer within {ANSWER:.0f} s"
        return f"can't be reached ({error})"
    kind = identity.get("type") if isinstance(identity, dict) else None
    return "" if kind == "Scheduler" else f"is no scheduler but a {kind}"


def workers_of(client: Client) -> dict[str, bool]:
    """Give the addresses of all workers, and whether each takes runs."""
    # `scheduler_info` may give what the client looks up in the background: no workers at all.
    scheduler: Any = client.scheduler
    identity: dict[str, Any] = client.sync(scheduler.identity, n_workers=-1)
    return {
        address: bool(worker.get("resources", {}).get(RESOURCE))
        for address, worker in identity["workers"].items()
    }


@contextmanager
def admitted_workers(client: Client, folder: Path) -> Iterator[None]:
    """Let every fit worker take one run at a time, also those that come meanwhile.

    What a worker gets is unpickled by it and imports resprobe: a worker without it fails there,
    and gets no runs.
    """
    from resprobe_analyses.sweeps.admission import Admission

    name = f"resprobe-{uuid.uuid4()}"
    plugin = Admission(importlib.metadata.version("resprobe"), folder)
    try:
        client.register_plugin(plugin, name=name)
    except ImportError as error:
        raise InputError(
            f"a worker says that it has resprobe but can't load it ({error}); repair its "
            "installation."
        ) from error
    try:
        yield
    finally:
        if client.status == "running":
            client.unregister_worker_plugin(name)


def unfit_workers(client: Client, folder: Path, workers: Sequence[str]) -> dict[str, str]:
    """Say of workers that can't take runs why, one sentence each by address.

    Only functions of the standard library are sent: also a worker without resprobe answers.
    """
    if not workers:
        return {}
    own = importlib.metadata.version("resprobe")
    found: dict[str, Any] = client.run(
        importlib.metadata.version, "resprobe", workers=list(workers), on_error="return"
    )
    unfit = {}
    for address, version in found.items():
        if isinstance(version, Exception):
            unfit[address] = f"the worker {address} has no resprobe; install version {own} there."
        elif version != own:
            unfit[address] = (
                f"the worker {address} has resprobe {version}, this is {own}; install the same "
                "version on both."
            )
    rest = [address for address in workers if address not in unfit]
    return {**unfit, **_blind(client, folder, rest)}


def _blind(client: Client, folder: Path, workers: list[str]) -> dict[str, str]:
    """Say of workers that they don't see a folder: a file that is made in it tells."""
    token = folder / f".seen-{uuid.uuid4()}"
    token.touch()
    try:
        deadline = time.monotonic() + _SEEN_WITHIN
        blind = workers
        while blind:
            seen = client.run(os.path.exists, str(token), workers=blind, on_error="return")
            blind = [address for address in blind if seen.get(address) is not True]
            if time.monotonic() > deadline:
                break
            time.sleep(0.2 if blind else 0)
    finally:
        token.unlink(missing_ok=True)
    return {
        address: f"the worker {address} does not see {folder}; put the sweep on a file system that "
        "all workers share, under the same path."
        for address in blind
    }


@contextmanager
def _local_settings() -> Iterator[None]:
    """Start workers without dask's MALLOC_TRIM_THRESHOLD_, and never give a living one up.

    The allocator's setting makes every large tensor a mapping of its own, which doubles the time
    of a small training. A worker of this machine that dies is noticed as a process; one that is
    only too busy to say that it lives, for minutes on a crowded machine, goes on.
    """
    import dask

    key = "distributed.nanny.pre-spawn-environ"
    kept = {
        name: value
        for name, value in dask.config.get(key, {}).items()
        if name != "MALLOC_TRIM_THRESHOLD_"
    }
    with dask.config.set({key: kept, "distributed.scheduler.worker-ttl": None}):
        yield


def _places(points: Sequence[Point], runs_per_device: int) -> tuple[list[dict[str, str]], str]:
    """Give the environment of every worker to start, and words on them."""
    gpus = [] if all(point.device == "cpu" for point in points) else _gpus()
    threads = max(point.threads for point in points)
    if gpus:
        _refuse_numbered(points)
        environments = [
            {"CUDA_VISIBLE_DEVICES": gpu} for _ in range(runs_per_device) for gpu in gpus
        ]
        shared = f", {runs_per_device} runs on each" if runs_per_device > 1 else ""
        words = f"{len(gpus)} GPU{'' if len(gpus) == 1 else 's'}{shared}"
    else:
        from dask.system import CPU_COUNT

        cores = max(1, CPU_COUNT // threads)
        environments = [{} for _ in range(cores * runs_per_device)]
        words = f"{CPU_COUNT} core{'' if CPU_COUNT == 1 else 's'}"
    environments = environments[: len(points)]
    count, each = len(environments), f"{threads} thread{'' if threads == 1 else 's'}"
    processes = f"{count} process{'' if count == 1 else 'es'}"
    number = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return [{**number, **place} for place in environments], f"{processes} of {each} on {words}"


def _gpus() -> list[str]:
    """Give what names each GPU that this process may use, for CUDA_VISIBLE_DEVICES."""
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    return named[:count] if any(named) else [str(number) for number in range(count)]


def _refuse_numbered(points: Sequence[Point]) -> None:
    for point in points:
        if point.device not in ("auto", "cpu", "cuda"):
            raise InputError(
                f"train.device = {point.device!r} of {point.name}: a sweep gives every run a GPU "
                "of its own; leave it out, or write auto, cpu or cuda."
            )
