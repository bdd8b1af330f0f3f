"""The certificate of a conversion: by how much the outputs of two networks differ, on samples.

Both networks do the same sums in another order. One layer rounds a sum of n products, the bias and
the skip: an error of (n + 2)·u of what it sums, u the unit roundoff (Higham 2002, Accuracy and
Stability of Numerical Algorithms, Sec. 3.1). Errors are taken to grow along the L layers as the
features do, so they add up; there are two networks. That is the bound,

    max |f(x) - g(x)| ≤ 2·(n + 2)·L·u·max |f(x)|

That is of networks whose weights, inputs and arithmetic have one dtype. A run of bfloat16 is
trained under autocast over float32 weights: it is compared in float64 and in float32, its weights'
dtype, without autocast, which the certificate says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from resprobe.blocks.discover import unchanged
from resprobe.blocks.kinds import CONVOLUTION
from resprobe.blocks.layer_sites import sites
from resprobe.blocks.program import record
from resprobe.blocks.structure import Ref
from resprobe.errors import InputError, ViolationError
from resprobe.example import run_bare

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from resprobe.blocks.block import Blocks
    from resprobe.blocks.operations import Program
    from resprobe.source import Source
    from resprobe_models.single_layers import SingleLayer

# Samples of one pass.
BATCH = 32

Run = Callable[[tuple["Tensor", ...], Mapping[str, "Tensor"]], "Tensor"]
# Told what is being compared, samples done, samples in all.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Rounding:
    """What a network rounds.

    Attributes:
        layers: L, how many linear layers and convolutions one pass runs.
        terms: n, the products in the longest sum of one of them.
    """

    layers: int
    terms: int

    def bound(self, dtype: torch.dtype, scale: float) -> float:
        """Give how far apart the outputs of two networks may be that differ by rounding alone."""
        return 2 * (self.terms + 2) * self.layers * unit_roundoff(dtype) * scale


@dataclass(frozen=True)
class Comparison:
    """Two networks on the same samples.

    Attributes:
        dtype: of weights, inputs and arithmetic.
        largest_difference: between their outputs, over samples and outputs.
        scale: largest absolute output of the network that was given.
        bound: what the difference is compared with.
    """

    dtype: str
    largest_difference: float
    scale: float
    bound: float

    @property
    def holds(self) -> bool:
        """Whether the difference is one of rounding; a NaN is not."""
        return self.largest_difference <= self.bound

    def document(self) -> dict[str, Any]:
        """Give the comparison JSON-ready; the difference also in units of u · scale."""
        unit = unit_roundoff(getattr(torch, self.dtype)) * self.scale
        multiple = self.largest_difference / unit if unit > 0 else None
        return {**asdict(self), "rounding_multiple": multiple, "holds": self.holds}


def rounding_of(program: Program, blocks: Blocks) -> Rounding:
    """Give what a recorded pass rounds."""
    found = sites(program, blocks)
    terms = [1]
    for site in found:
        used = site.weight
        shape = program.shapes[used.value] if isinstance(used, Ref) else used.shape
        if site.operation.function is CONVOLUTION:
            outputs = shape[1 if site.operation.args[6] else 0]
        else:
            outputs = program.shapes[site.output][1 - site.row_axis]
        terms.append(math.prod(shape) // outputs)
    return Rounding(len(found), max(terms))


def unit_roundoff(dtype: torch.dtype) -> float:
    """Give u, half the distance from 1 to the next number."""
    return torch.finfo(dtype).eps / 2


def in_dtype(state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Give a state with its real numbers in a dtype; whole numbers stay as they are."""
    return {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in state.items()
    }


def as_it_runs(source: Source, model: nn.Module) -> Run:
    """Give what runs a network and gives its logits."""

    def run(args: tuple[Tensor, ...], kwargs: Mapping[str, Tensor]) -> Tensor:
        output: Tensor = source.select(run_bare(model, args, kwargs))
        return output

    return run


def without_skips(
    source: Source, model: nn.Module, layers: tuple[SingleLayer, ...], example: Program
) -> Run:
    """Give what runs a residual network as if each of its blocks were its layer alone.

    Args:
        source: of the network.
        model: with the weights of the plain network.
        layers: its blocks, as `single_layers` found them.
        example: the pass that they were found in.

    Raises:
        InputError: when it runs: on these samples the network runs other operations.
    """
    changes = {value: Ref(other) for layer in layers for value, other in layer.skipped.items()}
    keep = example.needs(changes, output=source.select(example.output))
    structure = example.structure()

    def run(args: tuple[Tensor, ...], kwargs: Mapping[str, Tensor]) -> Tensor:
        with unchanged(model):
            program = record(model, args, kwargs, keep=keep, expected=structure)
        if not program.as_expected:
            raise InputError(
                "the network runs other operations on these samples than on the first ones; give "
                "its plain counterpart with --counterpart."
            )
        output: Tensor = program.replay(changes, output=source.select(program.output))
        return output

    return run


def compare(
    source: Source,
    first: Run,
    second: Run,
    *,
    dtype: torch.dtype,
    indices: NDArray[np.int64],
    rounding: Rounding,
    progress: Progress | None = None,
) -> Comparison:
    """Run two networks on the same samples.

    Args:
        source: whose samples they are.
        first: the network that was given, in this dtype.
        second: the converted one, likewise.
        dtype: of the inputs.
        indices: of the samples.
        rounding: what the first network rounds.
        progress: told after every batch.

    Raises:
        ViolationError: the outputs have different shapes.
    """
    name = str(dtype).removeprefix("torch.")
    given = replace(source, dtype=dtype)
    difference = scale = torch.zeros((), dtype=torch.float64)
    for start in range(0, len(indices), BATCH):
        stop = min(start + BATCH, len(indices))
        args, kwargs, _ = given.inputs(start, stop, indices)
        with torch.no_grad():
            one, two = (run(args, kwargs).double() for run in (first, second))
        if one.shape != two.shape:
            raise ViolationError(
                f"the given network makes outputs of shape {tuple(one.shape)}, the converted one "
                f"of {tuple(two.shape)}; nothing was written."
            )
        # maximum keeps a NaN, which max does not.
        difference = torch.maximum(difference, (one - two).abs().max())
        scale = torch.maximum(scale, one.abs().max())
        if progress is not None:
            progress(f"outputs in {name}", stop, len(indices))
    return Comparison(name, float(difference), float(scale), rounding.bound(dtype, float(scale)))
