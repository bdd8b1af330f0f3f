"""Along which axis the features of one position lie."""

from __future__ import annotations

from resprobe.blocks.ancestry import Ancestry
from resprobe.blocks.kinds import CHANNEL_NORMS, CONVOLUTION, VIEWS, aten
from resprobe.blocks.operations import Operation


def feature_axis(known: Ancestry, source: int, branch: int) -> int:
    """Give the axis of the features of one position in x: 1, or -1 for the last.

    It is that along which the first operation of the branch that has parameters works: a
    convolution or batch norm along the channels, a linear map or layer norm along the last.
    """
    dims = len(known.program.shapes[source])
    path = known.path(source, branch)
    first = next((index for index in path if known.names(index)), None)
    default = 1 if dims > 3 else -1
    if first is None:
        return default
    op = known.program.operations[first]
    features = next((v for v in op.reads if known.depends_on_input(v)), None)
    if features is None:
        return default
    channels = op.function is CONVOLUTION or op.function in CHANNEL_NORMS
    axis = 1 if channels else len(known.program.shapes[features]) - 1
    while features != source:
        maker = known.program.operations[known.maker[features]]
        before = _axis_before(maker, axis, len(known.program.shapes[features]))
        sources = [v for v in maker.reads if known.depends_on_input(v)]
        if before is None or len(sources) != 1:
            return default
        axis = before
        features = sources[0]
    if axis in (-1, dims - 1):
        return -1
    return 1 if axis == 1 else default


def _axis_before(op: Operation, axis: int, dims: int) -> int | None:
    """Give the axis that a view puts at `axis`, None where it can't be told."""
    axis %= dims
    if op.function is aten.permute.default:
        return int(op.args[1][axis]) % dims
    if op.function is aten.transpose.int:
        first, second = (int(dim) % dims for dim in op.args[1:3])
        return {first: second, second: first}.get(axis, axis)
    if op.function in VIEWS and axis == dims - 1:
        # What flattens positions keeps the features last.
        return -1
    return None if op.function in VIEWS else axis
