"""Which workers take runs: the plugin that every worker gets, also one that comes later.

Apart from the rest because it can only be defined with dask.distributed at hand.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from distributed import Worker, WorkerPlugin

from resprobe_analyses.sweeps.cluster import RESOURCE


class Admission(WorkerPlugin):
    """Gives a worker the resource that a run takes, if it can take runs.

    A worker of another resprobe, or one that does not see the sweep, goes without and so never
    gets a run. There is one of the resource for each worker: a run takes its process for itself.
    """

    def __init__(self, version: str, folder: Path) -> None:
        self.version, self.folder = version, folder

    async def setup(self, worker: Worker) -> None:
        """Look at the worker, and let it take runs or not."""
        fits = importlib.metadata.version("resprobe") == self.version
        if fits and self.folder.is_dir():
            await worker.set_resources(**{RESOURCE: 1})
