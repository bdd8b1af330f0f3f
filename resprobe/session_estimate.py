"""What collecting a family would take."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resprobe.quantities.family import Searches
from resprobe.session_measurement import keeps

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from resprobe.session import Session


@dataclass(frozen=True)
class Estimate:
    """What collecting a family would take: measured on one batch, scaled to all.

    Attributes:
        family: its name.
        samples: how many would be measured.
        seconds: on this device, re-estimation included.
        memory_mb: of the tensors of one pass.
        left_out: why it can't be measured, "" if it can.
    """

    family: str
    samples: int
    seconds: float
    memory_mb: float
    left_out: str = ""


def estimate_family(session: Session, family: str, indices: NDArray[np.int64]) -> Estimate:
    """Measure one batch, after a warm-up, and scale it to all samples."""
    import torch

    measurement = session.measurement(family, indices)
    if not len(indices):  # of the weights alone
        started = time.perf_counter()
        measurement.totals()
        return Estimate(family, 0, time.perf_counter() - started, 0.0)
    stop = min(session.batch(measurement), len(indices))
    with torch.no_grad():
        searching = 0.0
        if isinstance(measurement, Searches):
            searching = measurement.search_seconds(session.run_without, stop)
        session.rows(measurement, indices, 0, min(8, stop))
        started = time.perf_counter()
        rows = session.rows(measurement, indices, 0, stop)
        seconds = searching + (time.perf_counter() - started) * len(indices) / stop
    started = time.perf_counter()
    batches = session.reestimate(measurement, None, only_first=True)
    seconds += (time.perf_counter() - started) * batches
    values = session.ready().kept_bytes(stop, **keeps(measurement))
    written = sum(array.nbytes for array in rows.values())
    return Estimate(family, len(indices), seconds, (values + written) / 1e6)
