import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resprobe.errors import InputError
from resprobe.linalg import lanczos
from resprobe.linalg.lanczos import log_norms, spectral_norms
from resprobe.linalg.linear_map import Dense

# The promise of a converged residual, and what it means for a value: its square over the gap, and
# the rounding of the dtype in the products.
GOAL = {torch.float32: 1e-5, torch.float64: 1e-10}
VALUE = {torch.float32: 2e-6, torch.float64: 1e-13}
DTYPES = [torch.float32, torch.float64]


def drawn(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def graded(samples, size, seed=0, dtype=torch.float64):
    """Matrices whose largest singular values and symmetric parts stand out, as those of nets do."""
    falling = torch.arange(1, size + 1, dtype=torch.float64) ** -0.5
    return (drawn(samples, size, size, seed=seed) * falling * falling[:, None]).to(dtype)


def dense_norms(matrices):
    return torch.linalg.matrix_norm(matrices.double(), 2).numpy()


def dense_log_norms(matrices):
    wide = matrices.double()
    return torch.linalg.eigvalsh((wide + wide.mT) / 2)[:, -1].numpy()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 5, 64, 65, 300])
def test_both_equal_the_dense_values(dtype, size):
    matrices = graded(6, size, dtype=dtype)
    norms = spectral_norms(Dense(matrices))
    logs = log_norms(Dense(matrices), norms.values)
    expected = dense_norms(matrices)
    np.testing.assert_allclose(norms.values, expected, rtol=VALUE[dtype])
    errors = np.abs(logs.values - dense_log_norms(matrices)) / expected
    assert errors.max() <= VALUE[dtype]
    for found in (norms, logs):
        assert found.converged.all()
        assert found.residuals.max() <= GOAL[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
def test_crowded_spectra_are_repeated_one_by_one(dtype, monkeypatch):
    # After 16 steps no sample is there; ARPACK then has to bring all of them home.
    monkeypatch.setattr(lanczos, "_STEPS", 16)
    matrices = drawn(3, 200, 200, dtype=dtype)
    norms = spectral_norms(Dense(matrices))
    logs = log_norms(Dense(matrices))
    assert norms.converged.all()
    assert logs.converged.all()
    np.testing.assert_allclose(norms.values, dense_norms(matrices), rtol=VALUE[dtype])
    errors = np.abs(logs.values - dense_log_norms(matrices)) / norms.values
    assert errors.max() <= VALUE[dtype]


def test_what_does_not_converge_says_so(monkeypatch):
    monkeypatch.setattr(lanczos, "_STEPS", 16)
    monkeypatch.setattr(lanczos, "symmetric_largest", lambda *_: None)
    matrices = drawn(3, 200, 200)
    found = spectral_norms(Dense(matrices))
    assert not found.converged.any()
    assert (found.residuals > GOAL[torch.float64]).all()
    # A Rayleigh quotient is a lower bound all the same.
    assert (found.values <= dense_norms(matrices) * (1 + 1e-14)).all()


def test_a_residual_is_that_of_an_explicit_product():
    matrices = drawn(1, 200, 200)
    found = log_norms(Dense(matrices), dense_norms(matrices))
    symmetric = (matrices[0] + matrices[0].mT) / 2
    values = torch.linalg.eigvalsh(symmetric)
    # Some eigenvalue lies within the residual of the one that was found.
    distance = float((values - float(found.values[0])).abs().min())
    assert distance <= float(found.residuals[0]) * dense_norms(matrices)[0] + 1e-13


def test_a_second_pass_gives_what_kept_vectors_give(monkeypatch):
    matrices = graded(4, 150, dtype=torch.float32)
    kept = log_norms(Dense(matrices))
    monkeypatch.setattr(lanczos, "_KEPT_BYTES", 1000)
    again = log_norms(Dense(matrices))
    np.testing.assert_array_equal(kept.values, again.values)
    np.testing.assert_array_equal(kept.residuals, again.residuals)


def test_a_small_log_norm_is_found_beside_a_large_norm():
    # Almost antisymmetric: the norm is 10, the logarithmic norm of the order 1e-3.
    turn = drawn(2, 100, 100)
    turn = turn - turn.mT
    turn = 10 * turn / torch.linalg.matrix_norm(turn, 2)[:, None, None]
    matrices = turn + 1e-3 * graded(2, 100, seed=1)
    norms = spectral_norms(Dense(matrices))
    found = log_norms(Dense(matrices), norms.values)
    np.testing.assert_allclose(found.values, dense_log_norms(matrices), atol=1e-11)
    assert found.converged.all()


@pytest.mark.parametrize("size", [20, 100])
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_antisymmetric_map_has_log_norm_zero(dtype, size):
    turn = drawn(2, size, size)
    found = log_norms(Dense((turn - turn.mT).to(dtype)))
    assert np.abs(found.values).max() <= VALUE[dtype] * size
    assert found.converged.all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("factor", [0.0, 1.0, -3.0, 1e-12])
def test_multiples_of_the_identity(dtype, factor):
    matrices = factor * torch.eye(100, dtype=dtype).expand(3, -1, -1)
    norms, logs = spectral_norms(Dense(matrices)), log_norms(Dense(matrices))
    np.testing.assert_allclose(norms.values, abs(factor), rtol=1e-6)
    np.testing.assert_allclose(logs.values, factor, rtol=1e-6)
    assert norms.converged.all()
    assert logs.converged.all()


def test_low_rank_maps_end_early():
    matrices = torch.stack([torch.outer(drawn(90), drawn(90, seed=1)), torch.zeros(90, 90)])
    norms = spectral_norms(Dense(matrices))
    logs = log_norms(Dense(matrices), norms.values)
    np.testing.assert_allclose(norms.values, dense_norms(matrices), rtol=1e-13)
    np.testing.assert_allclose(logs.values, dense_log_norms(matrices), rtol=1e-12, atol=1e-12)
    assert norms.converged.all()
    assert logs.converged.all()


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 50), st.floats(0.01, 100), st.sampled_from([30, 80]))
def test_scaling_transposing_and_turning(seed, factor, size):
    matrices = graded(2, size, seed=seed)
    turn = torch.linalg.qr(drawn(2, size, size, seed=seed + 1)).Q
    one = spectral_norms(Dense(matrices)).values
    for other, scale in (
        (factor * matrices, factor),
        (matrices.mT, 1),
        (turn @ matrices @ turn.mT, 1),
        (turn @ matrices, 1),
    ):
        np.testing.assert_allclose(spectral_norms(Dense(other)).values, scale * one, rtol=1e-12)
    logs = log_norms(Dense(matrices)).values
    for other, scale in (
        (factor * matrices, factor),
        (matrices.mT, 1),
        (turn @ matrices @ turn.mT, 1),
    ):
        np.testing.assert_allclose(
            log_norms(Dense(other)).values, scale * logs, atol=1e-12 * scale * one.max()
        )
    # From -‖J‖ to ‖J‖, and the identity moves it by one.
    assert (np.abs(logs) <= one * (1 + 1e-12)).all()
    moved = log_norms(Dense(matrices + torch.eye(size))).values
    np.testing.assert_allclose(moved, logs + 1, atol=1e-12 * (1 + one.max()))


