"""The linear steps that a function consists of at a point: what `linearise` makes of a program.

A step takes tangents `(probe, sample, …)` of the values it names and gives that of its output;
where a model lays out the samples of a value otherwise, so does its tangent, after the probe. The
kinds that carry structure (which output depends on which input) are told apart, because the
colouring and the stencils of `jacobian` are made of them; all others are `Other`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from resprobe.blocks.operations import Operation


@dataclass(frozen=True)
class Step:
    """What every step has.

    Attributes:
        inputs: the values whose tangents it takes, those that depend on the input of the function.
        output: the value whose tangent it makes.
        module: path of the module whose forward ran it ("" for the root).
        operation: what was recorded.
    """

    inputs: tuple[int, ...]
    output: int
    module: str
    operation: Operation


@dataclass(frozen=True)
class Diagonal(Step):
    """Multiplies elementwise: an activation's derivative, BatchNorm on its running statistics.

    Attributes:
        scale: broadcasts to `(sample, …)` of the output; of one sample where all share it.
    """

    scale: Tensor


@dataclass(frozen=True)
class Convolution(Step):
    """Convolves, without the bias, over one to three spatial axes with zeros around.

    Attributes:
        weight: as torch has it, `(out, in / groups, …)`, transposed `(in, out / groups, …)`.
        stride, padding, dilation, output_padding: one number for each spatial axis.
        transposed: whether it is a transposed convolution.
        groups: of channels.
    """

    weight: Tensor
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int


@dataclass(frozen=True)
class Sum(Step):
    """Adds tangents of one shape, each times its factor.

    Attributes:
        factors: one for each input.
    """

    factors: tuple[float, ...]


@dataclass(frozen=True)
class Maximum(Step):
    """Takes from each window the place where its maximum was (max pooling).

    Attributes:
        places: `(sample, channel, …)` int64, of the output's shape: flat place within the input's
            spatial axes.
        kernel, stride, padding, dilation: one number for each spatial axis.
    """

    places: Tensor
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]


@dataclass(frozen=True)
class Rearrangement(Step):
    """Moves, cuts, pads, repeats or averages: linear, and every coefficient is 0 or positive.

    Views, slices, padding of any mode, writing into a part of a tensor, average pooling, means,
    upsampling by nearest or linear interpolation. Because nothing cancels, its pattern can be
    found by applying it to tensors of zeros and ones.

    Attributes:
        apply: tangents of the inputs, each `(sample, …)`, to that of the output.
    """

    apply: Callable[..., Tensor]


@dataclass(frozen=True)
class Other(Step):
    """Anything else that is differentiable: a matrix product, softmax, LayerNorm, attention.

    Attributes:
        apply: tangents of the inputs, each `(sample, …)`, to that of the output.
        why: what it is in a user's words, such as "softmax (aten._softmax)".
    """

    apply: Callable[..., Tensor]
    why: str
