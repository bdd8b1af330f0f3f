"""A proven network and the passes over it that measure the families of one collection."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe.errors import DiskFullError, InputError
from resprobe.memory import is_out_of_memory
from resprobe.provenance import device_attributes, provenance
from resprobe.quantities.family import (
    ChangesInputs,
    ChangesLayers,
    Costly,
    OfActivations,
    OfLayers,
    OfSamples,
    Searches,
)
from resprobe.quantities.quantity import of_family
from resprobe.quantities.trials import Trials
from resprobe.session_measurement import keeps, measurement_of, reestimating
from resprobe.session_proof import example_of, proven
from resprobe.session_reestimate import reestimate
from resprobe.session_search import search
from resprobe.store.reader import read_attributes
from resprobe.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from resprobe.blocks.intervene import Runner
    from resprobe.blocks.passes import Pass
    from resprobe.quantities.family import Measurement
    from resprobe.source import Source

# Most samples of one pass. It divides the usual test sets, so that no odd batch is left over.
BATCH = 250
# What a pass may take beside the model: fewer samples go into one where they are large.
_ROOM = 10**9
# A family that nobody named is left out where one sample takes longer, in seconds.
_LONGEST = 300.0

# Called with the family, samples done, and samples in all.
Progress = Callable[[str, int, int], None]


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
        if self._runner is None:
            self._runner, self._proof = proven(self._source)
        return self._runner

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
                seconds = self._try(self.measurement(family, indices))
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
        args, kwargs, _ = example_of(self._source)
        with torch.no_grad():
            return measurement.try_on(self.ready().run(args, kwargs, **keeps(measurement)))

    def measurement(self, family: str, indices: NDArray[np.int64]) -> Measurement:
        """Make the measurement of a family, see `measurement_of`."""
        return measurement_of(
            family,
            indices,
            source=self._source,
            runner=self.ready(),
            trials=self._trials,
            training_images=self._training_images,
        )

    def batch(self, measurement: Measurement) -> int:
        """Give how many samples go into one pass."""
        runner = self.ready()
        most = measurement.samples_at_once if isinstance(measurement, Costly) else BATCH
        kept = runner.kept_bytes(1, **keeps(measurement))
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
        measurement = self.measurement(family, indices)
        size = self.batch(measurement)
        unfinished = path.with_name(path.name + ".partial")
        group = measurement.group()
        mode = measurement.batch_norm_mode if reestimating(measurement) else "eval"
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
                measurement = self.measurement(family, indices)
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
            self.reestimate(measurement, progress)
        if isinstance(measurement, Searches):
            run = self.run_without
            search(measurement, group, writer, run=run, size=size, progress=progress)
        with torch.no_grad():
            for start in range(done, len(indices), size):
                stop = min(start + size, len(indices))
                rows = self.rows(measurement, indices, start, stop)
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

    def rows(
        self, measurement: Measurement, indices: NDArray[np.int64], start: int, stop: int
    ) -> dict[str, NDArray[Any]]:
        """Measure some samples: every per-sample variable, index and label included."""
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
        if reestimating(measurement):
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
                **keeps(measurement),
            )

    def reestimate(
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
        if not reestimating(measurement):
            return 0
        images, size = self._training_images(), self.batch(measurement)
        return reestimate(measurement, self.ready(), images, size, progress, only_first=only_first)

    def run_without(
        self, samples: NDArray[np.int64], without: Sequence[int]
    ) -> tuple[Pass, Tensor]:
        """Give the pass over some samples without the branches of some blocks, and the labels."""
        args, kwargs, labels = self._source.inputs(0, len(samples), samples)
        return self.ready().run_without(without, args, kwargs), labels

    def _training_images(self) -> Source:
        if self._training is None:
            self._training = self._source.training(self._trials.training_samples, self._trials.seed)
        return self._training

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
