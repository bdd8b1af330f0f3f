import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from linearised import path_of
from torch import nn

from resprobe.errors import InputError
from resprobe.linalg import arpack, eigenpairs, jacobian, spectra
from resprobe.linalg.lanczos import log_norms, spectral_norms
from resprobe.linalg.linear_map import Dense
from resprobe.linalg.linearise import linearise
from resprobe.linalg.ordering import ordered, whole_pairs
from resprobe.linalg.spectra import (
    full_spectrum,
    leading_eigenvalues,
    spectral_abscissas,
    spectral_radii,
    spectrum,
)

WHICH = ["largest_magnitude", "rightmost"]
DTYPES = [torch.float32, torch.float64]
GOAL = {torch.float32: 1e-5, torch.float64: 1e-10}


def drawn(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def graded(samples, size, seed=0, dtype=torch.float64):
    """Non-normal matrices whose eigenvalues spread out, as those of trained branches do."""
    falling = torch.arange(1, size + 1, dtype=torch.float64) ** -0.5
    return (drawn(samples, size, size, seed=seed) * falling).to(dtype)


def with_eigenvalues(values, seed=0):
    """A real non-normal matrix of known eigenvalues; conjugates are given once."""
    blocks = [
        np.array([[v.real]]) if v.imag == 0 else np.array([[v.real, v.imag], [-v.imag, v.real]])
        for v in map(complex, values)
    ]
    core = scipy.linalg.block_diag(*blocks)
    basis = drawn(*core.shape, seed=seed).numpy() / len(core) ** 0.5 + 2 * np.eye(len(core))
    return torch.from_numpy(basis @ core @ np.linalg.inv(basis))


def expected_leading(matrix, k, which):
    values = np.linalg.eigvals(matrix.double().numpy())
    return values[ordered(values, which, 1e-9)][:k]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("size", [7, 150, 260])
def test_leading_eigenvalues_are_those_of_the_dense_matrix(size, which, dtype):
    matrices = graded(3, size, dtype=dtype)
    found = leading_eigenvalues(Dense(matrices), 5, which, left=True)
    assert found.converged.all()
    for sample, matrix in enumerate(matrices):
        expected = expected_leading(matrix, 5, which)
        # An eigenvalue is off by its condition number times its residual, to first order.
        norm = float(torch.linalg.matrix_norm(matrix.double(), 2))
        off = 3 * found.conditions[sample] * np.maximum(found.residuals[sample], 1e-14) * norm
        assert (np.abs(found.values[sample] - expected) <= off).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("which", WHICH)
def test_condition_numbers_are_those_of_both_vectors(which, dtype):
    matrix = graded(1, 250, seed=2, dtype=dtype)
    found = leading_eigenvalues(Dense(matrix), 4, which, left=True)
    values, left, right = scipy.linalg.eig(matrix[0].double().numpy(), left=True, right=True)
    order = ordered(values, which, 1e-9)[:4]
    expected = 1 / np.abs((left.conj() * right).sum(axis=0))[order]
    np.testing.assert_allclose(found.conditions[0], expected, rtol=1e3 * GOAL[dtype])
    assert np.isnan(leading_eigenvalues(Dense(matrix), 4, which).conditions).all()


def test_residuals_are_those_of_products_with_some_vector():
    # ‖(J - λ)v‖ of no vector is below the smallest singular value of J - λ.
    matrix = graded(1, 220, seed=3, dtype=torch.float32)
    found = leading_eigenvalues(Dense(matrix), 6, "rightmost")
    wide = matrix[0].double().numpy()
    norm = np.linalg.norm(wide, 2)
    for value, residual in zip(found.values[0], found.residuals[0], strict=True):
        least = np.linalg.svd(wide - value * np.eye(220), compute_uv=False)[-1]
        # The products round in float32: by 2^-24 √n relative to the norm at most.
        assert least / norm <= residual + 220**0.5 * 2**-24


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_branch_of_convolutions_against_its_dense_jacobian(dtype):
    torch.manual_seed(0)
    norm, first, second = nn.BatchNorm2d(4), nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 4, 3)
    branch = nn.Sequential(norm, nn.ReLU(), first, nn.Tanh(), second, nn.ZeroPad2d(1))
    branch = branch.eval().double()
    x = drawn(2, 4, 8, 8)
    dense = torch.autograd.functional.jacobian(branch, x)
    dense = torch.stack([dense[i, :, :, :, i].reshape(256, 256) for i in range(2)])
    branch = branch.to(dtype)
    linear = linearise(path_of(branch, x.to(dtype)))
    norms, logs = spectral_norms(linear), log_norms(linear)
    radius, _ = spectral_radii(leading_eigenvalues(linear, 2, "largest_magnitude"))
    abscissa, _ = spectral_abscissas(leading_eigenvalues(linear, 2, "rightmost"))
    values = torch.linalg.eigvals(dense)
    expected = (
        torch.linalg.matrix_norm(dense, 2),
        torch.linalg.eigvalsh((dense + dense.mT) / 2)[:, -1],
        values.abs().max(dim=1).values,
        values.real.max(dim=1).values,
    )
    # The Jacobian of the float32 network itself differs by a few roundings, times the condition.
    tolerance = 1e-5 if dtype == torch.float32 else 1e-10
    for found, one in zip((norms.values, logs.values, radius, abscissa), expected, strict=True):
        np.testing.assert_allclose(found, one.numpy(), rtol=tolerance)


