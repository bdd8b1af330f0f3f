"""Interlayer cushions: how much of the Jacobian's size the input of a span of blocks meets.

For a span from block i to block j, J is the Jacobian of x -> I(s + G) of its last block, x the
input of its first one and n the number of its elements:

    μ = √n ‖J x‖ / (‖J‖_F ‖x‖)

1 for a multiple of the identity and about 1 for a random matrix. ‖J‖_F is estimated with random
signs that are carried through one block after the other, so that all spans that begin with a block
cost one chain; the standard error is that of ‖J‖_F.

BatchNorm runs on its running statistics and, labelled so, in training mode on a batch of one, at
the same x, that of the evaluation pass. There, a convolution without bias before it makes the block
without its skip blind to the length of x, so that J x is 0 by Euler's theorem but for BatchNorm's
ε and rounding: values of 1e-7 say that, and nothing else of the block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from resprobe.errors import InputError
from resprobe.quantities.block_functions import BlockFunctions, generators, map_of
from resprobe.quantities.family import sample_group
from resprobe.quantities.quantity import Quantity
from resprobe.quantities.spans import with_lengths

if TYPE_CHECKING:
    from torch import Tensor, nn

    from resprobe.blocks.block import Blocks
    from resprobe.blocks.passes import Pass
    from resprobe.blocks.path import BatchNorm, Path
    from resprobe.linalg.chain import Link
    from resprobe.store.schema import Group, Variable

# Signs that are always drawn, how many at most, and the relative standard error that ends them.
PROBES = 32
AT_MOST = 128
RELATIVE_ERROR = 0.01
# Numbers in the tangents of x at once: more probes wait for the next turn.
_ROOM = 1 << 24
_NO_SPAN = -1

_MODES: tuple[tuple[BatchNorm, str, str], ...] = (
    ("recorded", "", "BatchNorm on its running statistics"),
    ("train", "_train_mode", "BatchNorm in training mode on a batch of this sample alone"),
)


def _of_spans(name: str, dtype: str, formula: str, meaning: str, *, estimate: bool) -> Quantity:
    return Quantity(
        name=name,
        family="interlayer-cushion",
        dims=("sample", "block", "length"),
        units="1",
        dtype=dtype,
        formula=formula,
        source="Arora et al. 2018; Yu & Tomasi 2019, Sec. 5",
        meaning=meaning,
        cost="jvp",
        estimate=estimate,
        measured_by="resprobe.quantities.interlayer_cushion:InterlayerCushion",
        standard=False,
    )


def _cushion(suffix: str, mode: str, missing: str) -> Quantity:
    return _of_spans(
        f"interlayer_cushion{suffix}",
        "float32",
        "√n·‖J x‖/(‖J‖_F·‖x‖), n elements of x, J of the span that begins with the block",
        f"Interlayer cushion of each sample over a span of blocks, {mode}; NaN {missing}.",
        estimate=True,
    )


def _stderr(suffix: str, mode: str) -> Quantity:
    return _of_spans(
        f"interlayer_cushion{suffix}_stderr",
        "float32",
        "μ·stderr(‖J‖_F)/‖J‖_F (delta method)",
        f"Standard error that the estimate of ‖J‖_F brings into the interlayer cushion, {mode}.",
        estimate=False,
    )


def _converged(suffix: str, mode: str) -> Quantity:
    return _of_spans(
        f"interlayer_cushion{suffix}_converged",
        "int8",
        f"1 if stderr(‖J‖_F)/‖J‖_F ≤ {RELATIVE_ERROR:g} with at most {AT_MOST} probes, else 0; "
        "-1 where there is no span",
        f"Whether the interlayer cushion is as exact as was asked for, {mode}.",
        estimate=False,
    )


_PAST = "where the span passes the end or its blocks do not follow each other"
_NO_NORM = (
    f"{_PAST}, where it holds no BatchNorm, and where one sees a single value of each channel"
)
INTERLAYER_CUSHION = _cushion("", _MODES[0][2], _PAST)
INTERLAYER_CUSHION_STDERR = _stderr("", _MODES[0][2])
INTERLAYER_CUSHION_CONVERGED = _converged("", _MODES[0][2])
TRAIN_MODE = _cushion("_train_mode", _MODES[1][2], _NO_NORM)
TRAIN_MODE_STDERR = _stderr("_train_mode", _MODES[1][2])
TRAIN_MODE_CONVERGED = _converged("_train_mode", _MODES[1][2])


class InterlayerCushion(BlockFunctions):
    """Measures the family `interlayer-cushion`; see `Costly`."""

    family = "interlayer-cushion"
    samples_at_once = 8

    def __init__(self, model: nn.Module, blocks: Blocks, classes: Sequence[str]) -> None:
        super().__init__(model, blocks, classes)
        self._reach: list[int] | None = None

    def group(self) -> Group:
        """Give the layout of `/interlayer-cushion`."""
        group = sample_group(f"/{self.family}", self.blocks, self._classes)
        variables = tuple(_flagged(variable) for variable in group.variables)
        return with_lengths(replace(group, variables=variables), len(self.blocks))

    def try_on(self, whole: Pass) -> float:
        """Raise `InputError` if a block of the network is no function that has a derivative."""
        require_derivatives(whole, self.blocks, self.family)
        return 0.0

    def rows(self, whole: Pass, labels: Tensor) -> dict[str, Tensor]:
        """Give the cushions of a batch, `(sample, block, length)`."""
        import torch

        if self._reach is None:
            self._reach = [reach(whole, self.blocks, block.index) for block in self.blocks]
        size = len(self.blocks)
        found = {}
        for mode, suffix, _ in _MODES:
            shape = (len(labels), size, size)
            cushion = torch.full(shape, float("nan"), dtype=torch.float32, device=labels.device)
            stderr = cushion.clone()
            converged = torch.full_like(cushion, _NO_SPAN, dtype=torch.int8)
            for first, length, values in self._spans(whole, mode):
                cushion[:, first, length], stderr[:, first, length] = values.cushion, values.stderr
                converged[:, first, length] = values.converged.to(torch.int8)
            name = f"interlayer_cushion{suffix}"
            found[name], found[f"{name}_stderr"] = cushion, stderr
            found[f"{name}_converged"] = converged
        return found

    def _spans(self, whole: Pass, mode: BatchNorm) -> Iterator[tuple[int, int, Cushions]]:
        """Give first block, length - 1 and cushions of every span that there is."""
        assert self._reach is not None
        paths = [whole.path(block, batch_norm=mode) for block in self.blocks]
        links = [link(path, mode) for path in paths]
        able = [mode == "recorded" or _runs_alone(path) for path in paths]
        counts = np.cumsum([0, *(mode == "recorded" or _normalises(path) for path in paths)])
        for block, last in zip(self.blocks, self._reach, strict=True):
            first = block.index
            stop = first + able[first:].index(False) if False in able[first:] else len(able)
            if stop == first:
                continue
            x = paths[first].point()
            behind = min(last + 1, stop)
            chains = [(links[first:behind], range(behind - first))]
            for end in range(last + 1, min(last_of_chain(self.blocks, first) + 1, stop)):
                path = whole.path(block, self.blocks[end], batch_norm=mode)
                chains.append(([link(path, mode)], range(end - first, end - first + 1)))
            for chain, lengths in chains:
                if counts[first + lengths[-1] + 1] == counts[first]:
                    continue
                values = cushions(chain, x, first_sample=self.measured, block=first)
                for length, one in zip(lengths, values, strict=True):
                    if counts[first + length + 1] > counts[first]:
                        yield first, length, one


class Cushions(NamedTuple):
    """Interlayer cushions of one span, each `(sample,)`."""

    cushion: Tensor
    stderr: Tensor
    converged: Tensor


def cushions(links: Sequence[Link], x: Tensor, *, first_sample: int, block: int) -> list[Cushions]:
    """Give the interlayer cushions of every beginning of a chain.

    The numbers of a sample do not depend on what else is in the batch: the signs are drawn for
    each sample alone.

    Args:
        links: the functions, in order.
        x: where the first starts, `(sample, …)`.
        first_sample: number of the first sample in the collection; seeds the signs.
        block: likewise.

    Returns:
        One item for each link.

    Raises:
        InputError: a Jacobian is not finite.
    """
    import torch

    from resprobe.linalg.chain import frobenius_norms, squared_images
    from resprobe.linalg.cushions import cushion_stderr, interlayer_cushion
    from resprobe.linalg.norms import squared_norm

    norms = frobenius_norms(
        links,
        x,
        lambda before: _probes(x, first_sample, block, before),
        relative_error=RELATIVE_ERROR,
        at_most=AT_MOST,
    )
    images = torch.stack([one[0] for one in squared_images(links, x, x[None])])
    found = interlayer_cushion(images, squared_norm(x), norms.values, x[0].numel())
    stderr = cushion_stderr(found, norms.values, norms.stderr)
    return [Cushions(*one) for one in zip(found, stderr, norms.settled, strict=True)]


def _probes(x: Tensor, first_sample: int, block: int, before: int) -> Iterator[Tensor]:
    """Give `PROBES` vectors of signs `(probe, *x.shape)`, as many at once as there is room for."""
    import torch

    from resprobe.linalg.frobenius import signs

    shape = (PROBES, *x.shape[1:])
    each = [
        signs(shape, generator=generator, dtype=x.dtype, device=x.device)
        for generator in generators(first_sample, len(x), block, before)
    ]
    yield from torch.stack(each, dim=1).split(max(1, _ROOM // x.numel()))


def require_derivatives(whole: Pass, blocks: Blocks, family: str) -> None:
    """Raise `InputError` if a block is no function of each sample that has a derivative."""
    for block in blocks:
        path = whole.path(block)
        x = path.point()
        try:
            link(path, "recorded")(x, x[None])
        except NotImplementedError as error:
            raise InputError(
                f"block {block.name} runs an operation that torch can't differentiate forwards "
                f"({str(error).splitlines()[0]}); leave {family} out."
            ) from error


def reach(whole: Pass, blocks: Blocks, first: int) -> int:
    """Give the last block up to which the functions of single blocks make up that of a span.

    Beyond it something else leads from the first block's input into a block, as a connection over
    several of them, or something stands between two blocks.
    """
    end = last_of_chain(blocks, first)
    span = whole.path(blocks[first], blocks[end])
    depends = {value for call in span.calls for value in call.makes} | {span.input}
    out = whole.path(blocks[first]).output[0][0]
    for index in range(first + 1, end + 1):
        path = whole.path(blocks[index])
        if path.input != out or not depends.isdisjoint(path.constants):
            return index - 1
        out = path.output[0][0]
    return end


def last_of_chain(blocks: Blocks, first: int) -> int:
    """Give the last block of the longest span from a block on."""
    end = first
    while end + 1 < len(blocks) and blocks[end + 1].follows:
        end += 1
    return end


def link(path: Path, mode: BatchNorm) -> Link:
    """Give a path as a link: linear steps at its own point, or a function to differentiate."""
    from resprobe.linalg.chain import differentiated

    if mode == "train":
        return differentiated(path)
    linear, _ = map_of(path)
    return lambda x, tangents: (x, linear.matvec(tangents))


def _runs_alone(path: Path) -> bool:
    """Whether a block can run in training mode on a batch of one."""
    try:
        path(path.point())
    except InputError:  # of one value of a channel there is no variance
        return False
    return True


def _normalises(path: Path) -> bool:
    """Whether a path in training mode holds a BatchNorm."""
    return any(call.name == "batch_norm_alone" for call in path.calls)


def _flagged(variable: Variable) -> Variable:
    """Say in CF's words what the numbers of the flags mean, and how BatchNorm ran."""
    mode = next(
        (mode for mode, suffix, _ in _MODES[::-1] if suffix and suffix in variable.name), None
    )
    attributes = dict(variable.attributes)
    if variable.name.startswith("interlayer_cushion"):
        attributes["batch_norm_mode"] = "eval" if mode is None else "train, batch of one"
    if variable.dtype == "int8":
        attributes["flag_values"] = np.array([_NO_SPAN, 0, 1], np.int8)
        attributes["flag_meanings"] = "no_such_span not_converged converged"
    return replace(variable, attributes=attributes)
