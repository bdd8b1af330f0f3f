"""Measure a checkpoint: one pass over the samples per family, each into a file of its own."""

from __future__ import annotations

import hashlib
import importlib
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe.data import stratified
from resprobe.errors import InputError, UnknownNameError
from resprobe.provenance import device_attributes, provenance
from resprobe.quantities.quantity import DEFAULT_SAMPLES, all_quantities
from resprobe.store.lock import file_lock
from resprobe.store.reader import read_attributes
from resprobe.store.schema import SCHEMA_VERSION
from resprobe.store.writer import Writer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resprobe.blocks.intervene import Runner
    from resprobe.quantities.family import Measurement
    from resprobe.source import Source

PRESETS = ("economy", "standard", "full")
_COSTS = {
    "economy": ("hook",),
    "standard": ("hook", "lesion"),
    "full": ("hook", "lesion", "noise", "jvp", "jacobian"),
}
# Images of one pass. It divides the usual test sets, so that no odd batch is left over.
BATCH = 250

# Called with the family, samples done, and samples in all.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Samples:
    """Which samples are measured.

    Attributes:
        count: how many; None takes the default of each family's cost class.
        seed: of the stratified draw.
        indices: these samples instead of a draw.
    """

    count: int | None = None
    seed: int = 0
    indices: tuple[int, ...] | None = None

    def draw(self, labels: NDArray[np.int64], cost: str) -> NDArray[np.int64]:
        """Give the indices to measure, ascending, `(sample,)` int64.

        Raises:
            InputError: a count or an index that the data set does not have.
        """
        if self.indices is not None:
            wrong = [index for index in self.indices if not 0 <= index < len(labels)]
            if wrong or not self.indices:
                raise InputError(
                    f"--sample-indices names {wrong[0] if wrong else 'no sample'}; the data set "
                    f"has samples 0 to {len(labels) - 1}."
                )
            return np.unique(np.asarray(self.indices, np.int64))
        count = self.count if self.count is not None else DEFAULT_SAMPLES[cost]
        if self.seed < 0:
            raise InputError(f"--sample-seed {self.seed}: give 0 or a larger whole number.")
        if count is None:
            return np.arange(len(labels))
        if self.count is None:
            count = min(count, len(labels))
        return stratified(labels, count, self.seed)


@dataclass(frozen=True)
class Collected:
    """One family of a collection.

    Attributes:
        family: its name.
        path: its file.
        samples: how many were measured.
        kept: whether it was there already, of equal settings or left alone.
        seconds: what measuring took; 0 if kept.
    """

    family: str
    path: Path
    samples: int
    kept: bool
    seconds: float


@dataclass(frozen=True)
class Estimate:
    """What collecting a family would take: measured on one batch, scaled to all."""

    family: str
    samples: int
    seconds: float
    memory_mb: float


def chosen_families(preset: str, quantities: Sequence[str]) -> dict[str, str]:
    """Give the families to collect with their cost class.

    Args:
        preset: one of `PRESETS`.
        quantities: `NAME` replaces the preset, `+NAME` adds to it.

    Raises:
        UnknownNameError: of a preset or a quantity; near names are listed.
        InputError: a quantity that is recorded while training, not collected.
    """
    if preset not in PRESETS:
        raise UnknownNameError("preset", preset, PRESETS)
    known = all_quantities()
    collected = {name: q for name, q in known.items() if q.measured_by}
    families: dict[str, str] = {}
    replaced = any(not name.startswith("+") for name in quantities)
    if not replaced:
        for quantity in sorted(collected.values(), key=_order):
            if quantity.cost in _COSTS[preset]:
                families[quantity.family] = quantity.cost
    for name in (text.removeprefix("+") for text in quantities):
        if name not in known:
            raise UnknownNameError("quantity", name, collected)
        if name not in collected:
            raise InputError(
                f"{name} is recorded while training and can't be collected from a checkpoint; "
                "open the run's /training/step."
            )
        families[known[name].family] = known[name].cost
    return families


def left_alone(families: Collection[str], quantities: Sequence[str]) -> frozenset[str]:
    """Give the families that are not measured anew where `+NAME` asks for another one."""
    if not any(name.startswith("+") for name in quantities):
        return frozenset()
    known = all_quantities()
    asked = {known[name.removeprefix("+")].family for name in quantities}
    return frozenset(families) - asked


