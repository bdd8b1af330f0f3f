"""The convolutions and linear layers that a recorded forward pass ran, inside of blocks or not.

A layer is one execution of `aten.convolution` or of a matrix product whose weight is a parameter,
or is computed from parameters alone, such as a normalised weight; so functional calls count and
layers that did not run don't. Products of features with features, as in attention, have no weight,
and filters that are no parameters are no layers.

In a block `s + G` whose branch is a single convolution of x and whose skip is the identity, or
subsamples and pads with zero channels, convolution and skip together are one convolution, with 1
added to the ID entries of the kernel (Yu & Tomasi 2019, Eq. 1): that is the layer then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from resprobe.blocks.block import subsampling
from resprobe.blocks.kinds import CONVOLUTION
from resprobe.blocks.layer_sites import Key, Site, sites
from resprobe.blocks.operations import Program
from resprobe.blocks.structure import Ref, rebuild
from resprobe.errors import ViolationError

if TYPE_CHECKING:
    from resprobe.blocks.block import Blocks


class Fold(NamedTuple):
    """How the samples lie in a tensor.

    Attributes:
        axis: in which they do, perhaps together with something else, as tokens.
        copies: how many places of that axis each sample has.
        inner: whether the places of different samples alternate.
    """

    axis: int = 0
    copies: int = 1
    inner: bool = False

    def samples_first(self, tensor: Tensor) -> Tensor:
        """View a tensor as `(sample, …)`."""
        axis = self.axis
        if self.copies > 1:
            tensor = tensor.unflatten(axis, (self.copies, -1) if self.inner else (-1, self.copies))
            axis += self.inner
        return tensor.movedim(axis, 0) if axis else tensor


class Geometry(NamedTuple):
    """What a convolution is beside its kernel; one number for each spatial axis."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int
    input_size: tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One execution of a convolution or linear layer, `out = A x + b`.

    Attributes:
        name: path of the module that ran it, with `:0`, `:1` … where it ran several.
        index: counts the layers of a pass, in the order of execution.
        block: name of the block inside of which it runs, "" for none.
        parameters: names of the parameters that the weight is or was computed from.
        weight: of a convolution as torch has it; of a linear layer `(out, in)`.
        bias: broadcasts to `out`, None if there is none.
        geometry: None for a linear layer.
        fold: how the samples lie in x and out.
        identity: the channels by which a skip is shifted that counts as a part of the layer; None
            if there is none. `A` is then that of `factor * weight` with 1 on its ID entries.
        factor: what the block multiplies the layer by; 1 where the skip is no part of it.
        input, output: values of x and out in the recorded program.
        operation: index of the operation after which both are there.
        key: tells the layer from all others in every recording of the network.
    """

    name: str
    index: int
    block: str
    parameters: tuple[str, ...]
    weight: Tensor
    bias: Tensor | None
    geometry: Geometry | None
    fold: Fold
    identity: int | None
    factor: float
    input: int
    output: int
    operation: int
    key: Key

    @property
    def kind(self) -> str:
        """Give "convolution" or "linear"."""
        return "linear" if self.geometry is None else "convolution"

    def tensors(self, kept: Mapping[int, Tensor]) -> tuple[Tensor, Tensor]:
        """Give x and `A x + b`, each `(sample, …)` with b still in it, from the kept tensors."""
        x, out = kept[self.input], kept[self.output]
        if self.bias is not None:
            out = out - self.factor * self.bias
        return self.fold.samples_first(x), self.fold.samples_first(out)


# Records the example, or a part of it, keeping these values.
Run = Callable[[tuple[Any, ...], Mapping[str, Any], Collection[int]], Program]


def find_layers(
    program: Program,
    blocks: Blocks,
    arguments: tuple[tuple[Any, ...], Mapping[str, Any]],
    samples: int,
    run: Run,
) -> tuple[Layer, ...]:
    """Find the layers of a pass, by two more passes over its example.

    Args:
        program: the recording, of which no tensor need be kept.
        blocks: in that recording.
        arguments: positional and keyword arguments, whose tensors have the samples first.
        samples: how many there are in the example.
        run: records the model on such arguments.

    Returns:
        The layers in the order of execution. Left out are those whose input holds no samples, or
        holds them where a layer has its features, and those for which that can't be told because
        the model does not take a sample more: where each sample has several places, as tokens.
    """
    found = sites(program, blocks)
    units = [site.unit for site in found if site.unit is not None]
    keep = {value for site in found for value in site.learned()}
    keep |= {value for unit in units for value in (unit.input, unit.shortcut) if value is not None}
    inputs = {site.input for site in found}
    more = _with_one_more(arguments, samples, run, inputs)
    whole = run(*arguments, keep if more is None else keep | inputs)
    folded = [(site, _fold(site, whole, more, samples)) for site in found]
    usable = [(site, fold) for site, fold in folded if fold is not None]
    names = _names([site.operation.module for site, _ in usable])
    return tuple(
        _layer(site, fold, name, index, whole)
        for index, ((site, fold), name) in enumerate(zip(usable, names, strict=True))
    )


def _with_one_more(
    arguments: tuple[tuple[Any, ...], Mapping[str, Any]],
    samples: int,
    run: Run,
    keep: Collection[int],
) -> Program | None:
    """Record the example with its first sample once more at the end; None if that can't be."""

    def longer(leaf: Any) -> Any:
        if isinstance(leaf, Tensor) and leaf.dim() and len(leaf) == samples:
            return torch.cat([leaf, leaf[:1]])
        return leaf

    args, kwargs = rebuild(arguments, longer)
    try:
        program = run(args, kwargs, keep)
    except Exception:
        return None  # such as a graph, whose edges name their nodes
    return program if program.as_expected else None


