"""What dropping blocks one after the other does, each time the one that is missed least.

The blocks are chosen on one half of the samples, the validation half, and what is left of the
network is measured on both: the validation half is where the choice looks best, the other one,
the test half, had no part in it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe.errors import InputError
from resprobe.quantities.family import Searched, Tally, sample_group
from resprobe.quantities.greedy_costs import (
    FAMILY,
    NOTHING,
    SO_FAR,
    costs,
    filled,
    greedy_quantity,
)
from resprobe.quantities.greedy_search import SEARCH_RULE, Answers, search
from resprobe.quantities.halves import HALVES, HALVES_RULE, TEST, VALIDATION, halves
from resprobe.quantities.outputs import CORRECT, TEST_ERROR, TEST_LOSS, classification
from resprobe.store.schema import Coordinate, Variable

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from resprobe.blocks.block import Block, Blocks
    from resprobe.blocks.passes import Pass
    from resprobe.quantities.family import RunWithout
    from resprobe.quantities.greedy_search import Progress
    from resprobe.store.schema import Group


GREEDY_LESION = greedy_quantity(
    "greedy_lesion",
    ("drop",),
    "int64",
    "argmin over remaining blocks of the validation error without it and all dropped before; "
    "among equals of the mean validation loss",
    "Index of the block that is dropped at this step, beside those before; -1 after the search.",
    source="greedy backward elimination; the lesion: Veit, Wilber, Belongie 2016, Sec. 4.2",
)
GREEDY_LESION_DROPS = greedy_quantity(
    "greedy_lesion_drops",
    (),
    "int64",
    "first number of drops with a validation error of at least (whole + chance) / 2, or all",
    "How many blocks were dropped before the search ended, halfway from the network's own "
    "validation error to that of always answering the most frequent class.",
)
GREEDY_LESION_ERROR = greedy_quantity(
    "greedy_lesion_error",
    ("drop", "half"),
    "float64",
    "1 - mean(greedy_lesion_correct) over the samples of a half",
    f"Error without {SO_FAR}, on the half that they were chosen by and on the other one; NaN "
    "after the search.",
)
GREEDY_LESION_LOSS = greedy_quantity(
    "greedy_lesion_loss",
    ("sample", "drop"),
    "float32",
    "-log softmax(z without G of every block dropped so far)_y",
    f"Cross-entropy of each sample without {SO_FAR}; NaN after the search.",
    units="nat",
)
GREEDY_LESION_CORRECT = greedy_quantity(
    "greedy_lesion_correct",
    ("sample", "drop"),
    "int8",
    "1 if argmax z = y else 0, without G of every block dropped so far; -1 after the search",
    f"Whether the sample is classified rightly without {SO_FAR}.",
)


class LesionGreedy:
    """Measures the family `lesion-greedy`; see `Searches`."""

    sees_blocks = False
    sees_outputs = False
    needs_replays = True
    needs_states = False
    needs_functions = False
    reestimates = False
    counted = ("correct", "greedy_lesion_correct", "sample_half")
    goes_on_from = (GREEDY_LESION.name, GREEDY_LESION_DROPS.name)

    def __init__(self, model: nn.Module, blocks: Blocks, classes: Sequence[str]) -> None:
        self._model, self._blocks, self._classes = model, blocks, classes
        self._tally = Tally(classes)
        shape = (len(HALVES), len(blocks))
        self._seen, self._wrong = np.zeros(len(HALVES), np.int64), np.zeros(shape, np.int64)
        self._order: tuple[int, ...] = ()
        self._costs: dict[str, Any] = {}

    @staticmethod
    def own_settings() -> dict[str, Any]:
        """Give the rules by which samples are divided and blocks chosen; see `WithSettings`."""
        return {"halves": HALVES_RULE, "search": SEARCH_RULE}

    def group(self) -> Group:
        """Give the layout of `/lesion-greedy`."""
        group = sample_group(
            f"/{FAMILY}", self._blocks, self._classes, also=(CORRECT, TEST_LOSS, TEST_ERROR)
        )
        half = Variable(
            "sample_half",
            ("sample",),
            "int8",
            {
                "long_name": "whether blocks were chosen by the sample, or only tested on it",
                "flag_values": np.array([VALIDATION, TEST], np.int8),
                "flag_meanings": " ".join(HALVES),
            },
        )
        drop = np.arange(1, len(self._blocks) + 1, dtype=np.int64)
        said = {"long_name": "number of blocks dropped", "units": "1"}
        return replace(
            group,
            variables=(half, *(_flagged(variable) for variable in group.variables)),
            coordinates=(
                *group.coordinates,
                Coordinate("drop", ("drop",), drop, said),
                Coordinate("half", ("half",), list(HALVES)),
            ),
            row_coordinates=(*group.row_coordinates, half.name),
        )

    def divide(self, labels: NDArray[np.int64], indices: NDArray[np.int64]) -> None:
        """Take the samples of the collection and divide them.

        Args:
            labels: of the whole data set.
            indices: of the samples, ascending.

        Raises:
            InputError: one half would be empty.
        """
        self._indices, self._half = indices, halves(labels, indices)
        if len(np.unique(self._half)) < len(HALVES):
            raise InputError(
                f"{FAMILY} chooses blocks by one half of the samples of each class and tests them "
                f"on the other, but {_samples(len(indices))} one half empty; give more "
                "--samples."
            )
        self._chosen_by = indices[self._half == VALIDATION]
        self._chosen_by_labels = labels[self._chosen_by]

    def search(
        self, run: RunWithout, size: int, found: Mapping[str, Any], *, complete: bool
    ) -> Iterator[Searched]:
        """Choose the blocks on the validation half.

        Args:
            run: makes passes.
            size: most samples of one.
            found: what an earlier search has found, by the names in `goes_on_from`.
            complete: whether that was all.

        Yields:
            How far it is, with what is found whenever that is more.
        """
        order, drops = (found[name] for name in self.goes_on_from)
        self._order = tuple(int(index) for index in order[: int(drops)])
        if not complete:
            measure = partial(self._measure, run)
            known = self._order
            for told in search(
                measure, len(self._blocks), self._chosen_by_labels, size, self._order
            ):
                self._order = told.dropped
                more = self._found() if told.dropped != known else {}
                known = told.dropped
                yield Searched(self._told(told), told.done, told.total, more)
        one, _ = run(self._indices[:1], ())
        self._costs = costs(one, self._model, len(self._blocks), self._order)

    def search_seconds(self, run: RunWithout, size: int) -> float:
        """Give how many seconds a search to the last block takes at most, from one batch."""
        batch = np.arange(min(size, len(self._chosen_by)))
        blocks = len(self._blocks)
        self._measure(run, batch[:8], (), range(blocks))  # what torch prepares once
        started = time.perf_counter()
        self._measure(run, batch, (), range(blocks))
        first = (time.perf_counter() - started) * len(self._chosen_by) / len(batch)
        self._order = tuple(range(blocks))  # of the rows
        # With n blocks left a step replays n (n - 1) / 2 of them.
        return first * (blocks + 1) / 3

    def take_samples(self, indices: NDArray[np.int64]) -> None:
        """Take the samples of the next batch."""
        self._batch_half = self._half[np.searchsorted(self._indices, indices)]

    def see(self, block: Block, x: Tensor, s: Tensor, branch: Tensor) -> None:
        """Take nothing: a lesion needs no tensor of a branch."""

    def see_output(self, block: Block, x: Tensor, x_out: Tensor) -> None:
        """Take nothing."""

    def rows(self, whole: Pass, labels: Tensor) -> dict[str, Tensor]:
        """Give loss and correctness, whole `(sample,)` and lesioned `(sample, drop)`."""
        import torch

        intact = classification(whole.output, labels)
        shape = (len(labels), len(self._blocks))
        correct = intact["correct"].new_full(shape, NOTHING)
        loss = intact["test_loss"].new_full(shape, float("nan"))
        for drop in range(len(self._order)):
            lesioned = classification(whole.lesion_set(self._order[: drop + 1]), labels)
            correct[:, drop], loss[:, drop] = lesioned["correct"], lesioned["test_loss"]
        return {
            "sample_half": torch.from_numpy(self._batch_half),
            "correct": intact["correct"],
            "test_loss": intact["test_loss"],
            GREEDY_LESION_CORRECT.name: correct,
            GREEDY_LESION_LOSS.name: loss,
        }

    def add(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Take a batch into the errors."""
        self._tally.add(rows)
        for half in range(len(HALVES)):
            inside = rows["sample_half"] == half
            self._seen[half] += int(inside.sum())
            self._wrong[half] += (rows[GREEDY_LESION_CORRECT.name][inside] == 0).sum(axis=0)

    def totals(self) -> dict[str, Any]:
        """Give the errors, the blocks in order, and what leaving them out saves."""
        error = (self._wrong / self._seen[:, None]).T
        error[len(self._order) :] = np.nan
        return {
            "test_error": self._tally.error(),
            GREEDY_LESION_ERROR.name: error,
            **self._found(),
            **self._costs,
        }

    def _found(self) -> dict[str, Any]:
        """Give what is written after every step: the count last, which says what holds."""
        return {
            GREEDY_LESION.name: filled(self._order, len(self._blocks)),
            GREEDY_LESION_DROPS.name: len(self._order),
        }

    def _told(self, told: Progress) -> str:
        blocks, error = len(self._blocks), f"{told.error:.4f}"
        if told.ended:
            why = "no block left" if told.drop == blocks else "halfway to chance"
            drops = f"{told.drop} drop{'s' if told.drop != 1 else ''}"
            return f"stopped after {drops}, {why}, validation error {error}"
        if not told.drop:
            return "the whole network"
        return f"drop {told.drop} of at most {blocks}, validation error before it {error}"

    def _measure(
        self,
        run: RunWithout,
        places: NDArray[np.int64],
        dropped: Sequence[int],
        candidates: Sequence[int],
    ) -> Answers:
        """Give how the network answers on samples of the validation half; see `Measure`."""
        samples = self._chosen_by[places]
        given, sets = dropped, [[one] for one in candidates]
        if self._blocks.plain:  # whose lesions start from the whole network
            given, sets = (), [[*dropped, *one] for one in sets] or [list(dropped)]
        elif len(sets) == 1:  # of a single one no more is needed than its output
            given, sets = [*dropped, *sets[0]], []
        whole, labels = run(samples, given)
        outputs = (whole.lesion_set(one) if one else whole.output for one in sets or [[]])
        found = [classification(output, labels) for output in outputs]
        return Answers(
            np.stack([one["correct"].cpu().numpy() == 0 for one in found]),
            np.stack([one["test_loss"].cpu().double().numpy() for one in found]),
        )


def _samples(count: int) -> str:
    return f"{count} samples leave" if count != 1 else "1 sample leaves"


def _flagged(variable: Variable) -> Variable:
    """Say in CF's words what the numbers of `greedy_lesion_correct` mean."""
    if variable.name != GREEDY_LESION_CORRECT.name:
        return variable
    flags = {
        "flag_values": np.array([NOTHING, 0, 1], np.int8),
        "flag_meanings": "after_the_search wrong right",
    }
    return replace(variable, attributes={**variable.attributes, **flags})