@pytest.mark.parametrize("size", [60, 230])
def test_known_eigenvalues_in_their_order(size):
    known = [3, -2.5, 1 + 2j, 2 + 0.5j]
    rest = np.linspace(-0.9, 0.9, size - 6)
    matrix = with_eigenvalues([*known, *rest])
    by_size = leading_eigenvalues(Dense(matrix[None]), 6, "largest_magnitude").values[0]
    np.testing.assert_allclose(by_size, [3, -2.5, 1 + 2j, 1 - 2j, 2 + 0.5j, 2 - 0.5j], rtol=1e-9)
    by_real = leading_eigenvalues(Dense(matrix[None]), 5, "rightmost").values[0]
    np.testing.assert_allclose(by_real, [3, 2 + 0.5j, 2 - 0.5j, 1 + 2j, 1 - 2j], rtol=1e-9)


@pytest.mark.parametrize("size", [60, 230])
@pytest.mark.parametrize("which", WHICH)
def test_of_a_pair_that_is_cut_the_upper_one_is_given(size, which):
    matrix = with_eigenvalues([3, 2 + 0.5j, *np.linspace(-0.9, 0.9, size - 3)])
    found = leading_eigenvalues(Dense(matrix[None]), 2, which, left=True)
    np.testing.assert_allclose(found.values[0], [3, 2 + 0.5j], rtol=1e-9)
    assert np.isfinite(found.conditions).all()
    assert found.converged.all()


def test_order_puts_conjugates_side_by_side():
    values = np.array([-1, 1j, 0.5, 1, -1j, -0.5 + 1e-13j])
    by_size = values[ordered(values, "largest_magnitude", 1e-9)]
    np.testing.assert_array_equal(by_size[:4], [1, 1j, -1j, -1])
    turning = np.array([2j, -1j, 1j, -2j]) + np.array([0, 0, 0, 1e-12])
    by_real = turning[ordered(turning, "rightmost", 1e-9)]
    np.testing.assert_array_equal(by_real.imag, [2, -2, 1, -1])


def test_whole_pairs_leave_pairs_alone():
    vectors = np.array([[1, 1j, -1j, 1 - 2j]])
    values, turned = whole_pairs(np.array([1, 2j, -2j, 3 - 1j]), vectors)
    np.testing.assert_array_equal(values, [1, 2j, -2j, 3 + 1j])
    np.testing.assert_array_equal(turned, [[1, 1j, -1j, 1 + 2j]])


