"""Measure a checkpoint: one pass over the samples per family, each into a file of its own."""

from __future__ import annotations

import hashlib
import importlib
import json
import time
from collections import Counter
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
from resprobe.store.reader import read_attributes, read_file
from resprobe.store.schema import SCHEMA_VERSION
from resprobe.store.writer import Writer

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from resprobe.blocks.block import Blocks
    from resprobe.blocks.intervene import Runner
    from resprobe.quantities.family import Measurement
    from resprobe.source import Source

PRESETS = ("economy", "standard", "full")
_COSTS = {
    "economy": ("hook",),
    "standard": ("hook", "lesion"),
    "full": ("hook", "lesion", "noise", "jvp", "jacobian"),
}
# Most samples of one pass. It divides the usual test sets, so that no odd batch is left over.
BATCH = 250
# What a pass may take beside the model: fewer samples go into one where they are large.
_ROOM = 10**9
# Samples of the pass that finds the blocks and proves the instrument.
_EXAMPLE = 4

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
            if quantity.cost in _COSTS[preset] and (quantity.standard or preset == "full"):
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
    session: Session | None = None,
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
        session: of the source, where it was proven already.

    Raises:
        InputError: a family is there with other settings, another process collects here, or the
            network can't be measured (see `Session.ready`).
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
        session = session or Session(source)
        if kept != set(draws):
            session.ready()
            if begin is not None:
                begin()
        for family, indices in draws.items():
            path = folder / f"{family}.h5"
            seconds = 0.0
            if family not in kept:
                seconds = session.measure(family, indices, path, settings[family], progress)
            samples_there = _measured(path) if family in kept else len(indices)
            outcomes.append(Collected(family, path, samples_there, family in kept, seconds))
    return outcomes


def estimate(
    source: Source, families: Mapping[str, str], *, samples: Samples | None = None
) -> list[Estimate]:
    """Say what collecting would take, from one measured batch of each family."""
    samples = samples or Samples()
    session = Session(source)
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
    if source.output is not None:
        settings["output"] = source.output
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


class Session:
    """A proven network, shared by the families of one collection."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._runner: Runner | None = None
        self._proof = ""

    def ready(self) -> Runner:
        """Find the blocks and prove the instrument, once, when the first family needs it.

        Raises:
            InputError: the network does not take the samples, gives no logits, or has no residual
                blocks; the additions that were refused are named.
            ViolationError: the self-test fails on it.
        """
        import torch

        from resprobe.blocks.intervene import Runner
        from resprobe.blocks.selftest import prove

        if self._runner is None:
            source = self._source
            first = np.arange(min(_EXAMPLE, len(source.images)))
            args, kwargs, _ = source.inputs(0, len(first), first)
            with torch.no_grad():
                self._require_logits(args, kwargs, len(first))
                runner = Runner(source.model, args, kwargs, select=source.select)
            if not runner.blocks.blocks:
                raise InputError(
                    f"the network has no residual blocks to measure{_refused(runner.blocks)}; a "
                    "plain network may declare its units in the attribute plain_units."
                )
            with torch.no_grad():
                runner.find_samples()
            self._proof = prove(source.model, args, kwargs)
            self._runner = runner
        return self._runner

    def _require_logits(
        self, args: tuple[Tensor, ...], kwargs: Mapping[str, Tensor], samples: int
    ) -> None:
        """Run the bare network, so that what it says itself of its inputs is told."""
        from resprobe.example import run_bare
        from resprobe.quantities.outputs import refuse_no_logits

        source = self._source
        logits = source.select(run_bare(source.model, args, kwargs))
        refuse_no_logits(logits, samples, int(source.images.labels.max()) + 1)

    def batch(self, measurement: Measurement) -> int:
        """Give how many samples go into one pass."""
        runner = self.ready()
        kept = runner.kept_bytes(
            1, replays=measurement.needs_replays, states=measurement.needs_states
        )
        # The largest value thrice: an operation's input and output, and a copy under way.
        return max(1, min(BATCH, _ROOM // max(1, kept + 3 * runner.largest_bytes(1))))

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
                    for n in ("label", *measurement.counted)
                }
            )
        try:
            size = self.batch(measurement)
            with torch.no_grad():
                for start in range(done, len(indices), size):
                    stop = min(start + size, len(indices))
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
        stop = min(self.batch(measurement), len(indices))
        with torch.no_grad():
            self._rows(measurement, indices, 0, min(8, stop))
            started = time.perf_counter()
            rows = self._rows(measurement, indices, 0, stop)
            seconds = (time.perf_counter() - started) * len(indices) / stop
        values = self.ready().kept_bytes(
            stop, replays=measurement.needs_replays, states=measurement.needs_states
        )
        written = sum(array.nbytes for array in rows.values())
        return Estimate(family, len(indices), seconds, (values + written) / 1e6)

    def _rows(
        self, measurement: Measurement, indices: NDArray[np.int64], start: int, stop: int
    ) -> dict[str, NDArray[Any]]:
        args, kwargs, labels = self._source.inputs(start, stop, indices)
        whole = self.ready().run(
            args,
            kwargs,
            see=measurement.see if measurement.sees_blocks else None,
            see_output=measurement.see_output if measurement.sees_outputs else None,
            replays=measurement.needs_replays,
            states=measurement.needs_states,
        )
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


def _refused(blocks: Blocks) -> str:
    """Say why additions were refused, the most frequent reasons first."""
    reasons = Counter(refusal.reason for refusal in blocks.refused)
    if not reasons:
        return " (it adds nothing in its forward pass)"
    shown = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common(3))
    more = f"; and {len(reasons) - 3} more reasons" if len(reasons) > 3 else ""
    return f" (all {reasons.total()} additions were refused: {shown}{more})"


def _measured(path: Path) -> int:
    """Give how many samples a file holds that was measured before."""
    groups, _ = read_file(path)
    samples = [dataset.sizes["sample"] for dataset in groups.values()]
    for dataset in groups.values():
        dataset.close()
    return samples[0]


def _require_equal(path: Path, settings: str, lone: Path | None) -> None:
    if read_attributes(path).get("settings") != settings:
        raise InputError(
            f"{path if lone is None else f'{path.stem} in {lone}'} was measured with other "
            "settings (model, weights, data, samples or dtype); give --overwrite to replace it."
        )


def _order(quantity: Any) -> tuple[int, str]:
    costs = list(DEFAULT_SAMPLES)
    return costs.index(quantity.cost), quantity.family
