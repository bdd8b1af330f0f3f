"""Interlayer smoothness: how well the Jacobian of a span of blocks stands for the span near x.

For a span from block i to block j, M is the function x -> I(s + G) of its last block, x the input
of its first one, J the Jacobian of M at x, and η noise:

    ρ = ‖η‖·‖M(x)‖ / (‖x‖·‖M(x + η) - J (x + η)‖)

The interlayer smoothness ρ_δ of a network is the largest number that is at most ρ for all spans and
samples with probability 1 - δ over η. J is applied to x + η, as the definition has it, not to η
alone. So where M has biases, J x is not M(x), and ρ shrinks with the noise to ‖η‖·‖M(x)‖ /
(‖x‖·‖M(x) - J x‖): it then says how far M is from linear, not how smooth it is. A linear span has
infinite ρ, of which rounding leaves about the inverse of the dtype's unit.

η is Gaussian of fixed norm, `LEVEL` times that of x; in the source it is what compressing earlier
layers leaves at x. Its direction is a function of seed, sample, block and trial: what else is
measured does not matter. BatchNorm runs on its running statistics.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from resprobe.quantities.block_functions import BlockFunctions
from resprobe.quantities.family import sample_group
from resprobe.quantities.interlayer_cushion import (
    last_of_chain,
    link,
    reach,
    require_derivatives,
)
from resprobe.quantities.quantity import Quantity
from resprobe.quantities.spans import with_lengths
from resprobe.quantities.sweep import trial_coordinate
from resprobe.quantities.trials import Trials, direction

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from resprobe.blocks.block import Block, Blocks
    from resprobe.blocks.passes import Pass
    from resprobe.blocks.path import Path
    from resprobe.linalg.chain import Link
    from resprobe.store.schema import Group, Variable

# ‖η‖/‖x‖: large enough to cross kinks of the activations, and the middle one of the levels at which
# the families of noise measure by default. One level, because spans are to be compared at the same.
LEVEL = 0.1

INTERLAYER_SMOOTHNESS = Quantity(
    name="interlayer_smoothness",
    family="interlayer-smoothness",
    dims=("sample", "block", "length", "trial"),
    units="1",
    dtype="float32",
    formula="‖η‖·‖M(x)‖/(‖x‖·‖M(x + η) - J (x + η)‖), M the span that begins with the block, J its "
    f"Jacobian at x, η Gaussian with ‖η‖ = {LEVEL:g}·‖x‖; infinite where M is linear to the bit",
    source="Arora et al. 2018 (Stronger generalization bounds for deep nets via a compression "
    "approach), Definition 7; spans as Yu & Tomasi 2019, Sec. 5, have them",
    meaning="Interlayer smoothness of each sample over a span of blocks at one draw of noise; NaN "
    "where the span passes the end or its blocks do not follow each other.",
    cost="jvp",
    measured_by="resprobe.quantities.interlayer_smoothness:InterlayerSmoothness",
    standard=False,
)


class InterlayerSmoothness(BlockFunctions):
    """Measures the family `interlayer-smoothness`; see `Costly`, `OfTrials`, `OfSamples`."""

    family = "interlayer-smoothness"
    samples_at_once = 8

    def __init__(
        self,
        model: nn.Module,
        blocks: Blocks,
        classes: Sequence[str],
        trials: Trials | None = None,
    ) -> None:
        super().__init__(model, blocks, classes)
        self._trials = trials or Trials()
        self._reach: list[int] | None = None
        self._samples: NDArray[np.int64] = np.empty(0, np.int64)

    @staticmethod
    def trial_settings(trials: Trials) -> dict[str, Any]:
        """Give what of the trials decides the numbers."""
        return {"level": LEVEL, "count": trials.count, "seed": trials.seed}

    def take_samples(self, indices: NDArray[np.int64]) -> None:
        """Take the indices in the data set of a batch's samples, before its `rows`."""
        self._samples = indices

    def group(self) -> Group:
        """Give the layout of `/interlayer-smoothness`."""
        group = sample_group(f"/{self.family}", self.blocks, self._classes)
        variables = tuple(self._labelled(variable) for variable in group.variables)
        coordinates = (*group.coordinates, trial_coordinate(self._trials.count))
        group = replace(group, variables=variables, coordinates=coordinates)
        return with_lengths(group, len(self.blocks))

    def _labelled(self, variable: Variable) -> Variable:
        """Say how large the noise is, of which draws, and how BatchNorm ran."""
        if variable.name != INTERLAYER_SMOOTHNESS.name:
            return variable
        said = {"noise_level": LEVEL, "trial_seed": self._trials.seed, "batch_norm_mode": "eval"}
        return replace(variable, attributes={**variable.attributes, **said})

    def try_on(self, whole: Pass) -> float:
        """Raise `InputError` if a block of the network is no function that has a derivative."""
        require_derivatives(whole, self.blocks, self.family)
        return 0.0

    def rows(self, whole: Pass, labels: Tensor) -> dict[str, Tensor]:
        """Give the smoothness of a batch, `(sample, block, length, trial)`."""
        import torch

        if self._reach is None:
            self._reach = [reach(whole, self.blocks, block.index) for block in self.blocks]
        shape = (len(labels), len(self.blocks), len(self.blocks), self._trials.count)
        found = torch.full(shape, float("nan"), dtype=torch.float32, device=labels.device)
        spans = [span_of(whole.path(block)) for block in self.blocks]
        for block, last in zip(self.blocks, self._reach, strict=True):
            first = block.index
            x = whole.path(block).point()
            noise = self._noise(block, x)
            chains = [(spans[first : last + 1], range(last + 1 - first))]
            for end in range(last + 1, last_of_chain(self.blocks, first) + 1):
                span = span_of(whole.path(block, self.blocks[end]))
                chains.append(([span], range(end - first, end - first + 1)))
            for chain, lengths in chains:
                for length, values in zip(lengths, smoothness(chain, x, noise), strict=True):
                    found[:, first, length] = values.t()
        return {INTERLAYER_SMOOTHNESS.name: found}

    def _noise(self, block: Block, x: Tensor) -> Tensor:
        """Give noise of size `LEVEL`, each sample's own, `(trial, sample, …)`."""
        import torch

        from resprobe.linalg.norms import squared_norm

        seed, shape = self._trials.seed, x.shape[1:]
        units = [
            np.stack(
                [
                    direction(shape, self.family, seed, int(sample), block.index, trial)
                    for sample in self._samples
                ]
            )
            for trial in range(self._trials.count)
        ]
        sizes = LEVEL * squared_norm(x).sqrt().to(x.dtype)
        return torch.from_numpy(np.stack(units)).to(x) * sizes.reshape(-1, *(1 for _ in shape))