@pytest.mark.parametrize("which", WHICH)
def test_what_does_not_converge_is_missing_and_says_so(which, monkeypatch):
    # A ring: all eigenvalues of one size, so that one restart finds none.
    ring = torch.roll(torch.eye(400, dtype=torch.float64), 1, dims=0)
    monkeypatch.setattr(arpack, "_RESTARTS", 1)
    monkeypatch.setattr(eigenpairs, "_DENSE_AFTER_ALL", 0)
    found = leading_eigenvalues(Dense(ring[None]), 4, which, left=True)
    assert not found.complete.any()
    missing = np.isnan(found.values)
    assert missing.any()
    np.testing.assert_array_equal(found.converged, ~missing)
    value, converged = (spectral_radii if which == WHICH[0] else spectral_abscissas)(found)
    assert not converged.any()
    assert np.isnan(value).all() == missing.all()


@pytest.mark.parametrize("which", WHICH)
def test_where_an_iteration_does_not_end_all_eigenvalues_are_computed(which, monkeypatch):
    ring = torch.roll(torch.eye(300, dtype=torch.float64), 1, dims=0)
    monkeypatch.setattr(arpack, "_RESTARTS", 1)
    found = leading_eigenvalues(Dense(ring[None]), 3, which)
    assert found.complete.all()
    assert found.converged.all()
    # Roots of unity; QR finds those of a normal matrix to some units of rounding.
    np.testing.assert_allclose(np.abs(found.values), 1, rtol=0, atol=1e-13)
    if which == "rightmost":
        first = np.exp(2j * np.pi / 300)
        expected = [1, first, first.conjugate()]
        np.testing.assert_allclose(found.values[0], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("size", [20, 250])
@pytest.mark.parametrize("which", WHICH)
def test_zero_maps_and_nilpotent_maps(size, which):
    zero = torch.zeros(1, size, size)
    found = leading_eigenvalues(Dense(zero), 3, which, left=True)
    assert found.values.tolist() == [[0, 0, 0]]
    assert found.residuals.tolist() == [[0, 0, 0]]
    assert found.converged.all()
    square = zero.clone()
    square[0, 0, 1] = 1
    found = leading_eigenvalues(Dense(square), 3, which)
    # Every converged one is 0, or what a defective 0 becomes by rounding: its root.
    assert (np.abs(found.values[found.converged]) <= 2 * GOAL[torch.float32] ** 0.5).all()


@pytest.mark.parametrize("size", [40, 230])
@pytest.mark.parametrize("dtype", DTYPES)
def test_radius_and_abscissa_stay_below_the_norms(size, dtype):
    matrices = graded(3, size, seed=4, dtype=dtype)
    norms, logs = spectral_norms(Dense(matrices)), log_norms(Dense(matrices))
    radius, sure = spectral_radii(leading_eigenvalues(Dense(matrices), 3, "largest_magnitude"))
    abscissa, certain = spectral_abscissas(leading_eigenvalues(Dense(matrices), 3, "rightmost"))
    assert sure.all()
    assert certain.all()
    slack = 1e-6 * norms.values
    assert (radius <= norms.values + slack).all()
    assert (abscissa <= logs.values + slack).all()
    assert (abscissa <= radius + slack).all()
    dense = np.linalg.eigvals(matrices.double().numpy())
    np.testing.assert_allclose(radius, np.abs(dense).max(axis=1), rtol=10 * GOAL[dtype])
    np.testing.assert_allclose(abscissa, dense.real.max(axis=1), rtol=100 * GOAL[dtype])
    with pytest.raises(InputError, match="rightmost"):
        spectral_abscissas(leading_eigenvalues(Dense(matrices), 3, "largest_magnitude"))


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 50), st.floats(0.1, 10), st.sampled_from([30, 210]))
def test_scaling_shifting_transposing_and_turning(seed, factor, size):
    matrices = graded(1, size, seed=seed)
    turn = torch.linalg.qr(drawn(1, size, size, seed=seed + 1)).Q

    def leading(matrices, which):
        return leading_eigenvalues(Dense(matrices), 2, which).values[0]

    for which in WHICH:
        one = leading(matrices, which)
        tolerance = {"rtol": 1e-6, "atol": 1e-6}  # condition numbers up to thousands
        np.testing.assert_allclose(leading(factor * matrices, which), factor * one, **tolerance)
        np.testing.assert_allclose(leading(matrices.mT, which), one, **tolerance)
        np.testing.assert_allclose(leading(turn @ matrices @ turn.mT, which), one, **tolerance)
    moved = leading(matrices + 3 * torch.eye(size), "rightmost")
    np.testing.assert_allclose(moved, leading(matrices, "rightmost") + 3, rtol=1e-6)


