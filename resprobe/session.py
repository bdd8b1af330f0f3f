"""A proven network and the passes over it that measure the families of one collection."""

from __future__ import annotations

import importlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeGuard

import numpy as np

from resprobe.errors import DiskFullError, InputError
from resprobe.memory import is_out_of_memory
from resprobe.provenance import device_attributes, provenance
from resprobe.quantities.family import (
    ChangesInputs,
    ChangesLayers,
    Costly,
    OfActivations,
    OfGradients,
    OfLayers,
    OfSamples,
    OfTrials,
    Searches,
)
from resprobe.quantities.quantity import all_quantities, of_family
from resprobe.quantities.sweep import SweepFamily
from resprobe.quantities.trials import Trials
from resprobe.store.reader import read_attributes
from resprobe.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from resprobe.blocks.block import Blocks
    from resprobe.blocks.intervene import Pass, Runner
    from resprobe.quantities.family import Measurement, Reestimating
    from resprobe.source import Source

# Most samples of one pass. It divides the usual test sets, so that no odd batch is left over.
BATCH = 250
# What a pass may take beside the model: fewer samples go into one where they are large.
_ROOM = 10**9
# Samples of the pass that finds the blocks and proves the instrument.
_EXAMPLE = 4

# A family that nobody named is left out where one sample takes longer, in seconds.
_LONGEST = 300.0

# Called with the family, samples done, and samples in all.
Progress = Callable[[str, int, int], None]


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


