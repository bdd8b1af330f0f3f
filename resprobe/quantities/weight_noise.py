"""How the logits answer to Gaussian noise on the weight of one layer, all else as it is.

Every convolution and linear layer that runs in the forward pass is perturbed in turn, also outside
of blocks: W + ΔW in the place of its weight W, biases untouched, ‖ΔW‖_F a fixed part of ‖W‖_F.
ΔW is one Gaussian direction for each layer and trial, the same for every sample, norm and level,
so these are compared on common random numbers.

‖W‖_F is with the ID entries kept or removed, as `layer_weight_norm` and
`layer_weight_norm_id_removed` (see `layer_cushion`). Where a skip counts as a part of a layer, the
block is x -> s + h W x: the noise is added to h W, the branch's own kernel, and its size is
measured by that of h W with the 1s of the skip (kept) or of h W alone (removed).

A layer is one execution. Of a weight that several layers share only this execution is perturbed,
and of a weight that is computed, such as a normalised one, what was computed: the parameters behind
it may have other norms, and change several layers at once.

As out = A x + b, the noise adds ΔA x to the recorded output, and what follows is replayed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe.errors import InputError
from resprobe.quantities.family import Tally, sample_group
from resprobe.quantities.layer_cushion import (
    WEIGHT_NORM,
    WEIGHT_NORM_ID_REMOVED,
    frobenius_norms,
    layer_coordinates,
)
from resprobe.quantities.outputs import CORRECT, TEST_ERROR, classification
from resprobe.quantities.quantity import Quantity
from resprobe.quantities.sweep import trial_coordinate
from resprobe.quantities.trials import Trials, direction
from resprobe.store.schema import Coordinate

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from resprobe.blocks.block import Block, Blocks
    from resprobe.blocks.layers import Layer
    from resprobe.blocks.passes import Pass
    from resprobe.store.schema import Group

_EACH = ("layer", "norm", "level", "trial")


def _quantity(name: str, dims: tuple[str, ...], dtype: str, formula: str, meaning: str) -> Quantity:
    return Quantity(
        name=name,
        family="weight-noise",
        dims=dims,
        units="1",
        dtype=dtype,
        formula=formula,
        source="Yu & Tomasi 2019 (Identity connections in residual nets improve noise stability), "
        "Sec. 5; Arora et al. 2018 (Stronger generalization bounds for deep nets via a compression "
        "approach)",
        meaning=meaning,
        cost="noise",
        measured_by="resprobe.quantities.weight_noise:WeightNoise",
        standard=False,
    )


OUTPUT_CHANGE = _quantity(
    "weight_noise_output_change",
    ("sample", *_EACH),
    "float32",
    "‖f(x; W + ΔW) - f(x; W)‖/‖f(x; W)‖ of the logits f, ‖ΔW‖_F = level·‖W‖_F; infinite where "
    "f(x; W) alone is 0, NaN where f(x; W + ΔW) is 0 too",
    "Relative change of the logits of each sample under Gaussian noise on one layer's weight.",
)
NOISY_CORRECT = _quantity(
    "weight_noise_correct",
    ("sample", *_EACH),
    "int8",
    "1 if argmax f(x; W + ΔW) = y else 0",
    "Whether the sample is classified rightly with noise on one layer's weight.",
)
NOISY_ERROR = _quantity(
    "weight_noise_error",
    _EACH,
    "float64",
    "1 - mean(weight_noise_correct)",
    "Test error with Gaussian noise on one layer's weight.",
)
OUTPUT_NORM = _quantity(
    "output_norm",
    ("sample",),
    "float32",
    "‖f(x)‖",
    "Norm of the logits of the network without noise.",
)
# What ‖ΔW‖_F is relative to, in the order of the dimension `norm`.
_NORMS = {"kept": WEIGHT_NORM, "removed": WEIGHT_NORM_ID_REMOVED}


class WeightNoise:
    """Measures the family `weight-noise`; see `ChangesLayers`, `OfTrials` and `Costly`."""

    sees_blocks = False
    sees_outputs = False
    needs_replays = False
    needs_states = False
    needs_functions = False
    reestimates = False
    changes_layers = True
    counted = (CORRECT.name, NOISY_CORRECT.name)
    samples_at_once = 125
    layers: Sequence[Layer]

    def __init__(
        self,
        model: nn.Module,
        blocks: Blocks,
        classes: Sequence[str],
        trials: Trials | None = None,
    ) -> None:
        del model
        self._blocks, self._classes, self._trials = blocks, classes, trials or Trials()
        self._tally = Tally(classes)
        self._seen = 0

    @staticmethod
    def trial_settings(trials: Trials) -> dict[str, Any]:
        """Give what of the trials decides the numbers."""
        return trials.of_noise()

    def take_layers(self, layers: Sequence[Layer]) -> None:
        """Take the layers of the network, before anything else.

        Raises:
            InputError: there is none.
        """
        if not layers:
            raise InputError(
                "the network runs no convolution or linear layer on its samples, so there is no "
                "weight to put noise on; leave weight-noise out with --quantity."
            )
        self.layers = layers
        found = [frobenius_norms(layer) for layer in layers]
        self._norms = {q.name: np.array([one[q.name] for one in found]) for q in _NORMS.values()}
        levels, count = self._trials.noise_levels, self._trials.count
        self._right = np.zeros((len(layers), len(_NORMS), len(levels), count), np.int64)

    def group(self) -> Group:
        """Give the layout of `/weight-noise`."""
        also = (CORRECT, TEST_ERROR, *_NORMS.values())
        group = sample_group("/weight-noise", self._blocks, self._classes, also=also)
        norm = Coordinate(
            "norm",
            ("norm",),
            list(_NORMS),
            {"long_name": "whether ID entries count in the norm that the noise is relative to"},
        )
        more = (norm, level_coordinate(self._trials, "‖ΔW‖_F/‖W‖_F"))
        coordinates = (
            *group.coordinates,
            *layer_coordinates(self.layers),
            *more,
            trial_coordinate(self._trials.count),
        )
        return replace(group, coordinates=coordinates)

    def see(self, block: Block, x: Tensor, s: Tensor, branch: Tensor) -> None:
        """Take nothing: layers are changed by replay."""

    def see_output(self, block: Block, x: Tensor, x_out: Tensor) -> None:
        """Take nothing."""

    def try_on(self, whole: Pass) -> float:
        """Put the largest noise on every layer once; give the seconds that all would take.

        Raises:
            InputError: the network can't be replayed with it.
        """
        level = max(self._trials.noise_levels)
        started = time.perf_counter()
        replays = 0
        for layer in self.layers:
            size = level * max(self._sizes(layer))
            whole.add_to_layer(layer, size * self._image(whole, layer, 0))
            replays += len(set(self._sizes(layer)))
        each = (time.perf_counter() - started) / len(self.layers) / len(whole.output)
        return each * replays * len(self._trials.noise_levels) * self._trials.count

    def rows(self, whole: Pass, labels: Tensor) -> dict[str, Tensor]:
        """Give change and correctness of a batch, `(sample, layer, norm, level, trial)`."""
        import torch

        response = Response(whole.output, labels)
        shape = (len(labels), *self._right.shape)
        change = labels.new_empty(shape, dtype=torch.float32)
        correct = labels.new_empty(shape, dtype=torch.int8)
        for layer in self.layers:
            for trial in range(self._trials.count):
                found = response.to(self._noisy(whole, layer, trial))
                change[:, layer.index, ..., trial], correct[:, layer.index, ..., trial] = found
        return {
            **response.of_network(),
            OUTPUT_CHANGE.name: change,
            NOISY_CORRECT.name: correct,
        }

    def _noisy(self, whole: Pass, layer: Layer, trial: int) -> Tensor:
        """Give the logits with noise on one layer, `(norm, level, sample, class)`."""
        import torch

        image = self._image(whole, layer, trial)
        sizes = self._sizes(layer)
        found = {
            size: torch.stack(
                [
                    whole.add_to_layer(layer, level * size * image)
                    for level in self._trials.noise_levels
                ]
            )
            for size in set(sizes)
        }
        return torch.stack([found[size] for size in sizes])

    def _image(self, whole: Pass, layer: Layer, trial: int) -> Tensor:
        """Give what a direction of norm 1 makes of the layer's input."""
        import torch

        drawn = direction(layer.weight.shape, "weight-noise", self._trials.seed, layer.index, trial)
        weight = torch.from_numpy(drawn).to(layer.weight.device, layer.weight.dtype)
        return whole.layer_image(layer, weight)

    def _sizes(self, layer: Layer) -> tuple[float, ...]:
        return tuple(float(norms[layer.index]) for norms in self._norms.values())

    def add(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Take a batch into the errors."""
        self._tally.add(rows)
        self._seen += len(rows["label"])
        self._right += rows[NOISY_CORRECT.name].sum(axis=0, dtype=np.int64)

    def totals(self) -> dict[str, Any]:
        """Give the test errors, and the norms that the noise is relative to."""
        return {
            TEST_ERROR.name: self._tally.error(),
            NOISY_ERROR.name: (self._seen - self._right) / self._seen,
            **self._norms,
        }


class Response:
    """What noise does to the logits of one batch.

    Args:
        output: `(sample, class)`, the logits without noise.
        labels: `(sample,)` int64.
    """

    def __init__(self, output: Tensor, labels: Tensor) -> None:
        self._output, self._labels = output, labels
        self._norm = output.double().norm(dim=1)

    def to(self, noisy: Tensor) -> tuple[Tensor, Tensor]:
        """Give relative change and correctness.

        Args:
            noisy: `(…, sample, class)`, logits with noise.

        Returns:
            Both `(sample, …)`, float32 and int8. Where the logits without noise are all 0, the
            change is infinite, or NaN where those with noise are 0 too.
        """
        change = (noisy.double() - self._output.double()).norm(dim=-1) / self._norm
        labels = self._labels.expand(noisy.shape[:-1]).flatten()
        correct = classification(noisy.flatten(0, -2), labels)["correct"]
        return change.float().movedim(-1, 0), correct.reshape(change.shape).movedim(-1, 0)

    def of_network(self) -> dict[str, Tensor]:
        """Give what is measured of the network without noise, `(sample,)`."""
        whole = classification(self._output, self._labels)
        return {CORRECT.name: whole["correct"], OUTPUT_NORM.name: self._norm.float()}


def level_coordinate(trials: Trials, formula: str) -> Coordinate:
    """Give the coordinate of the dimension `level`.

    Args:
        trials: that name the levels.
        formula: of what a level is.
    """
    return Coordinate(
        "level",
        ("level",),
        np.array(trials.noise_levels, np.float64),
        {
            "long_name": "norm of the noise over that of what it is added to",
            "units": "1",
            "formula": formula,
        },
    )