def test_the_norm_stays_between_those_of_columns_and_of_frobenius():
    matrices = graded(5, 120, seed=3)
    found = spectral_norms(Dense(matrices)).values
    assert (found <= matrices.flatten(1).norm(dim=1).numpy()).all()
    assert (found >= matrices.norm(dim=1).max(dim=1).values.numpy()).all()


@pytest.mark.parametrize("shape", [(40, 120), (120, 40), (3, 500)])
def test_maps_that_are_not_square_have_spectral_norms_alone(shape):
    matrices = drawn(2, *shape)
    found = spectral_norms(Dense(matrices))
    np.testing.assert_allclose(found.values, dense_norms(matrices), rtol=1e-12)
    with pytest.raises(InputError, match="as many outputs as inputs"):
        log_norms(Dense(matrices))


def test_no_sample_depends_on_its_neighbours_or_their_shape():
    matrices = graded(3, 120, seed=2)
    together = log_norms(Dense(matrices, (4, 30), (2, 60))).values
    alone = [log_norms(Dense(matrices[i : i + 1])).values[0] for i in range(3)]
    np.testing.assert_allclose(together, alone, rtol=1e-12)


@pytest.mark.parametrize("size", [10, 100])
@pytest.mark.parametrize("measure", [spectral_norms, log_norms])
def test_what_is_not_finite_is_refused(size, measure):
    matrices = drawn(2, size, size)
    matrices[1, 2, 3] = float("nan")
    with pytest.raises(InputError, match="not finite"):
        measure(Dense(matrices))
