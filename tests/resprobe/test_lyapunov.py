import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resprobe.errors import InputError
from resprobe.linalg.linear_map import Dense
from resprobe.linalg.lyapunov import finite_growth, lyapunov_exponents


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def orthogonal(samples, size, seed):
    return torch.linalg.qr(drawn(samples, size, size, seed=seed)).Q


def maps(matrices, dtype=torch.float64):
    return [Dense(m.to(dtype)) for m in matrices]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_orthogonal_maps_have_exponents_zero(dtype):
    blocks = maps([orthogonal(3, 20, seed) for seed in range(5)], dtype)
    found = lyapunov_exponents(blocks, 4).values
    assert found.shape == (3, 5, 4)
    # Each product rounds by about ε, and so does its logarithm.
    assert float(found.abs().max()) < (1e-5 if dtype == torch.float32 else 1e-13)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_all_exponents_add_up_to_the_logarithm_of_the_determinant(size, blocks, seed):
    matrices = [drawn(2, size, size, seed=100 * seed + i) for i in range(blocks)]
    found = lyapunov_exponents(maps(matrices), size).values
    logs = torch.stack([torch.linalg.slogdet(m).logabsdet for m in matrices], dim=1)
    expected = logs.cumsum(1) / torch.arange(1, blocks + 1)
    torch.testing.assert_close(found.sum(2), expected, rtol=1e-9, atol=1e-9)


def test_diagonal_maps_give_the_logarithms_of_their_entries_from_the_first_block_on():
    entries = torch.tensor([1.5, 2.0, 0.3, 0.9, 0.01], dtype=torch.float64)
    found = lyapunov_exponents(maps([torch.diag(entries)[None]] * 400), 3)
    expected = torch.tensor([2.0, 1.5, 0.9], dtype=torch.float64).log()
    torch.testing.assert_close(found.values[0], expected.expand(400, 3), rtol=0, atol=1e-12)
    assert float(found.errors.max()) < 1e-12


@pytest.mark.parametrize("size", [30, 100])  # of explicit matrices, and by ARPACK
def test_the_exponents_of_a_sequence_are_the_singular_values_of_its_product(size):
    matrices = [torch.eye(size) + 0.3 * drawn(2, size, size, seed=i) for i in range(4)]
    product = torch.eye(size, dtype=torch.float64).expand(2, size, size)
    for matrix in matrices:
        product = matrix @ product
    found = lyapunov_exponents(maps(matrices), 4)
    expected = torch.linalg.svdvals(product)[:, :4].log() / 4
    # Of a symmetric operator the error is the square of the vectors', here 1e-5 and less.
    torch.testing.assert_close(found.values[:, -1], expected, rtol=0, atol=1e-7)
    error = (found.values[:, -1] - expected).abs()
    assert bool((error <= found.errors + 1e-12).all())


def test_a_random_direction_would_not_do():
    """In a few blocks a random frame does not turn into what is stretched most."""
    matrices = [drawn(1, 200, 200, seed=i) / 200**0.5 for i in range(3)]
    start = torch.linalg.qr(drawn(1, 200, 1)).Q
    image = matrices[2] @ matrices[1] @ matrices[0] @ start
    leading = lyapunov_exponents(maps(matrices), 1).values[0, -1, 0]
    assert float(leading) > float(image.norm().log()) / 3 + 0.2


def test_products_beyond_the_range_of_the_dtype_have_exponents():
    for factor in (1e-20, 1e20):
        blocks = maps([factor * torch.eye(100)[None]] * 10, torch.float32)
        found = lyapunov_exponents(blocks, 2)
        expected = torch.full((1, 10, 2), math.log(factor), dtype=torch.float64)
        torch.testing.assert_close(found.values, expected, rtol=1e-6, atol=0)


def test_one_block_and_one_vector_give_its_spectral_norm():
    matrix = drawn(1, 30, 30)
    found = lyapunov_exponents(maps([matrix]), 1).values
    assert float(found) == pytest.approx(float(torch.linalg.matrix_norm(matrix, 2).log()), rel=1e-9)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 50))
def test_the_first_exponent_stays_below_the_logarithm_of_the_norms(seed):
    matrices = [drawn(2, 12, 12, seed=10 * seed + i) for i in range(4)]
    found = lyapunov_exponents(maps(matrices), 3).values
    norms = torch.stack([torch.linalg.matrix_norm(m, 2) for m in matrices], dim=1).log()
    assert bool((found[:, :, 0] <= norms.cumsum(1) / torch.arange(1, 5) + 1e-12).all())


