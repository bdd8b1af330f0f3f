"""Small networks in float64 and their Jacobians by autograd, the second opinion."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import nn

from resprobe.errors import InputError
from resprobe.linalg import jacobian
from resprobe.linalg.ways import NAMES

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}

# Two sides of float64 sums of some hundred terms; entries are of size 1.
CLOSE = {"rtol": 0.0, "atol": 1e-11}


def settled(module, seed=0):
    """The module in float64 and evaluation mode, its weights and statistics drawn."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    with torch.no_grad():
        for each in module.modules():
            if isinstance(each, nn.modules.batchnorm._BatchNorm):
                each.running_mean.normal_(0, 0.3, generator=generator)
                each.running_var.uniform_(0.5, 2, generator=generator)
                each.weight.uniform_(0.5, 1.5, generator=generator)
                each.bias.normal_(0, 0.3, generator=generator)
            elif list(each.parameters(recurse=False)):
                for parameter in each.parameters(recurse=False):
                    parameter.normal_(0, 0.5, generator=generator)
    return module


def sample(*shape, seed=1):
    return torch.randn((1, *shape), generator=torch.Generator().manual_seed(seed)).double()


def dense(f, x):
    """The Jacobian by reverse differentiation, one output at a time."""
    found = torch.autograd.functional.jacobian(f, x)
    return found.reshape(-1, x.numel())


def open_ways(f, x):
    """The Jacobians by every way that applies, by name."""
    found = {}
    for name in NAMES:
        with suppress(InputError):  # that it can't be used here
            found[name] = jacobian(f, x, method=name)
    return found


def require_all_ways_right(f, x, *expected):
    """Compare every way with autograd, in every form that a Jacobian has; give the ways."""
    reference = dense(f, x)
    ways = open_ways(f, x)
    assert set(expected) <= set(ways), ways.keys()
    generator = torch.Generator().manual_seed(3)
    v = torch.randn(2, reference.shape[1], generator=generator).double()
    u = torch.randn(2, reference.shape[0], generator=generator).double()
    for name, found in ways.items():
        assert found.method == name
        assert found.shape == tuple(reference.shape)
        torch.testing.assert_close(found.to_dense(), reference, **CLOSE)
        torch.testing.assert_close(torch.from_numpy(found.to_scipy().toarray()), reference, **CLOSE)
        torch.testing.assert_close(found.matvec(v), v @ reference.T, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(found.rmatvec(u), u @ reference, rtol=1e-10, atol=1e-10)
        assert abs(found.frobenius_norm() - float(reference.norm())) <= 1e-12 * (
            1 + float(reference.norm())
        )
        assert found.relative_error < 1e-12
    return ways


def probes(found):
    """Number of probes of a Jacobian."""
    return found.compressed.layout.probes
