"""How the logits answer to Gaussian noise on the input.

The input is what the network is given of a sample, standardised where it takes images. The noise of
a sample has a fixed part of that norm and one direction for each trial, the same at every level, so
levels are compared on common random numbers. It is a function of seed, sample and trial: what else
is measured does not matter.

Of several inputs, only the first one is perturbed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe.errors import InputError
from resprobe.quantities.family import Tally, sample_group
from resprobe.quantities.outputs import CORRECT, TEST_ERROR
from resprobe.quantities.quantity import Quantity
from resprobe.quantities.sweep import trial_coordinate
from resprobe.quantities.trials import Trials, direction
from resprobe.quantities.weight_noise import OUTPUT_NORM, Response, level_coordinate

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from resprobe.blocks.block import Block, Blocks
    from resprobe.blocks.passes import Pass
    from resprobe.store.schema import Group

_EACH = ("level", "trial")


def _quantity(name: str, dims: tuple[str, ...], dtype: str, formula: str, meaning: str) -> Quantity:
    return Quantity(
        name=name,
        family="input-noise",
        dims=dims,
        units="1",
        dtype=dtype,
        formula=formula,
        source="Yu & Tomasi 2019 (Identity connections in residual nets improve noise stability), "
        "Sec. 5; Chang et al. 2018 (Reversible architectures for arbitrarily "
        "deep residual neural networks), Sec. 3",
        meaning=meaning,
        cost="noise",
        measured_by="resprobe.quantities.input_noise:InputNoise",
        standard=False,
    )


OUTPUT_CHANGE = _quantity(
    "input_noise_output_change",
    ("sample", *_EACH),
    "float32",
    "‖f(x + η) - f(x)‖/‖f(x)‖ of the logits f, ‖η‖ = level·‖x‖; infinite where f(x) alone is 0, "
    "NaN where f(x + η) is 0 too",
    "Relative change of the logits of each sample under Gaussian noise on the network's input.",
)
NOISY_CORRECT = _quantity(
    "input_noise_correct",
    ("sample", *_EACH),
    "int8",
    "1 if argmax f(x + η) = y else 0",
    "Whether the sample is classified rightly with noise on the network's input.",
)
NOISY_ERROR = _quantity(
    "input_noise_error",
    _EACH,
    "float64",
    "1 - mean(input_noise_correct)",
    "Test error with Gaussian noise on the network's input.",
)


class InputNoise:
    """Measures the family `input-noise`; see `ChangesInputs`, `OfTrials` and `Costly`."""

    sees_blocks = False
    sees_outputs = False
    needs_replays = False
    needs_states = False
    needs_functions = False
    reestimates = False
    changes_inputs = True
    counted = (CORRECT.name, NOISY_CORRECT.name)
    samples_at_once = 250

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
        self._right = np.zeros((len(self._trials.noise_levels), self._trials.count), np.int64)
        self._samples = np.empty(0, np.int64)

    @staticmethod
    def trial_settings(trials: Trials) -> dict[str, Any]:
        """Give what of the trials decides the numbers."""
        return trials.of_noise()

    def take_samples(self, indices: NDArray[np.int64]) -> None:
        """Take the indices in the data set of a batch's samples, before its `rows`."""
        self._samples = indices

    def group(self) -> Group:
        """Give the layout of `/input-noise`."""
        also = (CORRECT, TEST_ERROR, OUTPUT_NORM)
        group = sample_group("/input-noise", self._blocks, self._classes, also=also)
        more = (level_coordinate(self._trials, "‖η‖/‖x‖"), trial_coordinate(self._trials.count))
        return replace(group, coordinates=(*group.coordinates, *more))

    def see(self, block: Block, x: Tensor, s: Tensor, branch: Tensor) -> None:
        """Take nothing: the input is changed by replay."""

    def see_output(self, block: Block, x: Tensor, x_out: Tensor) -> None:
        """Take nothing."""

    def try_on(self, whole: Pass) -> float:
        """Put the largest noise on the example once; it takes as long as so many passes.

        Raises:
            InputError: the input is no floating-point tensor, or the network can't be replayed
                with it.
        """
        x = whole.model_input
        if not x.is_floating_point():
            raise InputError(
                "the network takes whole numbers, such as token ids, to which no Gaussian noise "
                "can be added; leave input-noise out with --quantity."
            )
        self.take_samples(np.arange(len(x)))
        whole.replace_input(self._noisy(x, self._directions(x, 0), max(self._trials.noise_levels)))
        return 0.0

    def rows(self, whole: Pass, labels: Tensor) -> dict[str, Tensor]:
        """Give change and correctness of a batch, `(sample, level, trial)`."""
        import torch

        response = Response(whole.output, labels)
        x, found = whole.model_input, []
        for trial in range(self._trials.count):
            directions = self._directions(x, trial)
            outputs = [
                whole.replace_input(self._noisy(x, directions, level))
                for level in self._trials.noise_levels
            ]
            found.append(response.to(torch.stack(outputs)))
        change, correct = (torch.stack(each, dim=-1) for each in zip(*found, strict=True))
        return {
            **response.of_network(),
            OUTPUT_CHANGE.name: change,
            NOISY_CORRECT.name: correct,
        }

    def _directions(self, x: Tensor, trial: int) -> Tensor:
        """Give a direction of norm 1 for each sample, float64, like x."""
        import torch

        seed, shape = self._trials.seed, x.shape[1:]
        drawn = [direction(shape, "input-noise", seed, int(i), trial) for i in self._samples]
        return torch.from_numpy(np.stack(drawn)).to(x.device)

    def _noisy(self, x: Tensor, directions: Tensor, level: float) -> Tensor:
        x64 = x.double()
        norm = x64.flatten(1).norm(dim=1).reshape(-1, *(1,) * (x.dim() - 1))
        noisy: Tensor = (x64 + level * norm * directions).to(x.dtype)
        return noisy

    def add(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Take a batch into the errors."""
        self._tally.add(rows)
        self._seen += len(rows["label"])
        self._right += rows[NOISY_CORRECT.name].sum(axis=0, dtype=np.int64)

    def totals(self) -> dict[str, Any]:
        """Give the test errors."""
        return {
            TEST_ERROR.name: self._tally.error(),
            NOISY_ERROR.name: (self._seen - self._right) / self._seen,
        }