def test_turning_every_block_changes_nothing():
    matrices = [drawn(1, 10, 10, seed=i) for i in range(3)]
    turn = orthogonal(1, 10, 9)
    turned = [turn @ m @ turn.mT for m in matrices]
    one, two = (lyapunov_exponents(maps(m), 10).values for m in (matrices, turned))
    torch.testing.assert_close(one.sum(2), two.sum(2))


def test_from_a_zero_map_on_the_exponents_are_minus_infinity():
    zero, other = torch.zeros(1, 5, 5), torch.eye(5)[None]
    found = lyapunov_exponents(maps([other, zero, other]), 2).values
    assert found[0, 0].tolist() == pytest.approx([0, 0], abs=1e-14)
    assert bool(torch.isneginf(found[0, 1:]).all())


def test_samples_do_not_mix():
    matrices = [drawn(2, 6, 6, seed=i) for i in range(3)]
    others = [torch.stack([m[0], 7 * m[1].T]) for m in matrices]
    one, two = (lyapunov_exponents(maps(m), 2).values for m in (matrices, others))
    torch.testing.assert_close(one[0], two[0])
    assert not torch.allclose(one[1], two[1])


@pytest.mark.parametrize(
    ("blocks", "k", "words"),
    [
        ([], 1, "no block"),
        ([torch.eye(3)[None]], 4, "4 exponents"),
        ([torch.ones(1, 2, 3)], 1, "one shape"),
        ([torch.eye(3)[None], torch.eye(3).expand(2, 3, 3)], 1, "2 samples"),
        ([torch.eye(3)[None], torch.full((1, 3, 3), math.nan)], 1, "block 2 of 2"),
    ],
)
def test_what_has_no_exponents_is_refused(blocks, k, words):
    with pytest.raises(InputError, match=words):
        lyapunov_exponents(maps(blocks), k)


def test_a_small_disturbance_grows_as_the_linear_maps_say():
    matrices = [drawn(20, 20, seed=i) for i in range(3)]
    functions = [lambda x, m=m: x @ m.T for m in matrices]
    x = drawn(4, 20, seed=5)
    found = finite_growth(functions, x, relative_size=1e-3, v=drawn(4, 20, seed=6))
    v = drawn(4, 20, seed=6)
    for block in range(3):
        image = v
        for matrix in matrices[: block + 1]:
            image = image @ matrix.T
        expected = (image.norm(dim=1) / v.norm(dim=1)).log() / (block + 1)
        # The difference of two numbers 1000 times larger: 1e-13, times the growth of rounding.
        torch.testing.assert_close(found[:, block], expected, rtol=0, atol=1e-10)


def test_a_large_disturbance_saturates_where_a_small_one_grows():
    def saturating(x):
        return torch.tanh(20 * x)

    x = drawn(3, 50) * 1e-3
    small = finite_growth([saturating], x, relative_size=1e-3, v=drawn(3, 50))
    large = finite_growth([saturating], x, relative_size=1e3, v=drawn(3, 50))
    torch.testing.assert_close(small, torch.full_like(small, math.log(20)), rtol=0, atol=0.01)
    assert float(large.max()) < math.log(20) - 1


def test_growth_of_nothing():
    x = drawn(2, 4, 3, 3)
    gone = finite_growth([torch.zeros_like], x, relative_size=0.1, v=drawn(2, 4, 3, 3))
    assert bool(torch.isneginf(gone).all())
    nowhere = finite_growth([torch.exp], 0 * x, relative_size=0.1, v=drawn(2, 4, 3, 3))
    assert bool(nowhere.isnan().all())
    with pytest.raises(InputError, match="more than 0"):
        finite_growth([torch.exp], x, relative_size=0, v=drawn(2, 4, 3, 3))


def test_a_float32_disturbance_is_measured_as_it_was_after_rounding():
    x = drawn(2, 100).float() + 100
    found = finite_growth([lambda y: 2 * y], x, relative_size=1e-6, v=drawn(2, 100))
    torch.testing.assert_close(found, torch.full_like(found, math.log(2)), rtol=0, atol=1e-6)
