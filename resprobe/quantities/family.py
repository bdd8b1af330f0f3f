"""What one pass over one set of samples measures: the part every family has in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from resprobe.quantities.quantity import of_family
from resprobe.store.schema import (
    Coordinate,
    Group,
    Variable,
    block_coordinates,
    declare,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from resprobe.blocks.block import Block, Blocks
    from resprobe.blocks.layers import Layer
    from resprobe.blocks.passes import Pass
    from resprobe.quantities.quantity import Quantity
    from resprobe.quantities.trials import Trials


# Gives the pass over these samples, by their indices, without the branches of some blocks, and the
# labels.
RunWithout = Callable[["NDArray[np.int64]", Sequence[int]], tuple["Pass", "Tensor"]]


class Measurement(Protocol):
    """Measures one family over the batches of one collection.

    Made as `measurement(model, blocks, classes)`; registered in `Quantity.measured_by` of each
    quantity of the family.
    """

    sees_blocks: bool  # whether `see` is called
    sees_outputs: bool  # whether `see_output` is called
    needs_replays: bool  # whether `rows` intervenes
    needs_states: bool  # whether `rows` asks for the blocks' inputs and outputs
    needs_functions: bool  # whether `rows` runs blocks in another order
    reestimates: bool  # whether it is a `Reestimating`
    # The per-sample variables, beside `label`, that `add` takes; they are read back on resuming.
    counted: tuple[str, ...]

    def group(self) -> Group:
        """Give the layout of the family's group."""

    def see(self, block: Block, x: Tensor, s: Tensor, branch: Tensor) -> None:
        """Take x, s and G of a block while a batch runs; before `rows`, in order."""

    def see_output(self, block: Block, x: Tensor, x_out: Tensor) -> None:
        """Take x and I(s + G) of a block, likewise."""

    def rows(self, whole: Pass, labels: Tensor) -> dict[str, Tensor]:
        """Give every per-sample variable of one batch, `(sample, …)`."""

    def add(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Take measured rows into the totals."""

    def totals(self) -> dict[str, Any]:
        """Give every variable without the dimension `sample`."""


class Reestimating(Measurement, Protocol):
    """Measures with the statistics of BatchNorm estimated anew from training images."""

    family_name: str
    batch_norm_mode: str  # what is said of BatchNorm with every number; set by the collection

    def reestimate(self, batches: Iterable[Callable[[], Pass]]) -> None:
        """Take the statistics; each call of an item makes the pass over one training batch."""

    def running(self) -> AbstractContextManager[Any]:
        """Give the context in which a batch is run for `rows`."""


@runtime_checkable
class Costly(Protocol):
    """Takes long for every sample, and is not possible in every network."""

    samples_at_once: int  # so few that an interruption loses little

    def try_on(self, whole: Pass) -> float:
        """Give about how many seconds a sample takes, 0.0 where that is not known.

        Raises:
            InputError: the network does not allow it, as where its blocks are no functions.
        """


@runtime_checkable
class OfLayers(Protocol):
    """Measures the convolutions and linear layers that the network runs, in blocks or not."""

    def take_layers(self, layers: Sequence[Layer]) -> None:
        """Take them, before anything else; raise `InputError` if they can't be measured."""

    def see_layer(self, layer: Layer, x: Tensor, image: Tensor) -> None:
        """Take x and A x of a layer while a batch runs, each `(sample, …)`; before `rows`."""


@runtime_checkable
class ChangesLayers(Protocol):
    """Measures how the network answers to changes of its layers, by replays of what follows."""

    changes_layers: bool  # whether `rows` asks for `Pass.layer_image` and `Pass.add_to_layer`

    def take_layers(self, layers: Sequence[Layer]) -> None:
        """Take them, before anything else; raise `InputError` if they can't be measured."""


@runtime_checkable
class OfActivations(Protocol):
    """Measures the activations that follow layers."""

    def take_layers(self, layers: Sequence[Layer]) -> None:
        """Take all layers, before anything else; raise `InputError` if they can't be measured."""

    def see_activation(self, layer: Layer, x: Tensor, y: Tensor) -> None:
        """Take what an activation reads and makes while a batch runs, each `(sample, …)`."""


@runtime_checkable
class OfTrials(Protocol):
    """Draws at random by `Trials`, which is the last argument that makes the measurement."""

    @staticmethod
    def trial_settings(trials: Trials) -> dict[str, Any]:
        """Give what of the trials decides the numbers of the family, JSON-ready."""


@runtime_checkable
class WithSettings(Protocol):
    """Measures by rules or numbers of its own that nobody chooses, such as steps of an integral."""

    @staticmethod
    def own_settings() -> dict[str, Any]:
        """Give those that decide the numbers of the family, JSON-ready."""


@runtime_checkable
class OfSamples(Protocol):
    """Draws of each sample another number, whatever else is collected."""

    def take_samples(self, indices: NDArray[np.int64]) -> None:
        """Take the indices in the data set of a batch's samples, before its `rows`."""


@runtime_checkable
class ChangesInputs(OfSamples, Protocol):
    """Measures how the network answers to changes of its input, of each sample another one."""

    changes_inputs: bool  # whether `rows` asks for `Pass.model_input` and `Pass.replace_input`


@runtime_checkable
class OfGradients(Protocol):
    """Differentiates the logits with respect to the branches."""

    differentiates: bool  # whether `rows` asks for `Pass.taps`

    def take_input(self, *, ids: bool) -> None:
        """Take whether the network is given whole numbers, such as ids; before anything else."""


class Searched(NamedTuple):
    """How far a search is.

    Attributes:
        step: what it does, in words.
        done: samples that are done with in this step.
        total: samples of a step.
        found: variables that hold more than before, in the order in which they are written.
    """

    step: str
    done: int
    total: int
    found: Mapping[str, Any]


@runtime_checkable
class Searches(OfSamples, Protocol):
    """Looks for something by many passes over the samples before its rows are measured."""

    # The variables without `sample` from which an interrupted search goes on.
    goes_on_from: tuple[str, ...]

    def divide(self, labels: NDArray[np.int64], indices: NDArray[np.int64]) -> None:
        """Take the labels of the whole data set and the indices of the samples, before all else."""

    def search(
        self, run: RunWithout, size: int, found: Mapping[str, Any], *, complete: bool
    ) -> Iterator[Searched]:
        """Search, or go on from what `goes_on_from` holds; with `complete` only take that."""

    def search_seconds(self, run: RunWithout, size: int) -> float:
        """Give how many seconds a search takes at most."""


class Tally:
    """Errors of the whole network, over all samples and by class."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._right = np.zeros(len(classes), np.int64)
        self._seen = np.zeros(len(classes), np.int64)

    def add(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Count the samples of a batch by their `label` and `correct`."""
        np.add.at(self._seen, rows["label"], 1)
        np.add.at(self._right, rows["label"], rows["correct"].astype(np.int64))

    def error(self) -> float:
        """Give the fraction of samples that are wrong, NaN without samples."""
        seen = int(self._seen.sum())
        return (seen - int(self._right.sum())) / seen if seen else float("nan")

    def class_error(self) -> NDArray[np.float64]:
        """Give that fraction for each class, NaN for a class without samples."""
        missing = np.full(len(self._seen), np.nan)
        wrong = (self._seen - self._right).astype(np.float64)
        np.divide(wrong, self._seen, out=missing, where=self._seen > 0)
        return missing


def sample_group(
    path: str,
    blocks: Blocks,
    classes: Sequence[str],
    *,
    also: Sequence[Quantity] = (),
) -> Group:
    """Give the layout of a family with rows along `sample`.

    Args:
        path: of the group; its quantities are those of the family of that name.
        blocks: of the network.
        classes: their names.
        also: quantities of other families that this pass measures too.
    """
    quantities = [*of_family(path.strip("/")), *also]
    labels = (
        Variable(
            "sample", ("sample",), "int64", {"long_name": "index in the data set", "units": "1"}
        ),
        Variable(
            "label", ("sample",), "int64", {"long_name": "true class, as an index", "units": "1"}
        ),
    )
    coordinates = block_coordinates(blocks)
    if any("class" in quantity.dims for quantity in quantities):
        coordinates += (
            Coordinate("class", ("class",), list(classes), {"long_name": "name of the class"}),
        )
    return Group(
        path,
        "sample",
        (*labels, *(declare(quantity) for quantity in quantities)),
        coordinates,
        ("sample", "label"),
    )


def parameter_squares(model: nn.Module) -> dict[str, float]:
    """Give the sum of squares of each parameter, in float64."""
    return {name: float(p.detach().double().square().sum()) for name, p in model.named_parameters()}
