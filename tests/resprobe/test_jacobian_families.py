"""The families `jacobian`, `spectrum` and `lyapunov` against matrices that are written down."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nets import LinearBlock, post_activation
from torch import nn

from resprobe.blocks.intervene import Runner
from resprobe.errors import InputError
from resprobe.linalg.linearise import Linearised
from resprobe.quantities.jacobian import METHODS, JacobianNorms
from resprobe.quantities.lyapunov import Lyapunov, runs_of
from resprobe.quantities.spectrum import LEADING, Spectrum

WIDTH, BLOCKS, H = 16, 3, 0.5


@pytest.fixture(scope="module")
def linear():
    """A stack x + hWx in float64, its matrices, and a recorded batch of five samples."""
    torch.manual_seed(1)
    net = nn.Sequential(*[LinearBlock(WIDTH, H) for _ in range(BLOCKS)]).double().eval()
    matrices = [block.linear.weight.detach().numpy() for block in net]
    return net, matrices, recorded(net, torch.randn(5, WIDTH, dtype=torch.float64))


def recorded(net, x):
    with torch.no_grad():
        runner = Runner(net, x)
        runner.find_samples()
        return runner.run(x, functions=True)


def rows(family, net, whole):
    with torch.no_grad():
        labels = torch.zeros(5, dtype=torch.int64)
        return family(net, whole.blocks, ["a", "b"]).rows(whole, labels)


def expected(matrices, of):
    """Give `of(J)` for the branch, hW, and the block, 1 + hW: `(block, part)`."""
    return np.array([[of(H * w), of(np.eye(WIDTH) + H * w)] for w in matrices])


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("jacobian_frobenius_norm", np.linalg.norm),
        ("jacobian_spectral_norm", lambda j: np.linalg.norm(j, 2)),
        ("jacobian_log_norm", lambda j: np.linalg.eigvalsh((j + j.T) / 2)[-1]),
    ],
)
def test_the_norms_of_a_linear_stack_are_those_of_its_matrices(linear, name, of):
    net, matrices, whole = linear
    found = rows(JacobianNorms, net, whole)
    assert found[name].shape == (5, BLOCKS, 2)
    truth = np.broadcast_to(expected(matrices, of), (5, BLOCKS, 2))
    # converged means a residual of 1e-10; an eigenvalue of a symmetric matrix is as good as that
    np.testing.assert_allclose(found[name].numpy(), truth, rtol=1e-10)
    for kind in ("jacobian_spectral_norm_converged", "jacobian_log_norm_converged"):
        assert found[kind].dtype == torch.int8
        assert bool((found[kind] == 1).all())


def test_an_exact_norm_has_no_error_and_says_how_it_was_found(linear):
    net, _, whole = linear
    found = rows(JacobianNorms, net, whole)
    assert bool((found["jacobian_frobenius_norm_stderr"] == 0).all())
    assert float(found["jacobian_relative_error"].max()) < 1e-13
    assert {METHODS[number] for number in found["jacobian_method"].unique()} <= set(METHODS[:4])


def test_the_eigenvalues_of_a_linear_stack_are_those_of_its_matrices(linear):
    net, matrices, whole = linear
    found = rows(Spectrum, net, whole)
    assert found["jacobian_eigenvalues"].shape == (5, BLOCKS, 2, 2 * LEADING)
    assert found["jacobian_eigenvalues"].dtype == torch.complex128
    for name, of in (
        ("jacobian_spectral_radius", lambda j: np.abs(np.linalg.eigvals(j)).max()),
        ("jacobian_spectral_abscissa", lambda j: np.linalg.eigvals(j).real.max()),
    ):
        truth = np.broadcast_to(expected(matrices, of), (5, BLOCKS, 2))
        np.testing.assert_allclose(found[name].numpy(), truth, rtol=1e-8)  # non-normal: 1e-10·κ
    assert bool((found["jacobian_eigenvalue_converged"] == 1).all())
    every = np.linalg.eigvals(H * matrices[0])
    branch = found["jacobian_eigenvalues"][0, 0, 0].numpy()
    assert np.abs(branch[:, None] - every[None]).min(axis=1).max() < 1e-8


def test_residuals_and_conditions_bound_the_error_of_every_eigenvalue(linear):
    net, matrices, whole = linear
    found = rows(Spectrum, net, whole)
    for index, matrix in enumerate(matrices):
        every = np.linalg.eigvals(H * matrix)
        values = found["jacobian_eigenvalues"][0, index, 0].numpy()
        error = np.abs(values[:, None] - every[None]).min(axis=1)
        residual = found["jacobian_eigenvalue_residual"][0, index, 0].numpy()
        condition = found["jacobian_eigenvalue_condition"][0, index, 0].numpy()
        assert (condition >= 1 - 1e-12).all()
        bound = residual * condition * np.linalg.norm(H * matrix, 2)
        assert (error <= 2 * bound + 1e-13).all()  # to first order; and rounding of the reference


def test_exponents_of_a_linear_stack_are_those_of_the_product(linear):
    net, matrices, whole = linear
    found = rows(Lyapunov, net, whole)
    exponents = found["lyapunov_exponents"]
    assert exponents.shape == (5, BLOCKS, 4)
    product = np.eye(WIDTH)
    for index, matrix in enumerate(matrices):
        product = (np.eye(WIDTH) + H * matrix) @ product
        stretch = np.log(np.linalg.svd(product, compute_uv=False)) / (index + 1)
        assert float(exponents[:, index, 0].max()) <= stretch[0] + 1e-12
        assert float(found["perturbation_growth"][:, index].max()) <= stretch[0] + 1e-9
    np.testing.assert_allclose(exponents[:, -1], np.tile(stretch[:4], (5, 1)), atol=1e-9)
    errors = found["lyapunov_exponents_error"]
    assert float(errors[:, -1].max()) < 1e-9
    assert bool(errors[:, :-1].isnan().all())


class Projecting(nn.Module):
    """A block that widens, so that its Jacobian is not square."""

    def __init__(self, width, wider):
        super().__init__()
        self.skip = nn.Conv2d(width, wider, 1, stride=2)
        self.conv = nn.Conv2d(width, wider, 3, stride=2, padding=1)

    def forward(self, x):
        return self.skip(x) + self.conv(x).relu()


def test_what_is_drawn_for_a_sample_does_not_depend_on_its_batch(monkeypatch):
    monkeypatch.setattr("resprobe.quantities.jacobian._AFFORDABLE", -1.0)  # estimate
    width = 150  # more inputs than probes
    net = nn.Sequential(*[LinearBlock(width, H) for _ in range(2)]).double().eval()
    x = torch.randn(5, width, dtype=torch.float64)

    def cut(family, *sizes):
        measured, found = None, []
        for part in x.split(sizes):
            piece = recorded(net, part)
            measured = measured or family(net, piece.blocks, ["a", "b"])
            labels = torch.zeros(len(part), dtype=torch.int64)
            with torch.no_grad():
                found.append(measured.rows(piece, labels))
            measured.add({"label": labels.numpy()})
        return {name: torch.cat([one[name] for one in found]) for name in found[0]}

    for family, name in (
        (JacobianNorms, "jacobian_frobenius_norm"),
        (Lyapunov, "perturbation_growth"),
    ):
        first, second = cut(family, 5), cut(family, 2, 3)
        torch.testing.assert_close(first[name], second[name], rtol=1e-9, atol=1e-12)
        assert len(first[name].flatten(1).unique(dim=0)) == 5  # each draws its own


@pytest.mark.parametrize("affordable", [1.0, -1.0])
def test_wrong_linear_steps_are_found_out_and_not_used(linear, monkeypatch, affordable):
    net, matrices, whole = linear
    monkeypatch.setattr("resprobe.quantities.jacobian._AFFORDABLE", affordable)
    push = Linearised.matvec
    monkeypatch.setattr(Linearised, "matvec", lambda self, v: 1.01 * push(self, v))
    found = rows(JacobianNorms, net, whole)
    assert float(found["jacobian_relative_error"].max()) < 1e-13
    expected = np.linalg.norm(H * matrices[0], 2)
    np.testing.assert_allclose(found["jacobian_spectral_norm"][:, 0, 0], expected, rtol=1e-9)
    expected = np.linalg.norm(H * matrices[0])
    np.testing.assert_allclose(found["jacobian_frobenius_norm"][:, 0, 0], expected, rtol=1e-9)
    found = rows(Spectrum, net, whole)
    expected = np.abs(np.linalg.eigvals(H * matrices[0])).max()
    np.testing.assert_allclose(found["jacobian_spectral_radius"][:, 0, 0], expected, rtol=1e-9)


def test_a_block_that_is_not_square_has_singular_values_and_no_eigenvalues():
    torch.manual_seed(2)
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    net = nn.Sequential(Projecting(2, 4), *head).double().eval()
    x = torch.randn(5, 2, 6, 6, dtype=torch.float64)
    whole = recorded(net, x)
    found = rows(JacobianNorms, net, whole)
    dense = torch.autograd.functional.jacobian(net[0], x[:1]).reshape(36, 72)
    block = 1  # x -> I(s + G)
    assert float(found["jacobian_frobenius_norm"][0, 0, block]) == pytest.approx(
        float(dense.norm()), rel=1e-12
    )
    assert float(found["jacobian_spectral_norm"][0, 0, block]) == pytest.approx(
        float(torch.linalg.matrix_norm(dense, 2)), rel=1e-9
    )
    assert bool(found["jacobian_log_norm"].isnan().all())
    assert bool(rows(Spectrum, net, whole)["jacobian_eigenvalues"].real.isnan().all())
    assert bool(rows(Lyapunov, net, whole)["lyapunov_exponents"].isnan().all())


def test_a_post_activation_block_is_measured_with_its_activation():
    net = post_activation(blocks=2).double().eval()
    x = torch.randn(5, 3, 6, 6, dtype=torch.float64)
    whole = recorded(net, x)
    found = rows(JacobianNorms, net, whole)
    with torch.no_grad():
        inside = net[0](x)
    dense = torch.autograd.functional.jacobian(net[1], inside[2:3]).reshape(144, 144)
    assert float(found["jacobian_frobenius_norm"][2, 0, 1]) == pytest.approx(
        float(dense.norm()), rel=1e-12
    )
    assert float(found["jacobian_spectral_norm"][2, 0, 1]) == pytest.approx(
        float(torch.linalg.matrix_norm(dense, 2)), rel=1e-9
    )


def test_runs_are_blocks_of_one_shape_that_follow_each_other():
    net = post_activation(blocks=3).eval()
    blocks = recorded(net, torch.randn(5, 3, 6, 6)).blocks
    assert [[block.index for block in run] for run in runs_of(blocks)] == [[0, 1, 2]]


def test_a_span_that_ends_before_it_begins_is_refused_in_words(linear):
    _, _, whole = linear
    first, last = whole.blocks[2], whole.blocks[0]
    with pytest.raises(InputError, match="runs before it; give the first block of the span first"):
        whole.path(first, last)