def collect(
    source: Source,
    folder: Path,
    families: Mapping[str, str],
    *,
    samples: Samples | None = None,
    overwrite: bool = False,
    leave: Collection[str] = (),
    progress: Progress | None = None,
    begin: Callable[[], None] | None = None,
    lone: Path | None = None,
) -> list[Collected]:
    """Measure families and write each as `FAMILY.h5`.

    A family that is there is kept if it was measured with equal settings. An interrupted
    measurement goes on in `FAMILY.h5.partial` after its last committed batch.

    Args:
        source: network and data.
        folder: of the files, made if need be.
        families: from `chosen_families`.
        samples: which samples.
        overwrite: replace what was measured with other settings.
        leave: families to leave alone where they are, whatever their settings.
        progress: told after every batch.
        begin: called before the first family is measured, when everything asked is accepted.
        lone: the file that the families will be put into; messages name it.

    Raises:
        InputError: a family is there with other settings, another process collects here, or the
            network has no residual blocks.
        ViolationError: the self-test fails on the network.
        DiskFullError: no room; what is committed stays.
    """
    samples = samples or Samples()
    draws = {f: samples.draw(source.images.labels, cost) for f, cost in families.items()}
    folder.mkdir(parents=True, exist_ok=True)
    outcomes = []
    with file_lock(folder / ".lock", f"collecting into {folder}"):
        settings = {f: settings_hash(source, f, indices) for f, indices in draws.items()}
        kept = set()
        for family in draws:
            path = folder / f"{family}.h5"
            if path.exists() and (family in leave or not overwrite):
                if family not in leave:
                    _require_equal(path, settings[family], lone)
                kept.add(family)
        session = _Session(source)
        if kept != set(draws):
            session.ready()
            if begin is not None:
                begin()
        for family, indices in draws.items():
            path = folder / f"{family}.h5"
            seconds = 0.0
            if family not in kept:
                seconds = session.measure(family, indices, path, settings[family], progress)
            outcomes.append(Collected(family, path, len(indices), family in kept, seconds))
    return outcomes


def estimate(
    source: Source, families: Mapping[str, str], *, samples: Samples | None = None
) -> list[Estimate]:
    """Say what collecting would take, from one measured batch of each family."""
    samples = samples or Samples()
    session = _Session(source)
    return [
        session.estimate(family, samples.draw(source.images.labels, cost))
        for family, cost in families.items()
    ]


