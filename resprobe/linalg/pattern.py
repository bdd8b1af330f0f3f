"""Which output of a function can depend on which input, axis by axis, from its linear steps.

A pattern is a set of boolean matrices, one for a pair of an input axis and an output axis: output
`(p_1, p_2, …)` depends on input `(q_1, q_2, …)` only if every matrix says so of its `(p_b, q_a)`.
Such sets are closed under composition (boolean products) and sums (unions), and contain the true
dependence. A pair without a matrix says nothing: all places of the one may depend on all of the
other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from resprobe.linalg.applied import Product
from resprobe.linalg.hyperplanes import LONGEST, Matrices, Matrix, probed
from resprobe.linalg.steps import (
    Convolution,
    Diagonal,
    Maximum,
    Other,
    Rearrangement,
    Step,
    Sum,
)

if TYPE_CHECKING:
    from torch import Tensor


# Above this size a matrix with few entries is multiplied as such.
_SPARSE = 1 << 18


class PatternDestroyedError(Exception):
    """Any output may depend on any input; the message says which step made it so."""


@dataclass(frozen=True)
class Pattern:
    """What the outputs of a function may depend on.

    Attributes:
        input_shape: of the input.
        output_shape: of the output.
        matrices: `(input axis, output axis)` to a boolean matrix (output place, input place).
        made_full: input axis to the step that took its last matrix away.
    """

    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    matrices: Matrices
    made_full: dict[int, Step] = field(default_factory=dict)

    def constraints(self, axis: int) -> dict[int, Matrix]:
        """Give the matrices of one input axis by output axis."""
        return {b: matrix for (a, b), matrix in self.matrices.items() if a == axis}

    def without(self, input_axis: int, output_axis: int) -> Pattern:
        """Give the pattern without an axis of the input and one of the output of one place each."""
        matrices = {
            (a - (a > input_axis), b - (b > output_axis)): matrix
            for (a, b), matrix in self.matrices.items()
            if a != input_axis and b != output_axis
        }
        return Pattern(
            (*self.input_shape[:input_axis], *self.input_shape[input_axis + 1 :]),
            (*self.output_shape[:output_axis], *self.output_shape[output_axis + 1 :]),
            matrices,
        )

    def transposed(self) -> Pattern:
        """Give the pattern of the transpose: which inputs an output reaches back to."""
        matrices = {(b, a): matrix.T for (a, b), matrix in self.matrices.items()}
        return Pattern(self.output_shape, self.input_shape, matrices)


def pattern(
    steps: Sequence[Step],
    source: int,
    target: int,
    shape: tuple[int, ...],
    example: Tensor,
) -> Pattern:
    """Give the pattern of a function that consists of linear steps.

    Args:
        steps: in the order in which they run.
        source: value that the function takes.
        target: value that it gives.
        shape: of the input as the steps have it, with the axis of the samples.
        example: any tensor of the dtype and on the device of the tangents.

    Raises:
        PatternDestroyedError: a step has no structure, or all outputs depend on all inputs.
    """
    known = {source: _identity(shape)}
    for step in steps:
        known[step.output] = _after(step, [known[value] for value in step.inputs], example)
    found = known[target]
    if not found.matrices and found.made_full:
        raise PatternDestroyedError(_blame(found))
    return found


def _identity(shape: tuple[int, ...]) -> Pattern:
    matrices = {(a, a): np.eye(n, dtype=np.bool_) for a, n in enumerate(shape) if n <= LONGEST}
    return Pattern(shape, shape, _kept(matrices))


def _blame(found: Pattern) -> str:
    """Name the steps that made the axes full, the last axes (places, not channels) first."""
    steps = [found.made_full[axis] for axis in sorted(found.made_full, reverse=True)]
    named = list(dict.fromkeys(described(step) for step in steps))
    return f"every output depends on every input since {named[0]}"


def described(step: Step) -> str:
    """Name a step by its operation and the module that ran it."""
    where = f"in {step.module}" if step.module else "in the function itself"
    return f"{step.operation.function} {where}"


def _after(step: Step, before: list[Pattern], example: Tensor) -> Pattern:
    """Give the pattern of a step's output from those of its inputs."""
    if isinstance(step, Other):
        where = f" in {step.module}" if step.module else ""
        shape = before[0].output_shape
        if isinstance(step.apply, Product) and prod(shape) == shape[-1]:
            raise PatternDestroyedError(
                f"{step.why}{where} joins every input, so there is no sparsity"
            )
        raise PatternDestroyedError(f"{step.why}{where} mixes places in a way that is not known")
    if isinstance(step, Sum):
        return _union(before, step)
    if isinstance(step, Rearrangement):
        return _rearranged(step, before, example)
    (source,) = before
    if isinstance(step, Diagonal):
        return source
    if isinstance(step, Convolution):
        matrices, shape = _convolution(step, source.output_shape)
    else:
        assert isinstance(step, Maximum)
        matrices, shape = _maximum(step, source.output_shape)
    return _noted(step, before, _composed(matrices, source, shape))


def _kept(matrices: Matrices) -> Matrices:
    """Leave out the matrices that say nothing."""
    return {pair: matrix for pair, matrix in matrices.items() if not matrix.all()}