def test_one_map_gives_one_answer_whatever_lies_beside_it():
    matrices = graded(3, 210, seed=5)
    together = leading_eigenvalues(Dense(matrices, (7, 30), (30, 7)), 3, "rightmost").values
    again = leading_eigenvalues(Dense(matrices[1:2]), 3, "rightmost").values
    np.testing.assert_allclose(together[1], again[0], rtol=1e-9)
    twice = leading_eigenvalues(Dense(matrices[1:2]), 3, "rightmost").values
    np.testing.assert_array_equal(again, twice)


def test_fewer_than_k_leave_nan():
    found = leading_eigenvalues(Dense(drawn(2, 3, 3)), 5, "rightmost", left=True)
    assert found.values.shape == (2, 5)
    assert np.isnan(found.values[:, 3:]).all()
    assert not found.converged[:, 3:].any()


@pytest.mark.parametrize("size", [10, 100, 250])
def test_no_samples_have_no_eigenvalues_and_no_norms(size):
    empty = Dense(torch.zeros(0, size, size))
    assert leading_eigenvalues(empty, 3, "rightmost", left=True).values.shape == (0, 3)
    assert spectral_norms(empty).values.shape == (0,)
    assert log_norms(empty).values.shape == (0,)


class Jacobian:
    """What `spectrum` takes of a Jacobian."""

    def __init__(self, matrix, linear_map=None):
        self.shape, self.dtype, self.device = tuple(matrix.shape), matrix.dtype, matrix.device
        self.linear_map = linear_map
        self._matrix = matrix

    def matvec(self, v):
        return v @ self._matrix.mT

    def rmatvec(self, u):
        return u @ self._matrix

    def to_dense(self):
        return self._matrix


FORMS = {
    "tensor": lambda m: m,
    "array": lambda m: m.numpy(),
    "sparse": lambda m: scipy.sparse.csr_array(m.numpy()),
    "map": lambda m: Dense(m[None]),
    "Jacobian": Jacobian,
    "Jacobian with steps": lambda m: Jacobian(m, Dense(m[None])),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [50, 400])
def test_the_spectrum_of_any_form(form, size):
    matrix = graded(1, size, seed=6)[0]
    every = spectrum(FORMS[form](matrix))
    dense = np.linalg.eigvals(matrix.numpy())
    dense = dense[ordered(dense, "largest_magnitude", 1e-12)]
    np.testing.assert_allclose(every.values, dense, rtol=1e-8, atol=1e-8)
    assert (every.method, every.k, every.converged.all()) == ("dense", None, True)
    for which in WHICH:
        some = spectrum(FORMS[form](matrix), 4, which)
        np.testing.assert_allclose(
            some.values, expected_leading(matrix, 4, which), rtol=1e-8, atol=1e-8
        )
        assert (some.k, some.which) == (4, which)
        assert some.method == ("dense" if size == 50 else "ARPACK")
        assert np.isfinite(some.conditions).all()