class Span(NamedTuple):
    """A function of a recorded pass, its Jacobian there, and ‖M(x)‖², `(sample,)` float64."""

    path: Path
    jacobian: Link
    out_squared: Tensor


def span_of(path: Path) -> Span:
    """Give a function with its Jacobian at its recorded point."""
    from resprobe.linalg.norms import squared_norm
    from resprobe.linalg.precision import full_precision

    x = path.point()
    with full_precision(x.device):
        return Span(path, link(path, "recorded"), squared_norm(path(x)))


def smoothness(spans: Sequence[Span], x: Tensor, noise: Tensor) -> Iterator[Tensor]:
    """Give ρ of every beginning of a chain of functions, for noise on the input of the first.

    Args:
        spans: each starting where the one before it ends.
        x: where the first starts, `(sample, …)`.
        noise: η, `(trial, sample, …)`.

    Yields:
        For each function `(trial, sample)` float64: infinite where M(x + η) is J (x + η) to the
        bit, and NaN where x is 0, or where M(x) is 0 too.
    """
    import torch

    from resprobe.linalg.norms import squared_norm
    from resprobe.linalg.precision import full_precision

    sizes = torch.stack([squared_norm(eta) for eta in noise]) / squared_norm(x)
    noisy = tangents = x + noise
    for span in spans:
        with full_precision(x.device):
            noisy = torch.stack([span.path(one) for one in noisy])
        _, tangents = span.jacobian(x, tangents)
        apart = torch.stack([squared_norm(one) for one in noisy - tangents])
        yield (sizes * span.out_squared / apart).sqrt()
