"""Linear maps as explicit matrices and by automatic differentiation."""

from __future__ import annotations

import torch
from linearised import TOLERANCE, dense_of, relative

from resprobe.linalg.explicit import matrices as explicit
from resprobe.linalg.linear_map import Autodiff, Dense


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def test_a_dense_map_multiplies_each_sample_by_its_own_matrix():
    matrices = double(3, 4, 6)
    found = Dense(matrices, (2, 3), (4, 1))
    v, u = double(5, 3, 2, 3), double(5, 3, 4, 1)
    for probe in range(5):
        for sample in range(3):
            pushed = matrices[sample] @ v[probe, sample].flatten()
            assert relative(found.matvec(v)[probe, sample].flatten(), pushed) <= TOLERANCE
            pulled = matrices[sample].T @ u[probe, sample].flatten()
            assert relative(found.rmatvec(u)[probe, sample].flatten(), pulled) <= TOLERANCE


def test_the_map_of_one_sample_is_its_slice():
    matrices = double(3, 4, 6)
    one = Dense(matrices).sample(1)
    assert (one.samples, one.input_shape, one.output_shape) == (1, (6,), (4,))
    assert torch.equal(explicit(one), matrices[1:2])


def test_products_with_all_units_are_the_matrix():
    matrices = double(2, 4, 6)
    assert torch.equal(explicit(Dense(matrices, (3, 2), (2, 2))), matrices)


def test_autodiff_is_the_jacobian_of_each_sample():
    weight = double(5, 4)

    def function(x):
        return torch.sin(x.flatten(1) @ weight[:, :4].T).reshape(-1, 5, 1)

    x = double(3, 2, 2)
    found = Autodiff(function, x)
    expected = dense_of(function, x)[range(3), :, range(3)]
    assert relative(explicit(found), expected) <= TOLERANCE
    u = double(2, 3, 5, 1)
    pulled = torch.einsum("soi,pso->psi", expected, u.flatten(2)).reshape(2, 3, 2, 2)
    assert relative(found.rmatvec(u), pulled) <= TOLERANCE
    assert relative(explicit(found.sample(2)), expected[2:]) <= TOLERANCE
    assert not found.matvec(double(1, 3, 2, 2)).requires_grad
