"""A family of many interventions on one pass: which they are, and where each one stands.

`SweepFamily` is what is registered, `Sweep` the interventions of one network, `SweepMeasurement`
what goes over the batches. With re-estimation, every intervention is first made on training
images, on which BatchNorm takes new statistics, and then measured with these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from resprobe.quantities.family import Tally, sample_group
from resprobe.quantities.outputs import classification
from resprobe.quantities.trials import Trials
from resprobe.store.schema import Coordinate

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from resprobe.blocks.batch_norm import Statistics
    from resprobe.blocks.block import Block, Blocks
    from resprobe.blocks.passes import Pass
    from resprobe.quantities.quantity import Quantity
    from resprobe.store.schema import Group, Variable

NO_TRIAL = -1
Intervention = Callable[["Pass"], Any]
# Makes the pass over one batch of training images.
Run = Callable[[], "Pass"]


@dataclass(frozen=True)
class Sweep:
    """The interventions of one network, each different one once.

    Attributes:
        interventions: functions of a pass that give the model's output.
        place: which of them stands where, int64 of the shape of the family's error; `NO_TRIAL`
            where there is none.
        constants: variables without the dimension `sample` that say what was done.
        coordinates: of the dimensions of `place`, beside `block`.
    """

    interventions: Sequence[Intervention]
    place: NDArray[np.int64]
    constants: Mapping[str, Any] = field(default_factory=dict)
    coordinates: tuple[Coordinate, ...] = ()


@dataclass(frozen=True)
class SweepFamily:
    """The declaration of a family of interventions; called, it gives its measurement.

    Attributes:
        name: of the family.
        error, loss, correct: its quantities.
        whole: what is measured of the network without an intervention, in the order correctness,
            loss, error.
        said: quantities that say what was done; `Sweep.constants` holds their values.
        sweep: makes the interventions for the blocks of a network.
        draws: whether they are random, so that `Trials` decides them.
        reorders: whether blocks change places.
        reestimates: whether the statistics of BatchNorm are estimated anew for each.
    """

    name: str
    error: Quantity
    loss: Quantity
    correct: Quantity
    whole: tuple[Quantity, Quantity, Quantity]
    sweep: Callable[[Blocks, Trials], Sweep]
    said: tuple[Quantity, ...] = ()
    draws: bool = True
    reorders: bool = False
    reestimates: bool = False

    sees_outputs: ClassVar[bool] = False
    needs_states: ClassVar[bool] = False

    @property
    def counted(self) -> tuple[str, ...]:
        """The per-sample variables that errors are counted of."""
        return (self.whole[0].name, self.correct.name)

    def __call__(
        self,
        model: nn.Module,
        blocks: Blocks,
        classes: Sequence[str],
        trials: Trials | None = None,
    ) -> SweepMeasurement:
        """Make the measurement of a network.

        Raises:
            InputError: it has no blocks that this could be done to.
        """
        del model
        return SweepMeasurement(self, blocks, classes, self.sweep(blocks, trials or Trials()))


class SweepMeasurement:
    """Measures every intervention of a sweep; see `Measurement`."""

    sees_blocks = False
    sees_outputs = False
    needs_replays = True
    needs_states = False

    def __init__(
        self, family: SweepFamily, blocks: Blocks, classes: Sequence[str], sweep: Sweep
    ) -> None:
        self.family = family
        self.family_name = family.name
        self.needs_functions = family.reorders
        self.reestimates = family.reestimates
        self.counted = family.counted
        self.batch_norm_mode = "eval"
        self.drawn = sweep.constants
        self._blocks, self._classes, self._sweep = blocks, classes, sweep
        self._whole_statistics: Mapping[int, Statistics] = {}
        self._statistics: list[Mapping[int, Statistics]] = []
        self._tally = Tally(classes)
        self._seen = 0
        self._right = np.zeros(sweep.place.shape, np.int64)

    def group(self) -> Group:
        """Give the layout of the family's group."""
        also = [
            quantity
            for quantity in (*self.family.whole, *self.family.said)
            if quantity.family != self.family.name
        ]
        group = sample_group(f"/{self.family.name}", self._blocks, self._classes, also=also)
        variables = tuple(self._labelled(variable) for variable in group.variables)
        coordinates = (*group.coordinates, *self._sweep.coordinates)
        return replace(group, variables=variables, coordinates=coordinates)

    def _labelled(self, variable: Variable) -> Variable:
        """Say of the numbers of a network how BatchNorm ran, and what the flags mean."""
        if variable.name in ("sample", "label", *(said.name for said in self.family.said)):
            return variable
        attributes = {**variable.attributes, "batch_norm_mode": self.batch_norm_mode}
        if variable.name == self.family.correct.name:
            attributes["flag_values"] = np.array([NO_TRIAL, 0, 1], np.int8)
            attributes["flag_meanings"] = "no_such_trial wrong right"
        return replace(variable, attributes=attributes)

    def see(self, block: Block, x: Tensor, s: Tensor, branch: Tensor) -> None:
        """Take nothing: interventions need no tensor of a branch."""

    def see_output(self, block: Block, x: Tensor, x_out: Tensor) -> None:
        """Take nothing."""

    def reestimate(self, batches: Iterable[Run]) -> None:
        """Estimate the statistics of every BatchNorm anew for each intervention.

        Only what an intervention changes is run again: a BatchNorm that comes before it sees the
        same batch as in the network without one, and takes the same statistics.

        Args:
            batches: of training images.
        """
        from resprobe.blocks.batch_norm import BatchStatistics

        whole = BatchStatistics()
        changed = [BatchStatistics() for _ in self._sweep.interventions]
        for run in batches:
            with whole:
                one = run()
            for intervention, statistics in zip(self._sweep.interventions, changed, strict=True):
                with statistics:
                    intervention(one)
        self._whole_statistics = whole.average()
        self._statistics = [
            {**self._whole_statistics, **statistics.average()} for statistics in changed
        ]

    def running(self) -> AbstractContextManager[Any]:
        """Give the context in which a batch is run for `rows`."""
        return self._given(self._whole_statistics)

    def _given(self, statistics: Mapping[int, Statistics]) -> AbstractContextManager[Any]:
        from resprobe.blocks.batch_norm import GivenStatistics

        return GivenStatistics(statistics) if statistics else nullcontext()

    def rows(self, whole: Pass, labels: Tensor) -> dict[str, Tensor]:
        """Give loss and correctness, `(sample,)` of the network and `(sample, …)` of the sweep."""
        import torch

        intact = classification(whole.output, labels)
        count = len(self._sweep.interventions)
        # one place more, which is read where there is no trial
        shape = (len(labels), count + 1)
        correct = intact["correct"].new_full(shape, NO_TRIAL)
        loss = intact["test_loss"].new_full(shape, float("nan"))
        for number, intervention in enumerate(self._sweep.interventions):
            given = self._statistics[number] if self._statistics else {}
            with self._given(given):
                output = intervention(whole)
            found = classification(output, labels)
            correct[:, number], loss[:, number] = found["correct"], found["test_loss"]
        place = torch.from_numpy(self._sweep.place).to(labels.device)
        whole_correct, whole_loss, _ = self.family.whole
        return {
            whole_correct.name: intact["correct"],
            whole_loss.name: intact["test_loss"],
            self.family.correct.name: correct[:, place],
            self.family.loss.name: loss[:, place],
        }

    def add(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Take a batch into the errors."""
        whole, lesioned = (rows[name] for name in self.counted)
        self._tally.add({"label": rows["label"], "correct": whole})
        self._seen += len(whole)
        self._right += (lesioned == 1).sum(axis=0)

    def totals(self) -> dict[str, Any]:
        """Give the test errors, and what was done."""
        error = (self._seen - self._right) / self._seen
        return {
            self.family.whole[2].name: self._tally.error(),
            self.family.error.name: np.where(self._sweep.place == NO_TRIAL, np.nan, error),
            **self.drawn,
        }


def placed(
    wanted: Sequence[Sequence[tuple[int, ...]]], trials: int
) -> tuple[list[tuple[int, ...]], NDArray[np.int64]]:
    """Give every different intervention once, and where each stands.

    Args:
        wanted: what is done, by level and trial; a level may have fewer trials.
        trials: of a level at most.

    Returns:
        The different ones, and `(level, trial)` int64 with their numbers, `NO_TRIAL` beyond.
    """
    numbers: dict[tuple[int, ...], int] = {}
    place = np.full((len(wanted), trials), NO_TRIAL, np.int64)
    for level, drawn in enumerate(wanted):
        for trial, one in enumerate(drawn):
            place[level, trial] = numbers.setdefault(one, len(numbers))
    return list(numbers), place


def trial_coordinate(trials: int) -> Coordinate:
    """Give the coordinate of the dimension `trial`."""
    return Coordinate(
        "trial",
        ("trial",),
        np.arange(trials, dtype=np.int64),
        {"long_name": "number of the random draw", "units": "1"},
    )
