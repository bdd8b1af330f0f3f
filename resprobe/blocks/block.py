"""The words for a residual block, and what a search for blocks gives back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from resprobe.blocks.operations import Call, Event

SKIPS = ("identity", "projection", "padded", "pooled", "scaled", "none")


class Source(NamedTuple):
    """Where a running forward pass shows a tensor: at a module's event, or as a call's result.

    At the event "enter" it is the module's first tensor argument, at "leave" its result.
    """

    event: Event | None
    call: Call | None


class Operand(NamedTuple):
    """What an addition takes.

    Attributes:
        value: its value in the recorded program.
        factor: what the addition multiplies it by: -1 where it is subtracted.
        operation: the addition, as an index in the program; -1 for a unit of a plain network.
        place: which of the addition's operands it is, from 0.
        call: the Python call that adds, None where none was seen.
    """

    value: int
    factor: float
    operation: int
    place: int
    call: Call | None


@dataclass(frozen=True)
class Block:
    """A residual block `x_out = I(s + G)` with `s = skip(x)`, or a unit of a plain network.

    Attributes:
        name: path of the innermost module whose forward ran the addition (`model` for the root),
            with `:0`, `:1` … where several share it; unique in a network.
        stage: counts runs of blocks of one output shape; flattened positions are the same shape.
        index: counts blocks over the network, from 0.
        index_in_stage: counts blocks within the stage, from 0.
        skip: one of `SKIPS`; `none` for a unit of a plain network, whose G is its output and
            whose s is the parameter-free padded shortcut of x.
        activation: "post" if I is an activation run by the block itself, else "pre".
        scale: the number that the branch was multiplied by last, 1.0 if none: the step size h. Of
            a layer scale, a parameter of one number or of one for each feature, its mean.
        input_shape: of x, without the sample dimension.
        output_shape: of s, G and their sum, without the sample dimension.
        parameters: names of the parameters that the branch reads.
        input, total, output: values of x, s + G and I(s + G) in the recorded program.
        carried: s as an operand; where several additions make the sum, also the sums so far, in
            order. Empty for a unit of a plain network.
        branch: the operands that make G: their sum, each times its factor.
        resume: the operation at which the program goes on after s + G was formed.
        feature_axis: the axis of the features of one position in x, counted with the sample: 1 for
            `(sample, channel, …)`, -1 for `(sample, …, feature)`.
        sample_axis: the axis of the samples in the recorded tensors; not 0 in a model that works
            on `(token, sample, feature)` inside. What is shown of a block has the samples first.
        follows: whether x was made of the output of the block before it; not so in the first
            block, nor where another branch of the network begins, as a decoder after its encoder.
        exchangeable: whether the block may change places with the one before it: it starts from
            what that one made, nothing else reads that, and both keep the same shape.
        source: where a running forward pass shows x.
        module: path of the module (of a plain unit: the unit).
        occurrence: which call of that module this is in a forward pass, from 0.
    """

    name: str
    stage: int
    index: int
    index_in_stage: int
    skip: str
    activation: str
    scale: float
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    parameters: tuple[str, ...]
    input: int
    total: int
    output: int
    carried: tuple[Operand, ...]
    branch: tuple[Operand, ...]
    resume: int
    feature_axis: int
    source: Source
    module: str
    occurrence: int
    sample_axis: int = 0
    follows: bool = True
    exchangeable: bool = False

    @property
    def shortcut(self) -> int | None:
        """The value of s in the recorded program, None for a unit of a plain network."""
        return self.carried[0].value if self.carried else None

    @property
    def transition(self) -> bool:
        """Whether the block changes the shape of the features."""
        return self.input_shape != self.output_shape

    @property
    def elements(self) -> int:
        """How many numbers one sample's G has."""
        count = 1
        for size in self.output_shape:
            count *= size
        return count


class Refusal(NamedTuple):
    """An addition that is no residual block, and why."""

    addition: str
    reason: str


@dataclass(frozen=True)
class Blocks:
    """The blocks of a network, in the order of execution; iterable.

    Attributes:
        blocks: the blocks.
        refused: every other addition of two tensors with the reason why it is no block.
    """

    blocks: tuple[Block, ...]
    refused: tuple[Refusal, ...]

    def __iter__(self) -> Iterator[Block]:
        return iter(self.blocks)

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> Block:
        return self.blocks[index]

    def __repr__(self) -> str:
        names = ", ".join(block.name for block in self.blocks)
        return f"<{len(self)} blocks: {names}; {len(self.refused)} additions refused>"

    @property
    def plain(self) -> bool:
        """Whether these are the units of a plain network."""
        return bool(self.blocks) and all(block.skip == "none" for block in self.blocks)


def subsampling(
    input_shape: tuple[int, ...], output_shape: tuple[int, ...]
) -> tuple[int, ...] | None:
    """Give the stride along each spatial dimension that leads from one shape to the other.

    Args:
        input_shape: `(channel, …)` of x.
        output_shape: `(channel, …)`, with as many channels or more.

    Returns:
        The strides k for which every k-th place gives the output's size, None if there are none:
        then no shortcut without parameters exists (He et al. 2016, option A).
    """
    if len(input_shape) != len(output_shape) or output_shape[0] < input_shape[0]:
        return None
    strides = []
    for size, target in zip(input_shape[1:], output_shape[1:], strict=True):
        if target < 1 or target > size:
            return None
        stride = -(-size // target)
        if -(-size // stride) != target:
            return None
        strides.append(stride)
    return tuple(strides)
