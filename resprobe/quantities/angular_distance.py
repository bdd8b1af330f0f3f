"""How far spans of blocks turn the feature vector of each position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe.quantities.family import sample_group
from resprobe.quantities.quantity import Quantity
from resprobe.quantities.spans import inside, with_lengths
from resprobe.quantities.spans import joined as joined_spans

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from resprobe.blocks.block import Block, Blocks
    from resprobe.blocks.passes import Pass
    from resprobe.store.schema import Group

_FORMULA = "arccos(⟨x, y⟩/(‖x‖·‖y‖))/π, x into the first block of the span, y out of its last"
_SOURCE = (
    "Gromov et al. 2024 (The Unreasonable Ineffectiveness of the Deeper Layers), d(x^(l), x^(l+n))"
)


def _of_spans(name: str, dims: tuple[str, ...], formula: str, meaning: str) -> Quantity:
    return Quantity(
        name=name,
        family="angular-distance",
        dims=dims,
        units="1",
        dtype="float32" if "sample" in dims else "float64",
        formula=formula,
        source=_SOURCE,
        meaning=meaning,
        cost="hook",
        measured_by="resprobe.quantities.angular_distance:AngularDistance",
        standard=False,
    )


ANGULAR_DISTANCE = _of_spans(
    "angular_distance",
    ("sample", "block", "length"),
    f"mean over positions of {_FORMULA}",
    "How far a span of blocks turns the features of each token or pixel, per sample: 0 not at "
    "all, 1/2 to a right angle; NaN where the span changes the shape or passes the end.",
)
ANGULAR_DISTANCE_LAST = _of_spans(
    "angular_distance_last",
    ("sample", "block", "length"),
    f"{_FORMULA}, at the last position",
    "How far a span of blocks turns the features of the last token, per sample, as the paper has "
    "it; NaN also where features are not of shape (position, feature).",
)
MEAN_ANGULAR_DISTANCE = _of_spans(
    "mean_angular_distance",
    ("block", "length"),
    "mean over samples of angular_distance",
    "How far a span of blocks turns the features of each token or pixel, the mean over samples.",
)
MEAN_ANGULAR_DISTANCE_STDERR = _of_spans(
    "mean_angular_distance_stderr",
    ("block", "length"),
    "√(Σ(angular_distance - mean)²/(n - 1)/n) over the n samples",
    "Standard error of mean_angular_distance over samples; NaN for a single sample.",
)


def angular_distances(
    inputs: Sequence[Tensor], outputs: Sequence[Tensor], axes: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Give the angular distances of all spans of a batch.

    The paper takes the last token only, because that is what predicts the next one; for images
    and classifiers no position is special, so the mean over positions stands first.

    Args:
        inputs: x of every block in order, `(sample, …)`.
        outputs: x_out of every block in order; mostly the inputs of the next ones.
        axes: of the features of each block's input, counted with the sample dimension.

    Returns:
        The mean over positions and the last position's distance, each `(sample, block, length)`
        float64 in [0, 1]. NaN where the shapes at both ends differ, past the end of the network,
        and, of the last position, for features that are not `(position, feature)`.
    """
    from resprobe.linalg.angles import mean_angles

    blocks, samples = len(inputs), inputs[0].shape[0]
    found = [inputs[0].new_full((samples, blocks, blocks), float("nan")).double() for _ in range(2)]
    starts: dict[tuple[tuple[int, ...], int], list[int]] = {}
    for index, (x, axis) in enumerate(zip(inputs, axes, strict=True)):
        starts.setdefault((tuple(x.shape), axis % x.dim()), []).append(index)
    for (shape, axis), firsts in starts.items():
        lasts = [index for index, y in enumerate(outputs) if tuple(y.shape) == shape]
        pairs = [(first, last) for first in firsts for last in lasts if first <= last]
        if not pairs:
            continue
        states, places = _states(inputs, outputs, pairs)
        cells = ([first for first, _ in pairs], [last - first for first, last in pairs])
        found[0][:, cells[0], cells[1]] = mean_angles(states, places, axis)
        if len(shape) == 3 and axis == 2:
            tails = [state[:, -1:] for state in states]
            found[1][:, cells[0], cells[1]] = mean_angles(tails, places, axis)
    return found[0], found[1]


def _states(
    inputs: Sequence[Tensor], outputs: Sequence[Tensor], pairs: Sequence[tuple[int, int]]
) -> tuple[list[Tensor], list[tuple[int, int]]]:
    """Give the states at the ends of pairs, each once, and the pairs as places among them."""
    states: list[Tensor] = []
    places: dict[int, int] = {}  # a block's output is mostly the next one's input: one tensor

    def place(state: Tensor) -> int:
        if id(state) not in places:
            places[id(state)] = len(states)
            states.append(state)
        return places[id(state)]

    named = [(place(inputs[first]), place(outputs[last])) for first, last in pairs]
    return states, named


class AngularDistance:
    """Measures the family `angular-distance`: how far every contiguous span turns its input."""

    sees_blocks = False
    sees_outputs = False
    needs_replays = False
    needs_states = True
    needs_functions = False
    reestimates = False
    counted = ("angular_distance",)

    def __init__(self, model: nn.Module, blocks: Blocks, classes: Sequence[str]) -> None:
        del model
        self._blocks, self._classes = blocks, classes
        self._inside = inside(len(blocks))
        shape = self._inside.shape
        self._seen = np.zeros(shape, np.int64)
        self._mean, self._squares = np.zeros(shape), np.zeros(shape)

    def group(self) -> Group:
        """Give the layout of `/angular-distance`."""
        group = sample_group("/angular-distance", self._blocks, self._classes)
        return with_lengths(group, len(self._blocks))

    def see(self, block: Block, x: Tensor, s: Tensor, branch: Tensor) -> None:
        """Take nothing: the distance is between states of several blocks."""

    def see_output(self, block: Block, x: Tensor, x_out: Tensor) -> None:
        """Take nothing."""

    def rows(self, whole: Pass, labels: Tensor) -> dict[str, Tensor]:
        """Give the angular distances `(sample, block, length)` of a batch, float32.

        NaN for spans that are no way through the network, as from an encoder into its decoder.
        """
        import torch

        del labels
        mean, last = angular_distances(
            [whole.input(block) for block in self._blocks],
            [whole.block_output(block) for block in self._blocks],
            [block.feature_axis for block in self._blocks],
        )
        joined = torch.from_numpy(joined_spans([block.follows for block in self._blocks]))
        mean, last = (
            distance.masked_fill(~joined.to(distance.device), float("nan"))
            for distance in (mean, last)
        )
        # as they are stored, so that totals are the same when rows are read back
        return {"angular_distance": mean.float(), "angular_distance_last": last.float()}

    def add(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Take a batch into mean and variance (Welford).

        Sample by sample, so that the bits do not depend on where an interruption cut a batch.
        """
        for row in rows["angular_distance"].astype(np.float64):
            known = np.isfinite(row)
            self._seen += known
            step = np.where(known, row - self._mean, 0.0)
            self._mean += step / np.maximum(self._seen, 1)
            self._squares += step * np.where(known, row - self._mean, 0.0)

    def totals(self) -> dict[str, Any]:
        """Give the mean over samples and its standard error, NaN where nothing was measured."""
        seen = self._seen
        error = np.sqrt(self._squares / np.maximum(seen - 1, 1) / np.maximum(seen, 1))
        return {
            "mean_angular_distance": np.where(seen > 0, self._mean, np.nan),
            "mean_angular_distance_stderr": np.where(seen > 1, error, np.nan),
        }