def settings_hash(source: Source, family: str, indices: NDArray[np.int64]) -> str:
    """Give the SHA-256 of everything that decides the numbers of a family."""
    settings = {
        "schema": SCHEMA_VERSION,
        "family": family,
        "quantities": sorted(
            q.name for q in all_quantities().values() if q.family == family and q.measured_by
        ),
        "model": source.model_spec,
        "weights": source.weights,
        "data": source.attributes["data_fingerprint"],
        "mean": source.mean,
        "std": source.std,
        "dtype": str(source.dtype),
        "samples": hashlib.sha256(indices.tobytes()).hexdigest(),
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


class _Session:
    """A proven network, shared by the families of one collection."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._runner: Runner | None = None
        self._proof = ""

    def ready(self) -> Runner:
        """Find the blocks and prove the instrument, once, when the first family needs it."""
        import torch

        from resprobe.blocks.intervene import Runner
        from resprobe.blocks.selftest import prove

        if self._runner is None:
            first = np.arange(min(4, len(self._source.images)))
            batch, _ = self._source.inputs(0, len(first), first)
            with torch.no_grad():
                runner = Runner(self._source.model, batch)
            if not runner.blocks.blocks:
                reasons = "; ".join(f"{a}: {r}" for a, r in runner.blocks.refused[:3])
                raise InputError(
                    "the network has no residual blocks to measure"
                    f"{f' (refused additions: {reasons})' if reasons else ''}; a plain network "
                    "may declare its units in the attribute plain_units."
                )
            self._proof = prove(self._source.model, (batch,))
            self._runner = runner
        return self._runner

    def measure(
        self,
        family: str,
        indices: NDArray[np.int64],
        path: Path,
        settings: str,
        progress: Progress | None,
    ) -> float:
        """Measure one family into its file; give the seconds it took."""
        import torch

        started = time.perf_counter()
        measurement = self._measurement(family)
        partial = path.with_name(path.name + ".partial")
        group = measurement.group()
        writer = self._writer(partial, group, settings)
        done = writer.committed(group.path)
        for start in range(0, done, BATCH):
            stop = min(start + BATCH, done)
            measurement.add(
                {
                    n: writer.read_rows(group.path, n, start, stop)
                    for n in ("label", *_counted(group))
                }
            )
        try:
            with torch.no_grad():
                for start in range(done, len(indices), BATCH):
                    stop = min(start + BATCH, len(indices))
                    rows = self._rows(measurement, indices, start, stop)
                    measurement.add(rows)
                    writer.append(group.path, rows)
                    if progress is not None:
                        progress(family, stop, len(indices))
        except BaseException:
            writer.close("interrupted")
            raise
        writer.put(group.path, measurement.totals())
        writer.close("finished")
        partial.replace(path)
        return time.perf_counter() - started

    def estimate(self, family: str, indices: NDArray[np.int64]) -> Estimate:
        """Measure one batch, after a warm-up, and scale it to all samples."""
        import torch

        measurement = self._measurement(family)
        stop = min(BATCH, len(indices))
        with torch.no_grad():
            self._rows(measurement, indices, 0, min(8, stop))
            started = time.perf_counter()
            rows = self._rows(measurement, indices, 0, stop)
            seconds = (time.perf_counter() - started) * len(indices) / stop
        values = self.ready().kept_bytes(stop, replays=measurement.needs_replays)
        written = sum(array.nbytes for array in rows.values())
        return Estimate(family, len(indices), seconds, (values + written) / 1e6)

    def _rows(
        self, measurement: Measurement, indices: NDArray[np.int64], start: int, stop: int
    ) -> dict[str, NDArray[Any]]:
        batch, labels = self._source.inputs(start, stop, indices)
        see = measurement.see if measurement.sees_blocks else None
        whole = self.ready().run(batch, see=see, replays=measurement.needs_replays)
        rows = {name: t.cpu().numpy() for name, t in measurement.rows(whole, labels).items()}
        return {**rows, "sample": indices[start:stop], "label": labels.cpu().numpy()}

    def _measurement(self, family: str) -> Measurement:
        owners = {
            q.measured_by for q in all_quantities().values() if q.family == family and q.measured_by
        }
        module, _, name = min(owners).partition(":")
        made: Measurement = getattr(importlib.import_module(module), name)(
            self._source.model, self.ready().blocks, self._source.images.classes
        )
        return made

    def _writer(self, partial: Path, group: Any, settings: str) -> Writer:
        """Go on in a partial file of equal settings, or start a new one."""
        if partial.exists():
            try:
                found = read_attributes(partial).get("settings")
            except InputError:
                found = None  # a partial file that can't be read holds nothing that was promised
            if found == settings:
                return Writer(partial, [group], {}, resume=True)
            partial.unlink()
        source = self._source
        attributes = {
            **provenance(),
            **device_attributes(str(source.device), str(source.dtype).removeprefix("torch.")),
            "batch_norm_mode": "eval",
            "self_test": self._proof,
            "settings": settings,
            **source.attributes,
        }
        return Writer(partial, [group], attributes, chunk_rows=BATCH)


def _counted(group: Any) -> list[str]:
    """Give the variables that totals are made of: what is counted per sample."""
    return [v.name for v in group.variables if v.dtype == "int8" and "sample" in v.dims]


def _require_equal(path: Path, settings: str, lone: Path | None) -> None:
    if read_attributes(path).get("settings") != settings:
        raise InputError(
            f"{path if lone is None else f'{path.stem} in {lone}'} was measured with other "
            "settings (model, weights, data, samples or dtype); give --overwrite to replace it."
        )


def _order(quantity: Any) -> tuple[int, str]:
    costs = list(DEFAULT_SAMPLES)
    return costs.index(quantity.cost), quantity.family
