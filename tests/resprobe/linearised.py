"""Compare a linearised path with the dense Jacobian by torch.autograd, in float64."""

import torch

from resprobe.blocks.path import Path
from resprobe.blocks.program import record
from resprobe.linalg.linearise import linearise

EPS = torch.finfo(torch.float64).eps
# Each entry is a sum of a few hundred products in another order than the reference's.
TOLERANCE = 200 * EPS


def path_of(module, x, **options):
    """The path from a module's input to its output, recorded in float64 without gradients."""
    with torch.no_grad():
        program = record(module, (x.clone(),))
    return Path(program, program.inputs[0], [(program.output.value, 1.0)], **options)


def dense_of(function, x):
    """`(sample, output, sample, input)` by torch.autograd."""
    jacobian = torch.autograd.functional.jacobian(function, x)
    outputs = jacobian.dim() - x.dim()
    rows, columns = jacobian.shape[:outputs], x.shape
    return jacobian.reshape(rows[0], rows[1:].numel(), columns[0], columns[1:].numel())


def relative(found, expected):
    """The norm of the difference over that of what is expected."""
    scale = expected.norm()
    return float((found - expected).norm() / scale) if scale else float(found.norm())


def state(module):
    """Copies of all that a module holds."""
    return [t.detach().clone() for t in (*module.parameters(), *module.buffers())]


def checked(module, x, *, function=None, probes=2, **options):
    """Compare products, their transposes, single samples and the path's values; give the map."""
    before = state(module)
    path = path_of(module, x, **options)
    kept = {value: tensor.clone() for value, tensor in path._program.kept.items()}
    found = linearise(path)
    reference = function or (lambda z: module(z.clone()))
    with torch.no_grad():
        after_reference = reference(x)
    assert relative(path(x), after_reference) <= TOLERANCE
    dense = dense_of(reference, x)
    v = torch.randn(probes, *x.shape, dtype=torch.float64)
    u = torch.randn(probes, *after_reference.shape, dtype=torch.float64)
    pushed = torch.einsum("aobi,pbi->pao", dense, v.flatten(2)).reshape(u.shape)
    pulled = torch.einsum("aobi,pao->pbi", dense, u.flatten(2)).reshape(v.shape)
    originals = v.clone(), u.clone()
    assert relative(found.matvec(v), pushed) <= TOLERANCE
    assert relative(found.rmatvec(u), pulled) <= TOLERANCE
    assert relative(found.matvec(v[:1]), pushed[:1]) <= TOLERANCE
    assert relative(found.rmatvec(u[:1]), pulled[:1]) <= TOLERANCE
    last = len(x) - 1
    alone = found.sample(last)
    assert relative(alone.matvec(v[:, last:]), pushed[:, last:]) <= TOLERANCE
    assert relative(alone.rmatvec(u[:, last:]), pulled[:, last:]) <= TOLERANCE
    assert torch.equal(v, originals[0])
    assert torch.equal(u, originals[1])
    if function is None:
        assert all(map(torch.equal, before, state(module)))
    for value, tensor in path._program.kept.items():  # what is only allocated may hold NaN
        assert torch.equal(tensor.nan_to_num(), kept[value].nan_to_num())
    assert (found.samples, found.input_shape) == (len(x), tuple(x.shape[1:]))
    assert found.output_shape == tuple(after_reference.shape[1:])
    return found