def _noted(step: Step, before: Sequence[Pattern], after: Pattern) -> Pattern:
    """Note the axes that this step made full."""
    for axis in range(len(after.input_shape)):
        if after.constraints(axis) or after.input_shape[axis] == 1:
            continue
        earlier = [source.made_full[axis] for source in before if axis in source.made_full]
        after.made_full[axis] = earlier[0] if earlier else step
    return after


def boolean_product(left: Matrix, right: Matrix) -> Matrix:
    """Give where the product of two boolean matrices is true."""
    if left.size > _SPARSE and np.count_nonzero(left) < left.size // 16:
        from scipy.sparse import csr_array

        found = csr_array(left, dtype=np.float32) @ csr_array(right, dtype=np.float32)
        return np.asarray(found.toarray() > 0)
    # Matrices of numbers have a fast product, those of booleans have not.
    return np.asarray((left.astype(np.float32) @ right.astype(np.float32)) > 0)


def _composed(step: Matrices, source: Pattern, shape: tuple[int, ...]) -> Pattern:
    """Give the pattern of a step after a function.

    Output p depends on input q only through a place r between them, of which all matrices of both
    hold; so for each axis between, the boolean product of its two matrices holds of (p, q).
    """
    found: Matrices = {}
    for (between, b), left in step.items():
        for (a, between_too), right in source.matrices.items():
            if between != between_too:
                continue
            matrix = boolean_product(left, right)
            found[a, b] = found[a, b] & matrix if (a, b) in found else matrix
    return Pattern(source.input_shape, shape, _kept(found))


def _union(before: Sequence[Pattern], step: Step) -> Pattern:
    first, *others = before
    matrices = dict(first.matrices)
    for other in others:
        common = matrices.keys() & other.matrices.keys()
        matrices = {pair: matrices[pair] | other.matrices[pair] for pair in common}
    found = Pattern(first.input_shape, first.output_shape, _kept(matrices))
    return _noted(step, before, found)


# -- the kinds of steps ------------------------------------------------------------------------


def _windows(out: int, size: int, geometry: tuple[int, int, int, int]) -> Matrix:
    """Give the places (out, size) that each window of one axis covers."""
    kernel, stride, padding, dilation = geometry
    places = np.arange(out)[:, None] * stride - padding + np.arange(kernel)[None, :] * dilation
    matrix = np.zeros((out, size), dtype=np.bool_)
    rows, taps = np.nonzero((places >= 0) & (places < size))
    matrix[rows, places[rows, taps]] = True
    return matrix


def convolved_shape(step: Convolution, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Give the shape of one sample after a convolution of one of `shape`."""
    sizes = []
    for axis, size in enumerate(shape[1:]):
        kernel, stride = step.weight.shape[2 + axis], step.stride[axis]
        reach = step.dilation[axis] * (kernel - 1)
        if step.transposed:
            grown = (size - 1) * stride - 2 * step.padding[axis] + reach + 1
            sizes.append(grown + step.output_padding[axis])
        else:
            sizes.append((size + 2 * step.padding[axis] - reach - 1) // stride + 1)
    channels = step.weight.shape[1] * step.groups if step.transposed else step.weight.shape[0]
    return (channels, *sizes)


def _convolution(step: Convolution, shape: tuple[int, ...]) -> tuple[Matrices, tuple[int, ...]]:
    out = (shape[0], *convolved_shape(step, shape[1:]))
    matrices: Matrices = {(0, 0): np.eye(shape[0], dtype=np.bool_)}
    if step.groups > 1:
        groups_out = np.arange(out[1]) // (out[1] // step.groups)
        groups_in = np.arange(shape[1]) // (shape[1] // step.groups)
        matrices[1, 1] = groups_out[:, None] == groups_in[None, :]
    for axis in range(2, len(shape)):
        geometry = (
            step.weight.shape[axis],
            step.stride[axis - 2],
            step.padding[axis - 2],
            step.dilation[axis - 2],
        )
        if max(shape[axis], out[axis]) > LONGEST:
            continue
        if step.transposed:
            matrices[axis, axis] = _windows(shape[axis], out[axis], geometry).T
        else:
            matrices[axis, axis] = _windows(out[axis], shape[axis], geometry)
    return matrices, out


def _maximum(step: Maximum, shape: tuple[int, ...]) -> tuple[Matrices, tuple[int, ...]]:
    out = tuple(step.places.shape)
    leading = len(shape) - len(step.kernel)
    matrices = {(a, a): np.eye(shape[a], dtype=np.bool_) for a in range(leading)}
    for place, geometry in enumerate(
        zip(step.kernel, step.stride, step.padding, step.dilation, strict=True)
    ):
        axis = leading + place
        if max(shape[axis], out[axis]) <= LONGEST:
            matrices[axis, axis] = _windows(out[axis], shape[axis], geometry)
    return matrices, out


def _rearranged(step: Rearrangement, before: list[Pattern], example: Tensor) -> Pattern:
    """Find a rearrangement's matrices by applying it to hyperplanes of ones.

    Ones at place i of an axis reach an output place if and only if that depends on any input at
    i: coefficients are not negative, so nothing cancels.
    """
    parts = []
    for operand, source in enumerate(before):
        shapes = [other.output_shape for other in before]
        matrices, shape = probed(step, operand, shapes, example)
        parts.append(_noted(step, [source], _composed(matrices, source, shape)))
    return _union(parts, step)
