import numpy as np
import pytest
import scipy.sparse
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from resprobe.errors import InputError
from resprobe.linalg.hamiltonian import certify, hamiltonian_eigenvalues
from resprobe.linalg.spectra import spectrum


def drawn(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def factors(p, q, m, seed=0):
    """K1, D1, K2, D2 with ReLU derivatives, as arrays."""
    K1, K2 = drawn(p, m, seed=seed).numpy(), drawn(q, m, seed=seed + 1).numpy()
    D1, D2 = (drawn(n, seed=seed + i).numpy() > 0 for n, i in ((p, 2), (q, 3)))
    return K1, D1.astype(float), K2, D2.astype(float)


def assembled(K1, D1, K2, D2):
    zero = np.zeros((K1.shape[1],) * 2)
    return np.block([[zero, K1.T @ np.diag(D1) @ K1], [-K2.T @ np.diag(D2) @ K2, zero]])


class ConvolutionalSystem:
    """Ẏ = K1ᵀ relu(K1 Z + b1), Ż = -K2ᵀ relu(K2 Y + b2) on 4×8×8 features, two of each half."""

    shape = (4, 8, 8)

    def __init__(self, sign=-1.0, dtype=torch.float64):
        self.K1, self.K2 = (drawn(3, 2, 3, 3, seed=i, dtype=dtype) for i in (1, 2))
        self.b1, self.b2 = (drawn(3, seed=i, dtype=dtype) for i in (3, 4))
        self.sign = sign
        self.x = drawn(*self.shape, seed=5, dtype=dtype)

    def half(self, y, K, b):
        inner = F.relu(F.conv2d(y[None], K, b, padding=1))
        return F.conv_transpose2d(inner, K, padding=1)[0]

    def __call__(self, flat):
        y, z = flat.reshape(self.shape).chunk(2)
        rates = self.half(z, self.K1, self.b1), self.sign * self.half(y, self.K2, self.b2)
        return torch.cat(rates).flatten()

    def jacobian(self):
        return torch.autograd.functional.jacobian(self, self.x.flatten(), vectorize=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_convolutional_right_hand_side_is_certified(dtype):
    found = certify(ConvolutionalSystem(dtype=dtype).jacobian())
    assert found.holds
    assert found.diagonal_defect == 0
    # Two products of convolutions in another order of summation: a few roundings.
    assert found.symmetry_defect <= 4 * torch.finfo(dtype).eps
    assert found.tolerance == pytest.approx(160 * torch.finfo(dtype).eps)


def test_its_eigenvalues_are_imaginary_where_a_solver_leaves_the_root_of_rounding():
    matrix = ConvolutionalSystem().jacobian()
    certified = certify(matrix).eigenvalues
    assert (certified.real == 0).all()
    numerical = spectrum(matrix).values
    radius = np.abs(numerical).max()
    np.testing.assert_allclose(np.abs(certified).max(), radius, rtol=1e-12)
    # Zero is defective here, and moves by the root of a rounding error; what is far from it does
    # not. Both sides sorted along the imaginary axis.
    root = np.sqrt(np.finfo(float).eps)
    assert np.abs(numerical.real).max() <= 10 * root * radius
    a, b = np.sort(certified.imag), np.sort(numerical.imag)
    assert np.abs(a - b).max() <= 10 * root * radius
    far = np.abs(a) > 0.05 * radius
    assert far.sum() > 20
    np.testing.assert_allclose(a[far], b[far], rtol=1e-10)
    assert np.abs(numerical.real[np.abs(numerical) > 0.05 * radius]).max() <= 1e-11 * radius


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
def test_the_factors_give_what_the_assembled_matrix_gives(p, q, m, seed):
    given_ = factors(p, q, m, seed)
    matrix = assembled(*given_)
    found = certify(matrix)
    direct = hamiltonian_eigenvalues(*given_)
    scale = max(1.0, np.abs(matrix).max())
    assert found.holds
    assert direct.shape == found.eigenvalues.shape == (2 * m,)
    # Roots of A and B are good to √tolerance at their small eigenvalues.
    loose = 10 * np.sqrt(found.tolerance) * scale * m
    np.testing.assert_allclose(found.eigenvalues, direct, atol=loose)
    squares = np.linalg.eigvals(matrix @ matrix)
    np.testing.assert_allclose(
        np.sort(squares.real), np.sort((direct**2).real), atol=1e-6 * scale**2 * m
    )


def test_a_pendulum_turns_with_its_frequency():
    # Ẏ = 4Z, Ż = -9Y: frequency 6.
    found = certify(np.array([[0.0, 4.0], [-9.0, 0.0]]))
    assert found.holds
    np.testing.assert_allclose(found.eigenvalues, [6j, -6j], rtol=1e-14)
    np.testing.assert_allclose(
        hamiltonian_eigenvalues(np.eye(1), np.array([4.0]), np.eye(1), np.array([9.0])),
        [6j, -6j],
        rtol=1e-14,
    )


def test_a_defective_zero_stays_zero():
    # A = diag(1, 0), B = diag(0, 1): J is nilpotent, so all four eigenvalues are 0.
    matrix = np.zeros((4, 4))
    matrix[0, 2], matrix[3, 1] = 1, -1
    found = certify(matrix)
    assert found.holds
    np.testing.assert_array_equal(found.eigenvalues, 0)


def test_the_other_sign_fails_though_it_is_symmetric():
    found = certify(ConvolutionalSystem(sign=1.0).jacobian())
    assert not found.holds
    assert found.smallest_eigenvalues[1] < -0.9
    assert found.diagonal_defect == 0
    real = spectrum(ConvolutionalSystem(sign=1.0).jacobian(), 2, "rightmost").values.real
    assert real[0] > 0.1  # and rightly: it grows


@pytest.mark.parametrize("kind", ["damping", "asymmetry", "independent kernels", "random"])
def test_what_is_not_of_the_type_fails(kind):
    matrix = assembled(*factors(8, 8, 6))
    if kind == "damping":
        matrix -= 1e-6 * np.eye(12)
    elif kind == "asymmetry":
        matrix[0, 8] += 1e-6
    elif kind == "independent kernels":
        matrix[:6, 6:] = drawn(6, 6, seed=9).numpy()
    else:
        matrix = drawn(12, 12).numpy()
    found = certify(matrix)
    assert not found.holds
    defects = {"damping": found.diagonal_defect, "asymmetry": found.symmetry_defect}
    assert defects.get(kind, 1.0) > 10 * found.tolerance


@pytest.mark.parametrize("factor", [1e-8, 1e8])
def test_the_certificate_does_not_depend_on_the_scale(factor):
    matrix = assembled(*factors(9, 7, 6))
    one, other = certify(matrix), certify(factor * matrix)
    assert one.holds
    assert other.holds
    np.testing.assert_allclose(other.frequencies, factor * one.frequencies, atol=1e-6 * factor)


def test_a_zero_matrix_and_a_sparse_one():
    assert certify(np.zeros((6, 6))).holds
    matrix = assembled(*factors(9, 7, 6))
    assert certify(scipy.sparse.csr_array(matrix)).holds


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.zeros((3, 3)), "even number"),
        (np.zeros((2, 4)), "square"),
        (scipy.sparse.eye_array(5000), "at most 4,096"),
        (np.full((4, 4), np.nan), "not finite"),
    ],
)
def test_what_cannot_be_certified_is_refused(matrix, words):
    with pytest.raises(InputError, match=words):
        certify(matrix)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({1: -np.ones(4)}, "negative"),
        ({1: np.ones(3)}, "expected"),
        ({2: np.ones((4, 2))}, "columns"),
    ],
)
def test_factors_that_do_not_fit_are_refused(change, words):
    given_ = list(factors(4, 4, 3))
    for place, value in change.items():
        given_[place] = value
    with pytest.raises(InputError, match=words):
        hamiltonian_eigenvalues(*given_)