def found_again(layers: Sequence[Layer], program: Program, blocks: Blocks) -> tuple[Layer, ...]:
    """Give layers as they are in another recording of the same network.

    Raises:
        ViolationError: one of them did not run.
    """
    again = {site.key: site for site in sites(program, blocks)}
    own = []
    for layer in layers:
        site = again.get(layer.key)
        if site is None:
            raise ViolationError(
                f"on this batch the model's control flow leaves out the layer {layer.name}, which "
                "ran on the first one; measure batches on which its layers are the same."
            )
        output, operation = site.end(whole=layer.identity is not None)
        own.append(replace(layer, input=site.input, output=output, operation=operation))
    return tuple(own)


def _fold(site: Site, whole: Program, more: Program | None, samples: int) -> Fold | None:
    """Find out how the samples lie in the input of a layer; None if they don't as they must."""
    shape = whole.shapes[site.input]
    axis = site.row_axis
    copies, rest = divmod(shape[axis], samples)
    if rest or not copies:
        return None
    if more is None:
        return Fold(axis, copies) if copies == 1 or samples == 1 else None
    longer = more.shapes[site.input]
    changed = [place for place, size in enumerate(shape) if longer[place] != size]
    if changed != [axis] or longer[axis] != copies * (samples + 1):
        return None
    if copies == 1:
        return Fold(axis)
    x, extended = whole.kept[site.input].double(), more.kept[site.input].double()
    kinds = (Fold(axis, copies), Fold(axis, copies, inner=True))
    apart = [
        float((fold.samples_first(extended)[:-1] - fold.samples_first(x)).norm()) for fold in kinds
    ]
    return kinds[apart[1] < apart[0]]


def _names(modules: Sequence[str]) -> list[str]:
    """Name layers after their modules, numbered where several share one."""
    counts, seen = Counter(modules), Counter[str]()
    names = []
    for module in modules:
        path = module or "model"
        names.append(path if counts[module] == 1 else f"{path}:{seen[module]}")
        seen[module] += 1
    return names


def _layer(site: Site, fold: Fold, name: str, index: int, whole: Program) -> Layer:
    op = site.operation
    weight, bias = (_tensor(one, whole) for one in (site.weight, site.bias))
    assert weight is not None
    geometry = None
    if op.function is CONVOLUTION:
        stride, padding, dilation, transposed, output_padding, groups = op.args[3:9]
        size = whole.shapes[site.input][2:]
        given = (stride, padding, dilation, output_padding)
        # one number stands for all axes
        each = [tuple(n) * (len(size) if len(n) == 1 else 1) for n in given]
        geometry = Geometry(each[0], each[1], each[2], bool(transposed), each[3], groups, size)
        bias = None if bias is None else bias.reshape(-1, *(1 for _ in size))
    elif site.row_axis == 0:
        weight = weight.t()
    identity = None if geometry is None else _identity(site, geometry, weight, whole)
    output, operation = site.end(whole=identity is not None)
    unit = site.unit if identity is not None else None
    return Layer(
        name=name,
        index=index,
        block=site.block,
        parameters=site.parameters,
        weight=weight.detach(),
        bias=None if bias is None else bias.detach(),
        geometry=geometry,
        fold=fold,
        identity=identity,
        factor=1.0 if unit is None else unit.branch[0].factor,
        input=site.input,
        output=output,
        operation=operation,
        key=site.key,
    )


def _tensor(one: Tensor | Ref | None, whole: Program) -> Tensor | None:
    return whole.kept[one.value] if isinstance(one, Ref) else one


def _identity(site: Site, geometry: Geometry, weight: Tensor, whole: Program) -> int | None:
    """Give the shift of the channels if the block's skip is ID entries of its convolution.

    The skip's numbers on the example are compared: that is short, and true of every skip.
    """
    unit = site.unit
    if unit is None or unit.shortcut is None:
        return None
    centred = all(
        size % 2 == 1 and padding == dilation * (size - 1) // 2
        for size, padding, dilation in zip(
            weight.shape[2:], geometry.padding, geometry.dilation, strict=True
        )
    )
    strides = subsampling(unit.input_shape, unit.output_shape)
    if not centred or strides != geometry.stride:
        return None
    x, s = whole.kept[unit.input], whole.kept[unit.shortcut]
    kept = x[(slice(None), slice(None), *(slice(None, None, stride) for stride in strides))]
    for shift in range(s.shape[1] - x.shape[1] + 1):
        made = torch.zeros_like(s)
        made[:, shift : shift + x.shape[1]] = kept
        if torch.equal(made, s):
            return shift
    return None
