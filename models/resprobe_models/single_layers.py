"""The blocks of a network that are single layers, `s + h·(A x + b)`, or why one is not.

Such a block is the plain layer `(T(h·A)) x + h·b` where its skip is the layer's own ID entries: the
identity, or every k-th place with zero channels added. That is checked on the numbers of a recorded
pass, by running the block's operations with 1 at the ID entries for the weight.

Source: Yu & Tomasi 2019 (Identity connections in residual nets improve noise stability), Sec. 3,
Eq. 1.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from resprobe.blocks.ancestry import Ancestry
from resprobe.blocks.kinds import (
    CONVOLUTION,
    MATRIX_PRODUCTS,
    NORMS,
    PRODUCTS,
    QUOTIENTS,
    VIEWS,
)
from resprobe.blocks.layer_sites import Site, sites
from resprobe.blocks.structure import Ref
from resprobe.errors import InputError
from resprobe.linalg.cushions import id_entries

if TYPE_CHECKING:
    from torch import Tensor, nn

    from resprobe.blocks.block import Block, Blocks
    from resprobe.blocks.operations import Operation, Program

aten = torch.ops.aten
_TRANSPOSITIONS = (aten.t.default, aten.transpose.int, aten.permute.default)
# Of a branch's operations, those that a refusal names.
_NAMED = 6


@dataclass(frozen=True)
class SingleLayer:
    """A residual block that is one layer.

    Attributes:
        block: its name.
        weight: name of the parameter A.
        bias: name of the parameter b, None where there is none.
        factor: h, what the block multiplies the layer by.
        id_entries: bool, of A's shape, on the CPU: where the skip adds 1 to h·A.
        skipped: values of the recorded pass to those that take their places where the block is to
            be its layer alone: the addition's result and the multiplications'.
    """

    block: str
    weight: str
    bias: str | None
    factor: float
    id_entries: Tensor
    skipped: Mapping[int, int]


def single_layers(
    model: nn.Module, program: Program, blocks: Blocks, owner: str
) -> tuple[SingleLayer, ...]:
    """Give the layer of every residual block.

    Args:
        model: the residual network.
        program: a pass of it, every value kept, in float64.
        blocks: in that program, at least one.
        owner: what the network is called in messages.

    Raises:
        InputError: a block is more or other than a single layer whose weight is a parameter of its
            own; the message names the block and says what was found.
    """
    search = _Search(model, program, blocks, owner)
    return tuple(search.layer(block) for block in blocks)


class _Search:
    """Looks at the blocks of one recorded pass."""

    def __init__(self, model: nn.Module, program: Program, blocks: Blocks, owner: str) -> None:
        self._program, self._owner = program, owner
        self._known = Ancestry(program)
        self._sites = {site.place: site for site in sites(program, blocks)}
        self._parameters = dict(model.named_parameters(remove_duplicate=False))
        self._reads = Counter(name for op in program.operations for name in set(op.parameters))

    def layer(self, block: Block) -> SingleLayer:
        """Give the layer of a block.

        Raises:
            InputError: see `single_layers`.
        """
        if block.skip in ("projection", "scaled"):
            self._refuse(
                block,
                f"its skip is a {block.skip} one",
                "the identity, or every k-th place with zero channels added",
            )
        if len(block.branch) > 1 or len(block.carried) > 1:
            self._refuse(block, "its sum has several branches", "one branch")
        site, scalings = self._only_layer(block)
        weight = self._own_parameter(block, site, site.weight, "weight")
        bias = None
        if site.bias is not None:
            bias = self._own_parameter(block, site, site.bias, "bias")
        factor = block.branch[0].factor
        skipped = {
            self._program.operations[block.branch[0].operation].result.value: block.branch[0].value
        }
        for op, (source, number) in scalings:
            factor *= number
            skipped[op.result.value] = source
        if factor == 0 or not math.isfinite(factor):
            self._refuse(
                block, f"its branch is multiplied by {factor}", "a finite number other than 0"
            )
        entries = self._entries(block, site, self._parameters[weight], skipped)
        return SingleLayer(block.name, weight, bias, factor, entries, skipped)

    def _refuse(self, block: Block, found: str, expected: str, advice: str = "") -> NoReturn:
        raise InputError(
            f"block {block.name} of {self._owner} can't be converted: {found}; expected "
            f"{expected}. {advice or 'Give a network of blocks s + h·(A x + b).'}"
        )

    # -- the branch ------------------------------------------------------------------------------

    def _only_layer(self, block: Block) -> tuple[Site, list[tuple[Operation, tuple[int, float]]]]:
        """Give the one layer of a branch and the multiplications by numbers around it."""
        operations = self._program.operations
        scalings = []
        places: list[int] = []
        others = False
        path = self._known.path(block.input, block.branch[0].value)
        for place in path:
            op = operations[place]
            scaling = self._scaling(op)
            if place in self._sites:
                places.append(place)
            elif scaling is not None and places:  # before the layer it would leave b as it is
                scalings.append((op, scaling))
            elif op.function not in VIEWS:
                others = True
        if others or len(places) != 1:
            words = [_word(operations[place]) for place in path]
            found = [word for word in words if word]
            more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
            self._refuse(
                block,
                f"its branch is {', '.join(found[:_NAMED]) or 'no layer'}{more}",
                "a single linear layer or convolution, to which the skip can be added",
            )
        return self._sites[places[0]], scalings

    def _scaling(self, op: Operation) -> tuple[int, float] | None:
        """Give what an operation multiplies and by which number, None for any other operation."""
        features = [
            (place, arg.value)
            for place, arg in enumerate(op.args)
            if isinstance(arg, Ref) and self._known.depends_on_input(arg.value)
        ]
        if len(features) != 1 or op.kwargs:
            return None
        place, source = features[0]
        if op.function is aten.neg.default:
            return source, -1.0
        if op.function not in PRODUCTS | QUOTIENTS or len(op.args) != 2:
            return None
        number = self._number(op.args[1 - place])
        if number is None or (op.function in QUOTIENTS and (place == 1 or number == 0)):
            return None
        return source, 1 / number if op.function in QUOTIENTS else number

    def _number(self, arg: Any) -> float | None:
        """Give a factor that is no parameter, None for one that is learned or of many numbers."""
        if isinstance(arg, Ref):
            if arg.value in self._known.learned:
                return None
            arg = self._program.kept[arg.value]
            return float(arg) if arg.numel() == 1 else None
        return float(arg) if isinstance(arg, int | float) else None

    # -- its parameters --------------------------------------------------------------------------

    def _own_parameter(self, block: Block, site: Site, used: Tensor | Ref, what: str) -> str:
        """Give the name of the parameter that is this weight or bias, and nothing else's."""
        if isinstance(used, Ref):
            names = sorted(self._known.learned.get(used.value, ()))
            made = self._known.maker.get(used.value)
            op = None if made is None else self._program.operations[made]
            turned = op is not None and op.function in _TRANSPOSITIONS
            source = op.args[0] if op is not None and turned else None
        else:
            names = [name for name, own in self._parameters.items() if _is_same(own, used)]
            source = used
        if not any(_is_same(self._parameters[name], source) for name in names):
            named = f" from {', '.join(names)}" if names else ""
            self._refuse(
                block,
                f"the {what} of its layer {site.operation.module or 'model'} is computed{named}",
                "a parameter itself",
                "Take such a parametrisation off first, as with "
                "torch.nn.utils.parametrize.remove_parametrizations.",
            )
        alike = [name for name, own in self._parameters.items() if _is_same(own, source)]
        name = alike[0]
        if len(alike) > 1 or self._reads[name] > 1:
            again = f"also {alike[1]}" if len(alike) > 1 else f"read {self._reads[name]} times"
            self._refuse(
                block,
                f"its {what} {name} is shared ({again} in one pass)",
                "a layer with weights of its own, since not every use of them has a skip",
            )
        return name

    # -- the skip --------------------------------------------------------------------------------

    def _entries(  # noqa: RET503  # the last statement raises
        self, block: Block, site: Site, weight: Tensor, skipped: Mapping[int, int]
    ) -> Tensor:
        """Give the ID entries of a weight that do what the skip does."""
        op = site.operation
        convolution = op.function is CONVOLUTION
        if convolution and any(size % 2 == 0 for size in weight.shape[2:]):
            self._refuse(
                block,
                f"its kernel of {'×'.join(map(str, weight.shape[2:]))} has no centre",
                "odd sizes",
            )
        groups = op.args[8] if convolution else 1
        transposed = _is_transposed_convolution(op) or self._holds_inputs_first(site)
        # Random features, since those of the pass may be zero everywhere, as behind dead units.
        shape = self._program.shapes[block.input]
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        s = self._made(block, x, block.carried[0].value)
        missing = s.shape[block.feature_axis] - x.shape[block.feature_axis]
        for shift in range(max(missing, 0) + 1):
            entries = id_entries(weight.detach(), transposed=transposed, groups=groups, shift=shift)
            made = self._branch_with(block, site, x, entries.to(weight.dtype), skipped)
            if torch.equal(made, s):
                return entries.cpu()
        self._refuse(
            block,
            f"its {block.skip} skip is not what its layer gives with 1 at the ID entries",
            "the identity, or every k-th place with zero channels added, beside a centred layer "
            "of the same stride",
        )

    def _holds_inputs_first(self, site: Site) -> bool:
        """Whether the parameter of a product has a row for each input, not for each output."""
        if site.operation.function is CONVOLUTION:
            return False
        turned = isinstance(site.weight, Ref)
        return turned == (site.row_axis == 1)

    def _made(self, block: Block, x: Tensor, value: int) -> Tensor:
        """Give what a value is where the block's input is x."""
        if value == block.input:
            return x
        made: Tensor = self._program.replay({block.input: x}, output=Ref(value))
        return made

    def _branch_with(
        self, block: Block, site: Site, x: Tensor, weight: Tensor, skipped: Mapping[int, int]
    ) -> Tensor:
        """Give what a branch makes of x with another weight, without bias and multiplications."""
        into, op = self._made(block, x, site.input), site.operation
        made: Tensor
        if op.function is CONVOLUTION:
            made = op.function(into, weight, None, *op.args[3:9])
        else:
            matrix = weight.t() if isinstance(site.weight, Ref) else weight
            made = into @ matrix if site.row_axis == 0 else matrix @ into
        wanted = Ref(block.branch[0].value)
        if site.output == wanted.value:
            return made
        addition = self._program.operations[block.branch[0].operation].result.value
        changes: dict[int, Tensor | Ref] = {
            value: Ref(other) for value, other in skipped.items() if value != addition
        }
        result: Tensor = self._program.replay({**changes, site.output: made}, output=wanted)
        return result


def _is_transposed_convolution(op: Operation) -> bool:
    return op.function is CONVOLUTION and bool(op.args[6])


def _is_same(own: Tensor, other: Any) -> bool:
    """Whether two tensors are the same numbers in the same places of memory."""
    return (
        isinstance(other, torch.Tensor)
        and own.data_ptr() == other.data_ptr()
        and own.shape == other.shape
        and own.stride() == other.stride()
    )


def _word(op: Operation) -> str:
    """Name an operation of a branch; "" for what moves no number."""
    if op.function in VIEWS:
        return ""
    kinds = (
        (MATRIX_PRODUCTS, "matrix product"),
        (NORMS, "normalisation"),
        (PRODUCTS | QUOTIENTS, "multiplication"),
    )
    name = op.function.overloadpacket.__name__.strip("_")
    word = next((word for functions, word in kinds if op.function in functions), name)
    return f"{word} ({op.module})" if op.module else word