class Session:
    """A proven network, shared by the families of one collection."""

    def __init__(self, source: Source, trials: Trials | None = None) -> None:
        self._source = source
        self._trials = trials or Trials()
        self._training: Source | None = None
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

    def refused(
        self, draws: Mapping[str, NDArray[np.int64]], optional: Collection[str]
    ) -> dict[str, str]:
        """Find out, before anything is measured, which families can't be.

        Args:
            draws: families to be measured, with the indices of their samples.
            optional: those that may be left out.

        Returns:
            Each one that is left out, with the reason.

        Raises:
            InputError: one of the others can't be measured; or see `ready`.
        """
        self.ready()
        found = {}
        for family, indices in draws.items():
            try:
                seconds = self._try(self._measurement(family, indices))
                if family in optional and seconds > _LONGEST:
                    found[family] = _too_long(family, seconds)
            except InputError as error:
                if family not in optional:
                    raise
                found[family] = str(error)
        return found

    def _try(self, measurement: Measurement) -> float:
        """Find out on the example whether the network allows a measurement.

        Returns:
            About how many seconds a sample takes, where that is known.

        Raises:
            InputError: it does not.
        """
        import torch

        if not isinstance(measurement, Costly):
            return 0.0
        first = np.arange(min(_EXAMPLE, len(self._source.images)))
        args, kwargs, _ = self._source.inputs(0, len(first), first)
        with torch.no_grad():
            return measurement.try_on(self.ready().run(args, kwargs, **_keeps(measurement)))

    def batch(self, measurement: Measurement) -> int:
        """Give how many samples go into one pass."""
        runner = self.ready()
        most = measurement.samples_at_once if isinstance(measurement, Costly) else BATCH
        kept = runner.kept_bytes(1, **_keeps(measurement))
        # The largest value thrice: an operation's input and output, and a copy under way.
        return max(1, min(most, _ROOM // max(1, kept + 3 * runner.largest_bytes(1))))

    def measure(
        self,
        family: str,
        indices: NDArray[np.int64],
        path: Path,
        settings: str,
        progress: Progress | None,
    ) -> float:
        """Measure one family into its file; give the seconds it took."""
        started = time.perf_counter()
        measurement = self._measurement(family, indices)
        size = self.batch(measurement)
        unfinished = path.with_name(path.name + ".partial")
        group = measurement.group()
        mode = measurement.batch_norm_mode if _reestimating(measurement) else "eval"
        writer = self._writer(unfinished, group, settings, mode, len(indices))
        try:
            while True:
                try:
                    self._measure(
                        measurement, group.path, indices, writer, size=size, progress=progress
                    )
                    break
                except (MemoryError, RuntimeError) as error:
                    if not is_out_of_memory(error):
                        raise
                    size = self._fewer(family, size, error)
                    if progress is not None:
                        done = writer.committed(group.path)
                        label = f"{family}: out of memory, now {size} samples at once"
                        progress(label, done, len(indices))
                # what it held of the batch is lost
                measurement = self._measurement(family, indices)
            writer.put(group.path, measurement.totals())
        except BaseException:
            with suppress(DiskFullError):  # what ended it is told instead
                writer.close("interrupted")
            raise
        writer.close("finished")
        unfinished.replace(path)
        return time.perf_counter() - started

    def _measure(
        self,
        measurement: Measurement,
        group: str,
        indices: NDArray[np.int64],
        writer: Writer,
        *,
        size: int,
        progress: Progress | None,
    ) -> None:
        """Take the committed rows into the totals, and measure the others batch by batch."""
        import torch

        done = writer.committed(group)
        for start in range(0, done, BATCH):
            stop = min(start + BATCH, done)
            names = ("label", *measurement.counted)
            measurement.add({n: writer.read_rows(group, n, start, stop) for n in names})
        if done < len(indices):
            self._reestimate(measurement, progress)
        self._search(measurement, group, writer, size=size, progress=progress)
        with torch.no_grad():
            for start in range(done, len(indices), size):
                stop = min(start + size, len(indices))
                rows = self._rows(measurement, indices, start, stop)
                measurement.add(rows)
                writer.append(group, rows)
                if progress is not None:
                    progress(group.strip("/"), stop, len(indices))

    def _fewer(self, family: str, size: int, error: Exception) -> int:
        """Give half as many samples at once, after the memory did not suffice.

        Raises:
            InputError: it does not suffice for one sample.
        """
        if size == 1:
            raise InputError(
                f"measuring {family} takes more memory for one sample than there is on "
                f"{self._source.device} ({str(error).strip().splitlines()[0]}); give another "
                "--device, or leave it out with --quantity."
            ) from error
        return size // 2

    def estimate(self, family: str, indices: NDArray[np.int64]) -> Estimate:
        """Measure one batch, after a warm-up, and scale it to all samples."""
        import torch

        measurement = self._measurement(family, indices)
        if not len(indices):  # of the weights alone
            started = time.perf_counter()
            measurement.totals()
            return Estimate(family, 0, time.perf_counter() - started, 0.0)
        stop = min(self.batch(measurement), len(indices))
        with torch.no_grad():
            searching = 0.0
            if isinstance(measurement, Searches):
                searching = measurement.search_seconds(self._run_without, stop)
            self._rows(measurement, indices, 0, min(8, stop))
            started = time.perf_counter()
            rows = self._rows(measurement, indices, 0, stop)
            seconds = searching + (time.perf_counter() - started) * len(indices) / stop
        started = time.perf_counter()
        batches = self._reestimate(measurement, None, only_first=True)
        seconds += (time.perf_counter() - started) * batches
        values = self.ready().kept_bytes(stop, **_keeps(measurement))
        written = sum(array.nbytes for array in rows.values())
        return Estimate(family, len(indices), seconds, (values + written) / 1e6)

    def _rows(
        self, measurement: Measurement, indices: NDArray[np.int64], start: int, stop: int
    ) -> dict[str, NDArray[Any]]:
        from resprobe.linalg.precision import full_precision

        args, kwargs, labels = self._source.inputs(start, stop, indices)
        if isinstance(measurement, OfSamples):
            measurement.take_samples(indices[start:stop])
        precise = isinstance(measurement, ChangesLayers | ChangesInputs)
        # what TF32 rounds off would look like an answer to small noise
        with full_precision(self._source.device) if precise else nullcontext():
            whole = self._pass(measurement, args, kwargs)
            rows = {name: t.cpu().numpy() for name, t in measurement.rows(whole, labels).items()}
        return {**rows, "sample": indices[start:stop], "label": labels.cpu().numpy()}

    def _pass(
        self, measurement: Measurement, args: tuple[Tensor, ...], kwargs: Mapping[str, Tensor]
    ) -> Pass:
        """Run a batch, showing and keeping what the measurement asks for."""
        context: AbstractContextManager[Any] = nullcontext()
        if _reestimating(measurement):
            context = measurement.running()
        with context:
            return self.ready().run(
                args,
                kwargs,
                see=measurement.see if measurement.sees_blocks else None,
                see_output=measurement.see_output if measurement.sees_outputs else None,
                see_layer=measurement.see_layer if isinstance(measurement, OfLayers) else None,
                see_activation=(
                    measurement.see_activation if isinstance(measurement, OfActivations) else None
                ),
                **_keeps(measurement),
            )

    def _reestimate(
        self, measurement: Measurement, progress: Progress | None, *, only_first: bool = False
    ) -> int:
        """Estimate the statistics of BatchNorm anew where the family asks for it.

        Args:
            measurement: of the family.
            progress: told after every batch of training images.
            only_first: stop after the first batch.

        Returns:
            How many batches there are, 0 for a family without re-estimation.
        """
        import torch

        if not _reestimating(measurement):
            return 0
        images = self._training_images()
        count, order = len(images.images), np.arange(len(images.images))
        batches = -(-count // self.batch(measurement))
        edges = [count * number // batches for number in range(batches + 1)]

        def passes() -> Iterator[Callable[[], Pass]]:
            for start, stop in pairwise(edges[:2] if only_first else edges):
                args, kwargs, _ = images.inputs(start, stop, order)
                yield partial(self.ready().run, args, kwargs, functions=measurement.needs_functions)
                if progress is not None:
                    progress(f"{measurement.family_name}: training images", stop, count)

        with torch.no_grad():
            measurement.reestimate(passes())
        return batches

    def _search(
        self,
        measurement: Measurement,
        group: str,
        writer: Writer,
        *,
        size: int,
        progress: Progress | None,
    ) -> None:
        """Let a family search that does, writing after each step what it has found so far."""
        import torch

        if not isinstance(measurement, Searches):
            return
        found = {name: writer.scalar(group, name) for name in measurement.found}
        complete = writer.committed(group) > 0
        with torch.no_grad():
            for told in measurement.search(self._run_without, size, found, complete=complete):
                for name, values in told.found.items():
                    writer.put(group, {name: values})
                if progress is not None:
                    progress(f"{group.strip('/')}: {told.step}", told.done, told.total)

    def _run_without(
        self, samples: NDArray[np.int64], without: Sequence[int]
    ) -> tuple[Pass, Tensor]:
        """Give the pass over some samples without the branches of some blocks, and the labels."""
        args, kwargs, labels = self._source.inputs(0, len(samples), samples)
        return self.ready().run_without(without, args, kwargs), labels

    def _training_images(self) -> Source:
        if self._training is None:
            self._training = self._source.training(self._trials.training_samples, self._trials.seed)
        return self._training

    def _measurement(self, family: str, indices: NDArray[np.int64]) -> Measurement:
        owner, source, blocks = owner_of(family), self._source, self.ready().blocks
        drawn = (self._trials,) if isinstance(owner, SweepFamily | OfTrials) else ()
        made: Measurement = owner(source.model, blocks, source.images.classes, *drawn)
        if isinstance(made, OfLayers | OfActivations | ChangesLayers):
            made.take_layers(self.ready().layers)
        if isinstance(made, Searches):
            made.divide(source.images.labels, indices)
        if isinstance(made, OfGradients):
            made.take_input(ids=self.ready().takes_ids)
        if _reestimating(made):
            if not self.ready().has_batch_norm:
                raise InputError(
                    "the network has no BatchNorm with running statistics, so there is nothing "
                    f"that {family} could estimate anew."
                )
            images = self._training_images()
            made.batch_norm_mode = (
                f"eval, statistics estimated anew from {len(images.images)} training images "
                f"(SHA-256 {images.images.fingerprint()})"
                f"{', without the noise that the run put on its own' if images.noisy else ''}"
            )
        return made

    def _writer(
        self, unfinished: Path, group: Any, settings: str, mode: str, samples: int
    ) -> Writer:
        """Go on in a partial file of equal settings, or start a new one."""
        if unfinished.exists():
            try:
                found = read_attributes(unfinished).get("settings")
            except InputError:
                found = None  # a partial file that can't be read holds nothing that was promised
            if found == settings:
                return Writer(unfinished, [group], {}, resume=True)
            unfinished.unlink()
        source = self._source
        attributes = {
            **provenance(),
            **device_attributes(str(source.device), str(source.dtype).removeprefix("torch.")),
            "self_test": self._proof,
            "settings": settings,
            "batch_norm_mode": mode,
            **source.attributes,
        }
        return Writer(unfinished, [group], attributes, chunk_rows=max(1, min(BATCH, samples)))


def _too_long(family: str, seconds: float) -> str:
    name = next(q.name for q in of_family(family) if q.measured_by)
    return (
        f"one sample would take about {seconds / 60:,.0f} minutes; to measure it nevertheless, "
        f"name it: --quantity +{name} --samples 4."
    )


class _Keeps(TypedDict):
    """What a pass keeps, as keywords of `Runner.run` and `Runner.kept_bytes`."""

    replays: bool
    states: bool
    functions: bool
    layers: bool
    inputs: bool
    taps: bool


def _keeps(measurement: Measurement) -> _Keeps:
    return {
        "replays": measurement.needs_replays,
        "states": measurement.needs_states,
        "functions": measurement.needs_functions,
        "layers": isinstance(measurement, ChangesLayers),
        "inputs": isinstance(measurement, ChangesInputs),
        "taps": isinstance(measurement, OfGradients),
    }


def _reestimating(measurement: Measurement) -> TypeGuard[Reestimating]:
    return measurement.reestimates


def owner_of(family: str) -> Any:
    """Give what makes the measurement of a family."""
    owners = {
        q.measured_by for q in all_quantities().values() if q.family == family and q.measured_by
    }
    module, _, name = min(owners).partition(":")
    return getattr(importlib.import_module(module), name)


def _refused(blocks: Blocks) -> str:
    """Say why additions were refused, the most frequent reasons first."""
    reasons = Counter(refusal.reason for refusal in blocks.refused)
    if not reasons:
        return " (it adds nothing in its forward pass)"
    shown = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common(3))
    more = f"; and {len(reasons) - 3} more reasons" if len(reasons) > 3 else ""
    return f" (all {reasons.total()} additions were refused: {shown}{more})"