class Slow(nn.Module):
    """Its products are differentiated anew each time."""

    def forward(self, x):
        return torch.softmax(x @ x.mT, -1) @ torch.layer_norm(x, x.shape[-1:])


def test_all_eigenvalues_are_computed_where_an_iteration_is_predicted_slower(monkeypatch):
    found = jacobian(Slow(), drawn(1, 16, 20))
    expected = expected_leading(found.to_dense(), 4, "rightmost")

    def refused(*args, **kwargs):
        raise AssertionError("an iteration was begun")

    monkeypatch.setattr(spectra, "leading_eigenvalues", refused)
    some = spectrum(found, np.int64(4), "rightmost")
    assert (some.method, some.k, len(some.values)) == ("dense", 4, 4)
    assert some.converged.all()
    assert np.isfinite(some.conditions).all()
    np.testing.assert_allclose(some.values, expected, rtol=1e-8, atol=1e-8)
    # A matrix at hand of 300 rows too, one of 600 not.
    assert spectrum(graded(1, 250)[0], 3).method == "dense"
    with pytest.raises(AssertionError, match="iteration"):
        spectrum(graded(1, 600)[0], 3)


def test_a_full_spectrum_carries_residuals_and_conditions():
    normal = torch.diag(torch.arange(1.0, 6.0)).double()
    found = full_spectrum(normal.numpy(), "rightmost")
    np.testing.assert_array_equal(found.values, [5, 4, 3, 2, 1])
    np.testing.assert_allclose(found.conditions, 1)
    skew = np.array([[1.0, 1e6], [0.0, 1.0 + 1e-3]])
    # For two by two: condition = √(1 + (a/(λ1 - λ2))²).
    found = full_spectrum(skew)
    np.testing.assert_allclose(found.conditions, 1e9, rtol=1e-6)
    assert found.residuals.max() <= 1e-15


def test_a_defective_eigenvalue_has_an_enormous_condition_number():
    found = full_spectrum(np.array([[0.0, 1.0], [0.0, 0.0]]))
    np.testing.assert_array_equal(found.values, [0, 0])
    assert (found.conditions > 1e15).all()


def test_eigenvalues_alone_where_vectors_take_too_long(monkeypatch):
    monkeypatch.setattr("resprobe.linalg.spectra._LARGEST_WITH_VECTORS", 10)
    matrix = graded(1, 30)[0].numpy()
    found = full_spectrum(matrix)
    np.testing.assert_allclose(
        found.values, expected_leading(torch.from_numpy(matrix), 30, WHICH[0])
    )
    assert np.isnan(found.residuals).all()
    assert np.isnan(found.conditions).all()
    assert found.converged.all()


@pytest.mark.parametrize(
    ("matrix", "k", "which", "words"),
    [
        (torch.ones(2, 3), None, "rightmost", "as many outputs as inputs"),
        (torch.ones(3), None, "rightmost", "no matrix"),
        (torch.full((3, 3), torch.nan), None, "rightmost", "not finite"),
        (torch.full((250, 250), torch.nan), 2, "rightmost", "not finite"),
        (torch.eye(3, dtype=torch.complex64), 2, "rightmost", "complex"),
        (torch.eye(3), 4, "rightmost", "no 4 eigenvalues"),
        (torch.eye(3), 0, "rightmost", "at least 1"),
        (torch.eye(3), 2.5, "rightmost", "k=2.5 is no number"),
        (torch.eye(3), True, "rightmost", "k=True is no number"),
        (torch.eye(3), 1, "largest_real", "largest_real"),
        (scipy.sparse.eye_array(5000), None, "rightmost", "k=6"),
        (Dense(torch.ones(2, 3, 3)), 1, "rightmost", "one sample"),
        ("matrix", 1, "rightmost", "a str is no matrix"),
    ],
)
def test_what_has_no_spectrum_is_refused(matrix, k, which, words):
    with pytest.raises(InputError, match=words):
        spectrum(matrix, k, which)
